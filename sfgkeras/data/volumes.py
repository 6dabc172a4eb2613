"""A folder of prepared volumes: computed once, then mapped into memory by every process that needs them.

An entry is named by what went into it (SHA-256 of its key), so that another file, step or setting is another
entry and nothing stale is ever reused. Its voxels lie in a raw file of its own; a small JSON file names that
one and says how to read it. The JSON file is written last and replaced as a whole, so that it never speaks of
another writer's voxels. What has no JSON file, or does not fit it, does not count: it is computed again.
"""

import contextlib
import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from isal import isal_zlib

from sfgkeras.errors import DataError
from sfgkeras.files import TEMPORARY_SUFFIX, reading_problem, refuse_irregular, replacing, writing_problem

ABANDONED_AFTER = 3600.0  # seconds; what is neither named nor touched for so long is a dead writer's
_BLOCK = 1 << 24  # bytes written or checked at a time
_RACY = 2_000_000_000  # ns; a file changed twice within the resolution of its time stamp looks unchanged
_RAW, _SIDECAR = ".raw", ".json"
_REAL = "biuf"  # kinds of data types that are real numbers
_COMPANIONS = (".hdr", ".img", ".hdr.gz", ".img.gz", ".mhd", ".nhdr", ".raw", ".zraw", ".raw.gz")

_lock = threading.Lock()
_verified: set[tuple[str, int, int, int]] = set()  # raw files whose checksum this process has compared
_fingerprints: dict[tuple[str, int, int, int], str] = {}  # digests of files by path, inode, size and time


def file_fingerprint(path: str | Path) -> str:
    """Returns the SHA-256 of an image's content, over all of its files.

    Those are the file itself, both of a `.hdr`/`.img` or `.mhd`/`.raw` pair, or all in the folder of a
    series. The content decides; a file whose size, time stamp and inode are those of an earlier call in this
    process is not read again.

    Raises:
        DataError: If a file cannot be read.
    """
    path = Path(path)
    refuse_irregular(path)
    try:
        parts = _parts(path)
        if len(parts) == 1 and parts[0] == path:
            return _file_digest(path)
        names = [(part.name, _file_digest(part)) for part in parts]
    except OSError as error:
        raise DataError(reading_problem(path, error)) from error
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


