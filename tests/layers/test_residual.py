"""Residual blocks: their formula, and that a masked one never leaves its support."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.layers import ResidualBlock
from sfgkeras.layers.backend import fused_operations, pays_to_split
from sfgkeras.layers.residual import ResidualSection


def features(rank=2, channels=4, seed=0):
    shape = (2, *(9,) * rank, channels)
    return tf.constant(np.random.default_rng(seed).normal(size=shape).astype("float32"))


def build(rank=2, **kwargs):
    block = ResidualBlock(rank, 4, **kwargs)
    block.build((None, *(9,) * rank, 4))
    rng = np.random.default_rng(3)
    for variable in block.trainable_variables:
        if variable.path.endswith(("beta", "alpha")):
            variable.assign(rng.uniform(0.5, 1.0, size=variable.shape))
    return block


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_an_unmasked_block_equals_keras_own_layers(rank, dilation):
    block, x = build(rank, dilation=dilation), features(rank)
    conv = keras.layers.Conv2D if rank == 2 else keras.layers.Conv3D
    y = x
    for activation, convolution in zip(block.activations, block.convolutions, strict=True):
        norm = keras.layers.BatchNormalization()
        prelu = keras.layers.PReLU(shared_axes=list(range(1, rank + 1)))
        plain = conv(4, 3, padding="same", dilation_rate=dilation, use_bias=False)
        for layer in (norm, prelu, plain):
            layer.build(x.shape)
        norm.beta.assign(activation.normalization.beta)
        prelu.alpha.assign(np.reshape(activation.activation.alpha, prelu.alpha.shape))
        plain.kernel.assign(convolution.kernel)
        y = plain(prelu(norm(y, training=True)))
    np.testing.assert_allclose(block(x, training=True), x + y, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_a_masked_block_writes_only_to_its_support(training, per_sample):
    mask = tf.constant([1.0, 0.0, 1.0, 0.0])
    x = features() * mask
    y = np.asarray(build()(x, tf.tile(mask[None], (2, 1)) if per_sample else mask, training=training))
    assert (y[..., [1, 3]] == 0).all()
    assert (y[..., [0, 2]] != np.asarray(x)[..., [0, 2]]).any()


def test_a_masked_block_reads_only_its_support():
    """Kernels and offsets of channels outside the support have exactly no gradient and no effect."""
    mask = tf.constant([1.0, 0.0, 1.0, 0.0])
    block, x = build(), features() * mask
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(block(x, mask, training=True) ** 2)
    gradients = tape.gradient(total, block.trainable_variables)
    for variable, gradient in zip(block.trainable_variables, gradients, strict=True):
        gradient = np.asarray(gradient)
        if variable.path.endswith("kernel"):
            assert (gradient[:, :, [1, 3], :] == 0).all()
            assert (gradient[:, :, :, [1, 3]] == 0).all()
            assert (gradient[:, :, [0, 2]][..., [0, 2]] != 0).all()
        else:
            assert (gradient[[1, 3]] == 0).all(), variable.path


def test_soft_masks_give_the_formula_in_the_documentation():
    block, x, mask = build(), features(), tf.constant([0.3, 0.9, 0.5, 1.0])

    def h(activation, z):
        return activation(z, None, training=True)

    a = mask * h(block.activations[0], x)
    b = mask * h(block.activations[1], block.convolutions[0](a))
    expected = x + mask * block.convolutions[1](b)
    np.testing.assert_allclose(block(x, mask, training=True), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("rank", "size", "dilation"), [(2, 8, 4), (2, 12, 3), (3, 4, 2)])
def test_a_section_on_phases_equals_one_with_native_dilation_in_value_gradient_and_statistics(
    rank, size, dilation, monkeypatch
):
    monkeypatch.setattr("sfgkeras.layers.backend.has_gpu", bool)
    shape = (2, *(size,) * rank, 3)
    x = tf.constant(np.random.default_rng(0).normal(size=shape).astype("float32"))
    mask = tf.constant([0.3, 0.0, 1.0])
    assert pays_to_split(x, dilation, training=True)
    results = []
    for splits in (True, False):
        keras.utils.set_random_seed(0)
        section = ResidualSection([ResidualBlock(rank, 3, dilation=dilation) for _ in range(2)])
        with fused_operations(splits), tf.GradientTape() as tape:
            tape.watch([x, mask])
            total = tf.reduce_sum(tf.sin(section(x, mask, training=True)))
        gradients = tape.gradient(total, [x, mask, *section.trainable_variables])
        averages = [w.numpy() for w in section.non_trainable_variables]
        results.append([total, *gradients, *averages])
    for phases, native in zip(*results, strict=True):
        np.testing.assert_allclose(phases, native, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(2, 9, 8, 3), (2, None, 8, 3)])
def test_an_image_that_is_no_multiple_of_the_dilation_is_not_split(shape):
    decisions = []

    @tf.function(input_signature=[tf.TensorSpec(shape)])
    def trace(x):
        decisions.append(pays_to_split(x, 2, training=True))
        return x

    trace.get_concrete_function()
    assert decisions == [False]


def test_a_block_of_other_width_than_its_input_is_refused():
    with pytest.raises(ValueError, match="received 5 channels; it adds its input to 4"):
        ResidualBlock(2, 4)(features(channels=5))


def test_a_section_comes_back_from_its_configuration():
    section = ResidualSection([ResidualBlock(2, 4, dilation=2, activation="relu"), ResidualBlock(2, 4)])
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(section))
    assert [block.get_config() for block in again.blocks] == [b.get_config() for b in section.blocks]
    assert again(features()).shape == (2, 9, 9, 4)
