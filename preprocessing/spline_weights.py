"""Interpolation along one axis as a matrix: new samples = weights @ old samples."""

import numpy as np

# B-spline interpolation mirrors the samples about the outermost voxel centres, as ITK and SciPy ("mirror")
# do.


def axis_weights(
    old_length: int, positions: np.ndarray, order: int, smoothing: float = 0.0, dtype: type = np.float32
) -> np.ndarray:
    """Builds the interpolation matrix of one axis.

    Args:
        old_length: Number of samples along the axis.
        positions: Where to sample, in voxels of the old axis (0 is the centre of the first), `(new_length,)`.
            Positions up to half a voxel outside the outermost centres are meant; what lies further away gets
            the weights of the nearest such place.
        order: Degree of the B-spline: 1 linear, 2 quadratic, 3 cubic.
        smoothing: Standard deviation, in old voxels, of a Gaussian applied before sampling; 0 for none.
        dtype: Type of the result.

    Returns:
        Weights `(new_length, old_length)` whose rows sum to 1.

    Examples:
        >>> axis_weights(3, np.array([0.0, 1.25]), order=1).tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.75, 0.25]]
    """
    positions = np.clip(np.asarray(positions, dtype=np.float64), -0.5, old_length - 0.5)
    if order == 1:
        # Linear interpolation repeats the border voxel instead of mirroring.
        weights = _basis_matrix(old_length, np.clip(positions, 0, old_length - 1), 1)
    else:
        basis = _basis_matrix(old_length, positions, order)
        at_voxels = _basis_matrix(old_length, np.arange(old_length, dtype=np.float64), order)
        # Samples become spline coefficients by the inverse of the basis at the voxel centres.
        weights = np.linalg.solve(at_voxels.T, basis.T).T
    if smoothing > 0:
        weights = weights @ gaussian_matrix(old_length, smoothing)
    return weights.astype(dtype)


def gaussian_matrix(length: int, sigma: float) -> np.ndarray:
    """Builds the `(length, length)` matrix of a Gaussian of `sigma` voxels; borders repeat, rows sum to 1.

    Examples:
        >>> gaussian_matrix(3, 0.5).round(2).tolist()
        [[0.89, 0.11, 0.0], [0.11, 0.79, 0.11], [0.0, 0.11, 0.89]]
    """
    radius = max(1, int(np.ceil(4 * sigma)))
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    matrix = np.zeros((length, length))
    rows = np.arange(length)
    for offset, weight in zip(offsets, kernel, strict=True):
        np.add.at(matrix, (rows, np.clip(rows + offset, 0, length - 1)), weight)
    return matrix


def point_spread_sigma(old_spacing: float, new_spacing: float) -> float:
    """Returns the Gaussian, in old voxels, that turns the old voxel's point spread into the new one's.

    Both point spreads are taken as Gaussians whose full width at half maximum is the spacing (Cardoso et al.,
    "Scale factor point spread function matching", MICCAI 2015); 0 when the new voxels are not larger.

    Examples:
        >>> round(point_spread_sigma(1.0, 2.0), 3), point_spread_sigma(2.0, 1.0)
        (0.736, 0.0)
    """
    if new_spacing <= old_spacing * (1 + 1e-6):
        return 0.0
    variance = (new_spacing**2 - old_spacing**2) / (8 * np.log(2))
    return float(np.sqrt(variance) / old_spacing)


def _basis_matrix(length: int, positions: np.ndarray, order: int) -> np.ndarray:
    """Evaluates the mirrored B-spline basis at the positions; `(positions, length)`."""
    support = order + 1
    first = np.floor(positions - (order - 1) / 2).astype(np.int64)
    matrix = np.zeros((positions.size, length))
    rows = np.arange(positions.size)
    for step in range(support):
        index = first + step
        np.add.at(matrix, (rows, _mirrored(index, length)), _b_spline(positions - index, order))
    return matrix


def _mirrored(index: np.ndarray, length: int) -> np.ndarray:
    if length == 1:
        return np.zeros_like(index)
    period = 2 * (length - 1)
    folded = np.mod(index, period)
    return np.where(folded < length, folded, period - folded)


def _b_spline(offset: np.ndarray, order: int) -> np.ndarray:
    """Evaluates the centred B-spline of order 1, 2 or 3 (Unser 1999, "Splines: a perfect fit")."""
    distance = np.abs(offset)
    if order == 1:
        return np.maximum(1 - distance, 0)
    if order == 2:
        inner = 0.75 - distance**2
        outer = 0.5 * np.maximum(1.5 - distance, 0) ** 2
        return np.where(distance <= 0.5, inner, outer)
    inner = 2 / 3 - distance**2 + 0.5 * distance**3
    outer = np.maximum(2 - distance, 0) ** 3 / 6
    return np.where(distance <= 1, inner, outer)
