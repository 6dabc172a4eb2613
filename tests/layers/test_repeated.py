"""Convolutions of repeated voxels: equal to repeating, joining and convolving, forward and in every gradient."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from sfgkeras.architecture.walk import TensorOperations
from sfgkeras.layers import multiplies, repeated
from sfgkeras.layers.backend import fused_operations
from sfgkeras.layers.convolution import Convolution

RANDOM = np.random.default_rng(0)


def normal(*shape):
    return tf.constant(RANDOM.normal(size=shape), tf.float32)


def joined_parts(coarse, rest):
    """Repeats and joins as the walk does."""
    operations = TensorOperations()
    like = tf.zeros((1, *(2 * side for side in coarse.shape[1:-1]), 1))
    return operations.concatenate([operations.upsample(coarse, like), *rest])


def results(layer, coarse, rest, mask, expected_ops):
    """Returns outputs and the gradients of features, kernel and bias; checks which operation convolved."""

    @tf.function(autograph=False)
    def run(coarse, rest):
        with tf.GradientTape() as tape:
            tape.watch([coarse, *rest])
            outputs = layer(joined_parts(coarse, rest), mask)
            loss = tf.reduce_sum(outputs * tf.cos(tf.range(tf.size(outputs), dtype=tf.float32)[0] + outputs))
        return [outputs, *tape.gradient(loss, [coarse, *rest, *layer.trainable_variables])]

    found = run(coarse, rest)
    names = {operation.type for operation in run.get_concrete_function(coarse, rest).graph.get_operations()}
    assert expected_ops <= names
    return [np.asarray(value) for value in found]


@pytest.mark.parametrize("spatial", [(4, 6), (4, 2, 6)])
@pytest.mark.parametrize("channels", [(), (3,), (3, 2)])
def test_a_convolution_of_repeated_voxels_and_its_gradients_are_those_of_the_voxels_before(
    monkeypatch, spatial, channels
):
    monkeypatch.setattr(repeated, "VOXELS_PER_CHANNEL", 0)
    fine = tuple(2 * side for side in spatial)
    coarse, rest = normal(2, *spatial, 5), [normal(2, *fine, count) for count in channels]
    layer = Convolution(len(spatial), 4, 3, use_bias=True, bias_initializer="ones")
    layer.build((2, *fine, 5 + sum(channels)))
    mask = tf.constant([0.0, 1.0, 0.5, 1.0])
    transposed = "Conv2DBackpropInput" if len(spatial) == 2 else "Conv3DBackpropInputV2"
    folded = results(layer, coarse, rest, mask, {transposed})
    with fused_operations(False):
        plain = results(layer, coarse, rest, mask, {"Conv2D" if len(spatial) == 2 else "Conv3D"})
    assert len(folded) == 4 + len(channels)
    for value, expected in zip(folded, plain, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def folds(coarse, layer, like=None):
    """Says whether a layer takes the transposed convolution for repeated voxels."""

    @tf.function(autograph=False)
    def run(coarse):
        size = like or tuple(2 * side for side in coarse.shape[1:-1])
        return layer(TensorOperations().upsample(coarse, tf.zeros((1, *size, 1))))

    graph = run.get_concrete_function(coarse).graph
    return any(operation.type == "Conv2DBackpropInput" for operation in graph.get_operations())


def test_it_is_left_alone_where_it_would_not_be_the_same_or_not_be_faster(monkeypatch):
    coarse = normal(1, 8, 8, 4)
    assert folds(coarse, Convolution(2, 3, 3))
    assert not folds(coarse, Convolution(2, 3, 3, dilation=2))
    assert not folds(coarse, Convolution(2, 3, 3, strides=2))
    assert not folds(coarse, Convolution(2, 3, 3, padding="valid"))
    assert not folds(coarse, Convolution(2, 3, 2))
    assert not folds(coarse, Convolution(2, 3, 3, dtype="bfloat16"))
    assert not folds(coarse, Convolution(2, 3, 3), like=(15, 16))  # cut: its last voxels see a border, not a repeat
    assert not folds(normal(1, 8, 8, 65), Convolution(2, 3, 3))  # 256 voxels, 65 channels
    monkeypatch.setattr(repeated, "has_gpu", lambda: True)
    assert not folds(coarse, Convolution(2, 3, 3))


def test_what_is_computed_at_once_is_not_noted():
    operations = TensorOperations()
    upsampled = operations.upsample(normal(1, 8, 8, 4), tf.zeros((1, 16, 16, 1)))
    assert repeated.joined(upsampled) is None


def test_its_multiplies_are_those_of_the_network_as_it_is_written():
    coarse, skip = normal(1, 8, 8, 4), normal(1, 16, 16, 2)
    layer = Convolution(2, 3, 3)
    layer.build((1, 16, 16, 6))
    with multiplies.recording() as recorder:
        tf.function(lambda: layer(joined_parts(coarse, [skip]))).get_concrete_function()
    assert sum(recorder) == 16 * 16 * 9 * 6 * 3


def test_repeats_are_as_before_where_sizes_are_not_known():
    @tf.function(input_signature=[tf.TensorSpec((1, None, None, 1))], autograph=False)
    def run(coarse):
        return TensorOperations().upsample(coarse, tf.zeros((1, 3, 4, 1)))

    coarse = ops.reshape(tf.range(4.0), (1, 2, 2, 1))
    assert np.asarray(run(coarse))[0, :, :, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3]]
