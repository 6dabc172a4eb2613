"""The batches of a search: the same ones for every candidate, as often as they are asked for."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

Data = Callable[[], Iterator[Any]]
"""Returns the batches from the first one on, without end: tuples of images, targets and perhaps weights."""


def endless(x: Any, y: Any, sample_weight: Any, batch_size: int, seed: int) -> Data:
    """Returns what makes the batches of arrays, or of batches that are iterated over again and again.

    Args:
        x: Images, or batches.
        y: Targets, or targets by task, beside images.
        sample_weight: Weights of the samples, or by task, beside images.
        batch_size: Images per batch, where there are images; every epoch leaves out what is no whole batch.
        seed: Seed of their order.

    Raises:
        ValueError: If `x` can be read only once, or is an array without targets, or of fewer images than a batch.
    """
    if hasattr(x, "shape"):
        if y is None:
            raise ValueError("x is an array of images, and there is no y: give the targets by task")
        if len(x) < batch_size:
            raise ValueError(f"batch_size = {batch_size} is more than the {len(x)} images of x")
        parts = (x, y) if sample_weight is None else (x, y, sample_weight)
        return lambda: _cut(parts, batch_size, seed)
    if isinstance(x, Iterator):
        raise ValueError(
            "x can be read only once, and every candidate reads it from the beginning: give arrays, or an object that "
            "can be iterated over again, e.g. a tf.data.Dataset"
        )
    return lambda: _again_and_again(x)


def _cut(parts: tuple[Any, ...], batch_size: int, seed: int) -> Iterator[Any]:
    """Cuts batches from shuffled arrays, in another order in every epoch."""
    random_generator = np.random.default_rng(seed)
    while True:
        order = random_generator.permutation(len(parts[0]))
        for first in range(0, len(order) - batch_size + 1, batch_size):
            rows = order[first : first + batch_size]
            yield tuple(_rows(part, rows) for part in parts)


def _rows(part: Any, rows: np.ndarray) -> Any:
    if isinstance(part, Mapping):
        return {name: _rows(values, rows) for name, values in part.items()}
    return np.asarray(part)[rows]


def _again_and_again(batches: Any) -> Iterator[Any]:
    """Iterates over batches without end.

    Raises:
        ValueError: If there are none.
    """
    while True:
        count = 0
        for batch in batches:
            count += 1
            yield batch
        if not count:
            raise ValueError("x has no batch")
