"""What is measured of a motion without truth: how well a moved frame explains another, and whether it folds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates

NAN = float("nan")


@dataclass(frozen=True)
class MovedFrame:
    """One frame, and the first one moved to it, where they are measured.

    Attributes:
        first: Values of the first frame, `(voxels,)`.
        frame: Of the other one.
        moved: Of the first one at x + u(x).
        lengths: Of the displacements u, in mm.
        volumes: Determinant of the Jacobian of x + u(x): how much of the first frame a voxel shows; below 0 it is
            turned inside out.
    """

    first: np.ndarray
    frame: np.ndarray
    moved: np.ndarray
    lengths: np.ndarray
    volumes: np.ndarray


def warp_volume(volume: np.ndarray, flow: np.ndarray, order: int = 1) -> np.ndarray:
    """Reads a volume at x + u(x); beyond its border the nearest voxel.

    Args:
        volume: `(x, y, z)`; a label map with order 0.
        flow: Displacements u in voxels, `(x, y, z, 3)`.
        order: Interpolation order.

    Examples:
        >>> warp_volume(np.arange(4.0).reshape(4, 1, 1), np.full((4, 1, 1, 3), (0.5, 0, 0))).ravel().tolist()
        [0.5, 1.5, 2.5, 3.0]
    """
    places = np.indices(volume.shape, np.float64) + np.moveaxis(np.asarray(flow, np.float64), -1, 0)
    return np.asarray(map_coordinates(volume, places, order=order, mode="nearest"))


def jacobian(flow: np.ndarray) -> np.ndarray:
    """Returns the determinant of the Jacobian of x + u(x) by central differences, `(x, y, z)`.

    Args:
        flow: Displacements u in voxels, `(x, y, z, 3)`; along an axis of one voxel nothing changes.

    Examples:
        >>> jacobian(np.zeros((3, 3, 1, 3))).min()
        1.0
    """
    matrix = np.tile(np.eye(3), (*flow.shape[:3], 1, 1))
    for axis, length in enumerate(flow.shape[:3]):
        if length > 1:
            matrix[..., axis] += np.gradient(np.asarray(flow, np.float64), axis=axis)
    return np.linalg.det(matrix)


def warped_mae(moved: MovedFrame) -> float:
    """Returns the mean absolute difference between a frame and the first one, moved; NaN of no voxels."""
    return float(np.abs(moved.moved - moved.frame).mean()) if moved.frame.size else NAN


def unmoved_mae(moved: MovedFrame) -> float:
    """Returns the mean absolute difference between a frame and the first one as it is; NaN of no voxels."""
    return float(np.abs(moved.first - moved.frame).mean()) if moved.frame.size else NAN


def displacement(moved: MovedFrame) -> float:
    """Returns the mean length of displacements in mm; NaN of no voxels."""
    return float(moved.lengths.mean()) if moved.lengths.size else NAN


def folding(moved: MovedFrame) -> float:
    """Returns the part of the voxels where the motion turns tissue inside out; NaN of no voxels."""
    return float((moved.volumes <= 0).mean()) if moved.volumes.size else NAN


def evaluate_motion(
    frames: np.ndarray,
    flow: np.ndarray,
    spacing: Sequence[float],
    measures: Mapping[str, Any],
    valid: np.ndarray,
    masks: Mapping[str, np.ndarray] | None = None,
) -> list[dict[str, Any]]:
    """Measures the motion of every frame after the first.

    Args:
        frames: `(x, y, z, frames)`.
        flow: Displacements in voxels, `(x, y, z, frames - 1, 3)`.
        spacing: Voxel size in mm.
        measures: Functions of a `MovedFrame` by name.
        valid: Voxels that count, `(x, y, z)`.
        masks: Regions by name, bool `(x, y, z)`, each measured once more.

    Returns:
        One row per frame and region: `region` (`frame 2`, or `frame 2: <name>`), `num_voxels`, and every measure.
    """
    rows = []
    for frame in range(1, frames.shape[-1]):
        displaced = flow[..., frame - 1, :]
        moved = warp_volume(frames[..., 0], displaced)
        lengths = np.linalg.norm(displaced * np.asarray(spacing), axis=-1)
        volumes = jacobian(displaced)
        for name, region in {"": valid, **{key: valid & mask for key, mask in (masks or {}).items()}}.items():
            found = MovedFrame(*(a[region] for a in (frames[..., 0], frames[..., frame], moved, lengths, volumes)))
            place = f"frame {frame + 1}: {name}" if name else f"frame {frame + 1}"
            values = {measure: function(found) for measure, function in measures.items()}
            rows.append({"region": place, "num_voxels": int(region.sum()), **values})
    return rows
