"""Inverts a dense map of positions: which place of a window shows a given point of the volume?

An elastic deformation has no inverse in closed form. The nearest voxel of the window is a first guess, which Newton's
method on the linearly interpolated positions brings down to a fraction of a voxel. Beyond the window's rim, where the
map is not known, it goes on as it is there.
"""

import numpy as np

STEPS = 10
"""Newton steps at most; three or four are enough where the map is smooth."""

CLOSE = 1e-4
"""Voxels of the volume from which on a place counts as found."""


def places_showing(positions: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Returns the places of a window that show points of the volume.

    Where the map folds and a point is shown twice, or not at all, this is one of the places, or the voxel that shows
    the nearest point.

    Args:
        positions: What each voxel of the window shows, in voxels of the volume, `(rank, *size)`.
        points: Points of the volume, `(n, rank)`.

    Returns:
        Places in voxels of the window, `(n, rank)`; NaN for points that are NaN.
    """
    return np.array([_place(positions, point) for point in np.asarray(points, np.float64)]).reshape(points.shape)


def _place(positions: np.ndarray, point: np.ndarray) -> np.ndarray:
    if not np.all(np.isfinite(point)):
        return np.full(len(point), np.nan)
    size = positions.shape[1:]
    distance = sum((known - value) ** 2 for known, value in zip(positions, point, strict=True))
    nearest = np.array(np.unravel_index(np.argmin(distance), size), np.float64)
    last = np.array(size) - 1.0
    place = nearest
    for _ in range(STEPS):
        shown, jacobian = _interpolated(positions, place)
        step = _newton_step(jacobian, point - shown)
        if step is None:
            return nearest
        if np.linalg.norm(point - shown) < CLOSE:
            return place
        further = np.clip(place + step, 0.0, last)
        if np.array_equal(further, place):  # at the rim, and the point lies beyond it
            return place + step
        place = further
    shown, jacobian = _interpolated(positions, place)
    at_rim = bool(np.any((place == 0) | (place == last)))
    step = _newton_step(jacobian, point - shown)
    return place + step if at_rim and step is not None else nearest


def _newton_step(jacobian: np.ndarray, residual: np.ndarray) -> np.ndarray | None:
    """Returns the step that a linear map would need; None where the map is folded flat."""
    try:
        step = np.linalg.solve(jacobian, residual)
    except np.linalg.LinAlgError:
        return None
    return step if np.all(np.isfinite(step)) else None


def _interpolated(positions: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interpolates positions linearly; returns the value `(rank,)` and its derivatives `(rank, rank)`."""
    size = np.array(positions.shape[1:])
    first = np.clip(np.floor(place).astype(int), 0, np.maximum(size - 2, 0))
    cell = positions[(slice(None), *(slice(start, start + 2) for start in first))]
    fractions = place - first
    value, jacobian = cell, []
    for axis in range(len(size)):
        jacobian.append(_weighted(np.diff(cell, axis=axis + 1), fractions, skip=axis))
    return _weighted(value, fractions), np.stack(jacobian, axis=1)


def _weighted(cell: np.ndarray, fractions: np.ndarray, skip: int | None = None) -> np.ndarray:
    """Sums the corners of a cell `(rank, 2, 2, ..)` with the weights of linear interpolation, but along one axis."""
    for axis in range(len(fractions) - 1, -1, -1):
        weights = np.ones(1) if axis == skip else np.array([1.0 - fractions[axis], fractions[axis]])
        cell = np.tensordot(cell, weights, axes=(axis + 1, 0))
    return cell
