"""Grouping probabilities on the 2-simplex: bins, smoothed densities, and where a point lies in the drawn triangle.

The bins are the points of a triangular lattice with `num_bins` steps along each side, so that the corners (and, where 3
divides `num_bins`, the centre) are bins of their own and all distances are the same in every direction.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

NUM_BINS = 30
# Where the corners are drawn: first task left, second task right, shared (or the rest) on top.
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])


@dataclass(frozen=True)
class SimplexView:
    """Three of the groups' probabilities, or two and the rest: what one triangle shows.

    Attributes:
        corners: Names of the corners: left, right, top.
        pair: The tasks of the first two corners, by number.
    """

    corners: tuple[str, str, str]
    pair: tuple[int, int]

    def project(self, probabilities: np.ndarray) -> np.ndarray:
        """Returns `(p_a, p_b, 1 - p_a - p_b)`, `(..., 3)`, of probabilities `(..., groups)`."""
        probabilities = np.asarray(probabilities, np.float64)
        first, second = (probabilities[..., task] for task in self.pair)
        return np.stack([first, second, np.clip(1.0 - first - second, 0.0, 1.0)], axis=-1)


def simplex_views(group_names: Sequence[str]) -> list[SimplexView]:
    """Returns a view per pair of tasks; with two tasks its third corner is the shared group, else all other groups.

    Args:
        group_names: The tasks, then `shared`. One task has no triangle: the list is empty.
    """
    tasks = range(len(group_names) - 1)
    rest = group_names[-1] if len(tasks) == 2 else "all others"
    return [SimplexView((group_names[a], group_names[b], rest), (a, b)) for a, b in itertools.combinations(tasks, 2)]


def simplex_bins(num_bins: int = NUM_BINS) -> np.ndarray:
    """Returns the centres of all bins as barycentric coordinates, `((n + 1) (n + 2) / 2, 3)`.

    Raises:
        ValueError: If there is no bin.
    """
    if num_bins < 1:
        raise ValueError(f"num_bins = {num_bins}: the side of a triangle needs at least one step")
    steps = [(i, j, num_bins - i - j) for i in range(num_bins + 1) for j in range(num_bins + 1 - i)]
    return np.array(steps, np.float64) / num_bins


def nearest_bins(points: np.ndarray, num_bins: int = NUM_BINS) -> np.ndarray:
    """Returns for every point of the simplex `(n, 3)` the index of its bin in `simplex_bins`."""
    scaled = np.asarray(points, np.float64) * num_bins
    rounded = np.rint(scaled)
    # Rounded coordinates may miss the sum by one: the one that was rounded furthest makes up for it.
    worst = np.abs(rounded - scaled).argmax(axis=-1)
    rows = np.arange(len(rounded))
    rounded[rows, worst] += num_bins - rounded.sum(axis=-1)
    i = np.clip(rounded[:, 0], 0, num_bins).astype(int)
    return _bin_index(i, np.clip(rounded[:, 1], 0, num_bins - i).astype(int), num_bins)


def _bin_index(i: Any, j: Any, num_bins: int) -> Any:
    """Returns the place in `simplex_bins` of step i towards the first corner and j towards the second."""
    # Row i begins after those of 0 .. i - 1, of n + 1, n, .. bins.
    return i * (num_bins + 1) - i * (i - 1) // 2 + j


def simplex_density(points: np.ndarray, num_bins: int = NUM_BINS, sigma: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Returns a smoothed histogram over the triangle (Bragman et al. 2019, figure of the learned groups).

    The Gaussian of every count is cut off at the sides and made to sum to 1 again: no mass leaves the simplex.

    Args:
        points: Points of the simplex, `(n, 3)`.
        num_bins: Steps along a side.
        sigma: Standard deviation of the Gaussian in bins; 0 does not smooth.

    Returns:
        The share of the points in every bin, `(bins,)`, which sums to 1 (to 0 without points), and the bins as
        `simplex_bins` gives them.

    Raises:
        ValueError: If a point is not on the simplex.
    """
    points = np.asarray(points, np.float64).reshape(-1, 3)
    if points.size and (np.abs(points.sum(axis=1) - 1).max() > 1e-3 or points.min() < -1e-3):
        raise ValueError(f"points must be probabilities (p_a, p_b, p_c); received {points[0]} and others")
    bins = simplex_bins(num_bins)
    counts = np.bincount(nearest_bins(points, num_bins), minlength=len(bins)) / max(len(points), 1)
    if sigma <= 0:
        return counts, bins
    places = to_plane(bins) * num_bins
    occupied = np.flatnonzero(counts)
    squares = ((places[:, None] - places[None, occupied]) ** 2).sum(axis=-1)
    kernels = np.exp(-0.5 * squares / sigma**2)
    return (kernels / kernels.sum(axis=0)) @ counts[occupied], bins


def to_plane(points: np.ndarray) -> np.ndarray:
    """Returns where barycentric points `(..., 3)` are drawn, `(..., 2)`: a triangle of side 1."""
    return np.asarray(points, np.float64) @ CORNERS


def bin_triangles(num_bins: int = NUM_BINS) -> np.ndarray:
    """Returns the small triangles between neighbouring bins as indices into `simplex_bins`, `(num_bins ** 2, 3)`."""
    upright, inverted = [], []
    for i, j in itertools.product(range(num_bins), repeat=2):
        right, left = _bin_index(i + 1, j, num_bins), _bin_index(i, j + 1, num_bins)
        if i + j < num_bins:
            upright.append((_bin_index(i, j, num_bins), right, left))
        if i + j < num_bins - 1:
            inverted.append((right, left, _bin_index(i + 1, j + 1, num_bins)))
    return np.array(upright + inverted)
