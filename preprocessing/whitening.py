"""Zero mean and unit variance, measured in the foreground or everywhere."""

from dataclasses import dataclass

import numpy as np

from sfgkeras.data.scaling import BLOCK, convert_in_blocks
from sfgkeras.errors import DataError
from sfgkeras.preprocessing.foreground import EVERY_VOXEL, THRESHOLD, measured_voxels, rule_setting
from sfgkeras.preprocessing.volume import StepContext, Volume
from sfgkeras.settings import Settings, setting


@dataclass(frozen=True)
class WhitenSettings(Settings):
    """Settings of the step `whiten`."""

    foreground: str = rule_setting(
        EVERY_VOXEL, "Rule of the voxels that mean and deviation are measured in; `all` for every voxel."
    )
    threshold: float = setting(0.0, THRESHOLD)


def whiten(image: np.ndarray, foreground_mask: np.ndarray | None = None, out: np.ndarray | None = None) -> np.ndarray:
    """Shifts and scales an image so that its foreground has zero mean and unit variance.

    Args:
        image: Intensities of one modality, any shape.
        foreground_mask: Voxels that mean and standard deviation are measured in, of the shape of the image;
            every voxel if None. All voxels are shifted and scaled, as NiftyNet does.
        out: float32 array for the result, the image itself if its values are no longer needed; None makes one.

    Returns:
        float32 array of the image's shape.

    Raises:
        DataError: If the foreground is empty, constant or not finite, or the mask has another shape.

    Examples:
        >>> whiten(np.array([1.0, 3.0])).tolist()
        [-1.0, 1.0]
    """
    image = np.asarray(image)
    foreground = image
    if foreground_mask is not None:
        foreground_mask = np.asarray(foreground_mask, dtype=bool)
        if foreground_mask.shape != image.shape:
            raise DataError(f"foreground mask of shape {foreground_mask.shape} for an image of shape {image.shape}")
        foreground = image[foreground_mask]
    if foreground.size == 0:
        raise DataError("the foreground is empty: no voxel to measure; look at the foreground rule and the image")
    mean = float(foreground.mean(dtype=np.float64))
    deviation = float(np.sqrt(_squared_distances(foreground.ravel(order="K"), mean) / foreground.size))
    if not np.isfinite(deviation):
        raise DataError("the image has values that are not finite (NaN or inf); clean it before whitening")
    if deviation <= 1e-7 * abs(mean) or deviation == 0:
        raise DataError(f"the foreground is constant ({mean:g}): it cannot be brought to unit variance")
    return convert_in_blocks(lambda part: (part - np.float64(mean)) / deviation, image, out)


def _squared_distances(values: np.ndarray, centre: float) -> float:
    """Sums `(value - centre)^2` in float64, halving as NumPy's pairwise summation does, without a whole float64 copy.

    Args:
        values: `(voxels,)`.
        centre: What distances are measured from.
    """
    if values.size <= BLOCK:
        distances = np.subtract(values, centre, dtype=np.float64)
        return float(np.sum(distances * distances))
    half = values.size // 2
    half -= half % 8  # as NumPy halves, so that sums are those of `numpy.std` to the last bit
    return _squared_distances(values[:half], centre) + _squared_distances(values[half:], centre)


def whiten_step(volume: Volume, settings: WhitenSettings, context: StepContext) -> Volume:
    """Whitens one subject's image; see `whiten`."""
    mask = measured_voxels(volume, settings.foreground, settings.threshold)
    return volume.with_array(whiten(volume.array, mask, out=volume.array if context.may_overwrite else None))
