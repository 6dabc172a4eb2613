"""Units of subspaces: the formula by hand, cross-stitch and the identity as special cases, gradients, orthogonality."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.layers.cross_stitch import CrossStitch
from sfgkeras.layers.subspace_stitch import SubspaceOrthogonality, SubspaceStitch, subspace_overlap


def features(num_tasks, channels=6, shape=(2, 3, 4), seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(*shape, channels)).astype("float32") for _ in range(num_tasks)]


def unit_with(alpha, num_tasks, subspaces, inputs):
    unit = SubspaceStitch(num_tasks, subspaces)
    unit.build([x.shape for x in inputs])
    unit.alpha.assign(alpha)
    return unit


def random_alpha(count, seed=1):
    return np.random.default_rng(seed).normal(size=(count, count)).astype("float32")


@pytest.mark.parametrize("subspaces", [1, 2, 3])
@pytest.mark.parametrize("num_tasks", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 3, 2, 2)])
def test_every_subspace_is_the_weighted_sum_of_all_subspaces_of_all_tasks(shape, num_tasks, subspaces):
    inputs = features(num_tasks, shape=shape)
    alpha = random_alpha(num_tasks * subspaces)
    pieces = [piece.astype("float64") for x in inputs for piece in np.split(x, subspaces, axis=-1)]
    mixed = [sum(weight * piece for weight, piece in zip(row, pieces, strict=True)) for row in alpha]
    expected = [np.concatenate(mixed[task * subspaces : (task + 1) * subspaces], axis=-1) for task in range(num_tasks)]
    outputs = unit_with(alpha, num_tasks, subspaces, inputs)(inputs)
    np.testing.assert_allclose(np.stack(outputs), np.stack(expected), atol=1e-5)


def test_two_subspaces_of_two_tasks_by_hand():
    """Task a has 1 and 2, task b 10 and 20; row by row of alpha."""
    alpha = [[1, 0, 0, 0], [0, 0, 0, 1], [0.5, 0, 0.5, 0], [0, 1, 1, -1]]
    inputs = [np.array([[1.0, 2.0]], "float32"), np.array([[10.0, 20.0]], "float32")]
    np.testing.assert_array_equal(np.stack(unit_with(alpha, 2, 2, inputs)(inputs)), [[[1, 20]], [[5.5, -8]]])


def test_the_identity_leaves_tasks_alone():
    inputs = features(3)
    for output, x in zip(unit_with(np.eye(6), 3, 2, inputs)(inputs), inputs, strict=True):
        np.testing.assert_array_equal(output, x)


def test_blocks_of_one_weight_are_a_cross_stitch_unit():
    inputs, weights = features(3), random_alpha(3)
    stitch = CrossStitch(3)
    stitch.build([x.shape for x in inputs])
    stitch.alpha.assign(weights)
    outputs = unit_with(np.kron(weights, np.eye(2)), 3, 2, inputs)(inputs)
    np.testing.assert_allclose(np.stack(outputs), np.stack(stitch(inputs)), atol=1e-5)


def test_gradients_equal_finite_differences():
    inputs, target = features(2), features(2, seed=5)
    start, step = random_alpha(4), 1e-2

    def loss(alpha):
        outputs = unit_with(alpha, 2, 2, inputs)([tf.constant(x) for x in inputs])
        return float(sum(tf.reduce_sum(tf.sin(y) * t) for y, t in zip(outputs, target, strict=True)))

    unit = unit_with(start, 2, 2, inputs)
    with tf.GradientTape() as tape:
        outputs = unit(inputs)
        total = tf.add_n([tf.reduce_sum(tf.sin(y) * t) for y, t in zip(outputs, target, strict=True)])
    gradient = np.asarray(tape.gradient(total, unit.alpha.value))
    for where in itertools.product(range(4), repeat=2):
        high, low = start.copy(), start.copy()
        high[where] += step
        low[where] -= step
        assert gradient[where] == pytest.approx((loss(high) - loss(low)) / (2 * step), rel=1e-2, abs=1e-2)


@pytest.mark.parametrize(("own", "diagonal", "other"), [(0.9, 0.9, 0.1 / 3), (None, 0.25, 0.25), (1.0, 1.0, 0.0)])
def test_mixtures_start_as_asked_for(own, diagonal, other):
    alpha = SubspaceStitch(2, 2, own).initial_weights()
    np.testing.assert_allclose(alpha, np.where(np.eye(4), diagonal, other), rtol=1e-6)
    np.testing.assert_allclose(alpha.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(SubspaceStitch(1, 1, own).initial_weights(), [[1.0]])


def test_orthogonal_subspaces_cost_nothing():
    orthogonal, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(9, 4)))
    # Within a subspace filters may be alike.
    kernel = orthogonal[:, [0, 0, 1, 2]].reshape(3, 3, 1, 4).astype("float32")
    assert float(SubspaceOrthogonality(5.0, 2)(kernel)) == pytest.approx(0, abs=1e-12)
    assert float(SubspaceOrthogonality(5.0, 2)(kernel[..., [0, 1, 0, 3]])) > 1


@pytest.mark.parametrize("subspaces", [1, 2, 3])
def test_the_overlap_is_the_frobenius_norm_over_all_pairs_of_subspaces(subspaces):
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 6)).astype("float32")
    parts = np.split(kernel.reshape(18, 6).astype("float64"), subspaces, axis=1)
    expected = sum(np.linalg.norm(a.T @ b) ** 2 for a, b in itertools.combinations(parts, 2))
    assert float(subspace_overlap(kernel, subspaces)) == pytest.approx(expected, rel=1e-5, abs=1e-12)
    penalty = SubspaceOrthogonality(0.5, subspaces, keras.regularizers.L2(0.25))
    assert float(penalty(kernel)) == pytest.approx(0.5 * expected + 0.25 * (kernel**2).sum(), rel=1e-5)
    again = keras.regularizers.deserialize(keras.regularizers.serialize(penalty))
    assert float(again(kernel)) == float(penalty(kernel))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0,), "num_tasks = 0"), ((2, 0), "subspaces = 0"), ((2, 2, 1.5), r"own_weight = 1\.5 must be a fraction")],
)
def test_impossible_units_are_refused_with_their_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        SubspaceStitch(*arguments)


def test_features_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="5 channels do not fall into 2 equal subspaces"):
        SubspaceStitch(2).build((None, 4, 4, 5))
    unit = SubspaceStitch(3)
    unit.build((None, None, None, 4))
    with pytest.raises(ValueError, match="received 2 tensors; it mixes 3 tasks"):
        unit(features(2, channels=4))


def test_weights_stay_float32_in_half_precision():
    unit = SubspaceStitch(2, dtype="mixed_float16")
    outputs = unit([x.astype("float16") for x in features(2)])
    assert unit.alpha.dtype == "float32"
    assert all(tf.as_dtype(y.dtype) == tf.float16 for y in outputs)
