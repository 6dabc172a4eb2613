"""What may be written: never a file that a run reads, never outside the folder that results belong in."""

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sfgkeras.errors import DataError, counted

SHOWN = 3


class ReadFiles:
    """The files that a run reads; none of them may be written over.

    A file is known by its place and, where it exists, by its identity on the disk, so that links and other spellings
    of its path do not hide it. Of a folder (a DICOM series) everything directly in it counts.

    Args:
        paths: The files and folders.

    Attributes:
        paths: The same.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._known: dict[object, Path] = {}
        self.paths = tuple(paths)
        for path in self.paths:
            for identity in _identities(path):
                self._known.setdefault(identity, path)

    def find(self, path: Path) -> Path | None:
        """Returns the file that is read and that writing `path` would change, or None."""
        for identity in (*_identities(path), os.path.realpath(path.parent)):
            if identity in self._known:
                return self._known[identity]
        return None

    def refuse(self, outputs: Iterable[Path], remedy: str) -> None:
        """Refuses to write over a file that is read.

        Raises:
            DataError: Names the first such file and how many there are.
        """
        hit = [path for path in outputs if self.find(path) is not None]
        if hit:
            raise DataError(f"{hit[0]}: would be written over, and it is read here ({named(hit)}); {remedy}")


_ACTIVE: list[ReadFiles] = []
_CHANGES = threading.Lock()


@contextlib.contextmanager
def protecting(files: ReadFiles) -> Iterator[None]:
    """Refuses, while the block lasts and in every thread of this process, to replace or remove what is read.

    It is the last line behind the checks that verbs make before they work.
    """
    with _CHANGES:
        _ACTIVE.append(files)
    try:
        yield
    finally:
        with _CHANGES:
            _ACTIVE.remove(files)


def is_protected(path: Path) -> bool:
    """Says whether a file is read by what runs now."""
    return any(files.find(path) is not None for files in tuple(_ACTIVE))


def refuse_protected(path: Path) -> None:
    """Refuses to touch a file that is read by what runs now.

    Raises:
        DataError: If it is.
    """
    if is_protected(path):
        raise DataError(f"{path}: would be written over, and it is read here; choose another folder for the results")


def inside(folder: Path, name: str) -> Path:
    """Returns the file `name` in a folder, or below it.

    Raises:
        DataError: If the name leads out of the folder.
    """
    path = folder / name
    root = os.path.realpath(folder)
    if os.path.isabs(name) or os.path.commonpath([root, os.path.realpath(path)]) != root or ".." in Path(name).parts:
        raise DataError(f"{path}: leads out of {folder}, where results belong; give the subject another id")
    return path


def named(paths: Sequence[Path | str]) -> str:
    """Words a list of files: their number and the first names."""
    shown = ", ".join(Path(path).name for path in paths[:SHOWN]) + (", ..." if len(paths) > SHOWN else "")
    return f"{counted(len(paths), 'file')}: {shown}"


def _identities(path: Path) -> list[object]:
    found: list[object] = [os.path.realpath(path)]
    with contextlib.suppress(OSError, ValueError):
        status = os.stat(path)
        found.append((status.st_dev, status.st_ino))
    return found
