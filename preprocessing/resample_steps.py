"""The steps `resample` and `resample_like`: one subject's image and label maps onto another grid."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfgkeras.data.grids import Grid
from sfgkeras.errors import Problem
from sfgkeras.preprocessing.ct import FILL, value_outside
from sfgkeras.preprocessing.resampling import ORDERS, resample_labels_like, resample_like, spacing_grid
from sfgkeras.preprocessing.settings import require
from sfgkeras.preprocessing.volume import StepContext, Volume
from sfgkeras.settings import Settings, setting

LABEL_METHODS = ("nearest", "linear")


ORDER = "0 nearest, 1 linear, 2 quadratic, 3 cubic B-spline."
ANTIALIAS = "Blur axes whose voxels grow."
LABEL_METHOD = "`nearest`, or `linear` (each label by itself, the largest wins)."


@dataclass(frozen=True)
class ResampleSettings(Settings):
    """Settings of the step `resample`."""

    spacing: tuple[float, ...] = setting((1.0,), "New voxel size in mm: one number (isotropic) or three.", gt=0)
    order: int = setting(1, ORDER)
    antialias: bool = setting(True, ANTIALIAS)
    label_method: str = setting("nearest", LABEL_METHOD, choices=LABEL_METHODS)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.spacing) in (1, 3), "spacing", self.spacing, "needs one number or three, in mm")
        # One number and three equal ones are the same setting, so that landmarks fitted with either fit both.
        object.__setattr__(self, "spacing", self.spacing * (3 // len(self.spacing)))
        _check_order(self.order)


@dataclass(frozen=True)
class ResampleLikeSettings(Settings):
    """Settings of the step `resample_like`."""

    reference: Path | None = setting(
        None, "An image, or a folder with an image of each subject's name, whose grid is taken."
    )
    order: int = setting(1, ORDER)
    fill: float | None = setting(None, FILL.format("the image"))
    antialias: bool = setting(True, ANTIALIAS)
    label_method: str = setting("nearest", LABEL_METHOD, choices=LABEL_METHODS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reference is None:
            raise Problem("resample_like needs resample_like_reference", "name an image or a folder of images")
        _check_order(self.order)


def resample_step(volume: Volume, settings: ResampleSettings, context: StepContext) -> Volume:
    """Resamples one subject to a spacing; see `resampling.resample_to_spacing`."""
    shape, affine = spacing_grid(volume.array.shape, volume.affine, settings.spacing)
    return _onto(volume, shape, affine, settings.order, 0.0, settings.antialias, settings.label_method)


def resample_like_step(volume: Volume, settings: ResampleLikeSettings, context: StepContext) -> Volume:
    """Resamples one subject onto its reference's grid; see `resampling.resample_like`."""
    assert settings.reference is not None
    grid = context.grid_of(settings.reference)
    shape = (grid.shape[0], grid.shape[1], grid.shape[2])
    fill = value_outside(volume.array) if settings.fill is None else settings.fill
    return _onto(volume, shape, grid.affine, settings.order, fill, settings.antialias, settings.label_method)


def _onto(
    volume: Volume,
    shape: tuple[int, int, int],
    affine: np.ndarray,
    order: int,
    fill: float,
    antialias: bool,
    label_method: str,
) -> Volume:
    array = volume.array
    if array.dtype != np.float32 or not Grid(array.shape[:3], volume.affine).is_same(Grid(shape, affine)):
        array = resample_like(array, volume.affine, shape, affine, order, fill, antialias)
    labels: Mapping[str, np.ndarray] = {
        name: resample_labels_like(label_map, volume.affine, shape, affine, label_method)
        for name, label_map in volume.labels.items()
    }
    return volume.with_grid(array, affine, labels, f"resampled from {volume.array.shape} to {shape} voxels")


def _check_order(order: int) -> None:
    require(order in ORDERS, "order", order, "does not exist", "known are 0 (nearest), 1 (linear), 2, 3 (cubic)")
