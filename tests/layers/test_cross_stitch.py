"""Cross-stitch units: the formula by hand, gradients by finite differences, initial weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.layers import CrossStitch


def features(num_tasks, channels=3, shape=(2, 4, 5), seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(*shape, channels)).astype("float32") for _ in range(num_tasks)]


def unit_with_random_weights(num_tasks, per_channel, inputs, seed=1, **kwargs):
    unit = CrossStitch(num_tasks, per_channel=per_channel, **kwargs)
    unit.build([x.shape for x in inputs])
    unit.alpha.assign(np.random.default_rng(seed).normal(size=unit.alpha.shape))
    return unit


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("num_tasks", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 3, 4, 2)])
def test_every_output_is_the_weighted_sum_of_all_tasks_features(num_tasks, per_channel, shape):
    inputs = features(num_tasks, shape=shape)
    unit = unit_with_random_weights(num_tasks, per_channel, inputs)
    alpha = np.asarray(unit.alpha)
    assert alpha.shape == ((num_tasks, num_tasks, 3) if per_channel else (num_tasks, num_tasks))
    subscripts = "abc,b...c->a...c" if per_channel else "ab,b...c->a...c"
    expected = np.einsum(subscripts, alpha.astype("float64"), np.stack(inputs).astype("float64"))
    np.testing.assert_allclose(np.stack(unit(inputs)), expected, atol=1e-5)


@pytest.mark.parametrize("per_channel", [False, True])
def test_gradients_equal_finite_differences(per_channel):
    inputs = features(3)
    unit = unit_with_random_weights(3, per_channel, inputs)
    target = features(3, seed=5)

    def loss(alpha, streams):
        unit.alpha.assign(alpha)
        outputs = unit([tf.constant(x) for x in streams])
        return tf.add_n([tf.reduce_sum(tf.sin(y) * t) for y, t in zip(outputs, target, strict=True)])

    start = np.asarray(unit.alpha)
    variables = [tf.Variable(x) for x in inputs]
    with tf.GradientTape() as tape:
        outputs = unit(variables)
        total = tf.add_n([tf.reduce_sum(tf.sin(y) * t) for y, t in zip(outputs, target, strict=True)])
    alpha_gradient, *stream_gradients = [np.asarray(g) for g in tape.gradient(total, [unit.alpha.value, *variables])]
    step = 1e-2
    for index in [(0, 0), (0, 2), (2, 1)]:
        where = (*index, 1) if per_channel else index
        high, low = start.copy(), start.copy()
        high[where] += step
        low[where] -= step
        slope = float(loss(high, inputs) - loss(low, inputs)) / (2 * step)
        assert alpha_gradient[where] == pytest.approx(slope, rel=5e-3, abs=5e-3)
    for task, where in [(0, (0, 1, 2, 1)), (2, (1, 3, 0, 2))]:
        moved = [[x.copy() for x in inputs] for _ in range(2)]
        moved[0][task][where] += step
        moved[1][task][where] -= step
        slope = float(loss(start, moved[0]) - loss(start, moved[1])) / (2 * step)
        assert stream_gradients[task][where] == pytest.approx(slope, rel=5e-3, abs=5e-3)


@pytest.mark.parametrize(("num_tasks", "own", "other"), [(1, 1.0, None), (2, 0.9, 0.1), (3, 0.9, 0.05)])
def test_a_unit_starts_as_a_convex_combination(num_tasks, own, other):
    unit = CrossStitch(num_tasks, own_weight=0.9)
    alpha = unit.initial_weights()
    np.testing.assert_allclose(alpha.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.diag(alpha), own, rtol=1e-6)
    if other is not None:
        assert alpha[0, 1] == pytest.approx(other)


def test_the_regulariser_sees_the_weights():
    inputs = features(2)
    unit = unit_with_random_weights(2, False, inputs, regularizer=keras.regularizers.L2(0.5))
    unit(inputs)
    assert float(unit.losses[0]) == pytest.approx(0.5 * float(np.sum(np.square(unit.alpha))), rel=1e-6)


def test_weights_stay_float32_in_half_precision():
    inputs = [x.astype("float16") for x in features(2)]
    unit = CrossStitch(2, dtype="mixed_float16")
    outputs = unit(inputs)
    assert unit.alpha.dtype == "float32"
    assert all(tf.as_dtype(y.dtype) == tf.float16 for y in outputs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0,), "num_tasks = 0"), ((2, 1.5), r"own_weight = 1\.5 must be a fraction")],
)
def test_impossible_units_are_refused_with_their_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        CrossStitch(*arguments)


def test_a_missing_stream_is_refused():
    unit = CrossStitch(3)
    unit.build((None, None, None, 3))
    with pytest.raises(ValueError, match="received 2 tensors; it mixes 3 tasks"):
        unit(features(2))
