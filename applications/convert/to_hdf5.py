"""A folder of images as HDF5: one row of each data set for every subject, in the order of their ids."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.applications.convert.found_data import BOX_COLUMNS, VOLUME_BOX_COLUMNS, FoundData, find_data, is_labels
from sfgkeras.applications.convert.settings import ConversionSettings
from sfgkeras.data.hdf5.source import AFFINE
from sfgkeras.data.hdf5.writer import PHASE_FOLDERS, Row, writing_rows
from sfgkeras.data.nifti import read_stored
from sfgkeras.data.references import ImageRef
from sfgkeras.data.subjects import read_split
from sfgkeras.errors import DataError, counted
from sfgkeras.reporter import Reporter

IDS, BOXES = "ids", "bboxes"


def convert_to_hdf5(old: Path, new: Path, settings: ConversionSettings, reporter: Reporter) -> None:
    """Writes a folder of images, masks, boxes and values as HDF5.

    Args:
        old: The folder; see `found_data`.
        new: A file (`.h5`) for all data sets, or a folder with a file for each.
        settings: Split, size, foreground and compression.
        reporter: Hears what was found, left out and written.

    Raises:
        DataError: If a file cannot be read, sizes differ, or a subject of the split is not there.
    """
    found = find_data(old, settings.box_of)
    ids, lacking = found.subjects()
    for name, count in lacking.items():
        if count:
            reporter.warning(f"{old}: {counted(count, 'subject')} without {name}, left out")
    if not ids:
        raise DataError(f"{old}: no subject has all of {', '.join(lacking)}; make the names of files equal")
    rows = _Rows(found, settings, ids)
    phases = _phases(settings, ids)
    with reporter.stage(f"converting {old}", sum(map(len, phases.values()))) as stage:
        for phase, members in phases.items():
            rows.write(new, phase, members, lambda subject_id: stage.advance(1, subject_id))
    reporter.message(
        f"wrote {', '.join(rows.names)} of {counted(sum(map(len, phases.values())), 'subject')} to {new}: read them "
        "with loader = hdf5 (docs/data.md)"
    )


def _phases(settings: ConversionSettings, ids: Sequence[str]) -> dict[str | None, list[str]]:
    if settings.split is None:
        return {None: list(ids)}
    split, known = read_split(settings.split), set(ids)
    lost = [subject_id for members in split.values() for subject_id in members if subject_id not in known]
    if lost:
        raise DataError(
            f"{settings.split}: subject {lost[0]!r} is not among the {len(ids)} that have all data sets (nor are "
            f"{len(lost) - 1} others); remove its line"
        )
    return {phase: members for phase, members in split.items() if members}


class _Rows:
    """Turns what was found of a subject into rows."""

    def __init__(self, found: FoundData, settings: ConversionSettings, ids: Sequence[str]) -> None:
        self._found, self._settings = found, settings
        self._id_type = f"S{max(len(subject_id.encode()) for subject_id in ids)}"
        self._kinds = sorted({found.classes[subject_id] for subject_id in ids} if found.classes else ())
        self._columns = _number_columns(found, ids)
        is_deep = not found.boxes and set(VOLUME_BOX_COLUMNS) <= set(self._columns)
        self._corners = VOLUME_BOX_COLUMNS if is_deep else BOX_COLUMNS
        self._boxed = bool(found.boxes) or set(self._corners) <= set(self._columns)
        self._first: dict[str, tuple[str, tuple[int, ...]]] = {}
        attributes: dict[str, dict[str, Any]] = {}
        if self._boxed:
            attributes[BOXES] = {"columns": list(self._corners)}
        if self._kinds:
            attributes[self._class_set] = {"names": self._kinds}
        self._attributes = attributes

    @property
    def _class_set(self) -> str:
        return "binary" if len(self._kinds) == 2 else "classes"

    @property
    def names(self) -> list[str]:
        """The data sets that are written, ids and affines apart."""
        plain = [name for name in self._columns if not (self._boxed and name in self._corners)]
        kinds = [self._class_set] if self._kinds else []
        return [*self._found.images, *([BOXES] if self._boxed else []), *kinds, *plain]

    def write(self, new: Path, phase: str | None, members: Sequence[str], done: Callable[[str], None]) -> None:
        """Writes the rows of some subjects: to one file, or a file for each data set."""
        folder = new if phase is None else new / PHASE_FOLDERS[phase]
        is_file = bool(new.suffix)
        if is_file and phase is not None:
            raise DataError(f"{new}: --split makes files for each phase; write the name of a folder, without an ending")
        (new.parent if is_file else folder).mkdir(parents=True, exist_ok=True)
        level = 1 if self._settings.compression is None else self._settings.compression
        places: dict[Path, list[str]] = {}
        for name in self.names:
            place = new if is_file else folder / f"{name}.h5"
            places.setdefault(place, []).extend([name, *([name + AFFINE] if self._in_space(name) else [])])
        with contextlib.ExitStack() as stack:
            appends: list[tuple[list[str], Callable[[Row], None]]] = []
            for place, names in places.items():
                paths = dict.fromkeys([*names, IDS], place)
                append = writing_rows(paths, len(members), level or None, self._attributes)
                appends.append((names, stack.enter_context(append)))
            for subject_id in members:
                row = self._row(subject_id)
                for names, append_row in appends:
                    own = {name: row[name] for name in names}
                    append_row({**own, IDS: np.array(subject_id.encode(), self._id_type)})
                done(subject_id)

    def _in_space(self, name: str) -> bool:
        found = self._found.images.get(name)
        return found is not None and not next(iter(found.values())).is_photo

    def _row(self, subject_id: str) -> dict[str, np.ndarray]:
        row: dict[str, np.ndarray] = {}
        shape: tuple[int, ...] = ()
        for name in self._found.images:
            image = self._found.images[name][subject_id]
            array = _read_labels(image, self._settings) if is_labels(name) else _read_voxels(image)
            shape = shape or array.shape
            if image.is_photo:
                array = _resized(array, self._settings.size, is_labels(name))
            elif self._settings.size is not None:
                raise DataError(
                    f"{image}: is a volume, which --size does not resize; resample the folder first: sfgkeras "
                    "preprocess --steps resample"
                )
            self._refuse_other_shape(name, image, array)
            row[name] = array
            if self._in_space(name):
                row[name + AFFINE] = image.header().affine
        values = self._found.values.get(subject_id, {})
        if self._boxed:
            box = self._found.boxes.get(subject_id)
            corners = [float(values[name]) for name in self._corners] if box is None else box
            row[BOXES] = _scaled(np.asarray(corners, np.float32), shape, self._settings.size)
        if self._kinds:
            row[self._class_set] = np.array([self._kinds.index(self._found.classes[subject_id])], np.uint8)
        for name in self.names:
            if name in self._columns:
                number = float(values[name])
                row[name] = np.array([int(number)], np.int64) if self._columns[name] else np.array([number])
        return row

    def _refuse_other_shape(self, name: str, image: ImageRef, array: np.ndarray) -> None:
        other, shape = self._first.setdefault(name, (image.name, array.shape))
        if array.shape != shape:
            remedy = (
                "bring them to one size with --size ROWS,COLUMNS"
                if image.is_photo
                else "bring them to one grid first: sfgkeras preprocess --steps resample_like"
            )
            raise DataError(
                f"{image}: is {array.shape}, and {other} {shape}; rows of one data set need one shape: {remedy}"
            )


def _number_columns(found: FoundData, ids: Sequence[str]) -> dict[str, bool]:
    """Returns the columns of the table that hold numbers, and whether these are all whole."""
    columns: dict[str, bool] = {}
    for name in next(iter(found.values.values()), {}):
        try:
            numbers = [float(found.values[subject_id][name]) for subject_id in ids]
        except ValueError:
            continue  # text is for people
        columns[name] = name not in VOLUME_BOX_COLUMNS and all(number.is_integer() for number in numbers)
    return columns


def _read_voxels(image: ImageRef) -> np.ndarray:
    """Reads an image in the type that it is stored in where that says all: photos as 8 bits, volumes unscaled."""
    if image.is_photo:
        array = image.read().array
        deep = image.header().dtype.itemsize > 1
        return array[:, :, 0].astype(np.uint16 if deep and array.max() > 255 else np.uint8)
    stored = read_stored(image.path)
    return stored.array if (stored.slope, stored.intercept) == (1.0, 0.0) else image.read().array


def _read_labels(image: ImageRef, settings: ConversionSettings) -> np.ndarray:
    labels = image.read_labels().array
    if settings.foreground is not None:
        labels = np.isin(labels, settings.foreground).astype(np.uint8)
    # One channel, as the masks of pictures usually have in HDF5.
    return labels if not image.is_photo else labels[:, :, 0, None]


def _resized(array: np.ndarray, size: tuple[int, int] | None, labels: bool) -> np.ndarray:
    """Resizes a photo, averaging what becomes one pixel, or a mask, taking the nearest label."""
    if size is None or array.shape[:2] == size:
        return array
    from PIL import Image

    how = Image.Resampling.NEAREST if labels else Image.Resampling.BILINEAR
    wide = (size[1], size[0])
    channels = [
        np.asarray(Image.fromarray(channel.astype(np.float32)).resize(wide, how))
        for channel in np.moveaxis(array, -1, 0)
    ]
    return np.rint(np.stack(channels, axis=-1)).astype(array.dtype)


def _scaled(box: np.ndarray, shape: Sequence[int], size: tuple[int, int] | None) -> np.ndarray:
    if size is None:
        return box
    down, across = size[0] / shape[0], size[1] / shape[1]
    return (box * np.array([across, down, across, down])).astype(np.float32)
