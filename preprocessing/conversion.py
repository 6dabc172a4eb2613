"""Data type of the output: floats or integers.

DICOM series and other formats become NIfTI in every pipeline; this step alone decides the type of the voxels.
"""

from dataclasses import dataclass

import numpy as np

from sfgkeras.errors import DataError
from sfgkeras.preprocessing.volume import StepContext, Volume
from sfgkeras.settings import Settings, setting

# write_image stores integers in the smallest type that holds them, so the choice is between integers and
# floats.
DTYPES = ("auto", "float32", "integer")


@dataclass(frozen=True)
class ConvertSettings(Settings):
    """Settings of the step `convert`."""

    dtype: str = setting(
        "auto",
        "`float32`, `integer` (rounded, stored in the smallest type that holds the values), or `auto`: integer where "
        "every voxel is a whole number.",
        choices=DTYPES,
    )


def convert(image: np.ndarray, dtype: str = "auto") -> np.ndarray:
    """Brings an image to float32 or to integers; see `ConvertSettings`.

    Raises:
        DataError: If the image is not finite, or too large for 64-bit integers.

    Examples:
        >>> convert(np.array([1.0, 2.0])).dtype.name, convert(np.array([1.5, 2.0])).dtype.name
        ('int64', 'float32')
    """
    image = np.asarray(image)
    if not np.all(np.isfinite(image)):
        raise DataError("the image has values that are not finite (NaN or inf); clean it before converting")
    is_whole = image.dtype.kind in "iub" or bool(np.array_equal(image, np.rint(image)))
    if dtype == "float32" or (dtype == "auto" and not is_whole):
        return image.astype(np.float32)
    if np.abs(image).max() > 2**53:
        raise DataError(
            f"values up to {np.abs(image).max():g} cannot be integers without loss; use convert_dtype = float32"
        )
    return np.rint(image).astype(np.int64)


def convert_step(volume: Volume, settings: ConvertSettings, context: StepContext) -> Volume:
    """Converts one subject's image."""
    return volume.with_array(convert(volume.array, settings.dtype))
