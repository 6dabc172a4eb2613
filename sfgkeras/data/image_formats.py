"""Decodes what is not NIfTI: what SimpleITK reads (MetaImage, NRRD, DICOM series), and photos."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.errors import DataError
from sfgkeras.files import reading_problem

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SLICE_TOLERANCE = 0.02  # of the slice distance; scanners round positions, a missing slice is off by 1.0


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a decoder found in a file.

    Attributes:
        array: Voxels as stored, `shape`; None where only the header was asked for.
        shape: `(x, y, z)`, or `(rows, columns, 1, 3)` for a photo.
        affine: Voxel to RAS mm, `(4, 4)`.
        dtype: Data type of the voxels in the file.
        slope: Factor that makes values of stored voxels.
        intercept: Offset that makes values of stored voxels.
        nifti: The NIfTI header, where the file has one.
    """

    array: np.ndarray | None
    shape: tuple[int, ...]
    affine: np.ndarray
    dtype: np.dtype
    slope: float = 1.0
    intercept: float = 0.0
    nifti: Any = None


def spatial_shape(path: Path, shape: Sequence[int]) -> tuple[int, ...]:
    """Returns a shape as three axes: trailing axes of length 1 are dropped, missing ones added.

    Raises:
        DataError: If there are no voxels, or a fourth axis longer than 1.
    """
    kept = tuple(int(length) for length in shape)
    if not kept or min(kept) < 1:
        raise DataError(f"{path}: has no voxels (shape {times(kept)}); convert it again from its source")
    while len(kept) > 3 and kept[-1] == 1:
        kept = kept[:-1]
    if len(kept) > 3:
        raise DataError(
            f"{path}: is {len(kept)}-D ({times(kept)}) where a 3-D image is needed; "
            f"write one of its {int(np.prod(kept[3:]))} volumes as a file of its own"
        )
    return kept + (1,) * (3 - len(kept))


def times(numbers: Sequence[float]) -> str:
    """Returns numbers as users write sizes: `384 x 384 x 19`."""
    return " x ".join(f"{number:g}" for number in numbers) or "none"


def read_with_simpleitk(path: Path, voxels: bool = True) -> Decoded:
    """Reads an image file, or the one DICOM series of a folder, through SimpleITK.

    The rescale slope and intercept of DICOM are applied by SimpleITK; positions, spacings and directions
    become an affine in RAS mm. The slices of a series give its third axis by their positions, so that a
    tilted gantry keeps its shear.

    Args:
        path: A file, or a folder with one DICOM series.
        voxels: Whether to read the voxels, or the header alone.

    Raises:
        DataError: If SimpleITK cannot read it, the image has several components per voxel, the folder holds
            no series or more than one, or the slices of a series are unevenly spaced.
    """
    import SimpleITK as sitk

    with _quiet_simpleitk(sitk):
        files = _series_files(path, sitk) if path.is_dir() else [path]
        reader = _itk_header(files[0], sitk)
        affine = _itk_affine(reader)
        shape = tuple(reader.GetSize())
        if len(files) > 1:
            positions = np.array([_itk_header(file, sitk).GetOrigin()[:3] for file in files])
            affine[:, 2] = LPS_TO_RAS @ np.append(slice_step(path, positions), 0.0)
            shape = (*shape[:2], len(files))
        shape = spatial_shape(path, shape)
        if reader.GetNumberOfComponents() > 1:
            raise DataError(
                f"{path}: has {reader.GetNumberOfComponents()} values in each voxel; "
                "write each of them as an image of its own"
            )
        array = None
        if voxels:
            try:
                image = sitk.ReadImage([str(file) for file in files]) if len(files) > 1 else reader.Execute()
            except RuntimeError as error:
                raise DataError(_itk_problem(path, error)) from error
            array = sitk.GetArrayFromImage(image).T.reshape(shape, order="F")
        dtype = array.dtype if array is not None else _itk_dtype(reader, sitk)
    return Decoded(array, shape, affine, dtype)


