"""Rows in HDF5 files: what is appended is what is read, and a part is never left behind."""

import h5py
import numpy as np
import pytest

from sfgkeras.data.hdf5.writer import writing_rows
from sfgkeras.errors import DataError


@pytest.mark.parametrize("compression", [None, 1, 9])
def test_rows_are_read_back_as_they_were_written(tmp_path, compression):
    rng = np.random.default_rng(0)
    images, boxes = rng.integers(0, 255, (5, 8, 9, 3), np.uint8), rng.random((5, 4), np.float32)
    paths = {"images": tmp_path / "one.h5", "bboxes": tmp_path / "one.h5", "binary": tmp_path / "two.h5"}
    with writing_rows(paths, 5, compression) as append:
        for number in range(5):
            append({"images": images[number], "bboxes": boxes[number], "binary": number % 2})
    with h5py.File(tmp_path / "one.h5") as file:
        np.testing.assert_array_equal(file["images"][()], images)
        np.testing.assert_array_equal(file["bboxes"][()], boxes)
        assert file["images"].dtype == np.uint8
        # What is not compressed lies in one piece, which can be mapped.
        assert file["images"].chunks == (None if compression is None else (1, 8, 9, 3))
        assert file["images"].compression_opts == compression
    with h5py.File(tmp_path / "two.h5") as file:
        assert file["binary"][()].tolist() == [0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"a": np.zeros(3)}], "1 of 2 rows were written"),
        ([{"a": np.zeros(3)}] * 3, "more than 2 rows"),
        ([{"a": np.zeros(3)}, {"a": np.zeros(4)}], r"row 1 of a has the shape \(4,\) and the first one \(3,\)"),
        ([{"b": np.zeros(3)}], "a row has b where a are written"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_old_files_stay(tmp_path, rows, message):
    path = tmp_path / "a.h5"
    path.write_bytes(b"old")

    def write():
        with writing_rows({"a": path}, 2) as append:
            for row in rows:
                append(row)

    with pytest.raises(DataError, match=message):
        write()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.h5"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with (
        pytest.raises(DataError, match="is no folder; create it first"),
        writing_rows({"a": tmp_path / "b" / "a.h5"}, 1),
    ):
        pass
