"""Sources of subjects: what an input section says becomes a reference for every subject id.

One class for each kind of place that images and values come from; `tables/loaders.py` says which loader is which.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from sfgkeras.data.file_search import FLAT, find_files
from sfgkeras.data.image_folder import read_attributes
from sfgkeras.data.nifti import Header, Image
from sfgkeras.data.references import ImageFile, ImageRef
from sfgkeras.data.subjects import read_file_list, read_table
from sfgkeras.data.volumes import file_fingerprint
from sfgkeras.errors import ConfigError, DataError

__all__ = ["FileSource", "Place", "Source", "TableRow", "TableSource", "VoxelSource"]


@dataclass(frozen=True)
class Place:
    """What an input section says of where its images or values are.

    Attributes:
        section: Its name, for messages.
        csv_file: A list of files, or a table.
        path_to_search: Folders to look into.
        filename_contains: Words of a name; see `find_files`.
        filename_not_contains: Words that are not in it.
        filename_removefromid: What is cut from a name to give the id.
        layout: Where images lie in the folders.
        loader: What reads them; None chooses by the ending.
        filename_attributes: What the parts of a name are.
        settings: The settings of the loader, if it has any.
    """

    section: str
    csv_file: Path | None = None
    path_to_search: tuple[Path, ...] = ()
    filename_contains: tuple[str, ...] = ()
    filename_not_contains: tuple[str, ...] = ()
    filename_removefromid: str | None = None
    layout: str = FLAT
    loader: str | None = None
    filename_attributes: tuple[str, ...] = ()
    settings: Any = None


class Source(ABC):
    """Finds the images, or the values, of every subject in one kind of place.

    Args:
        place: What the input section says.

    Attributes:
        warnings: What looked wrong in `find` but does not stop the work.
        numbered: What gives ids by counting, by phase: its name, and how many there are.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.warnings: list[str] = []
        self.numbered: dict[str | None, tuple[str, int]] = {}

    @abstractmethod
    def find(self) -> Mapping[str, ImageRef]:
        """Returns a reference for each subject id, sorted by id.

        Raises:
            ConfigError: If the section does not say enough.
            DataError: If nothing can be found; names file, section, key and remedy.
        """


class FileSource(Source):
    """Images in files of their own, or in folders of DICOM series; found by their names, or by a list."""

    def find(self) -> dict[str, ImageRef]:
        """Returns the image of each id."""
        place = self.place
        if place.csv_file is not None and (place.csv_file.is_file() or not place.path_to_search):
            files = read_file_list(place.csv_file)
        elif not place.path_to_search:
            raise ConfigError(f"[{place.section}] says neither path_to_search nor csv_file; add one of them")
        else:
            files = find_files(
                place.path_to_search,
                place.filename_contains,
                place.filename_not_contains,
                place.filename_removefromid,
                place.layout,
            )
            if place.csv_file is not None:
                self.warnings.append(
                    f"[{place.section}] csv_file = {place.csv_file} does not exist; path_to_search was searched, and "
                    "no list is written"
                )
        attributes: Mapping[str, Mapping[str, Any]] = {}
        if place.filename_attributes:
            attributes, odd = read_attributes(files, place.filename_attributes)
            self.warnings += odd
        return {
            subject_id: ImageFile(path, self._reader(), {k: str(v) for k, v in attributes.get(subject_id, {}).items()})
            for subject_id, path in files.items()
        }

    def _reader(self) -> str | None:
        return self.place.loader


class VoxelSource(FileSource):
    """Images of one voxel, which is a value or a class; their endings say what reads them."""

    def _reader(self) -> None:
        return None


class TableSource(Source):
    """Values in a CSV table with a line for each subject."""

    def find(self) -> dict[str, ImageRef]:
        """Returns the row of each id."""
        table = self.place.csv_file
        if table is None:
            raise ConfigError(f"[{self.place.section}] says no csv_file, the table that loader = table reads; add it")
        return {subject_id: TableRow(table, subject_id, row) for subject_id, row in read_table(table).items()}


@dataclass(frozen=True)
class TableRow(ImageRef):
    """One subject's values in a table; there is no image behind it.

    Attributes:
        table: The table.
        subject_id: Whose row it is.
        row: Its other columns by name, as text.
    """

    table: Path
    subject_id: str
    row: Mapping[str, str] = field(compare=False)

    @property
    def name(self) -> str:
        """The path of the table."""
        return str(self.table)

    @property
    def path(self) -> Path:
        """The table."""
        return self.table

    @property
    def place(self) -> tuple[Any, ...]:
        """The table and the subject."""
        return (str(self.table.resolve()), self.subject_id)

    @property
    def is_image(self) -> bool:
        """Never: it is a row of values."""
        return False

    def values(self) -> Mapping[str, str]:
        """Returns the row."""
        return self.row

    def fingerprint(self) -> str:
        """Returns the SHA-256 of the whole table."""
        return file_fingerprint(self.table)

    def _read_header(self) -> Header:
        self._refuse()

    def _read_image(self) -> Image:
        self._refuse()

    def _read_labels(self) -> Image:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise DataError(f"{self.table}: is a table of values, and an image is needed; name a folder of images")