def has_dicom(folder: Path) -> bool:
    """Says whether a folder holds DICOM: a file of its ending, or a first file with its mark."""
    try:
        files = [entry for entry in sorted(folder.iterdir()) if _is_visible_file(entry)]
        if any(entry.suffix.lower() in (".dcm", ".ima") for entry in files):
            return True
        if not files:
            return False
        with open(files[0], "rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_photo(path: Path, as_labels: bool = False, voxels: bool = True) -> Decoded:
    """Reads a photo upright: the EXIF orientation is applied, rows run down.

    Args:
        path: A file that pillow reads.
        as_labels: Whether the pixel values are labels: palette indices and grey values are then kept as they
            are. Otherwise the result is RGB; grey pixels are repeated three times, 16-bit ones unscaled, and
            transparency is dropped.
        voxels: Whether to read the pixels, or the header alone.

    Returns:
        `(rows, columns, 1, 3)`, or `(rows, columns, 1)` for labels. A photo has no place in space: its affine
        is the unit matrix.

    Raises:
        DataError: If pillow cannot read it, it holds several frames, or labels were asked of a colour photo.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as photo:
            frames = getattr(photo, "n_frames", 1)
            if frames > 1:
                raise DataError(f"{path}: holds {frames} frames; save one frame as a file of its own")
            deep = photo.mode in ("I", "F") or photo.mode.startswith("I;")
            indexed = deep or photo.mode in ("1", "L", "P")
            if as_labels and not indexed:
                raise DataError(
                    f"{path}: is a colour photo (mode {photo.mode}), not a label map; "
                    "save the labels as grey values or palette indices"
                )
            if not voxels:
                columns, rows = _upright_size(photo)
                shape = (rows, columns, 1) if as_labels else (rows, columns, 1, 3)
                return Decoded(None, shape, np.eye(4), _photo_dtype(photo.mode))
            upright = ImageOps.exif_transpose(photo)
            if as_labels or deep:
                pixels = np.asarray(upright)
                pixels = pixels.astype(np.uint8) if pixels.dtype == bool else pixels
                array = pixels[:, :, None] if as_labels else np.repeat(pixels[:, :, None, None], 3, axis=3)
            else:
                array = np.asarray(upright.convert("RGB"))[:, :, None, :]
    except DataError:
        raise
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise DataError(reading_problem(path, error)) from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: pillow cannot read it ({_first_line(error)}); copy or convert it again") from error
    return Decoded(array, array.shape, np.eye(4), array.dtype)


def _photo_dtype(mode: str) -> np.dtype:
    if mode == "F":
        return np.dtype(np.float32)
    if mode.startswith("I;16"):
        return np.dtype(np.uint16)
    return np.dtype(np.int32) if mode == "I" else np.dtype(np.uint8)


def _upright_size(photo: Any) -> tuple[int, int]:
    # Values 5 to 8 of the EXIF tag 0x0112 turn the photo by a quarter, so rows and columns change places.
    turned = photo.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    return photo.size[::-1] if turned else photo.size


def _is_visible_file(entry: Path) -> bool:
    return entry.is_file() and not entry.name.startswith(".")


@contextlib.contextmanager
def _quiet_simpleitk(sitk: Any) -> Iterator[None]:
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _series_files(folder: Path, sitk: Any) -> list[Path]:
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    if not series:
        raise DataError(f"{folder}: is a folder without a DICOM series; name an image file")
    if len(series) > 1:
        raise DataError(
            f"{folder}: holds {len(series)} DICOM series ({', '.join(series)}); give each a folder of its own"
        )
    files = [Path(name) for name in sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])]
    lost = [path for path in files_beside(folder, files) if _could_be_slice(path, files)]
    if lost:
        shown = ", ".join(path.name for path in lost[:3]) + (", ..." if len(lost) > 3 else "")
        raise DataError(
            f"{folder}: {len(lost)} of its files should be slices of its series and cannot be read as such ({shown}): "
            "they are empty, truncated or of another kind; copy them again, or move them to another folder"
        )
    return files


def files_beside(folder: Path, slices: Sequence[Path]) -> list[Path]:
    """Returns the files of a folder that are no slices of its series, by name."""
    known = {path.name for path in slices}
    return [entry for entry in sorted(folder.iterdir()) if _is_visible_file(entry) and entry.name not in known]


def series_files(folder: Path) -> list[Path]:
    """Returns the slices of the one DICOM series of a folder, in their order.

    Raises:
        DataError: If there is no series or more than one, or a file should be a slice and cannot be read as one.
    """
    import SimpleITK as sitk

    with _quiet_simpleitk(sitk):
        return _series_files(folder, sitk)


def _could_be_slice(path: Path, slices: Sequence[Path]) -> bool:
    """Says whether a file has the ending of the slices, or DICOM's mark; an index of the medium is none."""
    if path.name.upper() == "DICOMDIR":
        return False
    if path.suffix.lower() in {".dcm", ".ima", *(each.suffix.lower() for each in slices)}:
        return True
    with contextlib.suppress(OSError), open(path, "rb") as stream:
        return stream.read(132)[128:] == b"DICM"
    return False


def slice_step(folder: Path, positions: np.ndarray) -> np.ndarray:
    """Returns the LPS vector from one slice to the next, or refuses a series with holes or doubles."""
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    deviation = np.linalg.norm(np.diff(positions, axis=0) - step, axis=1)
    length = float(np.linalg.norm(step))
    if length == 0 or deviation.max() > _SLICE_TOLERANCE * length:
        worst = int(deviation.argmax())
        gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
        raise DataError(
            f"{folder}: its {len(positions)} slices are unevenly spaced ({gaps[worst]:.3f} mm from slice "
            f"{worst + 1} to {worst + 2}, {length:.3f} mm on average); add missing slices or remove doubles"
        )
    return step


def _itk_header(path: Path, sitk: Any) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with open(path, "rb") as stream:  # ITK words a missing and a forbidden file alike, and at length
            if not stream.read(1):
                raise DataError(f"{path}: is empty (0 bytes); copy or convert it again")
        reader.ReadImageInformation()
    except OSError as error:
        raise DataError(reading_problem(path, error)) from error
    except RuntimeError as error:
        raise DataError(_itk_problem(path, error)) from error
    return reader


def _itk_affine(reader: Any) -> np.ndarray:
    rank = reader.GetDimension()
    kept = min(rank, 3)
    direction = np.reshape(reader.GetDirection(), (rank, rank))[:kept, :kept]
    affine = np.eye(4)
    affine[:kept, :kept] = direction * np.asarray(reader.GetSpacing())[:kept]
    affine[:kept, 3] = reader.GetOrigin()[:kept]
    return LPS_TO_RAS @ affine


def _itk_dtype(reader: Any, sitk: Any) -> np.dtype:
    names = {
        sitk.sitkUInt8: "uint8",
        sitk.sitkInt8: "int8",
        sitk.sitkUInt16: "uint16",
        sitk.sitkInt16: "int16",
        sitk.sitkUInt32: "uint32",
        sitk.sitkInt32: "int32",
        sitk.sitkUInt64: "uint64",
        sitk.sitkInt64: "int64",
        sitk.sitkFloat32: "float32",
        sitk.sitkFloat64: "float64",
    }
    return np.dtype(names.get(reader.GetPixelID(), "float64"))


def _itk_problem(path: Path, error: RuntimeError) -> str:
    return f"{path}: SimpleITK cannot read it ({_first_line(error)}); copy or convert it again"


def _first_line(error: BaseException) -> str:
    """Returns the telling line of an error: ITK puts its own after addresses and source lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "ERROR" in line and "Exception thrown" not in line]
    return (telling or lines or [type(error).__name__])[-1]
