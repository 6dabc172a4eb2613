"""Writes HDF5 files whose data sets have one row for each subject, row by row, whole or not at all."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sfgkeras.errors import DataError
from sfgkeras.files import replacing, writing_problem

if TYPE_CHECKING:
    import h5py

PHASE_FOLDERS: Mapping[str, str] = {"training": "train", "validation": "val", "inference": "test"}
"""Folder of each phase, where every phase has files of its own."""

Row = Mapping[str, Any]


@contextlib.contextmanager
def writing_rows(
    paths: Mapping[str, Path],
    count: int,
    compression: int | None = 1,
    attributes: Mapping[str, Mapping[str, Any]] | None = None,
) -> Iterator[Callable[[Row], None]]:
    """Opens data sets of `count` rows and yields a function that appends a row to each of them.

    The first row decides shape and type: a data set is `(count, *shape of a row)`, in chunks of a row where it is
    compressed, so that one subject is read without the others. The same rows give the same bytes.

    Args:
        paths: The file of each data set; several data sets may lie in one file. Folders must exist.
        count: Number of rows.
        compression: Level of gzip, 1 to 9; None stores the rows as they are.
        attributes: What is written beside a data set, such as the names of its columns.

    Yields:
        A function of one row, `{data set: array or number}`.

    Raises:
        DataError: If a file cannot be written, or rows differ in shape or number; old files stay then.
    """
    import h5py

    with contextlib.ExitStack() as stack:
        opened: dict[Path, h5py.File] = {}
        for path in dict.fromkeys(paths.values()):
            temporary = stack.enter_context(replacing(path))
            try:
                opened[path] = stack.enter_context(h5py.File(temporary.name, "w"))
            except OSError as error:
                raise DataError(writing_problem(path, error)) from error
        writer = _Rows({name: opened[path] for name, path in paths.items()}, count, compression, attributes or {})
        yield writer.append
        writer.refuse_missing()


class _Rows:
    def __init__(
        self,
        files: "Mapping[str, h5py.File]",
        count: int,
        compression: int | None,
        attributes: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._files, self._count, self._compression = files, count, compression
        self._attributes = attributes
        self._sets: dict[str, Any] = {}
        self._written = 0

    def append(self, row: Row) -> None:
        if row.keys() != self._files.keys():
            raise DataError(f"a row has {', '.join(row)} where {', '.join(self._files)} are written; give each of them")
        if self._written == self._count:
            raise DataError(f"more than {self._count} rows are written; give their number")
        for name, value in row.items():
            array = np.asarray(value)
            found = self._sets.get(name)
            if found is None:
                found = self._sets[name] = self._create(name, array)
            if array.shape != found.shape[1:]:
                raise DataError(
                    f"row {self._written} of {name} has the shape {array.shape} and the first one {found.shape[1:]}; "
                    "all rows of a data set need one shape"
                )
            found[self._written] = array
        self._written += 1

    def _create(self, name: str, array: np.ndarray) -> Any:
        # A row of a few numbers is no chunk worth the name; what is not compressed lies in one piece, to be mapped.
        chunks = (1, *array.shape) if array.size > 64 and self._compression else None
        packed = {"compression": "gzip", "compression_opts": self._compression} if self._compression and chunks else {}
        shape = (self._count, *array.shape)
        created = self._files[name].create_dataset(name, shape, array.dtype, chunks=chunks, **packed)
        created.attrs.update(self._attributes.get(name, {}))
        return created

    def refuse_missing(self) -> None:
        if self._written < self._count:
            raise DataError(f"{self._written} of {self._count} rows were written; give them all")
