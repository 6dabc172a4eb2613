"""Parameters and multiplies, by hand."""

import keras
import numpy as np
import pytest

from sfgkeras.layers import SFGConv2D
from sfgkeras.networks import VGG11, HighResNet, count_multiplies, count_parameters, harden


@pytest.mark.parametrize("rank", [2, 3])
def test_multiplies_of_hard_sharing_are_those_of_highresnet(rank):
    network = HighResNet({"ct": 1, "organs": 6}, "hard_sharing", spatial_rank=rank, seed=0)
    k, voxels = 3**rank, 8**rank
    per_voxel = k * (1 * 16 + 4 * 16 * 16 + 16 * 32 + 4 * 32 * 32 + 32 * 64 + 4 * 64 * 64 + 2 * 64 * 64)
    assert count_multiplies(network, (*(8,) * rank, 1)) == voxels * (per_voxel + 64 * 7)


def test_parameters_of_hard_sharing_are_those_of_vgg11():
    network = VGG11({"age": 1, "gender": 2}, "hard_sharing", width=0.125, seed=0)
    network.build((None, 32, 32, 3))
    filters = [8, 16, 32, 32, 64, 64, 64, 64]
    kernels = sum(9 * before * now for before, now in zip([3, *filters], filters, strict=False))
    assert count_parameters(network) == kernels + 3 * sum(filters) + 3 * 64 + 3


def test_multiplies_of_a_masked_vgg_count_every_stream():
    tasks = {"age": 1, "gender": 2}
    masked, single = (VGG11(tasks, sharing, width=0.1, seed=0) for sharing in ("sfg", "hard_sharing"))
    shape = (32, 32, 3)
    heads, first = 51 * 3, 32 * 32 * 27 * 6
    masked_rest = count_multiplies(masked, shape) - first - heads
    single_rest = count_multiplies(single, shape) - first - heads
    assert masked_rest == 3 * single_rest


def test_a_hardened_model_is_counted_by_its_layers(small_network, images):
    network = small_network({"a": 1, "b": 2}, "hard_sharing", seed=0)
    network(images())
    shape = (10, 10, 1)
    assert count_multiplies(harden(network), shape) == count_multiplies(network, shape)


def test_a_functional_model_of_filter_groups_is_counted_with_its_plain_layers():
    inputs = keras.Input((8, 8, 2))
    streams = SFGConv2D(4, num_tasks=2)(inputs)
    outputs = keras.layers.Conv2D(3, 1)(streams[0])
    model = keras.Model(inputs, outputs)
    assert count_multiplies(model, (8, 8, 2)) == 64 * (9 * 2 * 4 + 4 * 3)
    assert np.isfinite(count_parameters(model))


def test_a_network_compiled_with_weights_of_its_losses_is_counted_as_any_other(small_network, images):
    network = small_network({"a": 1, "b": 2}, "hard_sharing", seed=0)
    network(images())
    before = count_parameters(network)
    network.compile("adam", loss={"a": "mse", "b": "mse"}, loss_weights={"a": 2.0, "b": 1.0})
    assert count_parameters(network) == before


@pytest.mark.parametrize("form", ["before it is built", "built", "hardened"])
def test_a_shape_without_channels_is_refused_by_name(small_network, images, form):
    network = small_network({"a": 1, "b": 2}, "hard_sharing", seed=0)
    if form != "before it is built":
        network(images())
    with pytest.raises(ValueError, match=r"input_shape = \(10, 10\); one image has 3 axes, channels last"):
        count_multiplies(harden(network) if form == "hardened" else network, (10, 10))