class VolumeStore:
    """Arrays on disk by key, memory-mapped, safe against other processes and against being killed.

    Args:
        folder: Where the entries lie; made if missing. Files of writers that died more than an hour ago are
            removed from it.

    Raises:
        DataError: If the folder cannot be made.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(writing_problem(self.folder, error)) from error
        _remove_abandoned(self.folder)

    def array(
        self,
        key: Mapping[str, Any],
        compute: Callable[[], np.ndarray],
        sliced_axis: int | None = None,
    ) -> np.memmap:
        """Returns the array of a key, computing and storing it where it is missing or damaged.

        The checksum is compared when a process first opens an entry, its size each time. Two processes that
        miss the same entry both compute it; either result serves both.

        Args:
            key: All that the array depends on, as values that JSON can hold, e.g. the fingerprint of the file
                and the settings of each step.
            compute: Returns the array, any shape of real numbers, usually `(x, y, z, channels)`.
            sliced_axis: The axis along which slices are drawn. It comes first on disk, so that a slice is
                contiguous there; the caller sees the axes in their own order.

        Returns:
            A read-only view of the file, with the shape and type that `compute` returned.

        Raises:
            DataError: If the disk is full or the folder cannot be written to; names it and the bytes needed.
            TypeError: If the key or the array cannot be stored.
        """
        text = json.dumps({"key": key, "sliced_axis": sliced_axis}, sort_keys=True, allow_nan=False)
        name = hashlib.sha256(text.encode()).hexdigest()
        entry = _read_entry(self.folder, name)
        mapped = entry.open(self.folder) if entry is not None else None
        if mapped is None:
            entry = _write_entry(self.folder, name, np.asanyarray(compute()), sliced_axis, text)
            mapped = entry.open(self.folder)
            if mapped is None:
                raise DataError(f"{self.folder / entry.raw}: does not hold what was just written to it; check the disk")
        return mapped


@dataclass(frozen=True)
class _Entry:
    """What the JSON file of an entry says."""

    raw: str
    shape: tuple[int, ...]  # as it lies on disk
    dtype: np.dtype
    first_axis: int  # the caller's axis that comes first on disk
    checksum: int

    def open(self, folder: Path) -> np.memmap | None:
        """Maps the voxels, or returns None where they are missing or not those that were written."""
        path = folder / self.raw
        try:
            status = path.stat()
            if status.st_size != int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize:
                return None
            mapped = np.memmap(path, self.dtype, "r", shape=self.shape)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                return None
            raise DataError(reading_problem(path, error)) from error
        seen = (str(path.absolute()), status.st_ino, status.st_size, status.st_mtime_ns)
        if seen not in _verified:
            if _checksum(mapped) != self.checksum:
                return None
            with _lock:
                _verified.add(seen)
        return cast(np.memmap, np.moveaxis(mapped, 0, self.first_axis))


def _read_entry(folder: Path, name: str) -> _Entry | None:
    path = folder / (name + _SIDECAR)
    try:
        content = json.loads(path.read_bytes())
        dtype = np.dtype(content["dtype"])
        if dtype.kind not in _REAL:
            return None
        return _Entry(
            str(content["raw"]),
            tuple(int(length) for length in content["shape"]),
            dtype,
            int(content["first_axis"]),
            int(content["checksum"]),
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(reading_problem(path, error)) from error
    except (ValueError, KeyError, TypeError):  # cut off or scribbled over: the entry is made again
        return None


def _write_entry(folder: Path, name: str, array: np.ndarray, sliced_axis: int | None, key: str) -> _Entry:
    if array.dtype.kind not in _REAL or array.size == 0 or array.ndim == 0:
        raise TypeError(f"an array of {array.dtype} and shape {array.shape} cannot be stored, real numbers can")
    first_axis = 0 if sliced_axis is None else sliced_axis
    if first_axis not in range(array.ndim):
        raise ValueError(f"sliced_axis {sliced_axis} is none of the axes 0 to {array.ndim - 1} of the array")
    array = np.moveaxis(array, first_axis, 0)
    raw = f"{name}.{secrets.token_hex(4)}{_RAW}"
    with replacing(folder / raw, array.nbytes) as stream:
        checksum = _write_slices(stream, array)
    entry = _Entry(raw, array.shape, array.dtype, first_axis, checksum)
    sidecar = {
        "raw": raw,
        "shape": entry.shape,
        "dtype": entry.dtype.str,
        "first_axis": first_axis,
        "checksum": checksum,
        "made_of": json.loads(key),
    }
    with replacing(folder / (name + _SIDECAR)) as stream:
        stream.write(json.dumps(sidecar, indent=1).encode())
    return entry


def _write_slices(stream: BinaryIO, array: np.ndarray) -> int:
    """Writes the array in C order, a few slices at a time, and returns the CRC-32 of the bytes."""
    checksum = 0
    for block in _blocks(array):
        content = np.ascontiguousarray(block).reshape(-1).view(np.uint8).data
        stream.write(content)
        checksum = isal_zlib.crc32(content, checksum)
    return checksum


def _checksum(array: np.ndarray) -> int:
    checksum = 0
    for block in _blocks(array):
        checksum = isal_zlib.crc32(block.reshape(-1).view(np.uint8).data, checksum)
    return checksum


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, _BLOCK * len(array) // array.nbytes)
    return (array[start : start + step] for start in range(0, len(array), step))


def _remove_abandoned(folder: Path) -> None:
    """Removes temporary files, and raw files that no entry names, which nobody has touched for an hour."""
    limit = time.time() - ABANDONED_AFTER
    named = {entry.raw for path in folder.glob("*" + _SIDECAR) if (entry := _read_entry(folder, path.stem))}
    for path in (*folder.glob(".*" + TEMPORARY_SUFFIX), *folder.glob("*" + _RAW)):
        # Another process may be removing the same file.
        with contextlib.suppress(OSError):
            if path.name not in named and path.stat().st_mtime < limit:
                path.unlink()


def _parts(path: Path) -> list[Path]:
    """Returns the files that make up an image, by name."""
    if path.is_dir():
        return sorted(entry for entry in path.iterdir() if entry.is_file())
    name = path.name.lower()
    suffix = next((suffix for suffix in _COMPANIONS if name.endswith(suffix)), None)
    if suffix is None:
        return [path]
    stem = path.name[: -len(suffix)]
    siblings = (path.with_name(stem + other) for other in _COMPANIONS)
    return sorted({path, *(sibling for sibling in siblings if sibling.exists())})


def _file_digest(path: Path) -> str:
    with open(path, "rb") as stream:
        status = os.fstat(stream.fileno())
        seen = (str(path.absolute()), status.st_ino, status.st_size, status.st_mtime_ns)
        digest = _fingerprints.get(seen)
        if digest is None:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if time.time_ns() - status.st_mtime_ns > _RACY:
                with _lock:
                    _fingerprints[seen] = digest
    return digest
