"""The fused operations against their keras.ops forms."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.layers import Convolution, PReLU, multiplies
from sfgkeras.layers.backend import convolve, fused_operations, prelu


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_convolutions_and_their_gradients_equal_keras_with_every_dilation(rank, dilation):
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(2, *(7,) * rank, 3)), "float32")
    kernel = tf.constant(rng.normal(size=(*(3,) * rank, 3, 2)), "float32")
    results = []
    for fused in (True, False):
        with fused_operations(fused), tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = convolve(x, kernel, dilation)
            total = tf.reduce_sum(tf.sin(y))
        results.append([y, *tape.gradient(total, [x, kernel])])
    for native, plain in zip(*results, strict=True):
        np.testing.assert_allclose(native, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dilated_convolutions_have_gradients_in_every_type(dtype):
    x = tf.ones((1, 8, 8, 2), dtype)
    kernel = tf.ones((3, 3, 2, 2), dtype)
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        y = convolve(x, kernel, 2)
    assert all(np.isfinite(tf.cast(g, "float32")).all() for g in tape.gradient(y, [x, kernel]))


def test_prelu_and_its_gradients_equal_keras_ops_also_for_slopes_above_one():
    x = tf.constant(np.random.default_rng(0).normal(size=(3, 5, 5, 4)), "float32")
    slope = tf.constant([0.0, 0.25, 1.5, -0.5])
    results = []
    for fused in (True, False):
        with fused_operations(fused), tf.GradientTape() as tape:
            tape.watch([x, slope])
            y = prelu(x, slope)
            total = tf.reduce_sum(tf.sin(y))
        results.append([y, *tape.gradient(total, [x, slope])])
    for fused_result, plain in zip(*results, strict=True):
        np.testing.assert_allclose(fused_result, plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_slope_gradient_of_prelu_is_summed_in_float32(dtype):
    """Sixty thousand ones would stop growing at 256 in bfloat16 and overflow in float16 when they are twos."""
    x = tf.fill((60_000, 1), tf.constant(-2.0, dtype))
    slope = tf.constant([0.5])
    with tf.GradientTape() as tape:
        tape.watch(slope)
        y = prelu(x, slope)
    np.testing.assert_allclose(tape.gradient(y, slope), [-120_000.0], rtol=5e-3)


def test_prelu_equals_that_of_keras():
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    plain = keras.layers.PReLU(shared_axes=[1, 2], alpha_initializer=keras.initializers.Constant(0.25))
    np.testing.assert_allclose(PReLU()(x), plain(x), rtol=1e-6)


@pytest.mark.parametrize("per_sample", [False, True])
def test_a_convolution_masked_in_its_kernel_equals_a_masked_output(per_sample):
    layer = Convolution(2, 3, 3, use_bias=True, bias_initializer="ones")
    x = np.random.default_rng(0).normal(size=(2, 5, 5, 2)).astype("float32")
    mask = np.array([[0.5, 0.0, 1.0], [1.0, 0.2, 0.0]], "float32")
    expected = np.asarray(layer(x)) * (mask[:, None, None] if per_sample else mask[0])
    masked = layer(x, keras.ops.convert_to_tensor(mask if per_sample else mask[0]))
    np.testing.assert_allclose(masked, expected, rtol=1e-5, atol=1e-6)


def test_recordings_count_every_product_of_a_convolution_and_nest():
    layer = Convolution(3, 4, 3)
    with multiplies.recording() as outer:
        layer(np.zeros((2, 5, 6, 7, 3), "float32"))
        with multiplies.recording() as inner:
            layer(np.zeros((1, 5, 6, 7, 3), "float32"))
    assert inner == [5 * 6 * 7 * 27 * 3 * 4]
    assert sum(outer) == 3 * inner[0]
