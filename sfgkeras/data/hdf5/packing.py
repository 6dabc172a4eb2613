"""Chunks of HDF5 files, unpacked outside h5py's lock: by shuffle and gzip, as most files are packed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from isal import isal_zlib

NUMBERS = "biuf"
"""Kinds of data types that are real numbers."""

_GZIP, _SHUFFLE = 1, 2  # HDF5's numbers of filters


@dataclass(frozen=True)
class Packing:
    """How a chunk is packed: by shuffle, which puts the first bytes of all numbers first, and by gzip, or one of them.

    Attributes:
        dtype: Data type in the file.
        filters: Their numbers, in the order in which they were applied.
        count: Numbers in a chunk.
    """

    dtype: np.dtype
    filters: tuple[int, ...]
    count: int

    def unpack(self, content: bytes, left_out: int) -> np.ndarray:
        """Returns the numbers of a chunk; bit i of `left_out` says that filter i was not applied to it."""
        for place, number in reversed(list(enumerate(self.filters))):
            if left_out >> place & 1:
                continue
            if number == _GZIP:
                content = isal_zlib.decompress(content)
            elif self.dtype.itemsize > 1:
                content = np.frombuffer(content, np.uint8).reshape(self.dtype.itemsize, -1).T.tobytes()
        if len(content) != self.count * self.dtype.itemsize:
            raise ValueError(f"{len(content)} bytes where {self.count * self.dtype.itemsize} belong")
        return np.frombuffer(content, self.dtype)


def find_packing(data_set: Any) -> Packing | None:
    """Returns how rows are packed, if each is a chunk of its own and nothing but gzip and shuffle was applied."""
    shape, creation = data_set.shape, data_set.id.get_create_plist()
    filters = tuple(creation.get_filter(number)[0] for number in range(creation.get_nfilters()))
    is_row = data_set.chunks == (1, *shape[1:])
    if not is_row or data_set.dtype.kind not in NUMBERS or not filters or set(filters) - {_GZIP, _SHUFFLE}:
        return None
    return Packing(data_set.dtype, filters, int(np.prod(shape[1:], dtype=np.int64)))
