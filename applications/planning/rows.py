"""Sources of rows: data sets of HDF5 files, and the columns of tables, with what can be learned from them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sfgkeras.applications.planning.sources import FoundSource
from sfgkeras.data.hdf5.rows import list_data_sets
from sfgkeras.data.hdf5.source import AFFINE
from sfgkeras.data.hdf5.writer import PHASE_FOLDERS
from sfgkeras.data.references import ImageRef
from sfgkeras.data.sources import Place
from sfgkeras.errors import ConfigError, DataError, counted
from sfgkeras.tables.loaders import LOADERS
from sfgkeras.values import format_value

MOST_CLASSES = 20
"""Different whole numbers of a column up to which they are classes."""
BOX = (("x_min", "y_min", "x_max", "y_max"), ("x_min", "y_min", "z_min", "x_max", "y_max", "z_max"))
_BOX_NAMES = ("box", "boxes", "bbox", "bboxes", "bounding_box", "bounding_boxes")
_IDS = ("ids", "id", "subject_ids", "names")


@dataclass
class ValueTask:
    """Something that a row of values tells of every subject.

    Attributes:
        name: What it is called.
        type: The type of task.
        columns: Its columns.
        classes: Number of classes; 0 for none.
        why: The numbers that say so.
        weight_of_class: Share of the subjects of each class.
        span: Lowest and highest value of a quantity.
        num_missing: Subjects without a value.
    """

    name: str
    type: str
    columns: tuple[str, ...]
    classes: int = 0
    why: str = ""
    weight_of_class: Mapping[int, float] = field(default_factory=dict)
    span: tuple[float, float] = (0.0, 0.0)
    num_missing: int = 0


def hdf5_sources(paths: Sequence[Path]) -> tuple[list[FoundSource], list[str]]:
    """Returns the data sets of HDF5 files as sources; files of one name in train, val and test are one.

    Returns:
        The sources, and why files or data sets cannot be used.
    """
    groups: dict[tuple[Path, str], list[Path]] = {}
    for path in paths:
        folder = path.parent.parent if path.parent.name in PHASE_FOLDERS.values() else path.parent
        groups.setdefault((folder, path.name), []).append(path)
    sources, problems = [], []
    for (folder, name), files in groups.items():
        try:
            data_sets = list_data_sets(files[0])
        except DataError as error:
            problems.append(str(error))
            continue
        usable = [each for each in data_sets if not each.endswith(AFFINE) and each.rpartition("/")[2] not in _IDS]
        ids = next((each for each in data_sets if each.rpartition("/")[2] in _IDS), None)
        for data_set in usable:
            try:
                sources.append(_hdf5_source(folder, name, data_set if len(data_sets) > 1 else None, ids))
            except (DataError, ConfigError) as error:
                problems.append(f"{files[0]}: data set {data_set!r}: {error}")
    return sources, problems


def _hdf5_source(folder: Path, name: str, data_set: str | None, ids: str | None) -> FoundSource:
    word = data_set.replace("/", "_") if data_set else Path(name).stem
    settings_class = LOADERS["hdf5"].settings_class()
    assert settings_class is not None
    settings = settings_class(file=Path(name), dataset=data_set, ids=ids)
    place = Place(word.upper(), path_to_search=(folder,), loader="hdf5", settings=settings)
    images = dict(LOADERS["hdf5"].load()(place).find())
    keys = {"loader": "hdf5", "path_to_search": format_value((folder,)), "hdf5_file": format_value(Path(name))}
    keys |= {"hdf5_dataset": data_set} if data_set else {}
    keys |= {"hdf5_ids": ids} if ids else {}
    words = tuple(part for part in word.lower().split("_") if part)
    title = "".join(c if c.isalnum() else "_" for c in word).upper()
    return FoundSource(title, words, images, keys=keys, reason="each row of the data set is a subject's")


def is_values(source: FoundSource) -> bool:
    """Says whether the rows of a source are values rather than images."""
    return not next(iter(source.images.values())).is_image


def hdf5_values(source: FoundSource) -> ValueTask | None:
    """Returns what the rows of a data set of values tell; None where it cannot be learned."""
    rows = {subject: image.values() for subject, image in source.images.items()}
    columns = list(next(iter(rows.values())))
    word = source.name.lower()
    if len(columns) in (4, 6) and (word in _BOX_NAMES or tuple(columns) in BOX):
        named = tuple(columns) if tuple(columns) in BOX else BOX[len(columns) // 2 - 2]
        return ValueTask(word, "bounding_box", named, why=f"{len(columns)} numbers in a row, called {word}")
    if len(columns) != 1:
        return None
    return _column(word, (columns[0],), [row[columns[0]] for row in rows.values()])


def table_tasks(rows: Mapping[str, Mapping[str, str]]) -> tuple[list[ValueTask], list[str]]:
    """Returns what the columns of a table tell, and why others cannot be learned from."""
    columns = list(next(iter(rows.values())))
    tasks, notes = [], []
    for names in reversed(BOX):  # a box of a volume has the columns of a flat one, too
        if set(names) <= set(columns):
            tasks.append(ValueTask("box", "bounding_box", names, why=f"the columns {', '.join(names)}"))
            columns = [column for column in columns if column not in names]
    if points := [column.removesuffix("_x") for column in columns if is_point(column, columns)]:
        own = {f"{name}{end}" for name in points for end in ("_x", "_y", "_z", "_visible")}
        columns = [column for column in columns if column not in own]
        why = f"{counted(len(points), 'point')}, columns {points[0]}_x, {points[0]}_y and so on"
        tasks.append(ValueTask("landmarks", "landmarks", tuple(points), why=why))
    for column in columns:
        task = _column(column, (column,), [row[column] for row in rows.values()])
        if task is None:
            notes.append(
                f"column {column!r} holds texts, NaN, or one value only, and is not learned; number its classes from "
                "0, and leave the cell of a missing value empty"
            )
        else:
            tasks.append(task)
    return tasks, notes


def is_point(column: str, columns: Sequence[str]) -> bool:
    """Says whether a column is the x of a landmark: `nose_x` beside `nose_y`."""
    name = column.removesuffix("_x")
    return name not in ("", column) and f"{name}_y" in columns


def _column(name: str, columns: tuple[str, ...], texts: Sequence[str]) -> ValueTask | None:
    try:
        values = [float(text) for text in texts if text.strip()]
    except ValueError:
        return None
    different = sorted(set(values))
    if len(different) < 2 or not all(map(math.isfinite, values)):
        return None
    is_whole = all(value.is_integer() for value in different)
    if is_whole and different[0] >= 0 and len(different) <= min(MOST_CLASSES, max(2, len(values) // 2)):
        shares = {int(value): values.count(value) / len(values) for value in different}
        why = ", ".join(f"{label}: {share:.0%}" for label, share in shares.items())
        why = f"{len(different)} different whole numbers ({why})"
        missing = len(texts) - len(values)
        return ValueTask(name, "classification", columns, int(different[-1]) + 1, why, shares, num_missing=missing)
    span = (different[0], different[-1])
    why, missing = f"numbers from {span[0]:g} to {span[1]:g}", len(texts) - len(values)
    return ValueTask(name, "regression", columns, why=why, span=span, num_missing=missing)


def photo_attributes(images: Mapping[str, ImageRef]) -> bool:
    """Says whether the names of photos list age, gender, race and date, as those of UTKFace do."""
    from sfgkeras.data.image_folder import parse_attributes

    def fits(path: Path) -> bool:
        try:
            parse_attributes(path.name)
        except DataError:
            return False
        return True

    return sum(fits(image.path) for image in images.values()) >= 0.9 * len(images)
