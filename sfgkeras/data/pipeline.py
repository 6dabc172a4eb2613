"""Windows as a tf.data pipeline: whole batches made by a few threads, ahead of the training step.

One call makes one batch, so that the cost of entering Python is paid once per batch. TensorFlow is imported
when a dataset is made, not before.
"""

import weakref
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from sfgkeras.data.pipeline_threads import IN_PYTHON
from sfgkeras.data.windows import WindowSource

if TYPE_CHECKING:
    import tensorflow as tf

ALIGNMENT = 64
"""Bytes to which TensorFlow wants arrays aligned; it copies those that are not."""


def training_dataset(
    source: WindowSource,
    batch_size: int,
    start_iteration: int = 0,
    rows: tuple[int, int] | None = None,
    num_threads: int = 2,
    prefetch: int = 2,
) -> "tf.data.Dataset":
    """Makes the endless training set.

    Batch i holds the windows from `i * batch_size` to `(i + 1) * batch_size - 1`, whatever the number of
    threads. Errors of the window source come out of TensorFlow wrapped; see `original_errors`.

    Args:
        source: Makes the windows.
        batch_size: Windows per global batch.
        start_iteration: Number of the first batch, for runs that are resumed.
        rows: `(w, n)` gives every n-th row of each global batch from row w on, the share of worker w of n.
        num_threads: Batches of 3-D windows made at the same time, each by one thread. 2-D windows are so
            small that threads would spend their time handing over Python's lock (two make fewer windows than
            one): their batches are made one after the other.
        prefetch: Batches kept ready (`queue_length`).

    Returns:
        Dataset of (image, targets by task, weights by task) of static shapes, prefetched. Where its iterators can
        end up in a reference cycle, iterate over `pipeline_threads.Owned(dataset)`.

    Raises:
        ValueError: If a number is out of range.
    """
    import tensorflow as tf

    if start_iteration < 0:
        raise ValueError(f"start_iteration = {start_iteration} is less than 0")
    local_rows = _local_rows(batch_size, rows)
    maker = _BatchMaker(source, batch_size, local_rows, count=None)
    return _mapped(tf.data.Dataset.counter(start_iteration), source, maker, len(local_rows), num_threads, prefetch)


