"""HDF5 as a folder: pictures or NIfTI files for every data set of images, one table of all values, and the split."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sfgkeras.applications.convert.found_data import TABLE
from sfgkeras.applications.convert.settings import ConversionSettings
from sfgkeras.applications.convert.to_hdf5 import IDS
from sfgkeras.data.hdf5.rows import Rows, list_data_sets, open_rows
from sfgkeras.data.hdf5.source import AFFINE, Hdf5Row, choose_axes
from sfgkeras.data.hdf5.writer import PHASE_FOLDERS
from sfgkeras.data.nifti import write_image
from sfgkeras.data.subjects import refuse_unusable_id, write_split
from sfgkeras.errors import DataError, counted
from sfgkeras.files import replacing
from sfgkeras.reporter import Reporter

SPLIT = "split.csv"
_PICTURES = {("|u1", 1), ("|u1", 3), ("|u1", 4), ("<u2", 1)}
"""Types and channels that PNG files hold."""


def convert_to_folder(old: Path, new: Path, settings: ConversionSettings, reporter: Reporter) -> None:
    """Writes `NEW/DATA_SET/ID.png` or `.nii.gz`, `subjects.csv` with a column for every value, and `split.csv`.

    Args:
        old: An HDF5 file, or a folder of such, maybe with those of each phase in `train`, `val` and `test`.
        new: The folder.
        settings: Nothing of them is used.
        reporter: Shows progress, and what was written.

    Raises:
        DataError: If a file cannot be read, or data sets of one phase have different numbers of rows.
    """
    table: dict[str, dict[str, str]] = {}
    split: dict[str, list[str]] = {}
    images: list[tuple[str, dict[str, Hdf5Row]]] = []
    for phase, files in _files(old).items():
        sets = _data_sets(files)
        ids = _ids(sets, phase)
        repeated = next((subject_id for subject_id in ids if subject_id in table), None)
        if repeated is not None:
            raise DataError(f"{old}: the id {repeated!r} occurs twice; give each row an id of its own")
        table |= {subject_id: {} for subject_id in ids}
        if phase is not None:
            split[phase] = list(ids)
        for name, rows in sets.items():
            if name == IDS or name.endswith(AFFINE):
                continue
            if len(rows.shape) > 2:
                images.append((name, {each: _image(rows, index, sets) for index, each in enumerate(ids)}))
                continue
            for index, subject_id in enumerate(ids):
                values = _values(name, Hdf5Row(rows, index).values())
                _refuse_second_column(rows, table[subject_id], values)
                table[subject_id] |= values
    # Images are written when all else is known to be right.
    for name, found in images:
        with reporter.stage(f"writing {name}", len(found)) as stage:
            for subject_id, image in found.items():
                _write_image(new / name / subject_id, image)
                stage.advance(1, subject_id)
    new.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(name for row in table.values() for name in row))
    if columns:
        _write_table(new / TABLE, columns, table)
    if split:
        write_split(new / SPLIT, split)
    reporter.message(f"wrote {counted(len(table), 'subject')} to {new}")


def _files(old: Path) -> dict[str | None, list[Path]]:
    """Returns the HDF5 files by phase."""
    if old.is_file():
        return {None: [old]}

    def inside(folder: Path) -> list[Path]:
        return sorted(path for path in folder.glob("*") if path.suffix.lower() in (".h5", ".hdf5"))

    by_phase: dict[str | None, list[Path]] = {
        phase: inside(old / name) for phase, name in PHASE_FOLDERS.items() if inside(old / name)
    }
    found = by_phase or ({None: inside(old)} if inside(old) else {})
    if not found:
        raise DataError(f"{old}: holds no HDF5 file, nor do train, val and test in it; name the folder of the files")
    return found


def _data_sets(files: Sequence[Path]) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    for path in files:
        for name in list_data_sets(path):
            rows = open_rows(path, name)
            if name in found and name != IDS:
                raise DataError(f"{rows}: is a second data set of this name, as {found[name]} is; rename one of them")
            if found and len(rows) != len(next(iter(found.values()))):
                other = next(iter(found.values()))
                raise DataError(f"{rows}: has {len(rows)} rows and {other} {len(other)}; rows are matched by number")
            found[name] = rows
    return found


def _ids(sets: Mapping[str, Rows], phase: str | None) -> list[str]:
    if IDS in sets:
        ids = sets[IDS].texts()
        for subject_id in ids:
            refuse_unusable_id(subject_id, str(sets[IDS]))
        return ids
    start = "" if phase is None else f"{PHASE_FOLDERS[phase]}_"
    return [f"{start}{index:06d}" for index in range(len(next(iter(sets.values()))))]


def _image(rows: Rows, index: int, sets: Mapping[str, Rows]) -> Hdf5Row:
    affines = sets.get(rows.name + AFFINE)
    axes = choose_axes(rows) if affines is None else choose_axes(rows, "volume")
    return Hdf5Row(rows, index, axes, affines)


def _write_image(stem: Path, image: Hdf5Row) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    array = image.rows.row(image.index)
    channels = array.shape[2] if array.ndim == 3 else 1
    if image.is_photo and (array.dtype.str, channels) in _PICTURES:
        from PIL import Image

        with replacing(stem.with_name(f"{stem.name}.png")) as stream:
            Image.fromarray(array[..., 0] if channels == 1 and array.ndim == 3 else array).save(stream, format="png")
        return
    header = image.header()
    kept = array.reshape(header.shape)
    write_image(stem.with_name(f"{stem.name}.nii.gz"), kept, header.affine, None)


def _values(name: str, row: Mapping[str, str]) -> dict[str, str]:
    """Names the values of a row: by their columns, or by the data set."""
    if len(row) == 1:
        return {name: next(iter(row.values()))}
    are_named = not all(column.isdigit() for column in row)
    return {column if are_named else f"{name}_{column}": value for column, value in row.items()}


def _refuse_second_column(rows: Rows, known: Mapping[str, str], values: Mapping[str, str]) -> None:
    repeated = next((column for column in values if column in known), None)
    if repeated is not None:
        raise DataError(
            f"{rows}: its column {repeated!r} is one of another data set, too, and a table has it once; rename it in "
            "the attribute 'columns'"
        )


def _write_table(path: Path, columns: Sequence[str], table: Mapping[str, Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["subject_id", *columns])
    writer.writerows([subject_id, *(row.get(name, "") for name in columns)] for subject_id, row in table.items())
    with replacing(path) as stream:
        stream.write(text.getvalue().encode())
