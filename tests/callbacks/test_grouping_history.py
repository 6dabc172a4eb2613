"""The record of p: what is kept, dropped and written."""

import os

import numpy as np
import pytest

from sfgkeras.callbacks import GroupingConvergence, GroupingHistory, read_grouping_history
from sfgkeras.callbacks.grouping_file import SMALLEST_APPENDED
from sfgkeras.errors import DataError


class MovingNetwork:
    """p of two layers that depends on the iteration it is asked at."""

    iteration = 0

    def grouping_probabilities(self):
        shift = 0.001 * self.iteration
        p = np.array([[0.2 + shift, 0.2, 0.6 - shift]] * 4)
        return {"sfg_1": p, "sfg_2": p[:2]}


def run(history, network, start, end):
    network.iteration = start
    history.start(start, network)
    for iteration in range(start + 1, end + 1):
        network.iteration = iteration
        history.observe(iteration, network)


def test_a_killed_and_resumed_training_leaves_the_file_of_one_that_never_stopped(tmp_path):
    whole = GroupingHistory(tmp_path / "whole.npz", 3)
    run(whole, MovingNetwork(), 0, 12)
    whole.write()
    killed = GroupingHistory(tmp_path / "killed.npz", 3)
    run(killed, MovingNetwork(), 0, 8)
    killed.write()
    # Goes on from a state of iteration 5: the note of iteration 6 is made again.
    resumed = GroupingHistory(tmp_path / "killed.npz", 3)
    run(resumed, MovingNetwork(), 5, 12)
    resumed.write()
    expected, found = (read_grouping_history(tmp_path / f"{name}.npz") for name in ("whole", "killed"))
    assert found["iterations"].tolist() == [0, 3, 6, 9, 12]
    assert expected.keys() == found.keys() == {"iterations", "sfg_1", "sfg_2"}
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    assert found["sfg_2"].shape == (5, 2, 3)
    assert sorted(os.listdir(tmp_path)) == ["killed.npz", "whole.npz"]


def test_a_training_that_begins_anew_does_not_take_up_an_old_file(tmp_path):
    old = GroupingHistory(tmp_path / "p.npz", 1)
    run(old, MovingNetwork(), 0, 5)
    old.write()
    anew = GroupingHistory(tmp_path / "p.npz", 1)
    run(anew, MovingNetwork(), 0, 2)
    anew.write()
    assert read_grouping_history(tmp_path / "p.npz")["iterations"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_a_damaged_file_is_begun_anew_and_refused_by_readers(tmp_path, keep):
    path = tmp_path / "p.npz"
    history = GroupingHistory(path, 1)
    run(history, MovingNetwork(), 0, 5)
    history.write()
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="p.npz"):
        read_grouping_history(path)
    resumed = GroupingHistory(path, 1)
    run(resumed, MovingNetwork(), 4, 6)
    assert resumed.arrays()["iterations"].tolist() == [4, 5, 6]


def test_earlier_notes_count_for_convergence(tmp_path):
    class Still(MovingNetwork):
        def grouping_probabilities(self):
            return {"sfg_1": np.full((2, 3), 1 / 3)}

    history = GroupingHistory(tmp_path / "p.npz", 10)
    run(history, Still(), 0, 50)
    history.write()
    resumed = GroupingHistory(tmp_path / "p.npz", 10, GroupingConvergence(window=60))
    resumed.start(50, Still())
    assert resumed.observe(60, Still())


def test_a_network_without_filter_groups_leaves_no_file(tmp_path):
    class Plain:
        def grouping_probabilities(self):
            return {}

    history = GroupingHistory(tmp_path / "logs" / "p.npz", 1)
    history.start(0, Plain())
    history.observe(1, Plain())
    history.write()
    assert os.listdir(tmp_path) == []
    with pytest.raises(DataError, match="no grouping probabilities"):
        read_grouping_history(tmp_path / "logs" / "p.npz")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "logs").write_text("a file")
    history = GroupingHistory(tmp_path / "logs" / "p.npz", 1)
    history.start(0, MovingNetwork())
    with pytest.raises(DataError, match=r"logs/p\.npz: the grouping probabilities cannot be written"):
        history.write()


class WideNetwork(MovingNetwork):
    """Notes of 12 kB that do not compress."""

    def grouping_probabilities(self):
        return {"sfg_1": np.random.default_rng(self.iteration).random((1000, 3))}