def validation_dataset(
    source: WindowSource,
    batch_size: int,
    count: int,
    num_threads: int = 2,
    prefetch: int = 2,
    rows: tuple[int, int] | None = None,
) -> "tf.data.Dataset":
    """Makes a finite set: the first `count` windows of the source, the same in every pass.

    Args:
        source: Makes the windows; give it a seed of its own and no augmentation.
        batch_size: Windows per batch; the last batch is smaller where `count` is no multiple.
        count: Number of windows.
        num_threads: As for `training_dataset`.
        prefetch: Batches kept ready.
        rows: As for `training_dataset`. Where `count` is no multiple of `batch_size`, the workers' shares of the
            last batch may differ by one row, or be empty.

    Returns:
        Dataset of (image, targets by task, weights by task), prefetched.

    Raises:
        ValueError: If a number is out of range.
    """
    import tensorflow as tf

    if batch_size < 1 or count < 1:
        raise ValueError(f"batch_size = {batch_size} and count = {count} must be at least 1")
    local_rows = _local_rows(batch_size, rows)
    maker = _BatchMaker(source, batch_size, local_rows, count)
    static_rows = len(local_rows) if count % batch_size == 0 else None
    return _mapped(tf.data.Dataset.range(-(-count // batch_size)), source, maker, static_rows, num_threads, prefetch)


def _local_rows(batch_size: int, rows: tuple[int, int] | None) -> np.ndarray:
    """Returns the rows of a global batch that worker w of n makes, for `rows = (w, n)`; None makes all."""
    worker, num_workers = (0, 1) if rows is None else rows
    if not 0 <= worker < num_workers:
        raise ValueError(f"rows = {rows}: the first number counts workers from 0 and is less than the second")
    if batch_size < num_workers:
        raise ValueError(f"batch_size = {batch_size} leaves some of {num_workers} workers without a window")
    return np.arange(worker, batch_size, num_workers)


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
        failure, source.failure = source.failure, None
        if failure is None:
            raise
        raise failure.with_traceback(None) from None


def close(source: WindowSource) -> None:
    """Ends all datasets of a source; returns when none of their threads is inside Python.

    To be called before a dataset that may still make batches ahead is given up: TensorFlow waits for its threads while
    it holds Python's lock, and for ever for one that wants this lock.

    TensorFlow keeps what it calls from a dataset as long as the process lives. What is closed holds no subjects any
    more, nor the files that they are read from.
    """
    source.closed = True
    IN_PYTHON.wait_until_quiet()
    for maker in source.makers:
        maker.release()
    source.makers.clear()


class _Buffers:
    """Memory of earlier batches, used again.

    The first touch of fresh pages costs a third of what making a small window costs.
    """

    def __init__(self) -> None:
        self._free: defaultdict[int, deque[np.ndarray]] = defaultdict(deque)

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Returns an array of any content, whose memory comes back when the last reference to it is gone."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        free = self._free[size]
        try:
            memory = free.pop()
        except IndexError:
            raw = np.empty(size + ALIGNMENT, np.uint8)
            offset = -raw.ctypes.data % ALIGNMENT
            memory = raw[offset : offset + size]
        array: np.ndarray = np.ndarray(shape, dtype, buffer=memory.data)
        weakref.finalize(array, free.append, memory).atexit = False
        return array


class _BatchMaker:
    """Makes some rows of a global batch, as a flat list of arrays; called by TensorFlow's threads.

    Args:
        source: Makes the windows.
        batch_size: Windows per global batch.
        rows: The rows of it that are made.
        count: Number of windows in all, or None for no end.
    """

    def __init__(self, source: WindowSource, batch_size: int, rows: np.ndarray, count: int | None) -> None:
        self.source: WindowSource | None = source
        self._batch_size = batch_size
        self._rows = rows
        self._count = count
        self._buffers = _Buffers()
        source.makers.append(self)

    def release(self) -> None:
        """Gives up the source, and the memory of its batches."""
        self.source, self._buffers = None, _Buffers()

    def __call__(self, iteration: np.ndarray) -> list[np.ndarray]:
        indices = int(iteration) * self._batch_size + self._rows
        if self._count is not None:
            indices = indices[indices < self._count]
        with IN_PYTHON:
            source, buffers = self.source, self._buffers
            if IN_PYTHON.exiting or source is None or source.closed:
                raise RuntimeError("no more batches are made: the data set was closed, or Python exits")
            try:
                image, targets, weights = source.batch(indices.tolist(), buffers.allocate)
            except Exception as error:
                # Without the frames of its traceback, which may hold an iterator: the next error would free it here.
                source.failure = error.with_traceback(None)
                raise
        return [image, *targets.values(), *weights.values()]


def _mapped(
    dataset: "tf.data.Dataset",
    source: WindowSource,
    maker: _BatchMaker,
    static_rows: int | None,
    num_threads: int,
    prefetch: int,
) -> "tf.data.Dataset":
    """Maps batch numbers to batches of known shapes."""
    import cv2
    import tensorflow as tf

    if num_threads < 1 or prefetch < 1:
        raise ValueError(f"num_threads = {num_threads} and prefetch = {prefetch} must be at least 1")
    cv2.setNumThreads(0)  # the threads here are the workers; OpenCV would start as many again inside each
    tasks = list(source.task_kinds)
    shapes: Sequence[tuple[int, ...]] = [
        source.image_shape,
        *(source.target_shapes[task] for task in tasks),
        *(source.weight_shapes[task] for task in tasks),
    ]
    dtypes = [tf.float32, *(source.target_dtypes[task] for task in tasks), *[tf.float32] * len(tasks)]

    def make(iteration: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        image, *others = tf.numpy_function(maker, [iteration], [tf.as_dtype(dtype) for dtype in dtypes])
        for tensor, shape in zip([image, *others], shapes, strict=True):
            tensor.set_shape((static_rows, *shape))
        targets, weights = others[: len(tasks)], others[len(tasks) :]
        return image, dict(zip(tasks, targets, strict=True)), dict(zip(tasks, weights, strict=True))

    options = tf.data.Options()
    options.deterministic = True
    # Nothing here is left to it, and an iterator that is freed waits until its tuner wakes up: as long again as the
    # iterator has lived, up to a minute.
    options.autotune.enabled = False
    options.threading.private_threadpool_size = num_threads
    options.threading.max_intra_op_parallelism = 1
    parallel = num_threads if source.spatial_rank == 3 else 1
    mapped = dataset.map(make, num_parallel_calls=parallel, deterministic=True)
    return mapped.prefetch(prefetch).with_options(options)
