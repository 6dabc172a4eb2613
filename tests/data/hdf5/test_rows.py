"""Rows of HDF5 files are read as h5py reads them, whatever their layout, from any thread and process, or refused."""

import multiprocessing
import os
import pickle
import signal
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sfgkeras.data.hdf5 import files
from sfgkeras.data.hdf5.rows import list_data_sets, open_rows
from sfgkeras.errors import DataError

RNG = np.random.default_rng(5)


@pytest.fixture
def write(tmp_path):
    """Returns a function: data sets by name, options of h5py -> the file."""

    def make(name="data.h5", attributes=None, **sets):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        with h5py.File(path.with_name("new"), "w") as file:
            for key, given in sets.items():
                value, options = given if isinstance(given, tuple) else (given, {})
                file.create_dataset(key, data=value, **options).attrs.update(attributes or {})
        path.with_name("new").replace(path)
        return path

    return make


# ---------------------------------------------------------------- rows


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_row_is_what_was_written_whatever_shape_type_chunks_and_filters(write, data):
    dtype = data.draw(st.sampled_from(["u1", "i1", "<i2", ">i2", "u2", "<i8", "f2", "<f4", ">f4", "f8", "?"]))
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=5, max_side=6))
    array = data.draw(hnp.arrays(np.dtype(dtype), shape))
    options = {}
    if data.draw(st.booleans(), label="chunked"):
        by_row = data.draw(st.booleans(), label="a chunk for each row")
        options["chunks"] = (1, *shape[1:]) if by_row else tuple(data.draw(st.integers(1, n)) for n in shape)
        options["compression"] = data.draw(st.sampled_from([None, "gzip", "lzf"]))
        options["shuffle"] = data.draw(st.booleans())
        options["fletcher32"] = data.draw(st.booleans())
    rows = open_rows(write(images=(array, options)), "images")
    index = data.draw(st.integers(0, shape[0] - 1))
    assert len(rows) == shape[0]
    assert rows.dtype == np.dtype(dtype).newbyteorder("=")
    assert rows.is_mapped == (not options and np.dtype(dtype).isnative)
    # By bytes: NaN is not equal to itself.
    expected = array.astype(rows.dtype)
    assert np.asarray(rows.row(index)).tobytes() == expected[index].tobytes()
    assert rows.row(index).shape == shape[1:]
    assert rows.all().tobytes() == expected.tobytes()


def test_a_file_with_a_user_block_and_one_with_holes_are_read(tmp_path):
    array = RNG.integers(0, 255, (3, 4), np.uint8)
    with h5py.File(tmp_path / "block.h5", "w", userblock_size=512) as file:
        file["images"] = array
    with h5py.File(tmp_path / "holes.h5", "w") as file:
        file.create_dataset("images", (3, 4), "u1", fillvalue=7)
    assert np.array_equal(open_rows(tmp_path / "block.h5").row(1), array[1])
    assert open_rows(tmp_path / "holes.h5").row(2).tolist() == [7, 7, 7, 7]


def test_a_data_set_in_a_group_or_alone_or_called_as_its_file_is_found(write):
    path = write("images.h5", **{"images": np.zeros(3), "train/masks": np.ones((2, 2))})
    assert open_rows(path, "/train/masks").name == "train/masks"
    assert open_rows(path).name == "images"
    assert open_rows(write("other.h5", only=np.zeros(3))).name == "only"
    assert list_data_sets(path) == {"images": "images 3 float64", "train/masks": "train/masks 2 x 2 float64"}


def test_texts_and_numbers_become_text(write):
    path = write(
        a=np.array([b"p1", b"p2"]),
        b=np.array(["caf\u00e9", "x"], dtype=h5py.string_dtype()),
        c=np.array([[1.0], [2.5]], np.float32),
        d=np.array([True, False]),
        e=np.array([0.1, 3], np.float64),
        f=np.array([b"\xff", b"x"]),
        g=np.zeros((2, 2)),
    )
    texts = {name: open_rows(path, name).texts() for name in "abcde"}
    assert texts == {
        "a": ["p1", "p2"],
        "b": ["caf\u00e9", "x"],
        "c": ["1", "2.5"],
        "d": ["1", "0"],
        "e": ["0.1", "3"],
    }
    with pytest.raises(DataError, match="is not UTF-8; write it again"):
        open_rows(path, "f").texts()
    with pytest.raises(DataError, match="has 2 values in each row where one is needed"):
        open_rows(path, "g").texts()


