"""Clipping of intensities, between fixed values or percentiles."""

from dataclasses import dataclass

import numpy as np

from sfgkeras.errors import ConfigError, DataError, Problem
from sfgkeras.preprocessing.percentiles import exact_percentiles
from sfgkeras.preprocessing.settings import require
from sfgkeras.preprocessing.volume import StepContext, Volume
from sfgkeras.settings import Settings, setting


@dataclass(frozen=True)
class ClipSettings(Settings):
    """Settings of the step `clip`."""

    limits: tuple[float, float] | None = setting(None, "Lowest and highest intensity kept.")
    percentiles: tuple[float, float] | None = setting(
        None, "The same as percentiles of the image, in percent; not together with `limits`."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.limits is None) == (self.percentiles is None):
            raise Problem("clip needs either clip_limits or clip_percentiles", "write e.g. clip_limits = 0, 1000")
        if self.limits is not None:
            require(
                self.limits[0] < self.limits[1],
                "limits",
                self.limits,
                "is empty",
                "write the lower limit first",
            )
        if self.percentiles is not None:
            low, high = self.percentiles
            require(0 <= low < high <= 100, "percentiles", self.percentiles, "must rise within 0 to 100")


def clip_intensities(
    image: np.ndarray,
    limits: tuple[float, float] | None = None,
    percentiles: tuple[float, float] | None = None,
) -> np.ndarray:
    """Replaces intensities beyond the limits by the limits.

    Args:
        image: Finite intensities, any shape.
        limits: Lowest and highest intensity.
        percentiles: The same in percent of the voxels; used if `limits` is None.

    Returns:
        float32 array of the image's shape.

    Raises:
        DataError: If the image is not finite.
        ConfigError: If there are neither limits nor percentiles.

    Examples:
        >>> clip_intensities(np.array([-5.0, 1.0, 9.0]), (0, 5)).tolist()
        [0.0, 1.0, 5.0]
    """
    image = np.asarray(image)
    if limits is None and percentiles is None:
        raise ConfigError("clip needs limits or percentiles")
    if limits is None:
        low, high = exact_percentiles(image, np.asarray(percentiles, dtype=np.float64))
    else:
        low, high = limits
        if not np.all(np.isfinite(image)):
            raise DataError("the image has values that are not finite (NaN or inf); clean it before clipping")
    return np.clip(image, low, high).astype(np.float32)


def clip_step(volume: Volume, settings: ClipSettings, context: StepContext) -> Volume:
    """Clips one subject's image; see `clip_intensities`."""
    return volume.with_array(clip_intensities(volume.array, settings.limits, settings.percentiles))
