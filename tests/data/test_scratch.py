"""Arrays in files without a name."""

import gc
import os
import tempfile

import numpy as np
import pytest

from sfgkeras.data import scratch
from sfgkeras.data.scratch import Scratch, temporary_folder
from sfgkeras.errors import DataError


def is_on_disk(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.base is not None


def test_small_arrays_lie_in_memory_and_what_comes_after_them_on_disk(tmp_path):
    made = Scratch(tmp_path, in_memory=1000)
    arrays = [made.empty((10, 10), np.uint8) for _ in range(12)]
    assert [is_on_disk(array) for array in arrays] == [False] * 10 + [True] * 2


def test_arrays_in_one_file_do_not_touch_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "_FILE", 4096)
    made = Scratch(tmp_path, in_memory=0)
    arrays = [made.empty((3, n), dtype) for n in range(1, 60) for dtype in (np.uint8, np.float32)]
    for number, array in enumerate(arrays):
        array[...] = number
    for number, array in enumerate(arrays):
        assert (array == number).all()


def test_nothing_has_a_name_and_the_room_is_given_back(tmp_path):
    def free():
        status = os.statvfs(tmp_path)
        return status.f_bavail * status.f_frsize

    before = free()
    array = Scratch(tmp_path, in_memory=0).empty((1 << 26,), np.float32)
    assert list(tmp_path.iterdir()) == []
    assert before - free() > 1 << 27
    del array
    gc.collect()
    assert before - free() < 1 << 27


def test_a_full_disk_is_refused_before_it_can_kill_the_process(tmp_path):
    with pytest.raises(DataError, match=rf"{tmp_path}.*bytes are needed"):
        Scratch(tmp_path).empty((1 << 50,), np.uint8)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="no_such"):
        Scratch(tmp_path / "no_such", in_memory=0).empty((4,))


def test_without_a_place_for_temporary_files_one_line_says_what_to_set(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    with pytest.raises(DataError, match="no folder for temporary files .*; set TMPDIR"), temporary_folder():
        pass


def test_a_temporary_folder_is_gone_when_the_work_fails():
    def work():
        with temporary_folder() as folder:
            (folder / "file").write_text("x")
            raise KeyError(folder)

    with pytest.raises(KeyError) as failed:
        work()
    assert not failed.value.args[0].exists()
