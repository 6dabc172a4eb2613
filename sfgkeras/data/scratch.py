"""Arrays too large for memory: in files that no name leads to, so that nothing can be left behind."""

import contextlib
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from sfgkeras.errors import DataError
from sfgkeras.files import writing_problem

IN_MEMORY = 1 << 27  # bytes; what is handed out up to here is ordinary memory
_FILE = 1 << 28  # bytes of a file that several arrays share: each keeps one of the few open files of a process
_ALIGNMENT = 64


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Makes a folder where the system keeps such, and removes it with all that is in it.

    Raises:
        DataError: If there is no place for it, or it cannot be made.
    """
    try:
        folder = tempfile.mkdtemp(prefix="sfgkeras-")
    except OSError as error:
        why = error.strerror or str(error)
        raise DataError(f"no folder for temporary files ({why}); set TMPDIR to one that may be written to") from error
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Scratch:
    """Hands out arrays: from memory while they are few and small, then from the disk, where the system may move them.

    A file vanishes with the last array that lies in it, also when the process is killed.

    Args:
        folder: Where the files lie; has to exist, on a disk and not in memory.
        in_memory: Bytes that may lie in memory.
    """

    def __init__(self, folder: str | Path, in_memory: int = IN_MEMORY) -> None:
        self._folder = Path(folder)
        self._in_memory = in_memory
        self._mapped: mmap.mmap | None = None
        self._used = 0

    def empty(self, shape: Sequence[int], dtype: DTypeLike = np.float32) -> np.ndarray:
        """Returns an array of unspecified content.

        Raises:
            DataError: If the disk is full or the folder cannot be written to; names it and the bytes needed.
        """
        dtype = np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if size <= self._in_memory:
            self._in_memory -= size
            return np.empty(shape, dtype)
        if self._mapped is None or self._used + size > len(self._mapped):
            self._mapped, self._used = self._new_file(max(size, _FILE)), 0
        array = np.ndarray(shape, dtype, self._mapped, self._used)
        self._used += -(-size // _ALIGNMENT) * _ALIGNMENT
        return array

    def _new_file(self, size: int) -> mmap.mmap:
        try:
            with tempfile.TemporaryFile(dir=self._folder) as stream:
                if hasattr(os, "posix_fallocate"):
                    # Reserved at once: a disk that fills up later would kill the process, without a message.
                    os.posix_fallocate(stream.fileno(), 0, size)
                else:
                    stream.truncate(size)
                return mmap.mmap(stream.fileno(), size)
        except OSError as error:
            raise DataError(writing_problem(self._folder / "a temporary volume", error, size)) from error
