import numpy as np
import pytest

from sfgkeras.applications.records.checkpoints import (
    CheckpointFolder,
    TrainingState,
    read_record,
    read_state,
    write_state,
)
from sfgkeras.errors import DataError


def state(iteration: int, value: float = 0.0) -> TrainingState:
    return TrainingState({"network/0000/kernel": np.full((3, 2), value, np.float32)}, {"iteration": iteration})


def test_a_state_is_read_back_bit_for_bit(tmp_path):
    arrays = {"network/0000/a": np.random.default_rng(0).normal(size=(5, 4)), "random/b": np.array([1, 2], np.uint32)}
    write_state(tmp_path / "x.npz", TrainingState(arrays, {"iteration": 7, "best_score": 0.25}))
    read = read_state(tmp_path / "x.npz")
    assert read.record["iteration"] == 7
    assert read.record["best_score"] == 0.25
    for key, array in arrays.items():
        np.testing.assert_array_equal(read.arrays[key], array)


def test_only_the_newest_states_are_kept_and_the_best_besides(tmp_path):
    folder = CheckpointFolder(tmp_path, max_checkpoints=2)
    folder.write(state(10), best=True)
    for iteration in (10, 20, 30):
        folder.write(state(iteration))
    assert folder.iterations() == [20, 30]
    assert folder.read("best").record["iteration"] == 10


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "compression", "encryption"])
def test_a_damaged_newest_state_is_passed_over_with_a_warning(tmp_path, damage):
    folder = CheckpointFolder(tmp_path)
    folder.write(state(10, 1.0))
    path = folder.write(state(20, 2.0))
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = bytearray()
    elif damage in ("compression", "encryption"):
        # The method, or the flag, of the first array in its local header and in the directory at the end.
        offset, value = (8, 99) if damage == "compression" else (6, 1)
        content[offset] = value
        content[bytes(content).index(b"PK\x01\x02") + offset + 2] = value
    else:
        # One flipped bit in the middle of an array: only the checksum can tell.
        position = bytes(content).index(np.float32(2.0).tobytes())
        content[position] ^= 1
    path.write_bytes(bytes(content))
    read, warnings = folder.read_newest()
    assert read.record["iteration"] == 10
    assert len(warnings) == 1
    assert str(path) in warnings[0]


def test_when_no_state_loads_the_message_says_how_to_begin_anew(tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.write(state(10)).write_bytes(b"no checkpoint")
    with pytest.raises(DataError, match="--restart"):
        folder.read_newest()


def test_an_empty_folder_gives_no_state(tmp_path):
    assert CheckpointFolder(tmp_path / "none").read_newest() == (None, [])


def test_a_missing_iteration_is_refused_with_the_ones_that_exist(tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.write(state(10))
    with pytest.raises(DataError, match="one of: 10"):
        folder.read(20)


def test_a_failed_write_leaves_the_older_state_and_no_leftover(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    write_state(path, state(1, 1.0))

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(DataError, match=r"x\.npz"):
        write_state(path, state(2, 2.0))
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.npz"]
    assert read_state(path).record["iteration"] == 1


def test_another_format_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", record=np.asarray('{"format": 99}'))
    with pytest.raises(DataError, match="99"):
        read_state(tmp_path / "x.npz")


@pytest.mark.parametrize("content", [b"garbage", b"\x80\x04K\x01.", b""])
def test_what_is_no_archive_is_said_without_numpys_advice_to_load_it_unsafely(tmp_path, content):
    path = tmp_path / "iteration_000000001.npz"
    path.write_bytes(content)
    for read in (read_state, read_record):
        with pytest.raises(DataError, match=r"iteration_000000001\.npz: .*damaged \(.") as refused:
            read(path)
        assert "pickle" not in str(refused.value)
