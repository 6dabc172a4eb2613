"""Whole-or-nothing writing of files, and the wording of what a file system may answer."""

import contextlib
import errno
import os
import secrets
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sfgkeras.errors import DataError
from sfgkeras.protection import refuse_protected

TEMPORARY_SUFFIX = ".tmp"
LONGEST_NAME = 255
"""Bytes that file systems allow in a name."""
ARCHIVE_DAMAGE = (
    OSError, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError, struct.error, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip
"""What reading a damaged NumPy archive raises; a compression or encryption that nobody wrote is damage, too."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def replacing(path: Path, bytes_needed: int | None = None) -> Iterator[BinaryIO]:
    """Opens a temporary file beside `path` that takes its place only when the block ends without an error.

    A reader therefore sees the old content or the new one, never a part. Whatever goes wrong (a full disk, an
    exception in the block, an interrupt), the temporary file is removed and the old content stays.

    Args:
        path: The file to write; its folder must exist.
        bytes_needed: Size of the new content where it is known, for the message about a full disk.

    Yields:
        The temporary file, open for writing bytes.

    Raises:
        DataError: If the folder is missing, may not be written to or is full, or if what runs now reads the file;
            names the file and the remedy.
    """
    refuse_protected(path)
    mark = f".{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    # A name that fills what is allowed must leave room for the mark.
    start = os.fsdecode(os.fsencode(path.name)[: LONGEST_NAME - len(mark) - 1])
    temporary = path.with_name(f".{start}{mark}")
    try:
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(writing_problem(path, error, bytes_needed)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def writing_problem(path: Path, error: OSError, bytes_needed: int | None = None) -> str:
    """Words why `path` could not be written, in one line with the remedy."""
    if error.errno in _FULL:
        needed = f"{bytes_needed} bytes are needed, " if bytes_needed is not None else ""
        with contextlib.suppress(OSError):
            needed += f"{shutil.disk_usage(path.parent).free} are free on the disk; "
        return (
            f"{path}: cannot be written, {_reason(error)}: {needed}"
            f"free some space or choose another folder than {path.parent}"
        )
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"{path}: cannot be written, {path.parent} is no folder; create it first"
    if error.errno == errno.EISDIR:
        return f"{path}: cannot be written, a folder has that name; remove it or choose another name"
    return f"{path}: cannot be written ({_reason(error)}); check that {path.parent} may be written to"


def is_irregular(path: Path) -> bool:
    """Says whether something is there that is no file and no folder: a pipe, a socket, a device.

    Reading it could wait for ever.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def refuse_irregular(path: Path) -> None:
    """Refuses what is no file and no folder.

    Raises:
        DataError: If it is a pipe, a socket or a device.
    """
    if is_irregular(path):
        raise DataError(f"{path}: is a pipe, a socket or a device and no file; write the image to a file")


def reading_problem(path: Path, error: OSError) -> str:
    """Words why `path` could not be read, in one line with the remedy."""
    if isinstance(error, FileNotFoundError):
        return f"{path}: does not exist; check path_to_search or the csv_file that names it"
    if isinstance(error, PermissionError):
        return f"{path}: may not be read ({_reason(error)}); give this user permission to read it"
    if isinstance(error, IsADirectoryError):
        return f"{path}: is a folder; name a file"
    return f"{path}: cannot be read ({_reason(error)}); check the disk, copy or convert the file again"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error) or type(error).__name__).splitlines()[0]
