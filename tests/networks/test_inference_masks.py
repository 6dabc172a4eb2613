"""Masks of inference by default: the mean of all draws while the groups are undecided, then the most probable group."""

import keras
import numpy as np
import pytest

from sfgkeras import grouping
from sfgkeras.layers import SFGConv2D

TASKS = {"ct": 1, "organs": 3}


def set_probabilities(network, undecided, share_at=0.6):
    """Gives `undecided` filters a largest probability of `share_at`, all others one of 0.97."""
    left = undecided
    for index, layer in enumerate(network.groupings().values()):
        largest = np.full(layer.filters, 0.97)
        count = min(left, layer.filters)
        largest[:count] = share_at
        left -= count
        p = np.repeat(((1 - largest) / 2)[:, None], 3, axis=1)
        p[np.arange(layer.filters), (np.arange(layer.filters) + index) % 3] = largest
        layer.grouping_logits.assign(grouping.initial_grouping_logits(p))


@pytest.mark.parametrize("temperature", [1.0, 0.3, 0.1])
@pytest.mark.parametrize("p", [(0.2, 0.2, 0.6), (0.05, 0.9, 0.05), (0.25, 0.25, 0.25, 0.25)])
def test_the_expected_assignment_is_the_mean_of_many_draws(p, temperature):
    log_p = np.log(np.array([p], "float32"))
    uniform = np.random.default_rng(0).random((200_000, 1, len(p))).astype("float32")
    draws = grouping.relaxed_assignment(log_p[None], grouping.gumbel_noise(uniform), temperature)
    expected = grouping.expected_assignment(log_p, temperature)
    np.testing.assert_allclose(expected, np.mean(draws, axis=0), atol=0.02)
    np.testing.assert_allclose(np.sum(expected), 1.0, atol=1e-6)


def test_groups_are_decided_from_95_percent_of_the_filters_on():
    layers = [np.full((10, 3), 1 / 3), np.tile([0.9, 0.05, 0.05], (190, 1)).astype("float32")]
    assert float(grouping.undecided_share(layers)) == pytest.approx(0.05)
    assert bool(grouping.is_decided(grouping.undecided_share(layers)))
    layers[0] = np.full((11, 3), 1 / 3)
    assert not bool(grouping.is_decided(grouping.undecided_share(layers)))


def test_by_default_inference_is_the_same_at_every_call(images, small_network):
    network = small_network(TASKS, seed=0)
    x = images()
    for call in (lambda: network.predict(x, verbose=0), lambda: network(x, training=False)):
        np.testing.assert_array_equal(call()["ct"], call()["ct"])
    assert network.masks == "auto"
    assert network.settled_masks == "average"


def test_by_default_masks_become_the_most_probable_groups_once_these_are_decided(images, small_network):
    network = small_network(TASKS, seed=0)
    x = images()
    for undecided, same_as in ((23, "mean"), (2, "mean"), (1, "mode")):
        network(x)
        set_probabilities(network, undecided)
        network.iteration.assign(10_000_000)  # the temperature is at its minimum
        assert network.undecided_filters == pytest.approx(undecided / 23)
        network.masks = "auto"
        auto = keras.ops.convert_to_numpy(network(x)["organs"])
        distance = {}
        for masks in ("mean", "mode"):
            network.masks = masks
            distance[masks] = np.abs(auto - keras.ops.convert_to_numpy(network(x)["organs"])).max()
        assert min(distance, key=distance.get) == same_as
        assert (distance["mode"] == 0) == (same_as == "mode")


def test_averaged_masks_follow_the_temperature_that_training_has_reached(images, small_network):
    network = small_network(TASKS, seed=0, temperature=(1.0, 1e-2, 0.1))
    x = images()
    before = network.predict(x, verbose=0)["ct"]
    network.iteration.assign(500)
    assert np.abs(network.predict(x, verbose=0)["ct"] - before).max() > 1e-4


def test_draws_of_one_hot_masks_average_to_the_probabilities(images, small_network):
    network = small_network(TASKS, seed=0, assignment="hard", per_sample=True)
    x = images()
    auto = network(x)["ct"]
    network.masks = "mean"
    np.testing.assert_array_equal(auto, network(x)["ct"])


def test_a_layer_by_itself_decides_on_its_own_filters(images):
    layer = SFGConv2D(4, num_tasks=1, seed=0)
    x = images()
    undecided = layer(x)
    np.testing.assert_array_equal(undecided[0], layer(x)[0])
    layer.grouping.grouping_logits.assign([[9.0, -99.0], [-99.0, 9.0], [9.0, -99.0], [-99.0, 9.0]])
    task, shared = (keras.ops.convert_to_numpy(stream) for stream in layer(x))
    assert np.abs(task[..., [1, 3]]).max() == 0
    assert np.abs(shared[..., [0, 2]]).max() == 0