def test_a_save_appends_what_is_new_and_reads_as_one_history(tmp_path):
    path, written, network = tmp_path / "p.npz", [], WideNetwork()
    history = GroupingHistory(path, 1)
    history.start(0, network)
    contents = {}
    for iteration in range(1, 41):
        network.iteration = iteration
        history.observe(iteration, network)
        history.write()
        now = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        # What a save writes: a file that begins as it did was appended to.
        written.append(
            sum(
                len(data) - len(contents[name]) if data.startswith(contents.get(name, b"?")) else len(data)
                for name, data in now.items()
            )
        )
        contents = now
        # What is beside the archive does not outgrow it.
        assert len(now.get("p.npz.new", b"")) <= max(len(now["p.npz"]), SMALLEST_APPENDED) + 100
        assert read_grouping_history(path)["iterations"].tolist() == list(range(iteration + 1))
    size = len(contents["p.npz"]) + len(contents.get("p.npz.new", b""))
    assert sum(written) < 4 * size  # written whole each time it would be 20 times as much
    history.write(complete=True)
    assert [file.name for file in tmp_path.iterdir()] == ["p.npz"]
    with np.load(path) as file:
        np.testing.assert_array_equal(file["sfg_1"], history.arrays()["sfg_1"])
        assert file["iterations"].tolist() == list(range(41))


def appended(tmp_path):
    """A history whose notes up to 2 are in the archive, and 3 and 4 beside it."""
    network = MovingNetwork()
    history = GroupingHistory(tmp_path / "p.npz", 1)
    run(history, network, 0, 2)
    history.write()
    for iteration in (3, 4):
        network.iteration = iteration
        history.observe(iteration, network)
        history.write()
    assert (tmp_path / "p.npz.new").is_file()
    return tmp_path / "p.npz"


def test_a_kill_while_notes_are_appended_costs_the_last_of_them_at_most(tmp_path):
    path = appended(tmp_path)
    beside = tmp_path / "p.npz.new"
    beside.write_bytes(beside.read_bytes()[:-5])
    assert read_grouping_history(path)["iterations"].tolist() == [0, 1, 2, 3]
    resumed = GroupingHistory(path, 1)
    run(resumed, MovingNetwork(), 4, 6)
    resumed.write()
    assert read_grouping_history(path)["iterations"].tolist() == [0, 1, 2, 3, 5, 6]


def test_notes_appended_to_another_archive_are_not_read(tmp_path):
    path = appended(tmp_path)
    stale = (tmp_path / "p.npz.new").read_bytes()
    resumed = GroupingHistory(path, 1)
    run(resumed, MovingNetwork(), 1, 2)
    resumed.write()
    # Killed before the old file was removed.
    (tmp_path / "p.npz.new").write_bytes(stale)
    assert read_grouping_history(path)["iterations"].tolist() == [0, 1, 2]


def test_a_file_of_an_earlier_version_is_read_and_gone_on_with(tmp_path):
    path = tmp_path / "p.npz"
    np.savez_compressed(
        path, iterations=np.array([0, 1]), sfg_1=np.zeros((2, 4, 3), "f4"), sfg_2=np.zeros((2, 2, 3), "f4")
    )
    history = GroupingHistory(path, 1)
    run(history, MovingNetwork(), 1, 2)
    history.write()
    found = read_grouping_history(path)
    assert found["iterations"].tolist() == [0, 1, 2]
    assert not found["sfg_1"][:2].any()
    assert found["sfg_1"][2].all()


def flip(path):
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") - 5] ^= 255  # the last bytes of the last array
    path.write_bytes(bytes(data))


def store_unknown_compression(path):
    data = bytearray(path.read_bytes())
    data[8] = data[data.index(b"PK\x01\x02") + 10] = 99
    path.write_bytes(bytes(data))


def store_another_thing(path):
    np.savez_compressed(path, iterations=np.arange(3), sfg_1=np.zeros((2, 4, 3), "f4"))


def store_no_iterations(path):
    np.savez_compressed(path, sfg_1=np.zeros((2, 4, 3), "f4"))


@pytest.mark.parametrize("damage", [flip, store_unknown_compression, store_another_thing, store_no_iterations])
def test_every_damage_is_a_clear_error_and_a_warning_for_who_goes_on(tmp_path, damage):
    path = tmp_path / "p.npz"
    history = GroupingHistory(path, 1)
    run(history, MovingNetwork(), 0, 5)
    history.write()
    damage(path)
    with pytest.raises(DataError, match=r"p\.npz: is damaged \(.+\); remove it"):
        read_grouping_history(path)
    resumed = GroupingHistory(path, 1)
    run(resumed, MovingNetwork(), 4, 6)
    assert "p.npz: is damaged" in resumed.warning
    assert "begins anew at iteration 4" in resumed.warning
    assert resumed.arrays()["iterations"].tolist() == [4, 5, 6]


def test_stages_per_task_that_a_dense_network_tells_of_are_left_out(tmp_path):
    class Dense(MovingNetwork):
        def grouping_probabilities(self):
            return super().grouping_probabilities() | {"sfg_3": np.eye(3)}

    history = GroupingHistory(tmp_path / "p.npz", 2)
    run(history, MovingNetwork(), 0, 4)
    history.write()
    run(history, Dense(), 4, 8)
    history.write()
    found = read_grouping_history(tmp_path / "p.npz")
    assert sorted(found) == ["iterations", "sfg_1", "sfg_2"]
    assert {name: len(values) for name, values in found.items()} == {"iterations": 5, "sfg_1": 5, "sfg_2": 5}
