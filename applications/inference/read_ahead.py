"""Reading, computing and writing side by side: one item ahead, one behind, never more."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self, TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")


@contextlib.contextmanager
def reading_ahead(
    items: Sequence[Item], read: Callable[[Item], Read], alone: Callable[[Item], bool] = lambda item: False
) -> Iterator[Iterator[tuple[Item, Read]]]:
    """Reads the next item in a thread while the present one is in use.

    What `read` raises is raised in the item's turn, after all items before it were given out.

    Args:
        items: What is read, in order.
        read: Reads one; always called in the same thread, one at a time.
        alone: Whether an item is too large to be there together with another: it is read when the one before it is
            done with, and the one after it likewise.

    Yields:
        An iterator over each item and what was read.
    """
    executor = ThreadPoolExecutor(1, "reading")

    def pairs() -> Iterator[tuple[Item, Read]]:
        ahead: Future[Read] | None = None
        for number, item in enumerate(items):
            result = (ahead or executor.submit(read, item)).result()
            ahead = None
            following = items[number + 1 : number + 2]
            if following and not alone(item) and not alone(following[0]):
                ahead = executor.submit(read, following[0])
            yield item, result
            del result

    try:
        yield pairs()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


class WriteBehind:
    """Writes in a thread, one item at a time; leaving the block waits for the last one.

    If the block fails while an item is written, that item is finished, and the block's error goes on.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "writing")
        self._pending: Future[None] | None = None

    def submit(self, write: Callable[[], None]) -> None:
        """Starts to write as soon as the item before is written; waits for that one.

        Raises:
            Exception: What writing the item before raised.
        """
        self.wait()
        self._pending = self._executor.submit(write)

    def wait(self) -> None:
        """Waits until all is written; raises what writing raised."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            self.wait()
        except Exception as other:
            if error is None:
                raise
            error.add_note(f"besides, a result could not be written: {other}")
        finally:
            self._executor.shutdown(wait=True)
