"""Points and boxes that move with what shows them: pure functions of positions.

Positions count voxels, and whole numbers are the centres of voxels: n voxels reach from -0.5 to n - 0.5. A box is its
low and its high corner in one row, `(2 * rank,)`. What is not known, or not in sight, is NaN.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Move = Callable[[np.ndarray], np.ndarray]
"""Takes points `(n, rank)` of one grid to another, `(n, other rank)`."""


def box_corners(box: np.ndarray) -> np.ndarray:
    """Returns all corners of a box, `(2^rank, rank)` of `(2 * rank,)`.

    Example:
        >>> box_corners(np.array([0, 1, 2, 3])).tolist()
        [[0, 1], [0, 3], [2, 1], [2, 3]]
    """
    low, high = np.split(np.asarray(box), 2)
    return np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), axis=-1).reshape(-1, len(low))


def hull(points: np.ndarray) -> np.ndarray:
    """Returns the smallest box along the axes around points, `(2 * rank,)` of `(n, rank)`; NaN if one is unknown.

    Example:
        >>> hull(np.array([[0, 3], [2, 1]])).tolist()
        [0, 1, 2, 3]
    """
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def moved_box(box: np.ndarray, move: Move) -> np.ndarray:
    """Returns the box along the axes around the moved corners of a box, `(2 * other rank,)`.

    Of a box that is turned by an angle other than quarters this is more than the part of the image that it holds.
    """
    return hull(move(box_corners(box)))


def in_fractions(points: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Returns where points lie in a window: 0 at its first edge, 1 at its last one, along each axis.

    Args:
        points: Positions in voxels of the window, `(..., rank)`.
        size: Its voxels along each axis.

    Example:
        >>> in_fractions(np.array([[-0.5, 0.0], [3.5, 1.5]]), (4, 2)).tolist()
        [[0.0, 0.25], [1.0, 1.0]]
    """
    return (np.asarray(points, np.float64) + 0.5) / np.asarray(size)


def from_fractions(fractions: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Undoes `in_fractions`."""
    return np.asarray(fractions, np.float64) * np.asarray(size) - 0.5


def visible_box(box: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Returns the part of a box that a window shows, in fractions of the window, `(2 * rank,)`.

    Args:
        box: In voxels of the window, `(2 * rank,)`.
        size: Its voxels along each axis.

    Returns:
        From 0 to 1; all NaN where nothing of the box is in the window.

    Example:
        >>> visible_box(np.array([-2.5, 0.5, 1.5, 9.5]), (4, 4)).tolist()
        [0.0, 0.25, 0.5, 1.0]
    """
    low, high = np.clip(in_fractions(np.reshape(box, (2, -1)), size), 0.0, 1.0)
    return np.concatenate([low, high]) if np.all(low < high) else np.full(2 * len(low), np.nan)


def points_between(affine: np.ndarray, onto: np.ndarray) -> Move:
    """Returns what takes points `(n, 3)` of one grid to the place of the same millimetres on another.

    Args:
        affine: Voxels of the first grid to mm, `(4, 4)`.
        onto: The same of the other grid.
    """
    between = np.linalg.solve(onto, affine)
    return lambda points: np.asarray(points, np.float64) @ between[:3, :3].T + between[:3, 3]


@dataclass(frozen=True)
class Frame:
    """How files count places in a subject's own image: from the outer corner of its first voxel on.

    Attributes:
        shape: Voxels along the axes of the array.
        axes: The array's axes of x, y and z. In a photo x runs along the columns and y down the rows.
    """

    shape: tuple[int, int, int]
    axes: tuple[int, int, int] = (0, 1, 2)

    def box_in_voxels(self, numbers: np.ndarray, fractions: bool = False) -> np.ndarray:
        """Returns a box of a file in voxels of the array, `(6,)`; one in 2-D goes through all slices.

        Args:
            numbers: x_min, y_min, x_max, y_max, or the same with z, `(2 * rank,)`.
            fractions: Whether they are fractions of the image rather than voxels.

        Example:
            >>> Frame((100, 200, 1), (1, 0, 2)).box_in_voxels(np.array([10, 20, 30, 60])).tolist()
            [19.5, 9.5, -0.5, 59.5, 29.5, 0.5]
        """
        edges = np.reshape(np.asarray(numbers, np.float64), (2, -1)) * (self._extents(len(numbers)) if fractions else 1)
        box = np.array([np.zeros(3), self.shape], np.float64)
        box[:, list(self.axes[: edges.shape[1]])] = edges
        return np.ravel(box - 0.5)

    def box_as_written(self, box: np.ndarray, rank: int) -> np.ndarray:
        """Undoes `box_in_voxels`: returns the numbers of a box of rank 2 or 3, in voxels."""
        return np.ravel(np.reshape(box, (2, 3))[:, list(self.axes[:rank])] + 0.5)

    def _extents(self, count: int) -> np.ndarray:
        return np.array([self.shape[axis] for axis in self.axes[: count // 2]], np.float64)
