"""Whether two images lie on one grid of voxels, or at least in one place."""

from collections.abc import Sequence

import numpy as np

from sfgkeras.data.image_formats import times
from sfgkeras.data.nifti import Header
from sfgkeras.data.orientation import reorient

TOLERANCE = 1e-3  # mm between the corners of two grids that count as one
_TOLERANCE_VOXELS = 0.05  # of the smallest voxel side, where that is more: rounded quaternions cost 0.02

Grid = tuple[tuple[int, ...], np.ndarray]


def turned_grid(header: Header, axcodes: Sequence[str] | None) -> Grid:
    """Returns shape and affine of an image once its axes point as `axcodes` says; None turns nothing."""
    if axcodes is None:
        return header.shape[:3], header.affine
    turned, affine = reorient(np.broadcast_to(np.int8(0), header.shape[:3]), header.affine, axcodes)
    return turned.shape, affine


def is_same_grid(one: Grid, other: Grid) -> bool:
    """Says whether shapes are equal and no corner is further apart than 1e-3 mm or a twentieth of a voxel."""
    if one[0] != other[0]:
        return False
    apart = np.linalg.norm(((one[1] - other[1]) @ _corners(one[0]))[:3], axis=0).max()
    side = np.linalg.norm(other[1][:3, :3], axis=0).min()
    return bool(apart <= max(TOLERANCE, _TOLERANCE_VOXELS * side))


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
