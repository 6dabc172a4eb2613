"""HDF5 files that stay open: one lock for all, which h5py needs, and none inherited by a process that was forked.

A fork waits until no thread is inside h5py, and the child closes what it inherited; each process opens files for
itself.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sfgkeras.errors import DataError
from sfgkeras.files import reading_problem, refuse_irregular

if TYPE_CHECKING:
    import h5py

CHUNK_CACHE = 1 << 25  # bytes; with several rows in a chunk, neighbours are not decompressed again

Stamp = tuple[int, int, int]
"""Inode, size and time stamp of a file."""

LOCK = threading.RLock()
"""Held by whoever is inside h5py."""

_opened: "dict[str, tuple[Stamp, h5py.File]]" = {}
_data_sets_of: "dict[str, dict[str, h5py.Dataset]]" = {}  # of open files; looking one up takes longer than many a row


def kept_data_set(path: Path, name: str) -> "h5py.Dataset":
    """Returns a data set of a file that stays open until it changes; `LOCK` is held.

    Raises:
        DataError: If the file is missing, damaged or no HDF5.
    """
    file, known = _open(path), _data_sets_of.setdefault(str(path), {})
    if name not in known:
        known[name] = file[name]
    return known[name]


def _open(path: Path) -> "h5py.File":
    """Returns the file that stays open for its rows; `LOCK` is held."""
    stamp = read_stamp(path)
    known = _opened.get(str(path))
    if known is not None and known[0] == stamp:
        return known[1]
    if known is not None:
        _data_sets_of.pop(str(path), None)
        known[1].close()
    _opened[str(path)] = (stamp, _new_file(path))
    return _opened[str(path)][1]


@contextlib.contextmanager
def open_once(path: Path) -> "Iterator[tuple[h5py.File, Stamp]]":
    """Opens a file to look into it; one that is open may not be written to by the same process.

    Yields:
        The file, and its stamp.

    Raises:
        DataError: If it is missing, damaged or no HDF5.
    """
    refuse_irregular(path)
    stamp = read_stamp(path)
    with _new_file(path) as file:
        yield file, stamp


def _new_file(path: Path) -> "h5py.File":
    import h5py

    try:
        return h5py.File(path, "r", rdcc_nbytes=CHUNK_CACHE)
    except OSError as error:
        raise DataError(
            f"{path}: is no HDF5 file, or truncated ({first_line(error)}); copy it again from its source"
        ) from error


def read_stamp(path: Path) -> Stamp:
    """Returns what tells whether a file has been written to since.

    Raises:
        DataError: If there is no such file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(reading_problem(path, error)) from error
    return status.st_ino, status.st_size, status.st_mtime_ns


def refuse_changed(path: Path, stamp: Stamp) -> None:
    """Refuses a file that has been written to since `read_stamp` was asked.

    Raises:
        DataError: If it has, or is gone.
    """
    if read_stamp(path) != stamp:
        raise DataError(f"{path}: was written to while a run read it; start the run again")


def first_line(error: BaseException) -> str:
    """Returns the first line of what h5py says, which goes on for many."""
    text = str(error.args[0]) if error.args else type(error).__name__
    return text.splitlines()[0] if text else type(error).__name__


def _forget() -> None:
    """Closes what a child process has inherited, and lets go of the lock that its parent took for it."""
    try:
        for _, file in _opened.values():
            with contextlib.suppress(Exception):
                file.close()
        _opened.clear()
        _data_sets_of.clear()
    finally:
        LOCK.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=_forget)
