"""The store of memory-mapped volumes: exact, shared, and proof against killed writers and full disks."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sfgkeras.data import volumes
from sfgkeras.data.volumes import VolumeStore, file_fingerprint
from sfgkeras.errors import DataError

KEY = {"file": "abc", "steps": ["n4", {"cutoff": [0.01, 0.99]}]}


def noise(shape=(7, 6, 5, 2), dtype=np.int16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


def never() -> np.ndarray:
    raise AssertionError("computed although the entry was there")


@pytest.fixture(autouse=True)
def as_in_a_new_process():
    """Forgets which entries this process has verified."""
    volumes._verified.clear()
    volumes._fingerprints.clear()


def raw_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.raw"))


# ---------------------------------------------------------------- storing and finding again


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8", "?", "f2"])
@pytest.mark.parametrize("sliced_axis", [None, 0, 1, 2])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_comes_back_as_it_was_and_is_computed_once(tmp_path, dtype, sliced_axis, order):
    array = np.asarray(noise(dtype=dtype), order=order)
    store = VolumeStore(tmp_path)
    for compute in (lambda: array, never):
        mapped = store.array(KEY, compute, sliced_axis)
        assert isinstance(mapped, np.memmap)
        assert mapped.dtype == array.dtype
        assert np.array_equal(mapped, array)
    assert np.array_equal(VolumeStore(tmp_path).array(KEY, never, sliced_axis), array)


def test_the_array_cannot_be_changed_by_its_readers(tmp_path):
    mapped = VolumeStore(tmp_path).array(KEY, noise)
    with pytest.raises(ValueError, match="read-only"):
        mapped[0] = 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_along_the_sliced_axis_are_contiguous_on_disk(tmp_path, axis):
    mapped = VolumeStore(tmp_path).array(KEY, noise, axis)
    assert mapped.shape == noise().shape
    assert np.moveaxis(mapped, axis, 0)[3].flags.c_contiguous
    assert raw_files(tmp_path)[0].read_bytes() == np.moveaxis(noise(), axis, 0).tobytes()


def test_an_array_larger_than_one_block_is_written_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(volumes, "_BLOCK", 1000)
    array = noise((50, 20, 10))
    assert np.array_equal(VolumeStore(tmp_path).array(KEY, lambda: array, 2), array)
    volumes._verified.clear()
    assert np.array_equal(VolumeStore(tmp_path).array(KEY, never, 2), array)


def test_keys_are_told_apart_and_the_order_of_their_names_is_not(tmp_path):
    store = VolumeStore(tmp_path)
    store.array({"a": 1, "b": 2}, lambda: np.zeros(3))
    assert store.array({"b": 2, "a": 1}, never).sum() == 0
    assert store.array({"a": 1, "b": 3}, lambda: np.ones(3)).sum() == 3
    assert store.array({"a": 1, "b": "2"}, lambda: np.full(3, 2)).sum() == 6


def test_another_layout_of_the_same_key_is_another_entry(tmp_path):
    store = VolumeStore(tmp_path)
    assert np.array_equal(store.array(KEY, noise, 0), store.array(KEY, noise, 2))
    assert len(raw_files(tmp_path)) == 2


def test_the_sidecar_tells_what_the_entry_was_made_of(tmp_path):
    VolumeStore(tmp_path).array(KEY, noise, 2)
    (sidecar,) = tmp_path.glob("*.json")
    content = json.loads(sidecar.read_text())
    assert content["made_of"] == {"key": KEY, "sliced_axis": 2}
    assert (content["shape"], content["dtype"], content["first_axis"]) == ([5, 7, 6, 2], "<i2", 2)


@pytest.mark.parametrize(
    "array", [np.array(["a"]), np.array([None]), np.zeros((0, 3)), np.zeros(()), np.zeros(2, "c8")]
)
def test_what_is_no_array_of_real_numbers_is_refused(tmp_path, array):
    with pytest.raises(TypeError, match="cannot be stored"):
        VolumeStore(tmp_path).array(KEY, lambda: array)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_json_cannot_hold_and_an_axis_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(TypeError):
        VolumeStore(tmp_path).array({"path": object()}, noise)
    with pytest.raises(ValueError, match="sliced_axis 4 is none of the axes 0 to 3"):
        VolumeStore(tmp_path).array(KEY, noise, 4)


def test_an_error_while_computing_leaves_nothing(tmp_path):
    with pytest.raises(AssertionError):
        VolumeStore(tmp_path).array(KEY, never)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- damage


def _flip_a_bit(raw, sidecar):
    content = bytearray(raw.read_bytes())
    content[len(content) // 2] ^= 1
    raw.write_bytes(content)


def _cut_the_voxels(raw, sidecar):
    raw.write_bytes(raw.read_bytes()[:-1])


def _cut_the_sidecar(raw, sidecar):
    sidecar.write_bytes(sidecar.read_bytes()[:40])


def _rewrite_sidecar(**fields):
    def damage(raw, sidecar):
        sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), **fields}))

    return damage


DAMAGES = {
    "bit flipped": _flip_a_bit,
    "voxels cut off": _cut_the_voxels,
    "voxels missing": lambda raw, sidecar: raw.unlink(),
    "sidecar cut off": _cut_the_sidecar,
    "sidecar missing": lambda raw, sidecar: sidecar.unlink(),
    "sidecar empty": lambda raw, sidecar: sidecar.write_bytes(b""),
    "sidecar no object": lambda raw, sidecar: sidecar.write_text("[1]"),
    "sidecar of another shape": _rewrite_sidecar(shape=[1, 2, 3]),
    "sidecar of pointers": _rewrite_sidecar(dtype="O"),
    "sidecar of another type": _rewrite_sidecar(dtype="x"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_noticed_and_made_again(tmp_path, damage):
    VolumeStore(tmp_path).array(KEY, noise)
    (raw,), (sidecar,) = raw_files(tmp_path), tmp_path.glob("*.json")
    DAMAGES[damage](raw, sidecar)
    volumes._verified.clear()
    calls = []
    again = VolumeStore(tmp_path).array(KEY, lambda: calls.append(1) or noise())
    assert calls
    assert np.array_equal(again, noise())
    volumes._verified.clear()
    assert np.array_equal(VolumeStore(tmp_path).array(KEY, never), noise())


def test_the_checksum_is_compared_once_in_a_process_but_the_size_each_time(tmp_path, monkeypatch):
    store = VolumeStore(tmp_path)
    store.array(KEY, noise)
    volumes._verified.clear()
    calls = []
    checksum = volumes._checksum
    monkeypatch.setattr(volumes, "_checksum", lambda array: calls.append(1) or checksum(array))
    for _ in range(3):
        store.array(KEY, never)
    assert len(calls) == 1
    _cut_the_voxels(raw_files(tmp_path)[0], None)
    assert np.array_equal(store.array(KEY, noise), noise())


# ---------------------------------------------------------------- other processes


def test_processes_may_write_the_same_entry_at_once(tmp_path):
    # Values differ, as those of a computation over many threads may in the last digit.
    code = (
        "import sys, time\n"
        "import numpy as np\n"
        "from sfgkeras.data.volumes import VolumeStore\n"
        "def compute():\n"
        "    time.sleep(max(0, float(sys.argv[2]) - time.time()))\n"  # all of them write at the same moment
        "    return np.full((200, 100, 50), int(sys.argv[3]), np.float32)\n"
        "array = VolumeStore(sys.argv[1]).array({}, compute, 2)\n"
        "print(array.min(), array.max())\n"
    )
    start = str(time.time() + 2)
    writers = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path, start, str(value)], stdout=subprocess.PIPE, text=True)
        for value in range(4)
    ]
    seen = [writer.communicate(timeout=60)[0].split() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4
    assert all(low == high for low, high in seen), "a reader saw parts of two writers"
    assert len(raw_files(tmp_path)) > 1, "the writers did not meet"
    last = VolumeStore(tmp_path).array({}, never, 2)
    assert last.min() == last.max()


def test_a_killed_writer_leaves_a_temporary_file_that_is_removed_after_an_hour(tmp_path):
    code = (
        "import os, signal, sys\n"
        "import numpy as np\n"
        "from sfgkeras.data import volumes\n"
        "def killed(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
        "volumes.os.fsync = killed\n"
        "volumes.VolumeStore(sys.argv[1]).array({}, lambda: np.ones((50, 50, 50)))\n"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path], check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".tmp")
    VolumeStore(tmp_path)
    assert left.exists(), "a young file may be another process's"
    two_hours_ago = time.time() - 7200
    os.utime(left, (two_hours_ago, two_hours_ago))
    (tmp_path / "notes.txt").touch()
    os.utime(tmp_path / "notes.txt", (two_hours_ago, two_hours_ago))
    VolumeStore(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_old_voxels_are_removed_only_if_no_entry_names_them(tmp_path):
    VolumeStore(tmp_path).array(KEY, noise)
    (raw,) = raw_files(tmp_path)
    orphan = tmp_path / f"{raw.name[:64]}.00000000.raw"
    orphan.write_bytes(b"x")
    for path in (raw, orphan):
        os.utime(path, (1, 1))
    VolumeStore(tmp_path)
    assert raw_files(tmp_path) == [raw]


# ---------------------------------------------------------------- the disk


def test_a_full_disk_names_the_folder_and_the_bytes_needed_and_leaves_nothing(tmp_path):
    code = (
        "import resource, sys\n"
        "import numpy as np\n"
        "from sfgkeras.data.volumes import VolumeStore\n"
        "store = VolumeStore(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: store.array({}, lambda: np.ones((40, 40, 40)))\n"
        "except ValueError as error: sys.exit(str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot be written, File too large: 512000 bytes are needed" in done.stderr
    assert f"choose another folder than {tmp_path}" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "cache").touch()
    with pytest.raises(DataError, match=r"cache: cannot be written"):
        VolumeStore(tmp_path / "cache")
    with pytest.raises(DataError, match=r"deeper: cannot be written, .*cache is no folder"):
        VolumeStore(tmp_path / "cache" / "deeper")


def test_writing_needs_little_memory_beyond_the_array(tmp_path):
    import tracemalloc

    array = np.asfortranarray(np.zeros((200, 200, 400), np.float32))  # 64 MB
    tracemalloc.start()
    VolumeStore(tmp_path).array(KEY, lambda: array, 2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.6 * array.nbytes


# ---------------------------------------------------------------- fingerprints


def test_the_fingerprint_is_that_of_the_content_not_of_the_name_or_time(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"voxels")
    (tmp_path / "b.nii").write_bytes(b"voxels")
    os.utime(tmp_path / "b.nii", (1, 1))
    assert file_fingerprint(tmp_path / "a.nii") == file_fingerprint(tmp_path / "b.nii")
    (tmp_path / "b.nii").write_bytes(b"Voxels")
    assert file_fingerprint(tmp_path / "a.nii") != file_fingerprint(tmp_path / "b.nii")


def test_a_file_changed_within_the_same_tick_of_the_clock_is_noticed(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(b"voxels")
    before, status = file_fingerprint(path), path.stat()
    path.write_bytes(b"Voxels")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file_fingerprint(path) != before


def test_an_old_unchanged_file_is_hashed_once(tmp_path, monkeypatch):
    path = tmp_path / "a.nii"
    path.write_bytes(b"voxels")
    os.utime(path, (1, 1))
    calls = []
    digest = volumes.hashlib.file_digest
    monkeypatch.setattr(volumes.hashlib, "file_digest", lambda *args: calls.append(1) or digest(*args))
    assert len({file_fingerprint(path) for _ in range(3)}) == 1
    assert len(calls) == 1


def test_both_files_of_a_pair_and_all_of_a_series_count(tmp_path):
    for name in ("a.hdr", "a.img", "b.hdr", "b.img"):
        (tmp_path / name).write_bytes(name[-3:].encode())
    assert file_fingerprint(tmp_path / "a.hdr") == file_fingerprint(tmp_path / "a.img")
    before = file_fingerprint(tmp_path / "a.hdr")
    (tmp_path / "a.img").write_bytes(b"IMG")
    assert file_fingerprint(tmp_path / "a.hdr") != before
    series = tmp_path / "series"
    series.mkdir()
    (series / "1.dcm").write_bytes(b"1")
    one = file_fingerprint(series)
    (series / "2.dcm").write_bytes(b"2")
    assert file_fingerprint(series) != one


def test_the_fingerprint_of_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.nii: does not exist"):
        file_fingerprint(tmp_path / "none.nii")
