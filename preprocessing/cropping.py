"""Cropping a volume to the box around its foreground."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfgkeras.errors import DataError
from sfgkeras.preprocessing.foreground import THRESHOLD, foreground_mask, rule_setting
from sfgkeras.preprocessing.volume import StepContext, Volume
from sfgkeras.settings import Settings, setting


@dataclass(frozen=True)
class CropSettings(Settings):
    """Settings of the step `crop_foreground`."""

    foreground: str = rule_setting("otsu_plus", "Rule that finds the foreground.", whole_image=False)
    threshold: float = setting(0.0, THRESHOLD)
    margin: float = setting(5.0, "Millimetres kept around the box.", ge=0)


def foreground_box(mask: np.ndarray, margin: Sequence[int] = (0, 0, 0)) -> tuple[slice, slice, slice]:
    """Finds the smallest box around a mask, widened by a margin and cut off at the borders.

    Args:
        mask: Boolean volume `(x, y, z)`.
        margin: Voxels added on both sides of every axis.

    Raises:
        DataError: If the mask is empty.

    Examples:
        >>> mask = np.zeros((4, 4, 1), bool)
        >>> mask[1:3, 2] = True
        >>> [(side.start, side.stop) for side in foreground_box(mask)]
        [(1, 3), (2, 3), (0, 1)]
    """
    if not mask.any():
        raise DataError("no foreground: there is no box around an empty mask")
    sides = []
    for axis, width in enumerate(margin):
        others = tuple(a for a in range(3) if a != axis)
        occupied = np.flatnonzero(mask.any(axis=others))
        sides.append(slice(max(0, int(occupied[0]) - width), int(occupied[-1]) + width + 1))
    return sides[0], sides[1], sides[2]


def crop(array: np.ndarray, affine: np.ndarray, box: tuple[slice, slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a box out of `(x, y, z[, channels])`; every voxel keeps its place in the scanner.

    Examples:
        >>> cropped, affine = crop(np.zeros((4, 4, 4)), np.diag([2.0, 2.0, 2.0, 1.0]), np.s_[1:3, 0:4, 0:4])
        >>> cropped.shape, affine[:3, 3].tolist()
        ((2, 4, 4), [2.0, 0.0, 0.0])
    """
    new_affine = np.array(affine, dtype=np.float64)
    new_affine[:3, 3] += new_affine[:3, :3] @ [side.start for side in box]
    return array[box], new_affine


def crop_step(volume: Volume, settings: CropSettings, context: StepContext) -> Volume:
    """Crops one subject's image and label maps to the image's foreground."""
    mask = foreground_mask(volume.array, settings.foreground, settings.threshold)
    for label_map in volume.labels.values():
        # A label outside the body's box would be cut away without a word.
        mask = mask | (label_map != 0)
    margin = [int(np.ceil(settings.margin / size)) for size in volume.spacing]
    box = foreground_box(mask, margin)
    array, affine = crop(volume.array, volume.affine, box)
    labels = {name: label_map[box] for name, label_map in volume.labels.items()}
    return volume.with_grid(array, affine, labels, f"cropped from {volume.array.shape} to {array.shape} voxels")
