"""Windows as a tf.data pipeline: whole batches made by a few threads, ahead of the training step.

One call makes one batch, so that the cost of entering Python is paid once per batch. TensorFlow is imported
when a dataset is made, not before.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from sfgkeras.data.windows import WindowSource

if TYPE_CHECKING:
    import tensorflow as tf


def training_dataset(
    source: WindowSource,
    batch_size: int,
    start_iteration: int = 0,
    rows: tuple[int, int] | None = None,
    num_threads: int = 2,
) -> "tf.data.Dataset":
    """Makes the endless training set: batch i holds the windows `i * batch_size` to `(i + 1) * batch_size -
    1`.

    The order does not depend on the number of threads. Errors of the window source come out of TensorFlow
    wrapped; see `original_errors`.

    Args:
        source: Makes the windows.
        batch_size: Windows per global batch.
        start_iteration: Number of the first batch, for runs that are resumed.
        rows: `(w, n)` gives every n-th row of each global batch from row w on, the share of worker w of n.
        num_threads: Batches made at the same time, each by one thread.

    Returns:
        Dataset of (image, targets by task, weights by task) of static shapes, prefetched.

    Raises:
        ValueError: If a number is out of range.
    """
    import tensorflow as tf

    worker, num_workers = (0, 1) if rows is None else rows
    if not 0 <= worker < num_workers:
        raise ValueError(f"rows = {rows}: the first number counts workers from 0 and is less than the second")
    if batch_size < num_workers:
        raise ValueError(
            f"batch_size = {batch_size} gives some of {num_workers} workers no window; raise batch_size"
        )
    if start_iteration < 0:
        raise ValueError(f"start_iteration = {start_iteration} is less than 0")
    local_rows = np.arange(worker, batch_size, num_workers)
    dataset = tf.data.Dataset.counter(start_iteration)
    return _mapped(dataset, source, batch_size, local_rows, len(local_rows), num_threads)


def validation_dataset(
    source: WindowSource, batch_size: int, count: int, num_threads: int = 2
) -> "tf.data.Dataset":
    """Makes a finite set: the first `count` windows of the source, the same in every pass.

    Args:
        source: Makes the windows; give it a seed of its own and no augmentation.
        batch_size: Windows per batch; the last batch is smaller where `count` is no multiple.
        count: Number of windows.
        num_threads: Batches made at the same time, each by one thread.

    Returns:
        Dataset of (image, targets by task, weights by task), prefetched.

    Raises:
        ValueError: If a number is out of range.
    """
    import tensorflow as tf

    if batch_size < 1 or count < 1:
        raise ValueError(f"batch_size = {batch_size} and count = {count} must be at least 1")
    dataset = tf.data.Dataset.range(-(-count // batch_size))
    static_rows = batch_size if count % batch_size == 0 else None
    return _mapped(dataset, source, batch_size, np.arange(batch_size), static_rows, num_threads, count)


@contextmanager
def original_errors(source: WindowSource) -> Iterator[None]:
    """Raises the error that the source raised, in place of TensorFlow's report that some operation failed.

    Put it around whatever consumes a dataset of this source: a loop, or `fit`.
    """
    import tensorflow as tf

    source.failure = None
    try:
        yield
    except tf.errors.OpError:
        if source.failure is None:
            raise
        raise source.failure.with_traceback(None) from None


class _BatchMaker:
    """Makes the rows of one global batch, as a flat list of arrays; called by TensorFlow's threads."""

    def __init__(self, source: WindowSource, batch_size: int, rows: np.ndarray, count: int | None) -> None:
        self._source = source
        self._batch_size = batch_size
        self._rows = rows
        self._count = count

    def __call__(self, iteration: np.ndarray) -> list[np.ndarray]:
        indices = int(iteration) * self._batch_size + self._rows
        if self._count is not None:
            indices = indices[indices < self._count]
        try:
            image, targets, weights = self._source.batch(indices.tolist())
        except Exception as error:
            self._source.failure = error
            raise
        return [image, *targets.values(), *weights.values()]


def _mapped(
    dataset: "tf.data.Dataset",
    source: WindowSource,
    batch_size: int,
    rows: np.ndarray,
    static_rows: int | None,
    num_threads: int,
    count: int | None = None,
) -> "tf.data.Dataset":
    import cv2
    import tensorflow as tf

    if num_threads < 1:
        raise ValueError(f"num_threads = {num_threads} is less than 1")
    cv2.setNumThreads(0)  # the threads here are the workers; OpenCV would start as many again inside each
    maker = _BatchMaker(source, batch_size, rows, count)
    tasks = list(source.task_kinds)
    shapes: Sequence[tuple[int, ...]] = [
        source.image_shape,
        *(source.target_shapes[task] for task in tasks),
        *(source.weight_shapes[task] for task in tasks),
    ]
    dtypes = [
        tf.float32,
        *(tf.as_dtype(source.target_dtypes[task]) for task in tasks),
        *[tf.float32] * len(tasks),
    ]

    def make(iteration: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        image, *others = tf.numpy_function(maker, [iteration], dtypes)
        for tensor, shape in zip([image, *others], shapes, strict=True):
            tensor.set_shape((static_rows, *shape))
        targets, weights = others[: len(tasks)], others[len(tasks) :]
        return image, dict(zip(tasks, targets, strict=True)), dict(zip(tasks, weights, strict=True))

    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = num_threads
    options.threading.max_intra_op_parallelism = 1
    mapped = dataset.map(make, num_parallel_calls=num_threads, deterministic=True)
    return mapped.prefetch(num_threads).with_options(options)
