"""Reads and writes images: the one place where voxels and files meet.

NIfTI is decoded by `nifti_format`, other formats and photos by `image_formats`; the rest of the package calls
this module only. Every refusal is a `DataError` of one line that names the file, what was found, and the
remedy.

The affine is the sform where its code is set, else the qform; where both codes are 0 it is, as in nibabel,
made of the voxel sizes in the header with x flipped and the centre of the volume at the origin.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from io import IOBase
from pathlib import Path
from typing import Any, cast

import numpy as np
from isal import igzip

from sfgkeras.data.image_formats import Decoded, has_dicom, read_photo, read_with_simpleitk
from sfgkeras.data.nifti_format import PAIR_SUFFIXES, layout_header, read_nifti
from sfgkeras.data.orientation import FLATTEST, axis_codes, reorient
from sfgkeras.data.scaling import to_float32
from sfgkeras.errors import DataError, lookup
from sfgkeras.files import is_irregular, refuse_irregular, replacing

__all__ = [
    "Header",
    "Image",
    "StoredImage",
    "axis_codes",
    "build_header",
    "image_suffix",
    "is_image",
    "is_photo",
    "read_header",
    "read_image",
    "read_label_map",
    "read_stored",
    "reorient",
    "to_float32",
    "to_labels",
    "write_image",
]

LOADER_OF_SUFFIX = {
    **dict.fromkeys((".nii.gz", ".nii", *PAIR_SUFFIXES), "nibabel"),
    **dict.fromkeys((".mha", ".mhd", ".nrrd", ".nhdr", ".dcm", ".ima"), "simpleitk"),
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".ppm", ".pgm"), "pillow"),
}
LOADERS: dict[str, Callable[..., Decoded]] = {
    "nibabel": read_nifti,
    "simpleitk": read_with_simpleitk,
    "pillow": read_photo,
}
_INTEGER_TYPES = tuple(map(np.dtype, ("u1", "i2", "u2", "i4", "u4", "i8", "u8")))
_LABEL_TOLERANCE = 1e-4  # a slope such as 1/255 is stored in float32 and misses the integer by 1e-7 of it


@dataclass(frozen=True, eq=False)
class Header:
    """What is known of an image before its voxels are read.

    Attributes:
        path: The file.
        shape: `(x, y, z)`, or `(rows, columns, 1, 3)` for a photo; a fourth axis is one of channels.
        affine: Voxel to RAS mm, `(4, 4)`.
        spacing: Voxel size in mm, taken from the affine.
        axcodes: Where the axes point, e.g. `("R", "A", "S")`.
        dtype: Data type on disk, in the byte order of this machine.
        nifti: The NIfTI header of the file, kept for `write_image`; None for other formats.
    """

    path: Path
    shape: tuple[int, ...]
    affine: np.ndarray
    spacing: tuple[float, float, float]
    axcodes: tuple[str, str, str]
    dtype: np.dtype
    nifti: Any = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Image:
    """Voxels in memory.

    Attributes:
        array: `(x, y, z)`, or `(rows, columns, 1, 3)` for a photo.
        affine: Voxel to RAS mm, `(4, 4)`.
        header: The header of the file.
    """

    array: np.ndarray
    affine: np.ndarray
    header: Header


@dataclass(frozen=True, eq=False)
class StoredImage:
    """Voxels as the file stores them: a voxel's value is `array * slope + intercept`.

    Attributes:
        array: `(x, y, z)` or `(rows, columns, 1, 3)` in the type on disk and native byte order.
        slope: Factor, 1 where the file gives none.
        intercept: Offset, 0 where the file gives none.
        affine: Voxel to RAS mm, `(4, 4)`.
        header: The header of the file.
    """

    array: np.ndarray
    slope: float
    intercept: float
    affine: np.ndarray
    header: Header


def read_header(path: str | Path, loader: str | None = None) -> Header:
    """Reads shape, geometry and data type without the voxels.

    Args:
        path: An image file, or a folder with one DICOM series.
        loader: "nibabel", "simpleitk" or "pillow"; None chooses by the ending of the name.

    Raises:
        DataError: If the file is missing, unreadable, no image, truncated within its header, has an unusable
            affine, or more than three axes longer than 1.
        ConfigError: If there is no such loader.
    """
    path = Path(path)
    return _header(path, LOADERS[_loader_of(path, loader)](path, voxels=False))


def read_stored(path: str | Path, loader: str | None = None) -> StoredImage:
    """Reads the voxels in the type that the file stores, unscaled, for caches and look-up tables.

    Args:
        path: An image file, or a folder with one DICOM series (whose rescale slope SimpleITK applies).
        loader: "nibabel", "simpleitk" or "pillow"; None chooses by the ending of the name.

    Raises:
        DataError: As `read_header`, and if the voxels are truncated or damaged.
        ConfigError: If there is no such loader.
    """
    path = Path(path)
    return _stored(path, LOADERS[_loader_of(path, loader)](path))


def read_image(path: str | Path, loader: str | None = None) -> Image:
    """Reads an image as float32, scaled as its header says.

    Args:
        path: An image file, or a folder with one DICOM series.
        loader: "nibabel", "simpleitk" or "pillow"; None chooses by the ending of the name.

    Returns:
        The image with a float32 array `(x, y, z)`, or `(rows, columns, 1, 3)` for a photo.

    Raises:
        DataError: As `read_stored`.
        ConfigError: If there is no such loader.
    """
    path = Path(path)
    if _loader_of(path, loader) == "nibabel":
        stored = _stored(path, read_nifti(path, scaled=True))
        return Image(stored.array, stored.affine, stored.header)
    stored = read_stored(path, loader)
    return Image(to_float32(stored.array, stored.slope, stored.intercept), stored.affine, stored.header)


def read_channels(path: str | Path) -> Image:
    """Reads a NIfTI file as float32, whose fourth axis, if it has one, counts channels: what `write_image` writes.

    Of vectors the fourth axis counts frames, and the fifth has length 3.

    Raises:
        DataError: As `read_stored`.
    """
    path = Path(path)
    stored = _stored(path, read_nifti(path, scaled=True, channels=True))
    return Image(stored.array, stored.affine, stored.header)


def read_label_map(path: str | Path, loader: str | None = None) -> Image:
    """Reads a label map with an integer array, whatever the type on disk.

    Args:
        path: An image file. Of a photo the grey values or palette indices are the labels.
        loader: "nibabel", "simpleitk" or "pillow"; None chooses by the ending of the name.

    Returns:
        The image with an integer array `(x, y, z)`: in the type on disk where that is an unscaled integer,
        else in the smallest type that holds the labels.

    Raises:
        DataError: As `read_stored`, and if a value is not an integer.
        ConfigError: If there is no such loader.
    """
    path = Path(path)
    if _loader_of(path, loader) == "pillow":
        stored = _stored(path, read_photo(path, as_labels=True))
    else:
        stored = read_stored(path, loader)
    return Image(to_labels(str(path), stored.array, stored.slope, stored.intercept), stored.affine, stored.header)


def to_labels(name: str, array: np.ndarray, slope: float = 1.0, intercept: float = 0.0) -> np.ndarray:
    """Returns stored voxels as labels: in their own type where that is an unscaled integer, else in the smallest one.

    Args:
        name: The image, for messages.
        array: Voxels, of any real type.
        slope: What they are multiplied with.
        intercept: What is added then.

    Raises:
        DataError: If a value is not an integer.
    """
    if array.dtype.kind in "iu" and (slope, intercept) == (1.0, 0.0):
        return array
    values = array.astype(np.float64) * slope + intercept
    rounded = np.rint(values)
    with np.errstate(invalid="ignore"):
        odd = ~(np.abs(values - rounded) <= _LABEL_TOLERANCE)
    if odd.any():
        raise DataError(
            f"{name}: is no label map, {np.count_nonzero(odd)} of its {odd.size} voxels are no integers "
            f"(e.g. {values[odd][0]:g}); name the file of the labels, or make it with interp_order = 0"
        )
    return rounded.astype(_smallest_integer_type(Path(name), rounded))


def write_image(path: str | Path, array: np.ndarray, affine: np.ndarray, header: Header | None = None) -> None:
    """Writes a NIfTI file: whole or not at all, replacing an old one only when complete.

    Floats are written as float32, integers and booleans as the smallest integer type that holds their values.
    The same content gives the same bytes.

    Args:
        path: Ends in `.nii` or `.nii.gz`; its folder must exist.
        array: `(x, y, z)`, `(x, y, z, channels)`, of which a single channel is written as 3-D, or vectors
            `(x, y, z, frames, 3)`, which get NIfTI's intent code for them.
        affine: Voxel to RAS mm, `(4, 4)`.
        header: Header of the image that this one was made from: its version of NIfTI, qform and sform codes,
            units, intent and description are kept. Where its codes cannot hold `affine`, the sform does.

    Raises:
        DataError: If the name has another ending, the array or affine cannot be stored, or the folder is
            missing, full or may not be written to.
    """
    import nibabel as nib

    path = Path(path)
    suffix = image_suffix(path)
    if suffix not in (".nii", ".nii.gz"):
        raise DataError(f"{path}: cannot be written as {path.suffix or 'a file without ending'}; use .nii or .nii.gz")
    voxels = _storable(path, np.asarray(array))
    affine = np.asarray(affine, np.float64)
    _check_affine(path, affine)
    nifti = layout_header(voxels, affine, header.nifti if header is not None else None)
    image_type: Any = nib.Nifti2Image if isinstance(nifti, nib.Nifti2Header) else nib.Nifti1Image
    image = image_type(voxels, nifti.get_best_affine(), nifti)
    with replacing(path, voxels.nbytes) as stream:
        if suffix == ".nii":
            image.to_stream(cast(IOBase, stream))
            return
        # Neither name nor time in the gzip header, so that the bytes depend on the content alone.
        with igzip.IGzipFile(filename="", mode="wb", fileobj=stream, compresslevel=2, mtime=0) as packed:
            image.to_stream(packed)


def image_suffix(path: Path) -> str:
    """Returns the ending that tells the format, in lower case, `.nii.gz` whole; empty for an unknown one."""
    name = path.name.lower()
    return next((suffix for suffix in LOADER_OF_SUFFIX if name.endswith(suffix)), "")


def is_image(path: Path) -> bool:
    """Says whether a folder's entry counts as an image: by its ending, or as a folder of DICOM files.

    Hidden files do not, nor does the `.hdr` of a `.hdr`/`.img` pair, which is read through its `.img`.
    """
    if path.name.startswith("."):
        return False
    suffix = image_suffix(path)
    if path.is_dir():
        return has_dicom(path)
    if is_irregular(path):
        return False
    if suffix.startswith(".hdr"):
        stem = path.name[: -len(suffix)]
        return not any(path.with_name(stem + other).exists() for other in (".img", ".img.gz", ".IMG"))
    return bool(suffix)


def is_photo(path: Path, loader: str | None = None) -> bool:
    """Says whether an image is a photo, rows and columns of colours, by its loader or the ending of its name."""
    return _loader_of(path, loader) == "pillow"


def _loader_of(path: Path, loader: str | None) -> str:
    refuse_irregular(path)
    if loader is not None:
        return lookup({name: name for name in LOADERS}, loader, "loader")
    if path.is_dir():
        return "simpleitk"
    try:
        return LOADER_OF_SUFFIX[image_suffix(path)]
    except KeyError:
        raise DataError(
            f"{path}: {path.suffix or 'no ending'} is none of the known image endings "
            f"({' '.join(LOADER_OF_SUFFIX)}); convert it, or name a loader ({', '.join(LOADERS)})"
        ) from None


def build_header(path: Path, shape: tuple[int, ...], affine: np.ndarray, dtype: np.dtype, nifti: Any = None) -> Header:
    """Returns the header of an image whose shape, geometry and data type are known.

    Raises:
        DataError: If the affine cannot be used.
    """
    affine = np.asarray(affine, np.float64)
    _check_affine(path, affine)
    x, y, z = (float(size) for size in np.linalg.norm(affine[:3, :3], axis=0))
    return Header(path, shape, affine, (x, y, z), axis_codes(affine), dtype, nifti)


def _header(path: Path, decoded: Decoded) -> Header:
    return build_header(path, decoded.shape, decoded.affine, decoded.dtype, decoded.nifti)


def _stored(path: Path, decoded: Decoded) -> StoredImage:
    if decoded.array is None:
        raise ValueError(f"{path}: was decoded without its voxels")
    header = _header(path, decoded)
    return StoredImage(decoded.array, decoded.slope, decoded.intercept, header.affine, header)


def _check_affine(path: Path, affine: np.ndarray) -> None:
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise DataError(
            f"{path}: its affine {np.round(affine, 4).tolist()} is not 4 x 4 finite numbers; "
            "correct the sform and qform in its header, or convert it again from its source"
        )
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not lengths.all() or abs(np.linalg.det(affine[:3, :3] / lengths)) < FLATTEST:
        raise DataError(
            f"{path}: its affine {np.round(affine, 4).tolist()} has an axis without length or two of one "
            "direction (or three nearly in one plane); correct the sform and qform in its header, or convert it again "
            "from its source"
        )


def _storable(path: Path, array: np.ndarray) -> np.ndarray:
    """Returns the array in the shape and type to write."""
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if (
        not (array.ndim in (3, 4) or (array.ndim == 5 and array.shape[4] == 3))
        or array.size == 0
        or array.dtype.kind not in "biuf"
    ):
        raise DataError(
            f"{path}: an array of {array.dtype} and shape {array.shape} cannot be written; "
            "give real numbers, (x, y, z), (x, y, z, channels) or vectors (x, y, z, frames, 3)"
        )
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    return array.astype(_smallest_integer_type(path, array), copy=False)


def _smallest_integer_type(path: Path, values: np.ndarray) -> np.dtype:
    low, high = int(values.min()), int(values.max())
    for dtype in _INTEGER_TYPES:
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return dtype
    raise DataError(f"{path}: its values {low} to {high} fit no integer type of 64 bits; write them as floats")
