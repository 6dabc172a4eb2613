"""Counts the multiplies of convolutions and dense products while a network is traced."""

import contextlib
import math
from collections.abc import Iterator, Sequence

_recorders: list[list[int]] = []


@contextlib.contextmanager
def recording() -> Iterator[list[int]]:
    """Collects the multiplies of every product traced inside the block, for the batch as traced."""
    recorder: list[int] = []
    _recorders.append(recorder)
    try:
        yield recorder
    finally:
        _recorders.remove(recorder)


def record(count: int) -> None:
    """Adds a number of multiplies to every active recording."""
    for recorder in _recorders:
        recorder.append(count)


def record_convolution(output_shape: Sequence[int | None], kernel_shape: Sequence[int]) -> None:
    """Records a convolution: every voxel of its output times every kernel entry.

    Args:
        output_shape: `(batch, *spatial, anything)`, fully known while something records.
        kernel_shape: `(*kernel_size, channels, filters)`.
    """
    if _recorders:
        record(math.prod(size or 1 for size in output_shape[:-1]) * math.prod(kernel_shape))
