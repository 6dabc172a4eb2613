"""Normalisation: statistics, the mask folded into it, and replicas of a strategy."""

import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.layers import MaskedActivation, StreamNormalization
from sfgkeras.layers.backend import fused_operations
from sfgkeras.layers.normalization import measuring


def features(shape=(4, 6, 5, 3), seed=0, dtype="float32"):
    rng = np.random.default_rng(seed)
    return tf.constant(rng.normal(loc=3.0, scale=2.0, size=shape), dtype)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (2, 4, 3, 5, 3), (8, 3)])
def test_training_normalises_by_the_batch_and_moves_the_averages(shape, fused):
    layer = StreamNormalization()
    x = features(shape)
    with fused_operations(fused):
        y = layer(x, training=True)
    axes = tuple(range(len(shape) - 1))
    mean, variance = np.mean(x, axes), np.var(x, axes)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance + 1e-3), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, 0.01 * mean, rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, 0.99 + 0.01 * variance, rtol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_fused_and_plain_forms_have_equal_values_and_gradients(training):
    layer = MaskedActivation()
    x, mask = features(), tf.constant([0.2, 0.7, 1.0])
    layer.build(x.shape)
    results = []
    for fused in (True, False):
        with fused_operations(fused), tf.GradientTape() as tape:
            tape.watch([x, mask])
            y = layer(x, mask, training=training)
            total = tf.reduce_sum(tf.sin(y) * y)
        results.append([y, *tape.gradient(total, [x, mask, *layer.trainable_variables])])
    for fused_result, plain in zip(*results, strict=True):
        np.testing.assert_allclose(fused_result, plain, rtol=1e-4, atol=1e-4)


def test_inference_uses_population_or_batch_statistics_as_asked():
    layer = StreamNormalization(statistics="population")
    x = features()
    layer.build(x.shape)
    layer.moving_mean.assign([1.0, 2.0, 3.0])
    layer.moving_variance.assign([4.0, 1.0, 0.25])
    expected = (np.asarray(x) - [1, 2, 3]) / np.sqrt(np.array([4, 1, 0.25]) + 1e-3)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4)
    layer.statistics = "batch"
    np.testing.assert_allclose(np.mean(layer(x), (0, 1, 2)), 0.0, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, [1.0, 2.0, 3.0])


def test_a_frozen_layer_keeps_its_statistics_in_training():
    layer = StreamNormalization()
    layer.build((None, 6, 5, 3))
    layer.trainable = False
    x = features()
    np.testing.assert_allclose(layer(x, training=True), np.asarray(x) / np.sqrt(1.001), rtol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(3))


def test_a_constant_channel_comes_out_as_its_offset_with_finite_gradients():
    layer = StreamNormalization()
    x = tf.fill((3, 4, 4, 2), 1e4)
    layer.build(x.shape)
    layer.beta.assign([0.5, -0.5])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
        total = tf.reduce_sum(y * features((3, 4, 4, 2)))
    np.testing.assert_allclose(y, np.broadcast_to([0.5, -0.5], y.shape), atol=1e-6)
    assert np.isfinite(tape.gradient(total, x)).all()


def test_variance_survives_a_mean_a_thousand_times_larger():
    x = features((8, 16, 16, 1)) + 2000.0
    layer = StreamNormalization(momentum=0.0)
    layer(x, training=True)
    np.testing.assert_allclose(layer.moving_variance, np.var(np.asarray(x, "float64"), (0, 1, 2)), rtol=1e-3)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_statistics_are_float32_under_mixed_precision(dtype):
    layer = StreamNormalization(momentum=0.0, dtype=dtype)
    x = features((16, 32, 32, 3), dtype=layer.compute_dtype) * 100.0
    y = layer(x, training=True)
    assert y.dtype == x.dtype
    exact = np.var(tf.cast(x, "float64"), (0, 1, 2))
    np.testing.assert_allclose(layer.moving_variance, exact, rtol=1e-3)


