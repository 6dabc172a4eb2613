"""The convex hull of gradients: single steps against a search of the line, points against what must hold of them."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from sfgkeras.balancing.hull import _best_step, lowest_point

LOWEST = tf.function(lowest_point)
STAR = [(1.0, 0.0), (-0.5, 0.75**0.5), (-0.5, -(0.75**0.5))]


def tensor(values, dtype="float32"):
    return ops.convert_to_tensor(np.asarray(values, dtype))


def point(vectors, slopes=None, factor=1.0, present=None):
    vectors = np.asarray(vectors, "float32")
    slopes = np.zeros(len(vectors)) if slopes is None else slopes
    present = np.ones(len(vectors)) if present is None else present
    found = LOWEST(tensor(vectors @ vectors.T), tensor(slopes), tensor(factor), tensor(present, bool))
    return ops.convert_to_numpy(found)


def test_the_step_along_a_line_goes_where_the_function_is_least():
    """`slope x + factor |start + x direction|` of 2000 lines along which it falls at first, against a fine grid."""
    rng = np.random.default_rng(0)
    start, direction = rng.normal(size=(2, 2000, 3))
    slope, factor, most = rng.normal(size=2000), rng.uniform(0.1, 3, 2000), rng.uniform(0.05, 2, 2000)
    square, product, squared = (np.sum(a * b, 1) for a, b in ((start, start), (start, direction), (direction,) * 2))
    falls = slope + factor * product / np.sqrt(square) < 0
    assert falls.sum() > 500
    found = ops.convert_to_numpy(_best_step(*map(tensor, (square, product, squared, slope, factor, most))))

    def values(x):
        x = np.asarray(x)
        return slope * x + factor * np.sqrt(np.maximum(square + 2 * product * x + squared * x * x, 0))

    least = np.min([values(share * most) for share in np.linspace(0, 1, 501)], axis=0)
    assert (found >= 0).all()
    assert (found <= most * (1 + 1e-6)).all()
    assert (values(found) - least)[falls].max() < 1e-5
    inside = falls & (found > 0) & (found < most * 0.999)
    assert inside.sum() > 100  # neither end


@pytest.mark.parametrize(
    ("products", "slope", "expected"),
    [
        ((4.0, -2.0, 1.0), 0.0, 0.5),  # towards 0 on a straight line, which lies beyond the largest step
        ((0.01, -0.1, 1.0), 0.0, 0.1),  # 0 within reach
        ((1.0, 0.0, 1.0), -5.0, 0.5),  # the linear part falls more steeply than the norm can rise
        ((1.0, 0.0, 0.0), 0.0, 0.5),  # two equal gradients: any step is as good
    ],
)
def test_single_steps_by_hand(products, slope, expected):
    found = float(_best_step(*(tensor(each) for each in (*products, slope, 1.0, 0.5))))
    assert found == pytest.approx(expected, abs=1e-6)


def test_three_gradients_that_add_up_to_nothing_hold_0_in_their_midst():
    np.testing.assert_allclose(point(STAR), 1 / 3, atol=1e-6)


def test_without_a_norm_it_is_the_vertex_of_the_least_slope():
    np.testing.assert_allclose(point(np.eye(3), [3.0, -1.0, 2.0], factor=0.0), [0.0, 1.0, 0.0], atol=1e-6)


def test_equal_norms_at_right_angles_share_alike_until_a_slope_decides():
    """Of n unit vectors at right angles the shortest is their mean; a slope steeper than the norm takes all."""
    np.testing.assert_allclose(point(np.eye(4)), 0.25, atol=1e-5)
    np.testing.assert_allclose(point(np.eye(4), [0.0, 0.0, -9.0, 0.0]), [0, 0, 1, 0], atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_point_does_not_depend_on_the_order_of_the_tasks_nor_on_the_unit_of_the_gradients(seed):
    rng = np.random.default_rng(seed)
    vectors, order = rng.normal(size=(3, 5)), np.array([2, 0, 1])
    weights = point(vectors)
    np.testing.assert_allclose(point(vectors[order]), weights[order], atol=2e-3)
    np.testing.assert_allclose(point(1e-3 * vectors), weights, atol=2e-3)
    np.testing.assert_allclose(point(1e3 * vectors), weights, atol=2e-3)


@pytest.mark.parametrize("seed", range(3))
def test_along_the_shortest_vector_no_loss_falls_less_than_its_square(seed):
    """What makes it the shortest: `g_t . v >= |v|^2` for all, equal wherever a weight is not 0."""
    vectors = np.random.default_rng(seed).normal(size=(4, 6))
    weights = point(vectors)
    shortest = weights @ vectors
    products = vectors @ shortest
    assert (products >= shortest @ shortest - 1e-2).all()
    np.testing.assert_allclose(products[weights > 1e-2], shortest @ shortest, atol=1e-2)


def test_tasks_without_labels_have_no_weight_however_short_their_gradient():
    weights = point([(3.0, 0.0), (0.0, 3.0), (0.0, 0.0), (1e-3, 0.0)], present=[True, True, False, False])
    np.testing.assert_allclose(weights, [0.5, 0.5, 0.0, 0.0], atol=1e-6)
    np.testing.assert_array_equal(point(np.eye(2), present=[False, False]), [0.0, 0.0])


def test_a_task_that_does_not_count_is_no_vertex_however_steeply_it_falls():
    weights = point(np.eye(3), [0.0, 0.0, -100.0], present=[True, True, False])
    np.testing.assert_allclose(weights, [0.5, 0.5, 0.0], atol=1e-5)


def test_no_gradient_at_all_leaves_equal_weights_and_no_number_that_is_none():
    np.testing.assert_allclose(point(np.zeros((3, 2))), 1 / 3, rtol=1e-6)
