"""Rows of data sets in HDF5 files, one for each subject: read by number, lazily, from any thread and any process.

A data set that lies in one piece is mapped into memory. Others, chunked or compressed, are read through h5py, by one
thread at a time as its own lock has it anyway; a row that is a chunk of its own is unpacked outside that lock.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from isal import isal_zlib

from sfgkeras.data.hdf5.files import LOCK, Stamp, first_line, kept_data_set, open_once, refuse_changed
from sfgkeras.data.hdf5.packing import NUMBERS, Packing, find_packing
from sfgkeras.errors import DataError, suggestion

if TYPE_CHECKING:
    import h5py

__all__ = ["Rows", "list_data_sets", "open_rows"]

# isal's stubs take its error class for an instance, hence the ignore.
_DAMAGED: tuple[type[Exception], ...] = (  # type: ignore[assignment]
    OSError,
    KeyError,
    RuntimeError,
    ValueError,
    isal_zlib.error,
)

_mapped: dict[tuple[str, str], tuple[Stamp, np.ndarray]] = {}


@dataclass(frozen=True)
class Rows:
    """A data set of an HDF5 file whose first axis counts subjects.

    Attributes:
        path: The file.
        name: The data set, without the first `/`.
        shape: `(N, ...)`.
        dtype: Data type in the byte order of this machine; of texts `object`.
        attributes: What was written beside the data set, e.g. `spacing`.
        offset: Where its bytes begin, if they lie in one piece as this machine has them; else None.
        packing: How each row is packed, where it is a chunk of its own and no filters but gzip and shuffle are used.
        stamp: Inode, size and time stamp of the file.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    attributes: Mapping[str, Any]
    offset: int | None
    packing: Packing | None
    stamp: Stamp

    def __len__(self) -> int:
        return self.shape[0]

    def __str__(self) -> str:
        return f"{self.path}:/{self.name}"

    @property
    def is_mapped(self) -> bool:
        """Whether rows are views of the file in memory, which cost nothing to read again."""
        return self.offset is not None

    def row(self, index: int) -> np.ndarray:
        """Returns one row; of a mapped data set a view that cannot be written to.

        Raises:
            DataError: If the file has changed since, or the row cannot be read; names file and row.
        """
        if not 0 <= index < len(self):
            raise DataError(f"{self}: has no row {index}, only 0 to {len(self) - 1}")
        if self.is_mapped:
            return self._map()[index]
        with self._naming(f"{self}[{index}]"):
            if self.packing is None:
                with LOCK:
                    return np.asarray(self._data_set()[index], self.dtype)
            with LOCK:
                place, data_set = (index, *[0] * (len(self.shape) - 1)), self._data_set()
                is_written = data_set.id.get_chunk_info_by_coord(place).byte_offset is not None
                left_out, content = data_set.id.read_direct_chunk(place) if is_written else (0, b"")
            if not content:
                with LOCK:
                    return np.asarray(self._data_set()[index], self.dtype)
            # Other threads read meanwhile; h5py unpacks within its lock.
            return self.packing.unpack(content, left_out).reshape(self.shape[1:]).astype(self.dtype, copy=False)

    def all(self) -> np.ndarray:
        """Returns all rows.

        Raises:
            DataError: As `row`.
        """
        if self.is_mapped:
            return self._map()
        with LOCK, self._naming(str(self)):
            return np.asarray(self._data_set()[()], self.dtype)

    def texts(self) -> list[str]:
        """Returns a data set of one text or number in each row as texts.

        Raises:
            DataError: As `row`, and if a row holds more than one, or a text is not UTF-8.
        """
        flat = self.all().reshape(len(self), -1)
        if flat.shape[1] != 1:
            raise DataError(f"{self}: has {flat.shape[1]} values in each row where one is needed")
        return [self.text(value) for value in flat[:, 0]]

    def text(self, value: Any) -> str:
        """Returns one of its values as text: whole numbers without a point, others with all their digits.

        Raises:
            DataError: If a text is not UTF-8.
        """
        if isinstance(value, bytes):
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise DataError(f"{self}: the text {value!r} is not UTF-8; write it again") from None
        if isinstance(value, np.floating) and np.isfinite(value) and value == np.rint(value):
            return str(int(value))
        return str(int(value) if isinstance(value, np.bool_) else value)

    def _map(self) -> np.ndarray:
        refuse_changed(self.path, self.stamp)
        with LOCK:
            known = _mapped.get((str(self.path), self.name))
            if known is None or known[0] != self.stamp:
                try:
                    array = np.asarray(np.memmap(self.path, self.dtype, "r", self.offset or 0, self.shape))
                except (OSError, ValueError) as error:
                    raise DataError(f"{self}: cannot be read ({error}); copy the file again from its source") from error
                known = _mapped[str(self.path), self.name] = (self.stamp, array)
        return known[1]

    def _data_set(self) -> Any:
        refuse_changed(self.path, self.stamp)
        return kept_data_set(self.path, self.name)

    @contextlib.contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        try:
            yield
        except _DAMAGED as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"{what}: is truncated or damaged ({first_line(error)}); copy the file again from its source"
            ) from error


