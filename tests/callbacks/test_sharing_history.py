"""The record of what tasks share: notes on the way and at the end, and what was learned by then."""

import os

import numpy as np
import pytest

from sfgkeras.callbacks import Histories, SharingHistory, learned_path, read_grouping_history, read_learned
from sfgkeras.errors import DataError


class StitchedNetwork:
    """Two tasks that share more with every iteration."""

    iteration = 0
    learns = True

    def sharing_matrix(self):
        share = 0.01 * self.iteration
        return {"stage_1": np.array([[1.0, share], [share, 1.0]]), "stage_2": np.eye(2)}

    def learned(self):
        return {"stitch_weights/stage_1": np.full((2, 2, 3), self.iteration)} if self.learns else {}


def run(path, network, start, end, every_n=3):
    history = SharingHistory(path, every_n)
    network.iteration = start
    history.start(start, network)
    for network.iteration in range(start + 1, end + 1):
        history.observe(network.iteration, network)
    return history


def test_the_end_is_noted_even_between_two_notes(tmp_path):
    run(tmp_path / "sharing.npz", StitchedNetwork(), 0, 7).write(complete=True)
    found = read_grouping_history(tmp_path / "sharing.npz")
    assert found["iterations"].tolist() == [0, 3, 6, 7]
    np.testing.assert_allclose(found["stage_1"][:, 0, 1], [0, 0.03, 0.06, 0.07], rtol=1e-6)
    np.testing.assert_array_equal(found["stage_2"], [np.eye(2)] * 4)


def test_the_end_is_that_of_the_network_with_which_the_training_went_on(tmp_path):
    first, second = StitchedNetwork(), StitchedNetwork()
    second.learns = False
    history = run(tmp_path / "sharing.npz", first, 0, 4)
    second.iteration = 5
    history.observe(5, second)
    history.write(complete=True)
    assert read_grouping_history(tmp_path / "sharing.npz")["stage_1"][-1, 0, 1] == pytest.approx(0.05)
    assert not learned_path(tmp_path / "sharing.npz").exists()


def test_an_end_that_is_due_anyway_is_noted_once(tmp_path):
    run(tmp_path / "sharing.npz", StitchedNetwork(), 0, 6).write(complete=True)
    assert read_grouping_history(tmp_path / "sharing.npz")["iterations"].tolist() == [0, 3, 6]


def test_a_training_that_goes_on_behind_its_end_leaves_what_one_without_a_stop_leaves(tmp_path):
    run(tmp_path / "whole.npz", StitchedNetwork(), 0, 11).write(complete=True)
    run(tmp_path / "resumed.npz", StitchedNetwork(), 0, 7).write(complete=True)
    run(tmp_path / "resumed.npz", StitchedNetwork(), 7, 11).write(complete=True)
    whole, resumed = (read_grouping_history(tmp_path / f"{name}.npz") for name in ("whole", "resumed"))
    for name, values in whole.items():
        np.testing.assert_array_equal(resumed[name], values)
    for name in ("whole", "resumed"):
        np.testing.assert_array_equal(
            read_learned(learned_path(tmp_path / f"{name}.npz"))["stitch_weights/stage_1"], 11
        )


def test_what_was_learned_by_an_earlier_training_does_not_stay(tmp_path):
    path, network = tmp_path / "sharing.npz", StitchedNetwork()
    run(path, network, 0, 2).write()
    assert read_learned(learned_path(path))
    network.learns = False
    run(path, network, 0, 2).write()
    assert read_learned(learned_path(path)) == {}
    assert os.listdir(tmp_path) == ["sharing.npz"]


def test_damaged_files_are_told_of(tmp_path):
    path = tmp_path / "sharing.npz"
    run(path, StitchedNetwork(), 0, 3).write()
    path.write_bytes(path.read_bytes()[:40])
    learned_path(path).write_bytes(b"PK nothing")
    with pytest.raises(DataError, match=r"sharing_learned.npz: is damaged .*; remove it"):
        read_learned(learned_path(path))
    resumed = Histories([run(path, StitchedNetwork(), 3, 6)])
    assert "the record of which tasks share what begins anew at iteration 3" in resumed.warning


def test_several_histories_are_kept_as_one(tmp_path):
    histories = Histories([SharingHistory(tmp_path / f"{n}.npz", n) for n in (2, 3)])
    network = StitchedNetwork()
    histories.start(0, network)
    for network.iteration in range(1, 7):
        assert not histories.observe(network.iteration, network)
    histories.write(complete=True)
    noted = {n: read_grouping_history(tmp_path / f"{n}.npz")["iterations"].tolist() for n in (2, 3)}
    assert noted == {2: [0, 2, 4, 6], 3: [0, 3, 6]}
    assert histories.warning == ""
