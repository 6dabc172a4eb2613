"""Points and boxes that move with what shows them: pure functions of positions.

Positions count voxels, and whole numbers are the centres of voxels: n voxels reach from -0.5 to n - 0.5. A box is its
low and its high corner in one row, `(2 * rank,)`. What is not known, or not in sight, is NaN.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

Move = Callable[[np.ndarray], np.ndarray]
"""Takes points `(n, rank)` of one grid to another, `(n, other rank)`."""


def box_corners(box: np.ndarray) -> np.ndarray:
    """Returns all corners of a box, `(2^rank, rank)` of `(2 * rank,)`.

    Examples:
        >>> box_corners(np.array([0, 1, 2, 3])).tolist()
        [[0, 1], [0, 3], [2, 1], [2, 3]]
    """
    low, high = np.split(np.asarray(box), 2)
    return np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), axis=-1).reshape(-1, len(low))


def hull(points: np.ndarray) -> np.ndarray:
    """Returns the smallest box along the axes around points, `(2 * rank,)` of `(n, rank)`; NaN if one is unknown.

    Examples:
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

    Examples:
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

    Examples:
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
        affine: Voxels of the array to mm, `(4, 4)`.
    """

    shape: tuple[int, int, int]
    axes: tuple[int, int, int] = (0, 1, 2)
    affine: np.ndarray = field(default_factory=lambda: np.eye(4), compare=False)

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size in mm along the axes of the array, `(3,)`; of a photo, which has none, 1."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    def points_in_voxels(self, points: np.ndarray, units: str = "mm") -> np.ndarray:
        """Returns points of a file in voxels of the array, `(n, 3)`; in 2-D they lie in the first slice.

        In 3-D mm are those of the image's space. In 2-D they count from the outer edge of the image along x and y, as
        pixels do.

        Args:
            points: `(n, rank)`.
            units: `pixels`, `fractions` (of the image) or `mm`.

        Examples:
            >>> Frame((100, 200, 1), (1, 0, 2)).points_in_voxels(np.array([[10.5, 20.5]]), "pixels").tolist()
            [[20.0, 10.0, 0.0]]
        """
        points = np.asarray(points, np.float64)
        rank = points.shape[1]
        if units == "mm" and rank == 3:
            return points_between(np.eye(4), self.affine)(points)
        axes = list(self.axes[:rank])
        sizes = {"pixels": np.ones(3), "fractions": np.array(self.shape, np.float64), "mm": 1 / self.spacing}[units]
        voxels = np.zeros((len(points), 3))
        voxels[:, axes] = points * sizes[axes] - 0.5
        return voxels

    def points_as_written(self, voxels: np.ndarray, rank: int) -> np.ndarray:
        """Undoes `points_in_voxels`: returns points `(n, rank)` in mm."""
        voxels = np.asarray(voxels, np.float64)
        if rank == 3:
            return points_between(self.affine, np.eye(4))(voxels)
        axes = list(self.axes[:rank])
        return np.asarray((voxels[:, axes] + 0.5) * self.spacing[axes])

    def box_in_voxels(self, numbers: np.ndarray, fractions: bool = False) -> np.ndarray:
        """Returns a box of a file in voxels of the array, `(6,)`; one in 2-D goes through all slices.

        Args:
            numbers: x_min, y_min, x_max, y_max, or the same with z, `(2 * rank,)`.
            fractions: Whether they are fractions of the image rather than voxels.

        Examples:
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
