"""What all layers of a trunk have in common reaches each of them, with seeds of their own."""

import keras
import numpy as np
import pytest

from sfgkeras.architecture.layer_settings import LayerSettings, seeded_initializer
from sfgkeras.architecture.stage import Stage


def settings(seed=0, **options):
    return LayerSettings(2, 2, seeds=np.random.default_rng(seed), **options)


def kernel_of(layer, channels=3):
    layer.build((None, 4, 4, channels))
    return np.asarray(layer.kernel)


def test_no_two_kernels_start_equal_and_all_repeat_with_the_seed():
    first, again, other = settings(), settings(), settings(1)
    kernels = [kernel_of(of.build_convolution(Stage(4), 4, "name")) for of in (first, first, again, other)]
    np.testing.assert_array_equal(kernels[0], kernels[2])
    for different in (kernels[1], kernels[3]):
        assert np.abs(kernels[0] - different).max() > 1e-3


def test_seeds_are_those_of_the_generator():
    expected = np.random.default_rng(4).integers(2**31 - 1, size=3).tolist()
    made = settings(4)
    assert [made.next_seed() for _ in range(3)] == expected


@pytest.mark.parametrize("normalisation", ["batch", "none"])
def test_convolutions_have_a_bias_where_nothing_is_normalised(normalisation):
    """Then it begins as the network says, from a seed of its own; elsewhere it would be cancelled."""
    made = settings(bias_initializer="random_normal")
    stage = Stage(4, normalisation=normalisation)
    first, second = (made.build_convolution(stage, 4, "name") for _ in range(2))
    for layer in (first, second):
        layer.build((None, 4, 4, 1))
    assert (first.bias is not None) == (normalisation == "none")
    if normalisation == "none":
        assert np.abs(np.asarray(first.bias)).max() > 0
        assert np.abs(np.asarray(first.bias) - np.asarray(second.bias)).max() > 0


def test_a_convolution_of_a_stage_has_its_size_and_the_networks_regularisation():
    made = settings(kernel_regularizer=keras.regularizers.L2(0.5), kernel_initializer="ones")
    layer = made.build_convolution(Stage(8, kernel_size=(3, 1)), 2, "conv")
    np.testing.assert_array_equal(kernel_of(layer), np.ones((3, 1, 3, 2)))
    assert float(sum(layer.losses)) == pytest.approx(0.5 * 3 * 3 * 2)
    assert layer.name == "conv"


def test_activations_and_blocks_are_built_by_the_settings():
    made = settings(activation="elu", statistics="population", rematerialise="activations", dtype="mixed_bfloat16")
    stage = Stage(4, num_blocks=2, dilation=3, normalisation="batch")
    activation = made.build_activation(stage, "h")
    assert (activation.activation_name, activation.statistics, activation.rematerialise) == (
        "elu", "population", "activations",
    )  # fmt: skip
    assert activation.compute_dtype == "bfloat16"
    section = made.build_section(stage, 5, "blocks_1", folds_masks=False)
    assert [block.name for block in section.blocks] == ["blocks_1_block_1", "blocks_1_block_2"]
    for block in section.blocks:
        assert (block.filters, block.common_dilation, block.compute_dtype) == (5, 3, "bfloat16")
        for part in block.activations:
            assert (part.activation_name, part.statistics, part.folds_masks) == ("elu", "population", False)
    section.build((None, 6, 6, 5))
    kernels = [np.asarray(layer.kernel) for block in section.blocks for layer in block.convolutions]
    assert len({kernel.tobytes() for kernel in kernels}) == 4  # a seed for each


def test_initialisers_are_copied_with_another_seed_if_they_have_one():
    he = keras.initializers.HeNormal(seed=1)
    found = seeded_initializer(he, 7)
    assert (found.seed, he.seed) == (7, 1)
    np.testing.assert_array_equal(found((3, 3)), keras.initializers.HeNormal(seed=7)((3, 3)))
    assert seeded_initializer("zeros", 7).get_config() == {}
    assert isinstance(seeded_initializer("glorot_uniform", 3), keras.initializers.GlorotUniform)


@pytest.mark.parametrize("rank", [1, 4, 0])
def test_images_have_two_or_three_axes(rank):
    with pytest.raises(ValueError, match=f"spatial_rank = {rank} must be 2 or 3"):
        LayerSettings(rank, 2)


def test_groups_are_tasks_and_the_shared_one():
    assert [LayerSettings(2, tasks).num_groups for tasks in (1, 2, 5)] == [2, 3, 6]
