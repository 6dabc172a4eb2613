"""From heat maps to positions: pure functions of arrays."""

import numpy as np


def locate(heat_maps: np.ndarray) -> np.ndarray:
    """Finds the peak of every heat map, between voxels.

    The logarithms of the largest voxel and its neighbours are those of a parabola along each axis, whose top it takes:
    exact where the map is a Gaussian.

    Args:
        heat_maps: `(x, y, z, landmarks)`.

    Returns:
        Position in voxels and the value of the largest voxel, `(landmarks, 4)` float64.

    Examples:
        >>> x = np.arange(9.0)
        >>> maps = np.exp(-0.5 * (x - 3.3) ** 2).reshape(9, 1, 1, 1)
        >>> locate(maps)[0, :3].round(6).tolist()
        [3.3, 0.0, 0.0]
    """
    maps = np.asarray(heat_maps)
    shape = maps.shape[:3]
    found = np.empty((maps.shape[3], 4))
    for number in range(maps.shape[3]):
        one = maps[..., number]
        peak = np.unravel_index(int(np.argmax(one)), shape)
        found[number, :3] = [place + _beside(one, peak, axis) for axis, place in enumerate(peak)]
        found[number, 3] = one[peak]
    return found


def _beside(one: np.ndarray, peak: tuple[np.intp, ...], axis: int) -> float:
    """Returns how far beside the largest voxel the top of the parabola lies along an axis, half a voxel at most."""
    place = int(peak[axis])
    if not 0 < place < one.shape[axis] - 1:
        return 0.0
    before, middle, behind = (
        float(one[(*peak[:axis], place + step, *peak[axis + 1 :])]) for step in (-1, 0, 1)
    )  # fmt: skip
    if min(before, middle, behind) <= 0:
        return 0.0
    low, top, high = np.log([before, middle, behind])
    curvature = low - 2 * top + high
    return float(np.clip(0.5 * (low - high) / curvature, -0.5, 0.5)) if curvature < 0 else 0.0
