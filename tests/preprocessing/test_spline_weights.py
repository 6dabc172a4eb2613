import numpy as np
import pytest
from scipy import ndimage

from sfgkeras.preprocessing.spline_weights import axis_weights, gaussian_matrix, point_spread_sigma


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 3, 7, 40])
def test_weights_interpolate_as_scipy_does_between_the_outermost_centres(order, length):
    samples = np.random.default_rng(length).normal(size=length)
    positions = np.linspace(0, length - 1, 23)
    expected = ndimage.map_coordinates(samples, [positions], order=order, mode="mirror")
    np.testing.assert_allclose(axis_weights(length, positions, order, dtype=np.float64) @ samples, expected, atol=1e-9)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_rows_sum_to_one_also_with_smoothing_and_outside(order):
    weights = axis_weights(12, np.linspace(-3, 15, 40), order, smoothing=1.3, dtype=np.float64)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_weights_at_the_voxels_are_the_identity(order):
    np.testing.assert_allclose(axis_weights(9, np.arange(9), order, dtype=np.float64), np.eye(9), atol=1e-12)


def test_the_gaussian_equals_scipys():
    samples = np.random.default_rng(0).normal(size=30)
    expected = ndimage.gaussian_filter1d(samples, 1.7, mode="nearest", truncate=np.ceil(4 * 1.7) / 1.7)
    np.testing.assert_allclose(gaussian_matrix(30, 1.7) @ samples, expected, atol=1e-12)


def test_the_point_spread_grows_by_the_difference_of_the_squares():
    sigma = point_spread_sigma(1.0, 3.0)
    assert sigma == pytest.approx(np.sqrt((9 - 1) / (8 * np.log(2))))
    assert point_spread_sigma(2.0, 6.0) == pytest.approx(sigma)
    assert point_spread_sigma(2.0, 2.0) == 0
    assert point_spread_sigma(2.0, 1.0) == 0
