"""`loader = hdf5`: every row of a data set is a subject's image, label map or values.

A data set `(N, rows, columns)` or `(N, rows, columns, channels)` holds photos, `(N, x, y, z)` or
`(N, x, y, z, channels)` volumes, and `(N,)` or `(N, k)` values. Voxel sizes and places come from what is written beside
it: the attribute `spacing`, the attribute `affine`, or a data set `NAME_affine` of `(N, 4, 4)`.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.data.hdf5.rows import Rows, list_data_sets, open_rows
from sfgkeras.data.hdf5.writer import PHASE_FOLDERS
from sfgkeras.data.nifti import Header, Image, build_header, to_labels
from sfgkeras.data.references import ImageRef
from sfgkeras.data.sources import Source
from sfgkeras.data.subjects import refuse_unusable_id
from sfgkeras.errors import ConfigError, DataError

__all__ = ["Hdf5Row", "Hdf5Source"]

AFFINE = "_affine"
"""What the name of a data set of affines ends in."""
QUICK = 1 << 20
"""Numbers in a row of pixels up to which it is read again for every window."""
CHANNELS = (1, 2, 3, 4)
"""Lengths of a last axis that are taken for channels of photos."""
AUTO, PLANE, VOLUME = "auto", "plane", "volume"
AXES = (AUTO, PLANE, VOLUME)


@dataclass(frozen=True)
class Hdf5Row(ImageRef):
    """One row of a data set: an image or label map, or the values of a subject.

    Attributes:
        rows: The data set.
        index: Number of the row.
        axes: "plane" (rows, columns, channels) or "volume" (x, y, z, channels).
        affines: The data set of affines, if there is one.
        folder: Phase of the subject, where each has files of its own.
    """

    rows: Rows = field(compare=False)
    index: int
    axes: str = PLANE
    affines: Rows | None = field(default=None, compare=False)
    folder: str | None = None
    file: Path = field(init=False)
    data_set: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", self.rows.path)
        object.__setattr__(self, "data_set", self.rows.name)

    @property
    def name(self) -> str:
        """File, data set and row, e.g. `train.h5:/images[12]`."""
        return f"{self.rows}[{self.index}]"

    @property
    def path(self) -> Path:
        """The file."""
        return self.rows.path

    @property
    def is_photo(self) -> bool:
        """Whether it has rows and columns, and no place in space."""
        return self.axes == PLANE

    @property
    def is_quick(self) -> bool:
        """Whether it is a picture of moderate size, which a copy for each of thousands would hardly make faster."""
        return self.is_photo and int(np.prod(self.rows.shape[1:])) <= QUICK

    @property
    def is_image(self) -> bool:
        """Whether a row has more than one axis."""
        return len(self.rows.shape) > 2

    @property
    def phase(self) -> str | None:
        """The phase whose file it is in."""
        return self.folder

    @property
    def place(self) -> tuple[Any, ...]:
        """File, data set and row."""
        return (str(self.path.resolve()), self.rows.name, self.index)

    def values(self) -> Mapping[str, str]:
        """Returns the values of the row by the names in the attribute `columns`, or by their numbers from 0."""
        row = self.rows.row(self.index).reshape(-1)
        names = self._columns(row.size)
        return {name: self.rows.text(value) for name, value in zip(names, row, strict=True)}

    def fingerprint(self) -> str:
        """Returns the SHA-256 of the row with its type, shape and affine; other rows do not matter.

        A file that changes while a run reads it is refused, so that it is worked out once.
        """
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        row = np.ascontiguousarray(self.rows.row(self.index))
        affine = np.round(self._affine(), 9).tolist()
        digest = hashlib.sha256(f"{row.dtype.str} {row.shape} {self.axes} {affine}".encode())
        digest.update(repr(row.tolist()).encode() if row.dtype == object else row.data)
        return digest.hexdigest()

    def _columns(self, count: int) -> Sequence[str]:
        names = self.rows.attributes.get("columns")
        if names is None:
            return [str(number) for number in range(count)]
        found = [name.decode() if isinstance(name, bytes) else str(name) for name in np.atleast_1d(names)]
        if len(found) != count or len(set(found)) != count:
            raise DataError(
                f"{self.rows}: its attribute columns names {', '.join(found)}, and a row has {count} values"
            )
        return found

    def _affine(self) -> np.ndarray:
        if self.affines is not None:
            return np.asarray(self.affines.row(self.index), np.float64)
        return _common_affine(self.rows)

    def _shape(self) -> tuple[int, ...]:
        return image_shape(self.rows.shape[1:], self.axes)

    def _read_header(self) -> Header:
        return build_header(self.path, self._shape(), self._affine(), self.rows.dtype)

    def _read_image(self) -> Image:
        header = self.header()
        array = self.rows.row(self.index).astype(np.float32).reshape(header.shape)
        return Image(array, header.affine, header)

    def _read_labels(self) -> Image:
        header = self.header()
        if len(header.shape) == 4:
            raise DataError(
                f"{self}: has {header.shape[3]} channels and is no label map, which has one; name the data set of the "
                "labels in hdf5_dataset"
            )
        labels = to_labels(self.name, self.rows.row(self.index).reshape(header.shape))
        return Image(labels, header.affine, header)


class Hdf5Source(Source):
    """Rows of data sets: of one file, or of one file for each phase in the folders train, val and test."""

    def find(self) -> dict[str, ImageRef]:
        """Returns the row of each id: `train_000012`, `000012` in a single file, or what the data set of ids says."""
        settings = self.place.settings
        found: dict[str, ImageRef] = {}
        for phase, path in self._files().items():
            rows = self._open(path, settings.dataset)
            axes = choose_axes(rows, settings.axes)
            affines = self._affines(rows)
            for index, subject_id in enumerate(self._ids(rows, phase)):
                if subject_id in found:
                    raise DataError(
                        f"{rows}: the id {subject_id!r} of row {index} is that of {found[subject_id]}; give each row "
                        "an id of its own, or remove hdf5_ids, and rows are numbered"
                    )
                found[subject_id] = Hdf5Row(rows, index, axes, affines, phase)
        return dict(sorted(found.items()))

    def _files(self) -> Mapping[str | None, Path]:
        """Returns the files by phase; a file for all has the phase None."""
        section, path = self.place.section, self.place.settings.file
        if path is None:
            raise ConfigError(f"[{section}] says no hdf5_file, the file that loader = hdf5 reads; add it")
        folders = [Path(folder).expanduser() for folder in self.place.path_to_search] or [Path()]
        for folder in folders:
            whole = folder / Path(path).expanduser()
            if whole.is_file():
                return {None: whole}
            by_phase: dict[str | None, Path] = {
                phase: whole.parent / name / whole.name
                for phase, name in PHASE_FOLDERS.items()
                if (whole.parent / name / whole.name).is_file()
            }
            if by_phase:
                return by_phase
        looked = folders[0] / Path(path).expanduser()
        names = ", ".join(f"{looked.parent / name}" for name in PHASE_FOLDERS.values())
        raise DataError(
            f"{looked}: does not exist, nor does a file of this name in {names}; correct hdf5_file in [{section}]"
        )

    def _open(self, path: Path, name: str | None) -> Rows:
        try:
            return open_rows(path, name)
        except DataError as error:
            raise DataError(f"{error} in [{self.place.section}]") from None

    def _affines(self, rows: Rows) -> Rows | None:
        name = rows.name + AFFINE
        if name not in list_data_sets(rows.path):
            _common_affine(rows)  # refuses what cannot be used before any row is read
            return None
        affines = open_rows(rows.path, name)
        if affines.shape != (len(rows), 4, 4):
            raise DataError(f"{affines}: has the shape {affines.shape}, and {len(rows)} affines of 4 x 4 are needed")
        return affines

    def _ids(self, rows: Rows, phase: str | None) -> Sequence[str]:
        wanted = self.place.settings.ids
        if wanted is None:
            start = "" if phase is None else f"{PHASE_FOLDERS[phase]}_"
            self.numbered[phase] = (str(rows), len(rows))
            return [f"{start}{index:06d}" for index in range(len(rows))]
        ids = self._open(rows.path, wanted)
        if len(ids) != len(rows):
            raise DataError(
                f"{rows.path}: {ids.name} has {len(ids)} rows and {rows.name} {len(rows)}; correct hdf5_ids in "
                f"[{self.place.section}], or write the file again"
            )
        texts = ids.texts()
        for subject_id in texts:
            refuse_unusable_id(subject_id, str(ids))
        return texts


def choose_axes(rows: Rows, axes: str = AUTO) -> str:
    """Says whether rows are photos or volumes; of rows of values it is of no importance.

    Args:
        rows: The data set.
        axes: "plane" or "volume"; "auto" takes what has a voxel size of three numbers, or more axes than a photo, for
            volumes.

    Raises:
        DataError: If the rows have too few or too many axes for what they are said to be.
    """
    shape = rows.shape[1:]
    if len(shape) < 2:
        return PLANE
    if axes == AUTO:
        in_space = np.size(rows.attributes.get("spacing", ())) == 3 or "affine" in rows.attributes
        is_photo = len(shape) == 2 or (len(shape) == 3 and shape[-1] in CHANNELS and not in_space)
        axes = PLANE if is_photo else VOLUME
    usual = 2 if axes == PLANE else 3
    if len(shape) not in (usual, usual + 1):
        what = "rows, columns[, channels]" if axes == PLANE else "x, y, z[, channels]"
        raise DataError(
            f"{rows}: its rows have the shape {shape}, which is not ({what}); correct hdf5_dataset, or hdf5_axes = "
            f"{axes}"
        )
    return axes


def image_shape(shape: Sequence[int], axes: str) -> tuple[int, ...]:
    """Returns the shape that the shape of a row stands for: `(x, y, z)`, with channels where there are several."""
    spatial = (*shape[:2], 1) if axes == PLANE else tuple(shape[:3])
    channels = tuple(shape[2 if axes == PLANE else 3 :])
    return spatial if channels in ((), (1,)) else (*spatial, *channels)


def _common_affine(rows: Rows) -> np.ndarray:
    """Returns the affine of all rows by the attributes of a data set: `affine`, or `spacing`, or 1 mm.

    Raises:
        DataError: If the attribute cannot be used.
    """
    if "affine" in rows.attributes:
        affine = np.asarray(rows.attributes["affine"])
        if affine.shape != (4, 4) or affine.dtype.kind not in "iuf":
            raise DataError(f"{rows}: its attribute affine is not 4 x 4 numbers; correct it")
        return affine.astype(np.float64)
    if "spacing" not in rows.attributes:
        return np.eye(4)
    spacing = np.atleast_1d(rows.attributes["spacing"])
    is_usable = spacing.dtype.kind in "iuf" and spacing.size in (2, 3) and np.isfinite(spacing).all()
    if not is_usable or (spacing <= 0).any():
        raise DataError(
            f"{rows}: its attribute spacing, {spacing.tolist()}, is not two or three lengths in mm; correct it"
        )
    return np.diag([*spacing.astype(np.float64).reshape(-1), *[1.0] * (4 - spacing.size)])
