"""The file of the grouping probabilities over the iterations: one archive, and beside it what was appended since.

The archive, a compressed NumPy file, holds `iterations` `(n,)` and one float32 array `(n, filters, groups)` per layer.
Notes taken since it was written stand in `<name>.new`, one record after the other, so that a save costs what is new.
Once that file has become as long as the archive both are written as one: over a whole training each note is written a
few times, not once per save.
"""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sfgkeras.errors import DataError

ITERATIONS = "iterations"
APPENDED = ".new"
SMALLEST_APPENDED = 1 << 16
"""Bytes that may be appended however short the archive is."""

DAMAGE = (
    OSError, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError, struct.error, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip
"""What NumPy and the zip format raise for files that are damaged."""

_MAGIC = b"sfgkeras grouping notes 1\n"
_HEAD = struct.Struct("<QI")  # length and checksum of what follows

Notes = Mapping[str, np.ndarray]


def read_grouping_history(path: str | Path) -> dict[str, np.ndarray]:
    """Reads what `GroupingHistory` wrote: `iterations` `(n,)`, and `(n, filters, groups)` by layer name.

    Raises:
        DataError: If the file is missing or damaged.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        notes = _parsed(content)
    except FileNotFoundError:
        raise DataError(f"{path}: no grouping probabilities; train with sharing = sfg first") from None
    except DAMAGE as error:
        raise DataError(f"{path}: is damaged ({error or type(error).__name__}); remove it") from error
    appended = _read_appended(_beside(path), zlib.crc32(content))
    return {name: np.concatenate([part[name] for part in (notes, *appended)]) for name in notes}


def write_notes(path: Path, notes: Notes) -> int:
    """Writes the archive under a temporary name, then moves it into place; returns its checksum.

    Raises:
        OSError: If it cannot be written; the old one stays.
    """
    content = _packed(notes)
    if _beside(path).is_file():
        # Equal archives would both own what was appended to one: a comment, in which a zip file ends, tells them apart.
        comment = b"%08x" % zlib.crc32(_beside(path).read_bytes())
        content = content[:-2] + struct.pack("<H", len(comment)) + comment
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(temporary, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    # What was appended to the old archive is in the new one; by its checksum it would not be read any more.
    _beside(path).unlink(missing_ok=True)
    return zlib.crc32(content)


def append_notes(path: Path, notes: Notes, checksum: int) -> bool:
    """Appends notes to an archive; returns False, and does nothing, where it is time to write a new one.

    Args:
        path: The archive.
        notes: Later notes.
        checksum: What `write_notes` returned for the archive.

    Raises:
        OSError: If they cannot be written.
    """
    content, beside = _packed(notes), _beside(path)
    size = beside.stat().st_size if beside.is_file() else 0
    if size + len(content) > max(path.stat().st_size, SMALLEST_APPENDED):
        return False
    with open(beside, "ab") as stream:
        if size == 0:
            stream.write(_MAGIC + struct.pack("<I", checksum))
        stream.write(_HEAD.pack(len(content), zlib.crc32(content)) + content)
        stream.flush()
        os.fsync(stream.fileno())
    return True


def _beside(path: Path) -> Path:
    return path.with_name(path.name + APPENDED)


def _packed(notes: Notes) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **notes)  # type: ignore[arg-type]
    return stream.getvalue()


def _parsed(content: bytes) -> dict[str, np.ndarray]:
    """Returns the notes in an archive's bytes.

    Raises:
        ValueError: If they are no notes; and whatever `DAMAGE` lists.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        notes = {name: file[name] for name in file.files}
    iterations = notes.get(ITERATIONS)
    if iterations is None or iterations.ndim != 1 or iterations.dtype.kind not in "iu":
        raise ValueError(f"it has no list of {ITERATIONS}")
    for name, values in notes.items():
        if name != ITERATIONS and (values.ndim != 3 or len(values) != len(iterations) or values.dtype.kind != "f"):
            raise ValueError(f"layer {name!r} has an array of shape {values.shape} for {len(iterations)} iterations")
    return notes


def _read_appended(path: Path, checksum: int) -> list[dict[str, np.ndarray]]:
    """Returns the whole records that belong to an archive; a record that a kill cut short ends them."""
    if not path.is_file():
        return []
    content = path.read_bytes()
    head = _MAGIC + struct.pack("<I", checksum)
    if not content.startswith(head):
        return []
    notes, place = [], len(head)
    while place + _HEAD.size <= len(content):
        length, expected = _HEAD.unpack_from(content, place)
        record = content[place + _HEAD.size : place + _HEAD.size + length]
        if len(record) < length or zlib.crc32(record) != expected:
            break
        notes.append(_parsed(record))
        place += _HEAD.size + length
    return notes
