"""Which voxels a target knows something about: one answer for losses, validation, evaluation and the report.

Outside is what the target's image does not cover, and what it marks as outside the scanner's field of view. There a CT
is air, so that nothing bleeds into the patient when it is resampled, and nothing is learned or measured.
"""

from typing import Any

import numpy as np

from sfgkeras.preprocessing.ct import AIR, padding_value
from sfgkeras.preprocessing.resampling import resample_like

WHOLLY_KNOWN = 1 - 1e-3
"""What linear interpolation of a mask gives where all of its neighbours are inside, to rounding."""


def fill_value(source: Any) -> float:
    """Returns what a source holds beyond its image: `padding_value`, else air for a CT and 0 for all else."""
    if source.padding_value is not None:
        return float(source.padding_value)
    return AIR if source.scaling == "ct" else 0.0


def marked_outside(array: np.ndarray, source: Any) -> np.ndarray | None:
    """Returns the voxels that a real-valued image marks as outside, `(x, y, z)`; None if there are none.

    Args:
        array: The image as its file holds it, `(x, y, z)` or `(x, y, z, channels)`.
        source: The settings of its input section.
    """
    value = source.outside
    if value == "auto":
        value = padding_value(array) if source.scaling == "ct" else None
    if value in (None, "none"):
        return None
    outside = array == value
    if outside.ndim == 4:
        outside = outside.all(axis=-1)
    return outside if outside.any() else None


def outside_of(task: Any, array: np.ndarray, source: Any) -> np.ndarray | None:
    """Returns the voxels of a task's target as read that it knows nothing of, `(x, y, z)`; None if there are none.

    Args:
        task: A `VoxelTarget`, which may know such voxels itself.
        array: The target as its file holds it, `(x, y, z)` or `(x, y, z, channels)`.
        source: The settings of its input section.
    """
    found = [mask for mask in (marked_outside(array, source), task.unknown(array)) if mask is not None and mask.any()]
    return np.logical_or.reduce(found) if found else None


def put_air(array: np.ndarray, outside: np.ndarray | None, source: Any) -> np.ndarray:
    """Returns the image with what its section holds beyond it in place of the marks; the image itself without any."""
    if outside is None:
        return array
    return np.where(outside if array.ndim == 3 else outside[..., None], array.dtype.type(fill_value(source)), array)


def known_on(
    outside: np.ndarray | None,
    shape: tuple[int, ...],
    affine: np.ndarray,
    onto_shape: tuple[int, ...],
    onto_affine: np.ndarray,
) -> np.ndarray:
    """Returns the voxels of a grid that an image knows something about, `(x, y, z)` bool.

    Args:
        outside: What the image marks, on its own grid; None for nothing.
        shape: The image's grid, its first three numbers count.
        affine: The same, voxel to RAS mm.
        onto_shape: The wanted grid.
        onto_affine: The same.
    """
    if outside is None:
        covered = np.broadcast_to(np.uint8(1), shape[:3])
        return resample_like(covered, affine, onto_shape, onto_affine, 0, fill=0) > 0
    # Linear, whatever the image's own order: next to a mark interpolation mixes in what the mark stands for.
    inside = (~outside).astype(np.float32)
    return resample_like(inside, affine, onto_shape, onto_affine, 1, fill=0) > WHOLLY_KNOWN
