"""The surface Dice coefficient: how much of two surfaces lies within a tolerance of the other (Nikolov et al. 2018)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt


class SurfaceElements(NamedTuple):
    """The surfaces of truth and prediction as small elements.

    Attributes:
        areas: For both: the area of every element in mm^2 (in a plane its length in mm).
        distances: For both: the distance of every element to the other surface in mm; infinite where that is empty.
        tolerance: Distance in mm up to which a deviation is taken for agreement.
    """

    areas: tuple[np.ndarray, np.ndarray]
    distances: tuple[np.ndarray, np.ndarray]
    tolerance: float


def surface_dice(elements: SurfaceElements) -> float:
    """Returns the part of both surfaces, by area, that lies within the tolerance of the other one.

    Returns:
        The surface Dice coefficient at the tolerance (Nikolov et al. 2018, eq. 1); 0 if one mask is empty, NaN if both
        are.
    """
    total = sum(float(areas.sum()) for areas in elements.areas)
    if total == 0:
        return float("nan")
    near = sum(
        float(areas[distances <= elements.tolerance].sum())
        for areas, distances in zip(elements.areas, elements.distances, strict=True)
    )
    return near / total


def surface_elements(
    truth: np.ndarray, prediction: np.ndarray, spacing: Sequence[float], tolerance: float
) -> SurfaceElements:
    """Divides the surfaces of two masks into elements and measures how far each is from the other surface.

    An element lies between neighbouring voxel centres, eight in a volume and four in a plane, that are neither all in
    nor all out. Its area is that of a plane through them: their volume times the length of the mask's gradient. It is
    exact for surfaces along the axes and for diagonal ones. Axes of length one are ignored.

    Args:
        truth: Boolean mask, `(x, y)` or `(x, y, z)`.
        prediction: Boolean mask of the same shape.
        spacing: Voxel size in mm, one number per axis.
        tolerance: In mm.

    Raises:
        ValueError: If the shapes or the number of spacings do not fit.
    """
    if truth.shape != prediction.shape or len(spacing) != truth.ndim:
        raise ValueError(
            f"truth of shape {truth.shape}, prediction of shape {prediction.shape} and spacing "
            f"{tuple(spacing)} do not fit"
        )
    kept = [axis for axis, length in enumerate(truth.shape) if length > 1] or [0]
    dropped = tuple(axis for axis in range(truth.ndim) if axis not in kept)
    sizes = [float(spacing[axis]) for axis in kept]
    masks = [np.asarray(mask, bool).squeeze(dropped) for mask in (truth, prediction)]
    either = masks[0] | masks[1]
    box = []
    for axis in range(either.ndim):
        hits = np.flatnonzero(either.any(axis=tuple(a for a in range(either.ndim) if a != axis)))
        box.append(slice(hits[0], hits[-1] + 1) if hits.size else slice(0, 1))
    # A margin: where a mask touches the edge of the image, it ends there.
    areas = [_areas(np.pad(mask[tuple(box)], 1), sizes) for mask in masks]
    borders = [values > 0 for values in areas]
    distances = [
        distance_transform_edt(~border, sampling=sizes) if border.any() else np.full(border.shape, np.inf)
        for border in borders
    ]
    of_each = [(areas[i][borders[i]], distances[1 - i][borders[i]]) for i in (0, 1)]
    return SurfaceElements((of_each[0][0], of_each[1][0]), (of_each[0][1], of_each[1][1]), tolerance)


def _areas(mask: np.ndarray, sizes: Sequence[float]) -> np.ndarray:
    """Returns the area of the surface between the centres of neighbouring voxels, one less along each axis."""
    values = mask.astype(np.float32)
    squared = np.zeros(tuple(length - 1 for length in mask.shape), np.float32)
    for axis, size in enumerate(sizes):
        gradient = np.diff(values, axis=axis) / size
        for other in range(mask.ndim):
            if other != axis:
                low, high = (np.take(gradient, range(i, gradient.shape[other] - 1 + i), axis=other) for i in (0, 1))
                gradient = (low + high) / 2
        squared += gradient**2
    return float(np.prod(sizes)) * np.sqrt(squared)
