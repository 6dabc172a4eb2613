"""Decodes NIfTI-1 and NIfTI-2 with nibabel's headers and Intel's inflate; lays out headers for writing."""

import contextlib
import gzip
import io
import logging
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from sfgkeras.data.image_formats import Decoded, spatial_shape, times
from sfgkeras.data.scaling import scale_into, to_float32
from sfgkeras.errors import DataError
from sfgkeras.files import reading_problem

PAIR_SUFFIXES = (".hdr", ".img", ".hdr.gz", ".img.gz")
# isal's stubs take its error class for an instance, hence the ignore.
_DAMAGED: tuple[type[Exception], ...] = (  # type: ignore[assignment]
    EOFError,
    gzip.BadGzipFile,
    isal_zlib.error,
    zlib.error,
    struct.error,
)
_BLOCK = 1 << 18  # bytes read at a time; stays in the cache
_BEYOND_MENDING = 40  # nibabel's grade of an error in a header that it cannot mend
_SAME_AFFINE = 1e-6  # mm; within it the geometry of the original header is kept bit for bit
_QFORM_TOLERANCE = 1e-4  # mm; what the float32 quaternions of a qform cost

_quiet = logging.getLogger("sfgkeras.data.nifti_format.header")  # nibabel would print what it mends
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


def read_nifti(path: Path, voxels: bool = True, scaled: bool = False, channels: bool = False) -> Decoded:
    """Reads a single `.nii` or `.nii.gz`, or a `.hdr`/`.img` pair.

    Args:
        path: The file; of a pair either one.
        voxels: Whether to read the voxels, or the header alone.
        scaled: Whether to return the voxels as float32 with slope and intercept applied, not as stored.
        channels: Whether a fourth axis is taken for channels, with a fifth of three numbers for frames of vectors; of a
            pair never.

    Raises:
        DataError: If the file is missing, unreadable, no NIfTI, truncated, or not of 3-D real numbers.
    """
    with _reading(path):
        _check_start(path)
        if path.name.lower().endswith(PAIR_SUFFIXES):
            return _read_pair(path, voxels, scaled)
        with igzip.open(path, "rb") if _is_packed(path) else open(path, "rb") as stream:
            nifti = _parse_header(path, stream)
            decoded = _decoded(path, nifti, channels)
            if not voxels:
                return decoded
            return _with_voxels(decoded, _read_voxels(path, stream, nifti, decoded, scaled), scaled)


def layout_header(voxels: np.ndarray, affine: np.ndarray, original: nib.Nifti1Header | None = None) -> nib.Nifti1Header:
    """Makes the header to write `voxels` with.

    Args:
        voxels: `(x, y, z)`, `(x, y, z, channels)` or vectors `(x, y, z, frames, 3)`, in the type to store.
        affine: Voxel to RAS mm, `(4, 4)`.
        original: Its version of NIfTI, qform and sform codes, units, intent and description are kept; its
            display range is not, which was that of other values. None gives both codes 1 and millimetres.

    Returns:
        A header whose best affine is `affine`.
    """
    header = nib.Nifti1Header() if original is None else original.copy()
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    header["cal_min"] = header["cal_max"] = 0
    if voxels.ndim == 5:
        header.set_intent("vector")
    if original is None:
        header.set_xyzt_units("mm")
    elif np.allclose(header.get_best_affine(), affine, rtol=0, atol=_SAME_AFFINE):
        return header
    qform_code, sform_code = (1, 1) if original is None else (int(header["qform_code"]), int(header["sform_code"]))
    header.set_zooms((*np.linalg.norm(affine[:3, :3], axis=0), *header.get_zooms()[3:]))
    header.set_sform(None)
    if qform_code:
        try:
            header.set_qform(affine, qform_code, strip_shears=False)
        except HeaderDataError:  # a quaternion holds no shear, the sform does
            header.set_qform(None)
    else:
        header.set_qform(None)
    close = np.allclose(header.get_best_affine(), affine, rtol=0, atol=_QFORM_TOLERANCE)
    if sform_code or not close:
        header.set_sform(affine, sform_code or qform_code or 2)  # 2: aligned to another image
    return header


def _read_pair(path: Path, voxels: bool, scaled: bool) -> Decoded:
    try:
        image: Any = nib.load(path)
        decoded = _decoded(path, image.header)
        if not voxels:
            return decoded
        array = np.asarray(image.dataobj.get_unscaled())
    except FileNotFoundError as error:
        raise DataError(f"{path}: the other file of its .hdr/.img pair is missing; put it beside") from error
    if scaled:
        array = to_float32(array, decoded.slope, decoded.intercept)
    return _with_voxels(decoded, array, scaled)


