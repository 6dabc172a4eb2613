"""An image as a reference: header, voxels, labels and fingerprint, whatever lies behind it.

What finds references is a source (`sources`); what reads a file is `nifti`. A reference lives as long as a run does and
keeps what it has read of the header, so that each header is read once.
"""

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.data.nifti import Header, Image, is_photo, read_header, read_image, read_label_map
from sfgkeras.data.volumes import file_fingerprint
from sfgkeras.errors import DataError
from sfgkeras.files import reading_problem


class KeptHeader:
    """A header that is read when it is first asked for, by one thread, and not again.

    A reference that goes to another process leaves it behind.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._header: Header | None = None

    def get(self, read: Callable[[], Header]) -> Header:
        """Returns the header; `read` is called where there is none yet."""
        with self._lock:
            if self._header is None:
                self._header = read()
            return self._header

    def learn(self, header: Header) -> None:
        """Keeps a header that came with the voxels."""
        with self._lock:
            self._header = self._header or header

    def __reduce__(self) -> tuple[Any, ...]:
        return KeptHeader, ()


@dataclass(frozen=True)
class ImageRef(ABC):
    """One subject's image of one source: what is known of it, and how to read it.

    Two references are equal if the same lies behind them.
    """

    _kept: KeptHeader = field(default_factory=KeptHeader, kw_only=True, repr=False, compare=False)

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages call it: the path of a file, or `file.h5:/images[12]`."""

    @property
    @abstractmethod
    def path(self) -> Path:
        """The file, or the folder of a DICOM series, that holds it, maybe among others."""

    @property
    def is_photo(self) -> bool:
        """Whether it is a photo, rows and columns of colours, and has no place in space."""
        return False

    @property
    def is_colour(self) -> bool:
        """Whether its channels are red, green and blue, as bytes, maybe with transparency behind them.

        Those of a photo are. Three contrasts of an MR are channels too, but have a place in space, or are no bytes.
        """
        if not self.is_photo:
            return False
        header = self.header()
        return header.dtype == np.uint8 and header.shape[3:] in ((3,), (4,))

    @property
    def is_quick(self) -> bool:
        """Whether reading it is about as fast as reading a prepared copy of it would be."""
        return False

    @property
    def is_image(self) -> bool:
        """Whether there are voxels behind it; else it has values only."""
        return True

    @property
    def phase(self) -> str | None:
        """The phase that its place in a folder of phases gives it; None for no such place."""
        return None

    @property
    def place(self) -> tuple[Any, ...]:
        """Where it lies: two references with one place are one image under two names."""
        # Not Path.resolve, which a link that leads to itself makes raise a bare RuntimeError.
        return (os.path.realpath(self.path),)

    def is_there(self) -> bool:
        """Says whether the file exists."""
        return self.path.exists()

    def stamp(self) -> tuple[int, int]:
        """Returns size in bytes and time stamp in ns of its file, which change with its content.

        Raises:
            DataError: If there is no such file.
        """
        try:
            status = self.path.stat()
        except OSError as error:
            raise DataError(reading_problem(self.path, error)) from error
        return status.st_size, status.st_mtime_ns

    def header(self) -> Header:
        """Returns shape, geometry and data type; they are read once.

        Raises:
            DataError: If the image is missing or cannot be used; names it.
        """
        return self._kept.get(self._read_header)

    def read(self) -> Image:
        """Reads the voxels as float32, `(x, y, z)` or `(rows, columns, 1, 3)`.

        Raises:
            DataError: If they cannot be read; names the image.
        """
        image = self._read_image()
        self._kept.learn(image.header)
        return image

    def read_labels(self) -> Image:
        """Reads a label map, integers `(x, y, z)`.

        Raises:
            DataError: If it cannot be read, or a value is not an integer; names the image.
        """
        image = self._read_labels()
        self._kept.learn(image.header)
        return image

    def values(self) -> Mapping[str, str]:
        """Returns what it says of the subject as text by attribute; nothing, if it is an image and no more."""
        return {}

    @abstractmethod
    def fingerprint(self) -> str:
        """Returns a digest of the content.

        Raises:
            DataError: If it cannot be read; names the image.
        """

    @abstractmethod
    def _read_header(self) -> Header: ...

    @abstractmethod
    def _read_image(self) -> Image: ...

    @abstractmethod
    def _read_labels(self) -> Image: ...

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class ImageFile(ImageRef):
    """An image in a file of its own, or the DICOM series of a folder.

    Attributes:
        file: The file or folder.
        loader: "nibabel", "simpleitk" or "pillow"; None chooses by the ending of the name.
        attributes: What the name of a photo says of the subject.
    """

    file: Path
    loader: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def name(self) -> str:
        """The path of the file."""
        return str(self.file)

    @property
    def path(self) -> Path:
        """The file or folder."""
        return self.file

    @property
    def is_photo(self) -> bool:
        """Whether it is a photo, by its loader or the ending of its name."""
        return is_photo(self.file, self.loader)

    def values(self) -> Mapping[str, str]:
        """Returns what the name of a photo says of the subject."""
        return self.attributes

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all files of the image; see `file_fingerprint`."""
        return file_fingerprint(self.file)

    def _read_header(self) -> Header:
        return read_header(self.file, self.loader)

    def _read_image(self) -> Image:
        return read_image(self.file, self.loader)

    def _read_labels(self) -> Image:
        return read_label_map(self.file, self.loader)


def references(files: Mapping[str, Path], loader: str | None = None) -> dict[str, ImageRef]:
    """Returns a reference to each of some files, by the same ids."""
    return {subject_id: ImageFile(path, loader) for subject_id, path in files.items()}
