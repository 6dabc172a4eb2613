"""The record of p: what is kept, dropped and written."""

import os

import numpy as np
import pytest

from sfgkeras.callbacks import GroupingConvergence, GroupingHistory, read_grouping_history
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
