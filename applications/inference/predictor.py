"""Runs a network over whole volumes: windows out, outputs back, weighted where they overlap."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sfgkeras.applications.inference.activation_memory import VoxelLimit
from sfgkeras.applications.tasks.table import image_tasks, voxel_tasks
from sfgkeras.applications.tasks.task import Task
from sfgkeras.data.aggregators import SlabAggregator, grid_starts, slab_axis
from sfgkeras.data.interpolation import resize_linear
from sfgkeras.errors import DataError

Region = tuple[slice, slice, slice]
Call = Callable[[Any], Mapping[str, Any]]
"""From windows `(batch, *spatial, channels)` to outputs by task."""


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
        limit: Says how many windows fit into memory; None lets `batch_size` count as it is.
        prefer_whole_slices: Whether 2-D windows give way to whole slices where these cost less and fit.
        keep_batches: Whether it matters for the results which windows share a batch: then neither size nor order of
            batches is changed.
        warn: Called with what the user should look into.
        resizes: Whether the network sees whole volumes, or in 2-D whole slices, resized to the window, as it has
            learned with `window_sampling = resize`; what it says of them is resized back.
        has_one_size: Whether the network takes windows of `window_size` and of no other size.
    """

    def __init__(
        self,
        network: Any,
        tasks: Mapping[str, Task],
        window_size: Sequence[int],
        border: Sequence[int],
        blending: str,
        batch_size: int,
        fill_last_batch: bool = True,
        loss_border: int = 0,
        before_call: Callable[[], None] | None = None,
        limit: VoxelLimit | None = None,
        prefer_whole_slices: bool = False,
        keep_batches: bool = False,
        warn: Callable[[str], None] | None = None,
        resizes: bool = False,
        has_one_size: bool = False,
    ) -> None:
        self._maps = voxel_tasks(tasks)
        self._values = {name: task for name, task in image_tasks(tasks).items() if not task.is_map}
        self._located = {name: task for name, task in image_tasks(tasks).items() if task.is_map}
        self._window_size = tuple(window_size)
        self._border = tuple(border)
        self._blending = blending
        self._batch_size = batch_size
        self._fill_last_batch = fill_last_batch
        self._loss_border = loss_border
        self.before_call = before_call
        self._limit = limit
        self._prefer_whole_slices = prefer_whole_slices and not keep_batches
        self._keep_batches = keep_batches
        self._warn = warn
        self._resizes = resizes
        self._has_one_size = has_one_size
        self._call = _compiled(network, self._maps)
        self._call_values = _compiled(network, self._values)
        self._call_located = _compiled(network, self._located)

    def of(self, subject_id: str) -> "Predictor":
        """Returns what predicts a subject: this one predicts them all."""
        return self

    def volumes(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Predicts volumes.

        Args:
            image: `(x, y, z, channels)`.

        Returns:
            Activated outputs `(x, y, z, outputs)` by task.
        """
        return _whole(image, self._maps, self.slabs(image))

    def located_volumes(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Predicts the maps of tasks whose results are places in them; see `volumes`."""
        return _whole(image, self._located, self._slabs(image, self._located, self._call_located))

    def slabs(self, image: np.ndarray) -> Iterator[tuple[str, Region, np.ndarray]]:
        """Predicts a volume from one end to the other, and gives away what is finished.

        Args:
            image: `(x, y, z, channels)`.

        Yields:
            Task, place in the volume and activated outputs, `(x, y, z, outputs)`.
        """
        return self._slabs(image, self._maps, self._call)

    def _slabs(
        self, image: np.ndarray, tasks: Mapping[str, Task], call: Call
    ) -> Iterator[tuple[str, Region, np.ndarray]]:
        if self._resizes:
            yield from self._resized_slabs(image, tasks, call)
            return
        shape = image.shape[:3]
        window, border = self.windows_of(shape)
        sliced = self._sliced_axis
        # In the order of the first axis, batches are those of the windows as `grid_starts` lists them.
        axis = 0 if self._keep_batches else slab_axis(shape, window) if sliced is None else sliced
        aggregators = {
            name: SlabAggregator(shape, task.activated_for(image.shape[-1]), window, border, self._blending, axis)
            for name, task in tasks.items()
        }
        starts = sorted(grid_starts(shape, window, border), key=lambda start: start[axis])
        batch_size = self._windows_per_call(window)
        reached = 0
        for first in range(0, len(starts), batch_size):
            chunk = starts[first : first + batch_size]
            windows = np.stack([_cut(image, start, window, sliced) for start in chunk])
            outputs = self._framed_outputs(windows, batch_size, call)
            activated = {name: task.activate(outputs[name]) for name, task in tasks.items()}
            for number, start in enumerate(chunk):
                if start[axis] != reached:
                    reached = start[axis]
                    yield from _finished(aggregators, reached)
                for name, aggregator in aggregators.items():
                    aggregator.add(activated[name][number], start)
        yield from _finished(aggregators, None)

    def windows_of(self, shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns window and border for a volume of this shape: those that were asked for, or whole slices.

        Raises:
            DataError: If the volume is smaller than the only window that the network takes.
        """
        window = tuple(min(size or length, length) for size, length in zip(self._window_size, shape, strict=True))
        border = tuple(b if size < n else 0 for b, size, n in zip(self._border, window, shape, strict=True))
        if self._has_one_size and window != self._window_size:
            voxels, size = (" x ".join(map(str, sizes)) for sizes in (shape, self._window_size))
            raise DataError(
                f"an image has {voxels} voxels as the network sees it, less than the window {size}, and "
                "head_pooling = flatten takes windows of that size alone; pad images by [NETWORK] volume_padding_size, "
                "or train with window_sampling = resize or head_pooling = average"
            )
        if not self._prefer_whole_slices or self._sliced_axis is None:
            return window, border
        whole = tuple(1 if axis == self._sliced_axis else length for axis, length in enumerate(shape))
        cost = len(grid_starts(shape, window, border)) * self._framed_voxels(window)
        # As many multiplies are a reason too: a whole slice has no seams.
        is_cheaper = shape[self._sliced_axis] * self._framed_voxels(whole) <= cost
        if is_cheaper and (self._limit is None or self._limit.windows(1, self._framed_voxels(whole))):
            return whole, (0, 0, 0)
        return window, border

    def values(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        """Predicts tasks of values for windows `(batch, *window, channels)`; `(batch, outputs)` by task."""
        outputs = self._filled_outputs(self._framed(windows), self._batch_size, self._call_values)
        return {name: task.activate(outputs[name]) for name, task in self._values.items()}

    def window_values(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Predicts tasks of values for all windows of an image, `(x, y, z, channels)`, and averages them.

        The windows are those that the maps are made of; each counts the same.

        Returns:
            Means of the activated outputs, `(outputs,)` by task.
        """
        totals: dict[str, np.ndarray] = {}
        count = 0
        for windows in self._windows(image):
            for name, outputs in self.values(windows).items():
                totals[name] = totals.get(name, 0) + outputs.sum(axis=0, dtype=np.float64)
            count += len(windows)
        return {name: (total / count).astype(np.float32) for name, total in totals.items()}

    def _windows(self, image: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the windows of an image in batches, `(batch, *window, channels)`."""
        if self._resizes:
            yield from (windows for _, windows in self._resized_windows(image))
            return
        shape = image.shape[:3]
        window, border = self.windows_of(shape)
        starts, sliced = grid_starts(shape, window, border), self._sliced_axis
        batch_size = self._windows_per_call(window)
        for first in range(0, len(starts), batch_size):
            yield np.stack([_cut(image, start, window, sliced) for start in starts[first : first + batch_size]])

    def _resized_windows(self, image: np.ndarray) -> Iterator[tuple[range, np.ndarray]]:
        """Yields whole slices, or the one whole volume, resized to the window: their numbers, and a batch of them."""
        sliced = self._sliced_axis
        size = [length for axis, length in enumerate(self._window_size) if axis != sliced]
        planes = np.asarray(image)[None] if sliced is None else np.moveaxis(image, sliced, 0)
        for first in range(0, len(planes), self._batch_size):
            numbers = range(first, min(first + self._batch_size, len(planes)))
            yield numbers, np.stack([resize_linear(np.asarray(planes[number]), size) for number in numbers])

    def _resized_slabs(
        self, image: np.ndarray, tasks: Mapping[str, Task], call: Call
    ) -> Iterator[tuple[str, Region, np.ndarray]]:
        sliced, shape = self._sliced_axis, image.shape[:3]
        size = [length for axis, length in enumerate(shape) if axis != sliced]
        for numbers, windows in self._resized_windows(image):
            outputs = self._framed_outputs(windows, self._batch_size, call)
            for name, task in tasks.items():
                activated = task.activate(outputs[name])
                for number, values in zip(numbers, activated, strict=True):
                    whole = resize_linear(values, size)
                    region = [slice(None)] * 3
                    if sliced is not None:
                        region[sliced] = slice(number, number + 1)
                        whole = np.expand_dims(whole, sliced)
                    yield name, (region[0], region[1], region[2]), whole

    @property
    def _sliced_axis(self) -> int | None:
        return self._window_size.index(1) if 1 in self._window_size else None

    def _framed_voxels(self, window: Sequence[int]) -> int:
        """Returns the voxels that the network sees of a window with its frame."""
        frame, sliced = 2 * self._loss_border, self._sliced_axis
        return math.prod(size + frame for axis, size in enumerate(window) if axis != sliced)

    def _windows_per_call(self, window: Sequence[int]) -> int:
        if self._limit is None:
            return self._batch_size
        fitting = max(1, self._limit.windows(self._batch_size, self._framed_voxels(window)))
        if fitting == self._batch_size or not self._keep_batches:
            return fitting
        if self._warn is not None:
            self._warn(
                f"[NETWORK] batch_size = {self._batch_size} windows of {tuple(window)} voxels may be too many for the "
                f"memory, {fitting} would fit; with batch_norm = batch fewer would change the results, so it stays; "
                "write a smaller [INFERENCE] spatial_window_size, or batch_norm = recalibrated"
            )
            self._warn = None
        return self._batch_size

    def _framed(self, windows: np.ndarray) -> np.ndarray:
        """Puts the frame of zeros around windows."""
        frame, rank = self._loss_border, windows.ndim - 2
        return np.pad(windows, [(0, 0), *[(frame, frame)] * rank, (0, 0)]) if frame else windows

    def _framed_outputs(self, windows: np.ndarray, batch_size: int, call: Call) -> dict[str, np.ndarray]:
        """Returns the maps of windows, without what the network says of their frame."""
        outputs = self._filled_outputs(self._framed(windows), batch_size, call)
        frame, rank = self._loss_border, windows.ndim - 2
        if frame == 0:
            return outputs
        inside = (slice(None), *[slice(frame, -frame)] * rank)
        return {name: value[inside] for name, value in outputs.items()}

    def _filled_outputs(self, windows: np.ndarray, batch_size: int, call: Call) -> dict[str, np.ndarray]:
        count = len(windows)
        if self._fill_last_batch and count < batch_size:
            windows = np.resize(windows, (batch_size, *windows.shape[1:]))
        return {name: value[:count] for name, value in self._outputs(windows, call).items()}

    def _outputs(self, windows: np.ndarray, call: Call) -> dict[str, np.ndarray]:
        import tensorflow as tf

        if self.before_call is not None:
            self.before_call()
        outputs = call(tf.convert_to_tensor(windows, tf.float32))
        return {name: np.asarray(value, np.float32) for name, value in outputs.items()}


def _compiled(network: Any, tasks: Mapping[str, Task]) -> Call:
    """Returns a network as a graph of some of its tasks: what only others need is not computed."""
    import tensorflow as tf

    def call(windows: Any) -> dict[str, Any]:
        outputs = network(windows, training=False)
        return {name: outputs[name] for name in tasks}

    # One graph for windows of every size: subjects differ in extent, and tracing costs seconds.
    compiled: Call = tf.function(call, reduce_retracing=True, autograph=False)
    return compiled


def _whole(
    image: np.ndarray, tasks: Mapping[str, Task], slabs: Iterator[tuple[str, Region, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Puts the slabs of maps together, `(x, y, z, outputs)` by task."""
    volumes = {
        name: np.empty((*image.shape[:3], task.activated_for(image.shape[-1])), np.float32)
        for name, task in tasks.items()
    }
    for name, region, values in slabs:
        volumes[name][region] = values
    return volumes


def _finished(aggregators: Mapping[str, SlabAggregator], up_to: int | None) -> Iterator[tuple[str, Region, np.ndarray]]:
    for name, aggregator in aggregators.items():
        finished = aggregator.finished(up_to)
        if finished is not None:
            yield name, *finished


def _cut(image: np.ndarray, start: Sequence[int], window: Sequence[int], sliced: int | None) -> np.ndarray:
    piece = image[tuple(slice(int(s), int(s) + size) for s, size in zip(start, window, strict=True))]
    return np.asarray(piece if sliced is None else np.squeeze(piece, axis=sliced), np.float32)