def open_rows(path: Path, name: str | None = None) -> Rows:
    """Finds a data set and what is known of it, without reading its rows.

    Args:
        path: An HDF5 file.
        name: The data set, in groups as `group/name`; None for the only one of the file, or the one that is called as
            the file is.

    Raises:
        DataError: If the file is missing, damaged or no HDF5, there is no such data set (names those there are), or it
            has no rows, or its values are neither numbers nor texts.
    """
    import h5py

    path = Path(path)
    with LOCK, open_once(path) as (file, stamp):
        chosen = _choose(path, name, _data_sets(path, file))
        data_set = file[chosen]
        shape, dtype = data_set.shape, data_set.dtype
        if not shape or 0 in shape:
            raise DataError(
                f"{path}:/{chosen}: has the shape {shape}, and a row for each subject is needed; name another data set"
            )
        is_text = dtype.kind in "SO" and h5py.check_string_dtype(dtype) is not None
        if dtype.kind not in NUMBERS and not is_text:
            raise DataError(f"{path}:/{chosen}: holds {dtype}, neither numbers nor texts; write it as numbers")
        is_plain = dtype.kind in NUMBERS and dtype.isnative and data_set.chunks is None and not data_set.external
        packing = find_packing(data_set)
        offset = data_set.id.get_offset() if is_plain and not file.userblock_size else None
        attributes = {key: data_set.attrs[key] for key in data_set.attrs}
    # Enumerations and the like are the numbers that they stand for.
    own = dtype.newbyteorder("=") if dtype.kind in NUMBERS else np.dtype(object)
    return Rows(path, chosen, tuple(shape), own, attributes, offset, packing, stamp)


def list_data_sets(path: Path) -> dict[str, str]:
    """Returns the data sets of a file, those in groups too, each with its shape and type in words.

    Raises:
        DataError: If the file is missing, damaged or no HDF5.
    """
    with LOCK, open_once(path) as (file, _):
        return _data_sets(path, file)


def _data_sets(path: Path, file: "h5py.File") -> dict[str, str]:
    import h5py

    found: dict[str, str] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = f"{name} {' x '.join(map(str, item.shape)) or 'one value'} {item.dtype}"

    try:
        file.visititems(note)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: is damaged ({first_line(error)}); copy it again from its source") from error
    return found


def _choose(path: Path, name: str | None, found: Mapping[str, str]) -> str:
    shown = "; ".join(found.values()) or "none"
    if name is None:
        if len(found) == 1 or path.stem in found:
            return path.stem if path.stem in found else next(iter(found))
        raise DataError(f"{path}: has {len(found)} data sets; say which one with hdf5_dataset ({shown})")
    name = name.strip("/")
    if name not in found:
        hint = suggestion(name, list(found))
        raise DataError(f"{path}: has no data set {name!r}{hint or ','} there are: {shown}; correct hdf5_dataset")
    return name
