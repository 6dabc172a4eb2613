"""Smooth random fields over a volume, evaluated only where a window needs them.

Both fields are sums of products of one-dimensional functions, so that a window costs a few small matrix
products: the bias field of an MR coil is the exponential of a polynomial, the elastic deformation is a cubic
B-spline. They are functions of the position in the whole volume, as in NiftyNet, and do not depend on the
size of the window.
"""

from collections.abc import Sequence

import numpy as np


def bias_field(coefficients: np.ndarray, start: Sequence[int], size: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Evaluates the exponential of a polynomial whose variables run from -1 to 1 over the volume.

    Args:
        coefficients: One coefficient for every product of powers, `(order + 1,) * rank`.
        start: First voxel of the window, `rank` numbers.
        size: Voxels of the window along each axis.
        shape: Voxels of the volume along each axis.

    Returns:
        Positive factors of shape `size`, float32.
    """
    order = coefficients.shape[0] - 1
    powers = []
    for first, count, extent in zip(start, size, shape, strict=True):
        position = np.arange(first, first + count, dtype=np.float64)
        powers.append(np.vander(2.0 * position / max(extent - 1, 1) - (extent > 1), order + 1, increasing=True))
    return np.exp(_tensor_product(coefficients, powers).astype(np.float32))


def displacement_field(
    control_points: np.ndarray, start: Sequence[int], size: Sequence[int], shape: Sequence[int]
) -> np.ndarray:
    """Evaluates a cubic B-spline displacement whose control point grid spans the volume.

    Args:
        control_points: Displacements of the control points, `(rank, n + 3, ..)`: n intervals along every axis
            and the points beyond the ends that a cubic spline needs.
        start: First voxel of the window, `rank` numbers.
        size: Voxels of the window along each axis.
        shape: Voxels of the volume along each axis.

    Returns:
        Displacements in the unit of the control points, `(rank, *size)`.
    """
    intervals = control_points.shape[1] - 3
    bases = []
    for first, count, extent in zip(start, size, shape, strict=True):
        position = (np.arange(first, first + count) + 0.5) * (intervals / extent)
        bases.append(cubic_basis(position, intervals))
    return np.stack([_tensor_product(points, bases) for points in control_points])


def cubic_basis(position: np.ndarray, intervals: int) -> np.ndarray:
    """Evaluates the uniform cubic B-splines, the k-th of which is centred at `k - 1`.

    Args:
        position: Points between 0 and `intervals`, `(points,)`.
        intervals: Number of unit intervals.

    Returns:
        Values of shape `(points, intervals + 3)`; every row sums to 1.
    """
    distance = np.abs(position[:, None] - np.arange(-1, intervals + 2))
    near = 2.0 / 3.0 - distance**2 * (1.0 - 0.5 * distance)
    far = np.maximum(2.0 - distance, 0.0) ** 3 / 6.0
    return np.where(distance < 1.0, near, far)


def _tensor_product(coefficients: np.ndarray, bases: Sequence[np.ndarray]) -> np.ndarray:
    """Sums the coefficients times the products of one basis function per axis, at every voxel of a grid."""
    values = coefficients
    for basis in bases:
        # Each step contracts the first axis and appends that of the voxels, so that the axes end in their
        # order.
        values = np.tensordot(values, basis, axes=(0, 1))
    return values