def _read_voxels(path: Path, stream: Any, nifti: nib.Nifti1Header, decoded: Decoded, scaled: bool) -> np.ndarray:
    """Reads the voxels after the header, block by block, straight into the array that is returned.

    When scaling, neither the inflated file nor the voxels as stored are ever whole in memory. The stream is
    read to its end, because the inflater compares the checksum there.
    """
    dtype = nifti.get_data_dtype()
    count = int(np.prod(decoded.shape, dtype=np.int64))
    array = np.empty(count, np.float32 if scaled else dtype)
    block = np.empty(_BLOCK, np.uint8)
    done = 0
    while done < count:
        wanted = min(_BLOCK // dtype.itemsize, count - done)
        target = block[: wanted * dtype.itemsize] if scaled else array[done : done + wanted].view(np.uint8)
        got = _fill(stream, target)
        if got < target.size:
            raise DataError(
                f"{path}: is truncated, its header announces {count} voxels of {dtype.itemsize} bytes but "
                f"only {done + got // dtype.itemsize} follow; copy or convert it again"
            )
        if scaled:
            stored = target.view(dtype)
            scale_into(array[done : done + wanted], stored, decoded.slope, decoded.intercept)
        done += wanted
    if _is_packed(path):
        while stream.readinto(block):
            pass
    return array


def _fill(stream: Any, target: np.ndarray) -> int:
    """Reads until `target` is full or the stream ends; returns the number of bytes read."""
    view, done = memoryview(target.data), 0
    while done < target.size and (got := stream.readinto(view[done:])):
        done += got
    return done


def _with_voxels(decoded: Decoded, voxels: np.ndarray, scaled: bool) -> Decoded:
    array = voxels.reshape(decoded.shape, order="F")
    if scaled:
        return replace(decoded, array=array, slope=1.0, intercept=0.0)
    return replace(decoded, array=array.astype(decoded.dtype, copy=False))


def _decoded(path: Path, nifti: Any, channels: bool = False) -> Decoded:
    """Checks a parsed header and returns what it says, without voxels."""
    dtype = nifti.get_data_dtype()
    if dtype.kind not in "iuf":
        raise DataError(
            f"{path}: its voxels are {nifti.get_value_label('datatype')}, not single real numbers; "
            "write one component as a file of its own"
        )
    shape = tuple(int(length) for length in nifti.get_data_shape())
    is_whole = len(shape) == 4 or (len(shape) == 5 and shape[4] == 3)
    if not channels or not is_whole or min(shape) < 1:
        shape = spatial_shape(path, shape)
    slope, intercept = nifti.get_slope_inter()
    return Decoded(
        None,
        shape,
        nifti.get_best_affine(),
        dtype.newbyteorder("="),
        1.0 if slope is None else float(slope),
        0.0 if intercept is None else float(intercept),
        nifti=nifti if isinstance(nifti, nib.Nifti1Header) else None,
    )


def _parse_header(path: Path, stream: Any) -> nib.Nifti1Header:
    """Parses and checks the header; leaves the stream at the first voxel."""
    start = stream.read(4)
    sizes = {int.from_bytes(start, "little"), int.from_bytes(start, "big")}
    header_type: type[nib.Nifti1Header] = nib.Nifti2Header if 540 in sizes else nib.Nifti1Header
    if header_type.sizeof_hdr not in sizes:
        raise DataError(f"{path}: is no NIfTI file (it starts with {start!r}); convert it, or correct its name")
    content = start + stream.read(header_type.sizeof_hdr - 4)
    try:
        offset = int(header_type(content, check=False)["vox_offset"])
    except WrapStructError as error:
        raise DataError(f"{path}: is truncated within its header; copy or convert it again") from error
    content += stream.read(max(offset - len(content), 0))
    header = header_type.from_fileobj(io.BytesIO(content), check=False)
    magic = header["magic"].tobytes()
    if not magic.startswith(b"n+"):
        raise DataError(f"{path}: its mark is {magic!r}, not that of a single NIfTI file; convert it again")
    spacing = header["pixdim"][1 : min(int(header["dim"][0]), 3) + 1]
    if int(header["sform_code"]) == 0 and not (np.isfinite(spacing).all() and spacing.all()):
        raise DataError(
            f"{path}: its voxel size (pixdim) is {times(spacing)} mm and it has no sform to tell otherwise; "
            "write the voxel size into its header, or convert it again from its source"
        )
    header.check_fix(logger=_quiet, error_level=_BEYOND_MENDING)
    return header


def _check_start(path: Path) -> None:
    with open(path, "rb") as stream:
        start = stream.read(2)
    packed = start == b"\x1f\x8b"
    if not start:
        raise DataError(f"{path}: is empty (0 bytes); copy or convert it again")
    if _is_packed(path) and not packed:
        raise DataError(
            f"{path}: is named .gz but is not compressed (it starts with {start!r}); "
            "name it .nii if it is NIfTI, or convert it again"
        )
    if packed and not _is_packed(path):
        raise DataError(f"{path}: is compressed; name it {path.name}.gz")


def _is_packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Words what nibabel, the inflater and the file system raise."""
    try:
        yield
    except DataError:
        raise
    except _DAMAGED as error:
        raise DataError(
            f"{path}: its compressed data are truncated or damaged ({error}); copy or convert it again"
        ) from error
    except OSError as error:
        raise DataError(reading_problem(path, error)) from error
    except MemoryError as error:
        raise DataError(
            f"{path}: is larger than the memory of this machine, or its header is damaged; convert it again"
        ) from error
    except (HeaderDataError, ImageFileError, ValueError, OverflowError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{path}: is no readable NIfTI image ({reason}); convert it again") from error
