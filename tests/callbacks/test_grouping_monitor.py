"""The record of p during fit."""

import os

import numpy as np
import pytest

from sfgkeras.architecture.stage import Stage
from sfgkeras.callbacks import GroupingConvergence, GroupingMonitor, read_grouping_history
from sfgkeras.networks import MultiTaskNetwork


class TinyNetwork(MultiTaskNetwork):
    stages = (Stage(3), Stage(2))


def network_and_data():
    network = TinyNetwork({"a": 1}, seed=0)
    network.compile("sgd", {"a": "mse"})
    x = np.random.default_rng(0).normal(size=(8, 5, 5, 1)).astype("float32")
    return network, {"x": x, "y": {"a": x}, "batch_size": 2, "verbose": 0}


def test_p_is_noted_at_the_start_and_every_n_iterations_of_the_network(tmp_path):
    network, data = network_and_data()
    path = tmp_path / "logs" / "grouping.npz"
    network.fit(**data, epochs=2, callbacks=[GroupingMonitor(path, every_n=3)])
    history = read_grouping_history(path)
    assert history["iterations"].tolist() == [0, 3, 6]
    assert history["sfg_1"].shape == (3, 3, 2)
    assert history["sfg_2"].dtype == "float32"
    np.testing.assert_allclose(history["sfg_1"][0], np.tile([0.4, 0.6], (3, 1)), atol=1e-6)
    assert (history["sfg_1"][2] != history["sfg_1"][1]).any()
    assert os.listdir(path.parent) == ["grouping.npz"]


def test_a_training_that_goes_on_keeps_the_earlier_notes(tmp_path):
    network, data = network_and_data()
    path = tmp_path / "grouping.npz"
    network.fit(**data, epochs=1, callbacks=[GroupingMonitor(path, every_n=2)])
    first = read_grouping_history(path)
    network.fit(**data, epochs=1, callbacks=[GroupingMonitor(path, every_n=2)])
    both = read_grouping_history(path)
    assert both["iterations"].tolist() == [0, 2, 4, 6, 8]
    np.testing.assert_array_equal(both["sfg_2"][:2], first["sfg_2"][:2])


def test_training_ends_when_p_has_converged(tmp_path):
    network, data = network_and_data()
    rule = GroupingConvergence(window=4, tolerance=1.0)
    history = network.fit(
        **data, epochs=50, callbacks=[GroupingMonitor(tmp_path / "p.npz", every_n=2, convergence=rule)]
    )
    assert rule.converged_at == 4
    assert len(history.epoch) == 1


def test_an_interval_that_is_not_positive_is_refused(tmp_path):
    with pytest.raises(ValueError, match="every_n = 0"):
        GroupingMonitor(tmp_path / "p.npz", every_n=0)
