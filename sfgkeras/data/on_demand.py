"""Arrays that are computed when they are looked at, for pictures that it is not worth keeping prepared copies of."""

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np

KEPT = 1 << 12
"""Bytes up to which an array is kept in memory: numbers, marks, and the like."""


class OnDemand:
    """An array that is computed anew whenever it is looked at, and has shape and type before.

    Args:
        shape: Its shape.
        dtype: Its type.
        compute: Returns it; called by any thread, and by several at a time.
    """

    def __init__(self, shape: Sequence[int], dtype: np.dtype, compute: Callable[[], np.ndarray]) -> None:
        self.shape = tuple(shape)
        self.dtype = dtype
        self._compute = compute

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    def reshape(self, *shape: Any) -> "OnDemand":
        """Returns the array in another shape, still to be computed."""
        wanted = np.broadcast_to(np.int8(0), self.shape).reshape(*shape).shape
        return OnDemand(wanted, self.dtype, lambda: self._compute().reshape(wanted))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self._compute(), dtype)

    def __getitem__(self, index: Any) -> np.ndarray:
        return self._compute()[index]

    def __len__(self) -> int:
        return self.shape[0]


class OnDemandStore:
    """Stands in the place of a `VolumeStore`, and keeps arrays in memory while there is room, nothing on the disk.

    For thousands of pictures, whose copies on the disk would take longer to make than an epoch. What there is no room
    for is computed again whenever it is looked at. Every array is computed once when it is asked for, so that what
    cannot be used is said at that time.

    Args:
        room: Bytes of arrays that are kept as long as someone has them.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._lock = threading.Lock()

    def array(
        self, key: Mapping[str, Any], compute: Callable[[], np.ndarray], sliced_axis: int | None = None
    ) -> np.ndarray:
        """Returns the array; one that there is no room for looks like an array and is an `OnDemand`.

        Args:
            key: Of no importance.
            compute: Returns the array.
            sliced_axis: Of no importance.
        """
        found = compute()
        if found.nbytes <= KEPT:
            return found
        if not self._take(found.nbytes):
            return cast(np.ndarray, OnDemand(found.shape, found.dtype, compute))
        # Views of the array keep it alive, and it is counted until the last of them is gone.
        own = np.array(found, order="C")
        weakref.finalize(own, self._give_back, own.nbytes)
        return own

    def _take(self, size: int) -> bool:
        with self._lock:
            if size > self._room:
                return False
            self._room -= size
            return True

    def _give_back(self, size: int) -> None:
        with self._lock:
            self._room += size


def as_array(array: Any) -> Any:
    """Returns an array as NumPy's own, without copying; what is to be computed stays so."""
    return array if isinstance(array, OnDemand) else np.asarray(array)
