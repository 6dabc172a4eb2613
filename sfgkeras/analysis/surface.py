"""Distances between the surfaces of two masks, in mm.

A voxel belongs to the surface of a mask if one of its face neighbours (6 in a volume, 4 in a slice) lies
outside the mask or outside the image. Distances run between voxel centres. Axes of length one are ignored,
so that a single slice is measured in its plane.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt, generate_binary_structure


@dataclass(frozen=True)
class SurfaceDistances:
    """Directed distances between two surfaces.

    Attributes:
        to_prediction: For every surface voxel of the truth, the distance to the nearest one of the
            prediction, in mm; empty if either surface is.
        to_truth: The reverse.
        num_empty: How many of the two masks are empty.
    """

    to_prediction: np.ndarray
    to_truth: np.ndarray
    num_empty: int

    def undefined(self) -> float | None:
        """Returns infinity if one mask is empty, NaN if both are, None if neither is."""
        return (None, float("inf"), float("nan"))[self.num_empty]


def surface(mask: np.ndarray) -> np.ndarray:
    """Returns the voxels of a mask that have a face neighbour outside of it, as a mask of the same shape."""
    return mask & ~binary_erosion(mask, generate_binary_structure(mask.ndim, 1))


def surface_distances(truth: np.ndarray, prediction: np.ndarray, spacing: Sequence[float]) -> SurfaceDistances:
    """Measures the distances between the surfaces of two masks.

    Args:
        truth: Boolean mask, `(x, y)` or `(x, y, z)`.
        prediction: Boolean mask of the same shape.
        spacing: Voxel size in mm, one number per axis.

    Raises:
        ValueError: If the shapes or the number of spacings do not fit.
    """
    if truth.shape != prediction.shape or len(spacing) != truth.ndim:
        raise ValueError(
            f"truth of shape {truth.shape}, prediction of shape {prediction.shape} and spacing "
            f"{tuple(spacing)} do not fit"
        )
    truth, prediction = truth.astype(bool), prediction.astype(bool)
    num_empty = int(not truth.any()) + int(not prediction.any())
    if num_empty:
        return SurfaceDistances(np.empty(0), np.empty(0), num_empty)
    kept = [axis for axis, length in enumerate(truth.shape) if length > 1] or [0]
    dropped = tuple(axis for axis in range(truth.ndim) if axis not in kept)
    truth, prediction = truth.squeeze(dropped), prediction.squeeze(dropped)
    box = _bounding_box(truth | prediction)
    surfaces = surface(truth)[box], surface(prediction)[box]
    sampling = [float(spacing[axis]) for axis in kept]
    to_prediction = distance_transform_edt(~surfaces[1], sampling=sampling)[surfaces[0]]
    to_truth = distance_transform_edt(~surfaces[0], sampling=sampling)[surfaces[1]]
    return SurfaceDistances(to_prediction, to_truth, 0)


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Returns the smallest box that holds all voxels of a mask; beyond it no distance starts or ends."""
    box = []
    for axis in range(mask.ndim):
        hits = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        box.append(slice(hits[0], hits[-1] + 1))
    return tuple(box)


def average_distance(distances: SurfaceDistances) -> float:
    """Averages all surface voxels of both masks: the average symmetric surface distance, in mm.

    Returns:
        The mean; infinity if one mask is empty, NaN if both are.
    """
    undefined = distances.undefined()
    if undefined is not None:
        return undefined
    return float(np.concatenate([distances.to_prediction, distances.to_truth]).mean())


def hausdorff(distances: SurfaceDistances) -> float:
    """Returns the largest distance in either direction, in mm (Hausdorff).

    Returns:
        The distance; infinity if one mask is empty, NaN if both are.
    """
    undefined = distances.undefined()
    if undefined is not None:
        return undefined
    return float(max(distances.to_prediction.max(), distances.to_truth.max()))


def hausdorff95(distances: SurfaceDistances) -> float:
    """Returns the larger of the two directions' 95th percentiles, in mm.

    Returns:
        The distance; infinity if one mask is empty, NaN if both are.
    """
    undefined = distances.undefined()
    if undefined is not None:
        return undefined
    return float(max(np.percentile(distances.to_prediction, 95), np.percentile(distances.to_truth, 95)))