# ---------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "imags",
            r"data\.h5: has no data set 'imags', did you mean 'images'\? there are: .*; images 4 x 3",
        ),
        (None, r"has \d+ data sets; say which one with hdf5_dataset \(binary 4 int64; complex"),
        ("single", r":/single: has the shape \(\), and a row for each subject is needed"),
        ("empty", r":/empty: has the shape \(0, 3\)"),
        ("complex", r":/complex: holds complex128, neither numbers nor texts"),
        ("table", r":/table: holds .*neither numbers nor texts"),
        ("ragged", r":/ragged: holds object, neither numbers nor texts"),
    ],
)
def test_a_data_set_that_cannot_be_used_is_refused_by_name(write, name, message):
    ragged = np.empty(2, object)
    ragged[:] = [np.zeros(2), np.zeros(3)]
    path = write(
        images=np.zeros((4, 3)), binary=np.arange(4), single=np.float64(3), empty=np.zeros((0, 3)),
        complex=np.zeros(3, complex), table=np.zeros(2, [("a", "i4"), ("b", "f4")]),
        ragged=(ragged, {"dtype": h5py.vlen_dtype(float)}),
    )  # fmt: skip
    with pytest.raises(DataError, match=message):
        open_rows(path, name)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_truncated_file_and_one_that_is_none_are_refused(write, tmp_path, compression):
    path = write(images=(RNG.normal(size=(20, 30, 30)), {"compression": compression}))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"data\.h5: is no HDF5 file, or truncated .*; copy it again"):
        open_rows(path)
    path.write_bytes(b"no HDF5 at all" * 100)
    with pytest.raises(DataError, match="is no HDF5 file, or truncated"):
        open_rows(path)
    with pytest.raises(DataError, match=r"none\.h5: does not exist"):
        open_rows(tmp_path / "none.h5")


def test_a_damaged_row_is_named_and_the_others_are_read(write):
    array = RNG.integers(0, 255, (4, 64, 64), np.uint8)
    path = write(images=(array, {"chunks": (1, 64, 64), "compression": "gzip"}))
    with h5py.File(path) as file:
        place = file["images"].id.get_chunk_info(2)
    content = bytearray(path.read_bytes())
    content[place.byte_offset + 10 : place.byte_offset + 200] = bytes(190)
    path.write_bytes(content)
    rows = open_rows(path)
    assert np.array_equal(rows.row(1), array[1])
    with pytest.raises(DataError, match=r"data\.h5:/images\[2\]: is truncated or damaged \(.*\); copy the file again"):
        rows.row(2)


def test_a_row_that_does_not_exist_is_refused(write):
    rows = open_rows(write(images=np.zeros((3, 2))))
    for index in (-1, 3):
        with pytest.raises(DataError, match=f"has no row {index}, only 0 to 2"):
            rows.row(index)


@pytest.mark.parametrize("options", [{}, {"chunks": (1, 2)}])
def test_a_file_that_is_written_again_is_noticed(write, options):
    path = write(images=(np.zeros((3, 2)), options))
    rows = open_rows(path)
    assert rows.row(0).tolist() == [0, 0]
    write(images=(np.ones((4, 2)), options))
    with pytest.raises(DataError, match=r"data\.h5: was written to while a run read it; start the run again"):
        rows.row(0)
    assert open_rows(path).row(3).tolist() == [1, 1]


def test_a_file_may_be_read_that_may_not_be_written(write):
    path = write(images=(np.ones((3, 2)), {"chunks": (1, 2)}))
    path.chmod(0o444)
    assert open_rows(path).row(0).tolist() == [1, 1]


# ---------------------------------------------------------------- threads and processes


@pytest.mark.parametrize("options", [{}, {"chunks": (1, 16, 16), "compression": "gzip"}])
def test_threads_read_the_same_file_at_the_same_time(write, options):
    array = RNG.integers(0, 255, (40, 16, 16), np.uint8)
    rows = open_rows(write(images=(array, options)))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda index: (index % 40, np.array(rows.row(index % 40))), range(400)))
    assert all(np.array_equal(row, array[index]) for index, row in found)


def total(rows) -> int:
    return int(sum(int(rows.row(index).sum()) for index in range(len(rows))))


@pytest.mark.parametrize("options", [{}, {"chunks": (3, 8, 8), "compression": "gzip"}])
def test_a_spawned_process_reads_with_what_it_is_sent(write, options):
    array = RNG.integers(0, 255, (12, 16, 16), np.uint8)
    rows = open_rows(write(images=(array, options)))
    total(rows)
    # Sent is a method of the package: a spawned process cannot import this file.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(rows.row, range(len(rows)), timeout=120))
    np.testing.assert_array_equal(np.stack(found), array)
    assert total(pickle.loads(pickle.dumps(rows))) == array.sum(dtype=int)


def test_forked_processes_read_while_threads_of_their_parent_do(write):
    array = RNG.integers(0, 255, (30, 32, 32), np.uint8)
    rows = open_rows(write(images=(array, {"chunks": (1, 32, 32), "compression": "gzip"})))
    stop, expected = threading.Event(), array.sum(dtype=int)

    def keep_reading():
        while not stop.is_set():
            total(rows)

    threads = [threading.Thread(target=keep_reading) for _ in range(3)]
    for thread in threads:
        thread.start()
    children = []
    for _ in range(6):
        pid = os.fork()
        if not pid:
            # Nothing of pytest's may run in the child, and one that hangs must not be waited for.
            signal.alarm(120)
            os._exit(0 if total(rows) == expected else 1)
        children.append(pid)
    stop.set()
    codes = [os.waitpid(pid, 0)[1] for pid in children]
    for thread in threads:
        thread.join()
    assert codes == [0] * 6
    assert total(rows) == expected


def test_what_is_open_stays_open_until_it_changes(write, monkeypatch):
    path = write(images=(np.zeros((3, 2)), {"chunks": (1, 2)}))
    rows = open_rows(path)
    opened = []
    monkeypatch.setattr(files, "_open", lambda path, read=files._open: opened.append(read(path)) or opened[-1])
    for index in (0, 1, 2):
        rows.row(index)
    assert len({id(file) for file in opened}) == 1
