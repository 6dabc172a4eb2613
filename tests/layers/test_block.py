"""Blocks of every kind: their formulas against Keras' own layers, and that a masked one never leaves its support."""

import keras
import numpy as np
import pytest

from sfgkeras.architecture.stage import Stage
from sfgkeras.errors import ConfigError
from sfgkeras.layers.block import Block
from sfgkeras.layers.block_plan import BlockConvolution, BlockPlan
from sfgkeras.layers.residual import ResidualBlock, build_block
from sfgkeras.tables.blocks import BLOCKS

CHANNELS = 4


def features(rank=2):
    return np.random.default_rng(0).normal(size=(2, *(7,) * rank, CHANNELS)).astype("float32")


def build(kind, rank=2, **settings):
    stage = Stage(CHANNELS, num_blocks=1, blocks=(kind,), block_size=None if kind == "boundary_refinement" else 5)
    (plan,) = stage.block_plans(rank)
    block = build_block(rank, CHANNELS, plan, **settings)
    block.build((None, *(7,) * rank, CHANNELS))
    rng = np.random.default_rng(1)
    for variable in block.trainable_variables:
        if variable.path.endswith(("beta", "bias")):
            variable.assign(rng.normal(size=variable.shape))
    return block


def convolve(x, layer, **settings):
    kernel = np.asarray(layer.kernel)
    plain = (keras.layers.Conv2D if kernel.ndim == 4 else keras.layers.Conv3D)(
        CHANNELS, kernel.shape[:-2], padding="same", use_bias=False, **settings
    )
    plain.build(x.shape)
    plain.kernel.assign(kernel)
    return plain(x)


def normalised_relu(x, beta):
    axes = tuple(range(x.ndim - 1))
    x = np.asarray(x, "float64")
    return np.maximum((x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-3) + np.asarray(beta), 0).astype("float32")


@pytest.mark.parametrize("rank", [2, 3])
def test_global_convolution_is_the_sum_of_thin_kernels_in_both_orders(rank):
    block, x = build("global_convolution", rank), features(rank)
    sizes = [layer.kernel.shape[:-2] for layer in block.convolutions]
    thin = [tuple(5 if axis == along else 1 for axis in range(rank)) for along in range(rank)]
    assert [tuple(size) for size in sizes] == [*thin, *thin[::-1]]
    ways = []
    for first in (0, rank):
        way = x
        for layer in block.convolutions[first : first + rank]:
            way = convolve(way, layer)
        ways.append(way)
    np.testing.assert_allclose(block(x), ways[0] + ways[1], rtol=1e-4, atol=1e-4)


def test_global_convolution_reaches_as_far_as_one_large_kernel():
    block = build("global_convolution")
    impulse = np.zeros((1, 7, 7, CHANNELS), "float32")
    impulse[0, 3, 3] = 1.0
    reached = np.abs(np.asarray(block(impulse)))[0].max(axis=-1) > 0
    expected = np.zeros((7, 7), bool)
    expected[1:6, 1:6] = True
    np.testing.assert_array_equal(reached, expected)


def test_boundary_refinement_adds_two_convolutions_with_one_activation_between():
    block, x = build("boundary_refinement", activation="relu"), features()
    between = normalised_relu(convolve(x, block.convolutions[0]), block.activations[0].normalization.beta)
    np.testing.assert_allclose(
        block(x, training=True), x + convolve(between, block.convolutions[1]), rtol=1e-3, atol=1e-4
    )


def test_a_dilated_pyramid_adds_a_convolution_of_each_dilation():
    block, x = build("dilated_pyramid", activation="relu"), features()
    expected = x
    for layer, activation, dilation in zip(block.convolutions, block.activations, (1, 2, 4), strict=True):
        read = normalised_relu(x, activation.normalization.beta)
        expected = expected + convolve(read, layer, dilation_rate=dilation)
    np.testing.assert_allclose(block(x, training=True), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("normalisation", ["batch", "none"])
@pytest.mark.parametrize("kind", BLOCKS)
def test_a_masked_block_neither_reads_nor_writes_outside_its_support(kind, normalisation):
    mask = np.array([1, 0, 1, 0], "float32")
    block, x = build(kind, normalisation=normalisation), features()
    outputs = np.asarray(block(x * mask, mask, training=True))
    assert (outputs[..., [1, 3]] == 0).all()
    for layer in block.convolutions:
        kernel = np.array(layer.kernel)
        kernel[..., [1, 3], :] += 9.0
        kernel[..., [1, 3]] += 9.0
        layer.kernel.assign(kernel)
    np.testing.assert_array_equal(block(x * mask, mask, training=True), outputs)


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_block_is_built_again_from_its_values(kind):
    block, x = build(kind, normalisation="none", activation="relu"), features()
    again = type(block).from_config(block.get_config())
    again.build(x.shape)
    again.set_weights(block.get_weights())
    np.testing.assert_array_equal(again(x), block(x))


def test_a_residual_block_keeps_the_class_by_which_saved_networks_know_it():
    assert type(build("residual")) is ResidualBlock
    part = BlockConvolution(3)
    assert type(build_block(2, 4, BlockPlan(((part, part),), adds_input=False))) is Block


def test_an_unknown_kind_of_block_is_refused_by_name():
    with pytest.raises(ConfigError, match="kind of block 'residul', did you mean 'residual'"):
        Stage(4, num_blocks=1, blocks=("residul",)).block_plans(2)


def test_a_global_convolution_has_one_size():
    with pytest.raises(ValueError, match="one size along all axes"):
        Stage(4, kernel_size=(3, 5), num_blocks=1, blocks=("global_convolution",)).block_plans(2)
