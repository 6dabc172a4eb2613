"""A rim of voxels around a volume."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sfgkeras.preprocessing.settings import require
from sfgkeras.preprocessing.volume import StepContext, Volume
from sfgkeras.settings import Settings, setting
from sfgkeras.tables.padding import PADDING_MODES


@dataclass(frozen=True)
class PadSettings(Settings):
    """Settings of the step `pad`."""

    voxels: tuple[int, ...] = setting((1,), "Voxels added on either side: one number for all axes, or three.", ge=0)
    mode: str = setting("constant", "What they hold: 0 (`constant`), or as `numpy.pad`.", choices=PADDING_MODES)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.voxels) in (1, 3), "voxels", self.voxels, "needs one number or three")
        object.__setattr__(self, "voxels", self.voxels * (3 // len(self.voxels)))


def pad(array: np.ndarray, voxels: Sequence[int], mode: str = "constant") -> np.ndarray:
    """Adds voxels on both sides of the three axes of `(x, y, z[, channels])`; the array itself where there are none.

    Args:
        array: The volume.
        voxels: How many, by axis.
        mode: What they hold; see `numpy.pad`.

    Examples:
        >>> pad(np.array([5, 7]).reshape(2, 1, 1), (1, 0, 0), "edge").ravel().tolist()
        [5, 5, 7, 7]
    """
    if not any(voxels):
        return array
    chosen: Any = mode
    return np.pad(array, [*((size, size) for size in voxels), *[(0, 0)] * (array.ndim - 3)], mode=chosen)


def padded_affine(affine: np.ndarray, voxels: Sequence[int]) -> np.ndarray:
    """Returns the affine of a padded volume, `(4, 4)`: every voxel keeps its place in the scanner.

    Examples:
        >>> padded_affine(np.diag([2.0, 2.0, 3.0, 1.0]), (1, 0, 2))[:3, 3].tolist()
        [-2.0, 0.0, -6.0]
    """
    moved = np.array(affine, np.float64)
    moved[:3, 3] -= moved[:3, :3] @ np.asarray(voxels)
    return moved


def pad_step(volume: Volume, settings: PadSettings, context: StepContext) -> Volume:
    """Pads one subject's image, and its label maps with background."""
    array = pad(volume.array, settings.voxels, settings.mode)
    labels = {name: pad(label_map, settings.voxels) for name, label_map in volume.labels.items()}
    note = f"padded from {volume.array.shape} to {array.shape} voxels"
    return volume.with_grid(array, padded_affine(volume.affine, settings.voxels), labels, note)
