"""How far predicted landmarks are from true ones, in mm."""

from collections.abc import Sequence

import numpy as np


def distances(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Returns how far points are from each other, `(...)` of `(..., rank)`; NaN where one is not known.

    Raises:
        ValueError: If the shapes differ.

    Examples:
        >>> distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])).tolist()
        [5.0]
    """
    truth, prediction = np.asarray(truth, np.float64), np.asarray(prediction, np.float64)
    if truth.shape != prediction.shape:
        raise ValueError(f"prediction of shape {prediction.shape} does not fit truth of shape {truth.shape}")
    return np.linalg.norm(prediction - truth, axis=-1)


def lengths(points: np.ndarray, ends: Sequence[tuple[int, int]]) -> np.ndarray:
    """Returns the distances between pairs of points, `(..., lengths)`; NaN where one of them is not known.

    Args:
        points: `(..., points, rank)`.
        ends: The two points of every length, by their places.

    Examples:
        >>> lengths(np.array([[0.0, 0.0], [1.0, 1.0], [3.0, 4.0]]), [(0, 2)]).tolist()
        [5.0]
    """
    points = np.asarray(points, np.float64)
    first, second = ([pair[side] for pair in ends] for side in (0, 1))
    return np.asarray(np.linalg.norm(points[..., second, :] - points[..., first, :], axis=-1))


def length_error(found: np.ndarray, tolerance: float) -> np.ndarray:
    """Returns the size of differences of lengths; `tolerance` has no say."""
    return np.abs(found)


def radial_error(found: np.ndarray, tolerance: float) -> np.ndarray:
    """Returns distances as they are; `tolerance` has no say."""
    return np.asarray(found)


def detection_rate(found: np.ndarray, tolerance: float) -> np.ndarray:
    """Returns 1 for every distance up to a tolerance and 0 for those above; NaN stays NaN.

    Examples:
        >>> detection_rate(np.array([1.0, 3.0, np.nan]), 2.0).tolist()
        [1.0, 0.0, nan]
    """
    found = np.asarray(found)
    return np.where(np.isnan(found), np.nan, found <= tolerance)