@pytest.mark.parametrize("activation", ["prelu", "relu", "linear"])
def test_a_folded_mask_equals_a_product_after_the_activation_in_value_and_gradient(activation):
    x, mask = features(), tf.constant([0.03, 0.6, 1.0])
    results = []
    for folds in (True, False):
        layer = MaskedActivation(activation, folds_masks=folds)
        layer.build(x.shape)
        layer.normalization.beta.assign([0.3, -0.2, 0.1])
        with tf.GradientTape() as tape:
            tape.watch([x, mask])
            y = layer(x, mask, training=True)
            total = tf.reduce_sum(tf.sin(3 * y))
        results.append([y, *tape.gradient(total, [x, mask, *layer.trainable_variables])])
    for folded, product in zip(*results, strict=True):
        np.testing.assert_allclose(folded, product, rtol=1e-3, atol=1e-4)


def test_the_gradient_of_a_mask_that_is_exactly_zero_is_right_where_masks_do_not_fold():
    x, mask = features(), tf.constant([0.0, 1.0, 0.0])
    layer = MaskedActivation(folds_masks=False)
    with tf.GradientTape() as tape:
        tape.watch(mask)
        total = tf.reduce_sum(layer(x, mask, training=True))
    expected = np.sum(layer(x, None, training=True), (0, 1, 2))
    np.testing.assert_allclose(tape.gradient(total, mask), expected, rtol=1e-4)


def test_an_activation_that_does_not_scale_is_masked_after_it():
    layer = MaskedActivation("elu")
    x, mask = features(), tf.constant([0.5, 0.0, 1.0])
    np.testing.assert_allclose(
        layer(x, mask, training=True), layer(x, None, training=True) * np.asarray(mask), rtol=1e-5
    )


def test_measuring_reports_every_batch_and_leaves_the_averages():
    layer = StreamNormalization()
    x = features()
    with measuring() as measurement:
        layer(x)
    (moments,) = measurement
    assert moments.layer is layer
    assert int(moments.count) == 4 * 6 * 5
    np.testing.assert_allclose(moments.variance, np.var(x, (0, 1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(3))


def test_unknown_statistics_are_refused_with_a_suggestion():
    with pytest.raises(ValueError, match="'populations', did you mean 'population'"):
        StreamNormalization(statistics="populations")


def test_layers_come_back_from_their_configuration():
    for layer in (
        StreamNormalization(momentum=0.9, epsilon=1e-4, statistics="batch"),
        MaskedActivation("elu", momentum=0.9, epsilon=1e-4, statistics="batch", folds_masks=False),
    ):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert again.get_config() == layer.get_config()


@pytest.mark.slow
def test_two_replicas_equal_one_device_on_the_whole_batch():
    script = """
        import numpy as np
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from sfgkeras.layers import StreamNormalization

        x = tf.random.stateless_normal((6, 5, 4, 3), (1, 2)) * [1.0, 5.0, 0.1] + [0.0, 3.0, 50.0]
        w = tf.random.stateless_normal((6, 5, 4, 3), (3, 4))

        def step(layer, x, w):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True)
                total = tf.reduce_sum(tf.sin(y) * w)
            return y, *tape.gradient(total, [x, layer.gamma.value, layer.beta.value])

        alone = StreamNormalization(momentum=0.5)
        expected = step(alone, x, w)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        with strategy.scope():
            layer = StreamNormalization(momentum=0.5)
            layer.build(x.shape)

        # Unequal parts: four samples and two.
        def part(context, tensor):
            return tensor[:4] if context.replica_id_in_sync_group == 0 else tensor[4:]

        xs, ws = (
            strategy.experimental_distribute_values_from_function(lambda c, t=t: part(c, t)) for t in (x, w)
        )
        run = tf.function(lambda xs, ws: strategy.run(step, (layer, xs, ws)))
        y, dx, dgamma, dbeta = (strategy.experimental_local_results(r) for r in run(xs, ws))
        np.testing.assert_allclose(np.concatenate(y), expected[0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(np.concatenate(dx), expected[1], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(sum(dgamma), expected[2], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(sum(dbeta), expected[3], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(layer.moving_mean.numpy(), alone.moving_mean.numpy(), rtol=1e-5)
        np.testing.assert_allclose(layer.moving_variance.numpy(), alone.moving_variance.numpy(), rtol=1e-4)
        """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
