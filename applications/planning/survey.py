"""What a folder holds: images with their headers, HDF5 files, tables, lists, and why other files cannot be used."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sfgkeras.data.file_search import images_below
from sfgkeras.data.references import ImageFile
from sfgkeras.data.subjects import read_split, read_table
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.reporter import Reporter

DATASET = "dataset.json"
_HDF5 = (".h5", ".hdf5")


@dataclass
class Survey:
    """What was found.

    Attributes:
        folder: The folder that was looked through.
        images: Images whose headers can be read, in the order of their paths.
        broken: Why other images cannot be used, by path.
        hdf5: HDF5 files.
        tables: Tables of values, by path: rows by subject.
        odd_tables: Why other CSV files are no such tables, by path.
        split: A file that says which subject is for which phase; None where there is none.
        dataset: What `dataset.json` says; None where there is none.
        notes: What else lies there and is not read.
    """

    folder: Path
    images: list[ImageFile] = field(default_factory=list)
    broken: dict[Path, str] = field(default_factory=dict)
    hdf5: list[Path] = field(default_factory=list)
    tables: dict[Path, dict[str, dict[str, str]]] = field(default_factory=dict)
    odd_tables: dict[Path, str] = field(default_factory=dict)
    split: Path | None = None
    dataset: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


def survey(folder: Path, reporter: Reporter) -> Survey:
    """Looks through a folder and everything below it; reads headers, and no voxel.

    Raises:
        DataError: If it is no folder, cannot be read, or holds nothing that could be learned from.
    """
    found = Survey(folder)
    paths = sorted(images_below(folder))
    with reporter.stage("reading headers", len(paths)) as stage:
        for path in paths:
            image = ImageFile(path)
            try:
                image.header()
            except (DataError, ConfigError) as error:
                found.broken[path] = str(error)
            else:
                found.images.append(image)
            stage.advance(1, path.name)
    others = [path for path in _files_below(folder) if not path.name.startswith(".")]
    found.hdf5 = [path for path in others if path.suffix.lower() in _HDF5]
    for path in others:
        if path.suffix.lower() == ".csv":
            _note_table(found, path)
    found.dataset = _read_dataset(folder / DATASET)
    found.notes += _notes(others)
    if not found.images and not found.hdf5:
        raise DataError(_nothing(found))
    return found


def _files_below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _note_table(found: Survey, path: Path) -> None:
    try:
        read_split(path)
    except (DataError, ConfigError):
        pass
    else:
        found.split = found.split or path
        return
    try:
        found.tables[path] = read_table(path)
    except (DataError, ConfigError) as error:
        found.odd_tables[path] = str(error)


def _read_dataset(path: Path) -> dict[str, Any] | None:
    """Returns what nnU-Net's or the Decathlon's `dataset.json` says; None where there is none.

    Raises:
        DataError: If the file cannot be read.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); correct it, or move it away") from error
    is_known = isinstance(content, dict) and isinstance(content.get("labels"), dict)
    return content if is_known else None


def _notes(others: list[Path]) -> list[str]:
    notes = []
    xml = [path for path in others if path.suffix.lower() == ".xml"]
    if xml:
        notes.append(
            f"{len(xml)} XML files (e.g. {xml[0]}) are not read by a run; where they are Pascal VOC boxes, sfgkeras "
            "convert FOLDER NEW.h5 makes boxes and classes of them that are"
        )
    tsv = [path for path in others if path.suffix.lower() == ".tsv"]
    if tsv:
        notes.append(
            f"{tsv[0]}: is a table with tabs, which a run does not read; save it with commas and the first column "
            "named subject_id to learn from its columns"
        )
    return notes


def _nothing(found: Survey) -> str:
    if found.broken:
        path, why = next(iter(found.broken.items()))
        return f"{found.folder}: none of its {len(found.broken)} images can be used, e.g. {why or path}"
    known = "NIfTI, MetaImage, NRRD, DICOM series, photos and HDF5 files"
    return f"{found.folder}: holds nothing to learn from, in no folder of it; {known} are looked for"
