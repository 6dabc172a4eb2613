"""Runs a network over whole volumes: windows out, outputs back, weighted where they overlap."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sfgkeras.applications.base import TaskType
from sfgkeras.data.aggregators import WindowAggregator, grid_starts


class Predictor:
    """Predicts every task of a volume.

    Args:
        network: Maps a batch of windows to `{task: outputs}`.
        tasks: The tasks by name.
        window_size: Voxels per window along x, y, z; 0 takes the volume's whole extent; one axis may be 1.
        border: Voxels of every window's rim that are not used, along x, y, z.
        blending: `gaussian` or `none`.
        batch_size: Windows per call of the network.
        loss_border: Zeros around every window, as in training: a network that has learned with a frame of zeros relies
            on it, and is far off without.
        fill_last_batch: Whether a last batch that is not full is filled up with repeats, whose results are dropped.
        before_call: Called before every batch.
    """

    def __init__(
        self,
        network: Any,
        tasks: Mapping[str, TaskType],
        window_size: Sequence[int],
        border: Sequence[int],
        blending: str,
        batch_size: int,
        fill_last_batch: bool = True,
        loss_border: int = 0,
        before_call: Callable[[], None] | None = None,
    ) -> None:
        import tensorflow as tf

        self._tasks = tasks
        self._window_size = tuple(window_size)
        self._border = tuple(border)
        self._blending = blending
        self._batch_size = batch_size
        self._fill_last_batch = fill_last_batch
        self._loss_border = loss_border
        self.before_call = before_call
        # One graph for windows of every size: subjects differ in extent, and tracing costs seconds.
        call = functools.partial(network, training=False)
        self._call = tf.function(call, reduce_retracing=True, autograph=False)

    def volumes(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Predicts volumes.

        Args:
            image: `(x, y, z, channels)`.

        Returns:
            Activated outputs `(x, y, z, outputs)` by task.
        """
        shape = image.shape[:3]
        window = tuple(min(size or length, length) for size, length in zip(self._window_size, shape, strict=True))
        sliced = next((axis for axis, size in enumerate(self._window_size) if size == 1), None)
        border = tuple(b if size < n else 0 for b, size, n in zip(self._border, window, shape, strict=True))
        aggregators = {
            name: WindowAggregator(shape, task.num_outputs, window, border, self._blending)
            for name, task in self._tasks.items()
        }
        starts = grid_starts(shape, window, border)
        for first in range(0, len(starts), self._batch_size):
            chunk = starts[first : first + self._batch_size]
            outputs = self._framed_outputs(np.stack([_cut(image, start, window, sliced) for start in chunk]))
            for name, task in self._tasks.items():
                for output, start in zip(task.activate(outputs[name]), chunk, strict=True):
                    aggregators[name].add(output, start)
        return {name: aggregator.result() for name, aggregator in aggregators.items()}

    def values(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        """Predicts scalar tasks for whole images `(batch, *window, channels)`; `(batch, outputs)` by task."""
        outputs = self._outputs(windows)
        return {name: task.activate(outputs[name]) for name, task in self._tasks.items()}

    def _framed_outputs(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        frame, rank = self._loss_border, windows.ndim - 2
        if frame == 0:
            return self._outputs(windows)
        outputs = self._outputs(np.pad(windows, [(0, 0), *[(frame, frame)] * rank, (0, 0)]))
        inside = (slice(None), *[slice(frame, -frame)] * rank)
        return {name: value[inside] for name, value in outputs.items()}

    def _outputs(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        import tensorflow as tf

        count = len(windows)
        if self._fill_last_batch and count < self._batch_size:
            windows = np.resize(windows, (self._batch_size, *windows.shape[1:]))
        if self.before_call is not None:
            self.before_call()
        outputs = self._call(tf.convert_to_tensor(windows, tf.float32))
        return {name: np.asarray(value, np.float32)[:count] for name, value in outputs.items()}


def _cut(image: np.ndarray, start: Sequence[int], window: Sequence[int], sliced: int | None) -> np.ndarray:
    piece = image[tuple(slice(int(s), int(s) + size) for s, size in zip(start, window, strict=True))]
    return np.asarray(piece if sliced is None else np.squeeze(piece, axis=sliced), np.float32)
