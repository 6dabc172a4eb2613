"""Distances between kernels: by hand, against numpy, gradients by finite differences; penalties with frozen copies."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.layers.kernel_coupling import DISTANCES, KernelCoupling, trace_norm


def rows(num_tasks, entries=7, seed=0):
    return np.random.default_rng(seed).normal(size=(num_tasks, entries)).astype("float32")


def expected_distance(kernels, distance):
    """The same in float64, pair by pair, and by numpy's singular values."""
    kernels = np.asarray(kernels, "float64")
    if distance == "trace_norm":
        return np.linalg.svd(kernels, compute_uv=False).sum()
    power = {"squared": 2, "absolute": 1}[distance]
    return sum((np.abs(a - b) ** power).sum() for a, b in itertools.combinations(kernels, 2))


def gradient_of(kernels, distance):
    kernels = tf.constant(kernels)
    with tf.GradientTape() as tape:
        tape.watch(kernels)
        value = DISTANCES[distance](kernels)
    return np.asarray(tape.gradient(value, kernels))


def test_two_kernels_by_hand():
    """Differences are 3 and -4; the rows (3, 0) and (0, 4) are orthogonal, so their norms are the singular values."""
    kernels = np.array([[3.0, 0.0], [0.0, 4.0]], "float32")
    values = {name: float(distance(kernels)) for name, distance in DISTANCES.items()}
    assert values == pytest.approx({"squared": 25.0, "absolute": 7.0, "trace_norm": 7.0}, rel=1e-6)


@pytest.mark.parametrize("num_tasks", [2, 3, 4, 5])
@pytest.mark.parametrize("distance", DISTANCES)
def test_every_pair_counts_once(distance, num_tasks):
    kernels = rows(num_tasks)
    assert float(DISTANCES[distance](kernels)) == pytest.approx(expected_distance(kernels, distance), rel=1e-5)


@pytest.mark.parametrize("num_tasks", [2, 3, 4])
@pytest.mark.parametrize("distance", DISTANCES)
def test_gradients_equal_finite_differences(distance, num_tasks):
    kernels, step = rows(num_tasks, 4), 1e-5
    gradient = gradient_of(kernels, distance)
    for index in np.ndindex(kernels.shape):
        moved = [kernels.astype("float64") for _ in range(2)]
        moved[0][index] += step
        moved[1][index] -= step
        slope = (expected_distance(moved[0], distance) - expected_distance(moved[1], distance)) / (2 * step)
        assert gradient[index] == pytest.approx(slope, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("kernels", [np.zeros((3, 5)), np.ones((3, 5)), np.eye(3, 5), 1e-20 * np.ones((3, 5))])
@pytest.mark.parametrize("distance", DISTANCES)
def test_gradients_are_finite_where_kernels_vanish_agree_or_have_equal_singular_values(distance, kernels):
    gradient = gradient_of(kernels.astype("float32"), distance)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() <= 4.0


def test_the_gradient_of_the_trace_norm_is_that_of_the_decomposition():
    kernels = rows(3, 50)
    left, _, right = np.linalg.svd(kernels.astype("float64"), full_matrices=False)
    np.testing.assert_allclose(gradient_of(kernels, "trace_norm"), left @ right, atol=1e-5)


def test_the_trace_norm_of_almost_equal_kernels_is_precise():
    kernels = rows(1, 400) + 1e-4 * rows(3, 400, seed=1)
    expected = expected_distance(kernels, "trace_norm")
    assert float(trace_norm(kernels)) == pytest.approx(expected, rel=2e-6)
    assert np.linalg.norm(gradient_of(kernels, "trace_norm"), 2) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("distance", ["squared", "absolute"])
def test_descent_by_a_distance_of_pairs_makes_kernels_equal(distance):
    kernels, mean = rows(3), rows(3).mean(axis=0)
    for step in range(120):
        kernels = kernels - 0.2 * 0.94**step * gradient_of(kernels, distance)
    assert np.ptp(kernels, axis=0).max() < 1e-3
    np.testing.assert_allclose(kernels.mean(axis=0), mean, atol=1e-4)


def variables(num_tasks, regularizer=None):
    kernels = [keras.Variable(row) for row in rows(num_tasks)]
    for kernel in kernels:
        kernel.regularizer = regularizer
    return kernels


def total(kernels):
    return float(sum(kernel.regularizer(kernel) for kernel in kernels if kernel.trainable))


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_coupling_adds_its_distance_to_what_else_is_penalised(distance):
    kernels = variables(3, keras.regularizers.L2(0.25))
    KernelCoupling(kernels, 2.0, distance)
    values = np.stack([np.asarray(kernel) for kernel in kernels])
    assert total(kernels) == pytest.approx(2 * expected_distance(values, distance) + 0.25 * (values**2).sum(), rel=1e-5)


def test_a_kernel_that_is_kept_fixed_pulls_the_others_and_is_not_penalised_itself():
    kernels = variables(3, keras.regularizers.L2(0.25))
    KernelCoupling(kernels, 2.0, "squared")
    kernels[0].trainable = False
    values = np.stack([np.asarray(kernel) for kernel in kernels])
    decay = 0.25 * (values[1:] ** 2).sum()
    assert total(kernels) == pytest.approx(2 * expected_distance(values, "squared") + decay, rel=1e-5)
    with tf.GradientTape() as tape:
        loss = kernels[1].regularizer(kernels[1]) + kernels[2].regularizer(kernels[2])
    gradient = tape.gradient(loss, kernels[1].value)
    expected = 4 * (2 * values[1] - values[0] - values[2]) + 0.5 * values[1]
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)
