"""What may be done to predicted label maps before they are written: what `[TASK name] refinement` may choose."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sfgkeras.settings import Settings, setting
from sfgkeras.tables.entry import Entry

Refine = Callable[..., Any]
"""Takes probabilities, the image, the axes of the window and the settings, and returns probabilities."""


@dataclass(frozen=True)
class RandomFieldSettings(Settings):
    """Settings of `crf`."""

    appearance_weight: float = setting(2.0, "How much voxels that are near and look alike agree.", ge=0)
    appearance_distance: float = setting(3.0, "How near, in voxels; a standard deviation.", gt=0)
    appearance_contrast: float = setting(
        0.5, "How alike, in units of what the network sees, e.g. of a whitened image; a standard deviation.", gt=0
    )
    smoothness_weight: float = setting(1.0, "How much voxels that are near agree, however they look.", ge=0)
    smoothness_distance: float = setting(1.0, "How near, in voxels; a standard deviation.", gt=0)
    radius: int = setting(4, "Voxels along every axis beyond which voxels are not bound.", ge=1)
    iterations: int = setting(5, "Updates of mean-field inference.", ge=1)


def _none() -> Refine:
    return lambda probabilities, image, axes: probabilities


def _crf() -> Refine:
    from sfgkeras.analysis.random_field import refine

    return refine


REFINEMENTS: dict[str, Entry[Refine]] = {
    "none": Entry(_none, "what the network says"),
    "crf": Entry(
        _crf, "a dense conditional random field: voxels that are near and look alike agree", RandomFieldSettings
    ),
}
