"""TensorFlow's threads inside Python: what they must not free, and how Python exits in spite of them.

An iterator that is freed waits for its own threads. One of these threads that frees it, in a garbage collection that it
happens to run, waits for itself for ever; and a thread that is inside Python while Python exits aborts the process.
"""

import atexit
import contextlib
import faulthandler
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

QUIET_SECONDS = 0.05
"""How long no batch must have been asked for before Python may exit."""

LONGEST_WAIT = 10.0
"""Seconds after which a dataset is given up although another one is still being read."""

LONGEST_EXIT = 30.0
"""Seconds after which Python exits although a batch is still being made; as many again until it is ended by force."""

STANDARD_ERROR = 2


class _InPython:
    """Counts the threads of TensorFlow that are inside Python; entered by each of them."""

    def __init__(self) -> None:
        self.exiting = False
        self._active = 0
        self._last_call = 0.0
        self._lock = threading.Lock()
        self._here = threading.local()
        atexit.register(self._exit)

    def __enter__(self) -> None:
        self._here.depth = getattr(self._here, "depth", 0) + 1
        with self._lock:
            self._active += 1
            self._last_call = time.monotonic()

    def __exit__(self, *error: object) -> None:
        self._here.depth -= 1
        with self._lock:
            self._active -= 1

    @property
    def is_here(self) -> bool:
        """Whether the calling thread is one of them."""
        return getattr(self._here, "depth", 0) > 0

    def wait_until_quiet(self, longest: float = LONGEST_WAIT) -> bool:
        """Waits until no batch has been asked for in a while, `longest` seconds at most; returns whether it is so."""
        end = time.monotonic() + longest
        while self._active or time.monotonic() - self._last_call < QUIET_SECONDS:
            if time.monotonic() > end:
                return False
            time.sleep(QUIET_SECONDS / 5)
        return True

    def _exit(self) -> None:
        """Refuses new batches and waits until none is asked for, but not for ever.

        The refusals fill TensorFlow's buffers with errors, upon which its threads rest.
        """
        self.exiting = True
        if self.wait_until_quiet(LONGEST_EXIT):
            _RETIRED.clear()
            return
        with contextlib.suppress(OSError):  # standard error may be closed
            os.write(
                STANDARD_ERROR,
                f"a batch has been in the making for {LONGEST_EXIT:g} s, and the program wants to end; it ends without "
                "it\n".encode(),
            )
        with contextlib.suppress(OSError):
            # Iterators that are freed from here on wait for that thread, maybe for ever. This clock needs no Python.
            faulthandler.dump_traceback_later(LONGEST_EXIT, exit=True, file=STANDARD_ERROR)


class Owned(Iterable[Any]):
    """A dataset whose iterators are never freed by the threads that make its batches.

    Args:
        dataset: A `tf.data` dataset, distributed or not.
    """

    def __init__(self, dataset: Iterable[Any]) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[Any]:
        return _OwnedIterator(iter(self.dataset))


class _OwnedIterator(Iterator[Any]):
    """Hands what it iterates to a thread that may wait, when it is freed by one that must not."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        # The finaliser's own reference is the last one to go.
        weakref.finalize(self, _retire, batches).atexit = False

    def __next__(self) -> Any:
        _RETIRED.clear()
        return next(self._batches)


_RETIRED: deque[Iterator[Any]] = deque()
"""Iterators that a thread inside Python wanted to free; freed by the next consumer's thread."""


def _retire(batches: Iterator[Any]) -> None:
    if IN_PYTHON.is_here:
        _RETIRED.append(batches)
    else:
        _RETIRED.clear()


IN_PYTHON = _InPython()
