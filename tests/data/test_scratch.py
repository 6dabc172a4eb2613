"""Arrays in files without a name."""

import gc
import os

import numpy as np
import pytest

from sfgkeras.data import scratch
from sfgkeras.data.scratch import Scratch
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
