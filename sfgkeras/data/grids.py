"""Whether two images lie on one grid of voxels, or at least in one place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sfgkeras.data.image_formats import times
from sfgkeras.data.nifti import Header
from sfgkeras.data.orientation import reorient

TOLERANCE = 1e-3
"""Millimetres between the corners of two grids that count as one."""
TOLERANCE_VOXELS = 0.05
"""The same as a part of the smallest voxel side, where that is more: rounded quaternions cost 0.02."""


@dataclass(frozen=True)
class Grid:
    """A voxel grid in space.

    Attributes:
        shape: Voxels along x, y, z.
        affine: Voxel indices to RAS mm, `(4, 4)`.
    """

    shape: tuple[int, ...]
    affine: np.ndarray

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm."""
        x, y, z = (float(size) for size in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z

    def is_same(self, other: "Grid") -> bool:
        """Says whether shapes are equal and no corner is further apart than 1e-3 mm or a twentieth of a voxel."""
        if tuple(self.shape) != tuple(other.shape):
            return False
        return self.distance(other) <= max(TOLERANCE, TOLERANCE_VOXELS * min(other.spacing))

    def distance(self, other: "Grid") -> float:
        """Returns the largest distance in mm between the same corner of two grids of one shape."""
        return float(np.linalg.norm(((self.affine - other.affine) @ _corners(self.shape))[:3], axis=0).max())

    def key(self) -> dict[str, Any]:
        """Returns what identifies the grid, as plain values."""
        return {"shape": list(self.shape), "affine": np.round(self.affine, 6).tolist()}


def turned_grid(header: Header, axcodes: Sequence[str] | None) -> Grid:
    """Returns the grid of an image once its axes point as `axcodes` says; None turns nothing."""
    if axcodes is None:
        return Grid(header.shape[:3], header.affine)
    # A one-bit stand-in of the same shape: only the geometry is of interest here.
    turned, affine = reorient(np.broadcast_to(np.int8(0), header.shape[:3]), header.affine, axcodes)
    return Grid(turned.shape, affine)


def resampled_shape(
    shape: Sequence[int], spacing: Sequence[float] | np.ndarray, wanted: Sequence[float] | np.ndarray
) -> tuple[int, int, int]:
    """Returns how many voxels of a wanted size cover the box of a grid: its extent by the size, rounded, at least 1.

    Exact halves go down, so that the last voxel's centre lies inside the old box.
    """
    ratio = np.asarray(wanted, float) / np.asarray(spacing, float)
    x, y, z = (max(1, int(count)) for count in np.floor(np.asarray(shape[:3]) / ratio + 0.5 - 1e-4))
    return x, y, z


def overlaps(one: Header, other: Header) -> bool:
    """Says whether the box around `one`, in voxels of `other`, meets the volume of `other`."""
    corners = np.linalg.solve(other.affine, one.affine @ _corners(one.shape))[:3]
    end = np.array(other.shape[:3]) - 0.5
    return bool(np.all(corners.max(axis=1) >= -0.5) and np.all(corners.min(axis=1) <= end))


def describe_grid(header: Header) -> str:
    """Words a grid, e.g. `384 x 384 x 19 voxels of 0.5 x 0.5 x 3 mm from (-98.2, 101.5, -31.0)`."""
    origin = ", ".join(f"{value:.1f}" for value in header.affine[:3, 3])
    spacing = times([round(size, 4) for size in header.spacing])
    return f"{times(header.shape)} voxels of {spacing} mm from ({origin})"


def _corners(shape: Sequence[int]) -> np.ndarray:
    """Returns the voxels at the eight corners, `(4, 8)`, homogeneous."""
    x, y, z = (np.array([0, length - 1]) for length in shape[:3])
    return np.stack([*(axis.ravel() for axis in np.meshgrid(x, y, z)), np.ones(8)])
