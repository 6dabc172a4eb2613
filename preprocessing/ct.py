"""Hounsfield units to network units and back: CT / 1024 + 1, so that air is 0 and water 1."""

from dataclasses import dataclass

import numpy as np

from sfgkeras.data.scaling import convert_in_blocks, count_not_finite
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing.settings import require
from sfgkeras.preprocessing.volume import StepContext, Volume
from sfgkeras.settings import Settings, setting

HU_PER_UNIT = 1024.0
AIR = -1024.0
LEAST_TISSUE = -500.0
"""HU between lung and everything denser; only air and lung lie below."""
USUAL_CLIP = (AIR, 2500.0)
FILL = "Value outside {}; empty: -1024 for a CT (an image with voxels below -500), 0 for all others."
"""What settings say of `value_outside`."""
LEAST_PADDING = 0.001  # part of the voxels; fewer of one value are overshoot beside metal


@dataclass(frozen=True)
class CtSettings(Settings):
    """Settings of the step `ct`."""

    clip: tuple[float, float] = setting(USUAL_CLIP, "Lowest and highest value kept, in HU.")
    allow_non_hu: bool = setting(False, "Take images without a negative value, which cannot be Hounsfield units.")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.clip[0] < self.clip[1], "clip", self.clip, "is empty", "write the lower limit first")


def scale_ct(hu: np.ndarray, clip: tuple[float, float] | None = USUAL_CLIP) -> np.ndarray:
    """Scales Hounsfield units to `hu / 1024 + 1`.

    Args:
        hu: Hounsfield units, any shape.
        clip: Lowest and highest value kept, in HU; None keeps all. The usual range removes padding (-2000,
            -3024) and the overshoot beside metal.

    Returns:
        float32 array: -1024 becomes 0, 0 becomes 1, 2500 becomes 3.4414.

    Raises:
        DataError: If a value is NaN or infinite.
        ConfigError: If the clipping range is empty.

    Examples:
        >>> scale_ct(np.array([-1024, 0, 512])).tolist()
        [0.0, 1.0, 1.5]
    """
    hu = np.asarray(hu)
    bad = count_not_finite(hu)
    if bad:
        raise DataError(f"{bad} of {hu.size} values are not finite (NaN or inf); a CT has none, look at its source")
    if clip is not None and not clip[0] < clip[1]:
        raise ConfigError(f"clip = {clip[0]:g}, {clip[1]:g} is empty; write the lower limit first, e.g. -1024, 2500")

    def scale(part: np.ndarray) -> np.ndarray:
        values = _as_float(part)
        if clip is not None:
            values = np.clip(values, *clip)
        # Adding before dividing keeps whole Hounsfield units exact in float32.
        return (values + HU_PER_UNIT) / HU_PER_UNIT

    return convert_in_blocks(scale, hu)


def unscale_ct(scaled: np.ndarray) -> np.ndarray:
    """Returns Hounsfield units, float32, of what `scale_ct` made; the exact inverse for whole units.

    Examples:
        >>> unscale_ct(np.array([0.0, 1.0])).tolist()
        [-1024.0, 0.0]
    """
    return (_as_float(np.asarray(scaled)) * HU_PER_UNIT - HU_PER_UNIT).astype(np.float32)


def _as_float(values: np.ndarray) -> np.ndarray:
    """Returns float64 for what float32 cannot hold, else float32: half the memory for ordinary volumes."""
    return values.astype(np.float64 if values.dtype.itemsize > 4 else np.float32)


def is_hounsfield(hu: np.ndarray) -> bool:
    """Tells whether values can be Hounsfield units: fat and air lie below zero, so some voxel must.

    Examples:
        >>> is_hounsfield(np.array([-80, 40])), is_hounsfield(np.array([944, 1064]))
        (True, False)
    """
    return bool(np.min(hu) < 0)


def value_outside(image: np.ndarray) -> float:
    """Returns what lies outside an image that nothing is known of: air for a CT, -1024 HU; 0 for everything else.

    An image with voxels below -500 is a CT: between air and lung there is nothing else that is measured so low, and an
    MR that was whitened has no voxel 500 standard deviations below its mean.

    Examples:
        >>> value_outside(np.array([-1000.0, 40.0])), value_outside(np.array([-2.0, 2.0]))
        (-1024.0, 0.0)
    """
    return AIR if float(np.min(image, initial=0.0)) < LEAST_TISSUE else 0.0


def padding_value(hu: np.ndarray) -> float | None:
    """Returns the value with which a scanner fills what lies outside its round field of view, such as -2000 or -3024.

    It is the lowest value, if that lies below -1024 HU, where nothing can be measured, fills a thousandth of it,
    and is what most of the voxels below -1024 HU hold: overshoot beside metal has many values. None if there is no such
    value; -1024 itself is air as well, and never taken for padding.

    Examples:
        >>> padding_value(np.array([-2000, -2000, -1000, 40]))
        -2000.0
    """
    hu = np.asarray(hu)
    lowest = float(hu.min()) if hu.size else 0.0
    if not lowest < AIR:
        return None
    count = np.count_nonzero(hu == lowest)
    is_one_value = count >= LEAST_PADDING * hu.size and 2 * count >= np.count_nonzero(hu < AIR)
    return lowest if is_one_value else None


def describe_ct(hu: np.ndarray, clip: tuple[float, float] = USUAL_CLIP) -> list[str]:
    """Names what clipping will change: padding outside the field of view, and metal.

    Args:
        hu: Hounsfield units before scaling.
        clip: The range that will be kept.

    Returns:
        Sentences for the log; empty if nothing lies outside the range.

    Examples:
        >>> describe_ct(np.array([-2000, -2000, 0, 40]))
        ['padding outside the field of view: 50 % of the voxels are below -1024 HU (lowest -2000) and become -1024']
    """
    hu = np.asarray(hu)
    low, high = clip
    notes = []
    lowest = float(hu.min())
    if lowest < low:
        below = float(np.mean(hu < low))
        kind = "overshoot" if padding_value(hu) is None else "padding outside the field of view"
        notes.append(
            f"{kind}: {100 * below:.3g} % of the voxels are below {low:g} HU (lowest {lowest:g}) and become {low:g}"
        )
    highest = float(hu.max())
    if highest > high:
        count = int(np.count_nonzero(hu > high))
        notes.append(f"metal: {count} voxels are above {high:g} HU (highest {highest:g}) and become {high:g}")
    return notes


def ct_step(volume: Volume, settings: CtSettings, context: StepContext) -> Volume:
    """Scales one subject's CT and notes what clipping changed.

    Raises:
        DataError: If the image has no negative value, so that it cannot be in Hounsfield units.
    """
    scaled = scale_ct(volume.array, settings.clip)
    if not settings.allow_non_hu and not is_hounsfield(volume.array):
        raise DataError(
            f"no Hounsfield units: no value is below 0 (lowest {float(volume.array.min()):g}), though fat "
            "and air are; rescale the CT first, or set ct_allow_non_hu = yes"
        )
    return volume.with_array(scaled, *describe_ct(volume.array, settings.clip))
