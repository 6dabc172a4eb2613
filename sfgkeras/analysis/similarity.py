"""Structural similarity of a prediction and the truth (Wang et al. 2004), in planes and volumes."""

import numpy as np
from scipy.ndimage import gaussian_filter1d, minimum_filter1d

SIGMA, RADIUS = 1.5, 5
"""The window of Wang et al.: a Gaussian over 11 voxels."""
K1, K2 = 0.01, 0.03


def similarity_map(
    truth: np.ndarray, prediction: np.ndarray, data_range: float, valid: np.ndarray | None = None
) -> np.ndarray:
    """Computes the structural similarity index around every voxel (Wang, Bovik, Sheikh, Simoncelli 2004, eq. 13).

    The window extends along every axis of at least 11 voxels: a volume of few slices is compared slice by slice, as in
    the paper. Intensities are counted from the lowest of the truth, for the index compares ratios of local means, and
    Hounsfield units have no natural zero.

    Args:
        truth: `(x, y, z)`, or fewer axes.
        prediction: The same shape.
        data_range: The range of intensities, L of the paper.
        valid: Where the truth is known, bool of the same shape; None for everywhere.

    Returns:
        The index, at most 1, of the truth's shape, float32; NaN where the window reaches beyond what is valid or the
        image, and everywhere if no axis is long enough or the range is 0.
    """
    result = np.full(truth.shape, np.nan, np.float32)
    axes = [axis for axis, length in enumerate(truth.shape) if length > 2 * RADIUS]
    valid = np.ones(truth.shape, bool) if valid is None else valid
    if not axes or not data_range > 0 or not valid.any():
        return result
    lowest = float(truth[valid].min())
    # Slabs along one axis, each with its neighbours: no more than a few planes of float64 are in memory at a time.
    along = max(axes, key=lambda axis: truth.shape[axis])
    parts = [np.moveaxis(array, along, 0) for array in (truth, prediction, valid, result)]
    axes = [0, *(axis + (axis < along) for axis in axes if axis != along)]
    length, step = truth.shape[along], max(RADIUS, (1 << 21) // max(1, truth.size // truth.shape[along]))
    for first in range(RADIUS, length - RADIUS, step):
        last = min(first + step, length - RADIUS)
        true, predicted, known = (part[first - RADIUS : last + RADIUS] for part in parts[:3])
        index = _index(true - lowest, predicted - lowest, data_range, axes)
        usable = known
        for axis in axes:
            usable = minimum_filter1d(usable, 2 * RADIUS + 1, axis=axis, mode="constant", cval=0)
        parts[3][first:last] = np.where(usable, index, np.nan)[RADIUS:-RADIUS]
    return result


def _index(truth: np.ndarray, prediction: np.ndarray, data_range: float, axes: list[int]) -> np.ndarray:
    """Returns eq. 13 with C1 = (K1 L)^2 and C2 = (K2 L)^2, float64."""

    def local_mean(values: np.ndarray) -> np.ndarray:
        for axis in axes:
            values = gaussian_filter1d(values, SIGMA, axis=axis, radius=RADIUS)
        return values

    x, y = np.asarray(truth, np.float64), np.asarray(prediction, np.float64)
    mean_x, mean_y = local_mean(x), local_mean(y)
    variances = local_mean(x * x) - mean_x**2 + local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    means = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return means * (2 * covariance + c2) / (variances + c2)


def mean_similarity(values: np.ndarray) -> float:
    """Averages the index over the voxels of a region where it is defined; NaN where it is nowhere."""
    values = values[~np.isnan(values)]
    return float(values.mean(dtype=np.float64)) if values.size else float("nan")
