"""From what a network says of a volume, slab by slab, to the maps that are written on the subject's own grid."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sfgkeras.applications.inference.predictor import Region
from sfgkeras.applications.tasks.outputs import VolumeTask
from sfgkeras.data.directions import frame_directions, turned
from sfgkeras.data.grids import Grid
from sfgkeras.data.scratch import Scratch
from sfgkeras.preprocessing.resampling import parallel_grid, resample_like

View = Callable[[np.ndarray], np.ndarray]
SAME_PLACE = 1e-6
"""Voxels; nearer than this to a voxel's centre no interpolation is needed, as in `resample_like`."""


class MapFinisher:
    """Finishes one task's results for one subject.

    Where the subject's voxels are among those that the network has seen, every slab is finished as it comes, and only
    results are kept. Otherwise outputs are kept until they can be resampled. Whatever is kept goes to the disk where
    it is large.

    Args:
        task: The task.
        grid: What the network sees.
        native: The subject's own grid.
        order: `[INFERENCE] output_interp_order`.
        fill: `[INFERENCE] fill_constant`, or what the task has in its place.
        scratch: Makes the arrays.
        axes: The axes of the subject's own array that its files call x, y and z.
        image: What the network sees, `(x, y, z, channels)`, for tasks that refine their outputs by it.
    """

    def __init__(
        self,
        task: VolumeTask,
        grid: Grid,
        native: Grid,
        order: int,
        fill: float,
        scratch: Scratch,
        axes: Sequence[int] = (0, 1, 2),
        image: np.ndarray | None = None,
    ) -> None:
        self._axes = tuple(axes)
        self._task = task
        self._grid = grid
        self._native = native
        self._order = order
        self._fill = fill
        self._scratch = scratch
        self._image = image if task.refines else None
        # What is refined is there as a whole first.
        self._view = None if task.refines else view_of(grid, native)
        self._kept: dict[str, np.ndarray] = {}

    def add(self, region: Region, outputs: np.ndarray, spread: Mapping[str, np.ndarray]) -> None:
        """Takes one slab.

        Args:
            region: Its place on the network's grid.
            outputs: Activated outputs, `(x, y, z, channels)`.
            spread: Maps of uncertainty `(x, y, z)` by their ending.
        """
        maps = {"": outputs, **spread} if self._view is None else self._finish(outputs, spread, _as_it_is)
        for ending, values in maps.items():
            if ending not in self._kept:
                self._kept[ending] = self._volume(values, region)
            self._kept[ending][region] = values

    def results(self) -> dict[str, np.ndarray]:
        """Returns the maps on the subject's own grid, by the ending of the file's name; to be called once."""
        kept, self._kept = self._kept, {}
        if self._view is not None:
            found = {ending: self._view(values) for ending, values in kept.items()}
        else:
            found = self._finish(kept.pop(""), kept, self._resample)
        if self._task.has_directions:
            native = frame_directions(self._native.affine, self._axes)
            found[""] = turned(found[""], frame_directions(self._grid.affine), native)
        return found

    def _finish(
        self, outputs: np.ndarray, spread: Mapping[str, np.ndarray], resample: Callable[..., np.ndarray]
    ) -> dict[str, np.ndarray]:
        if self._image is not None:
            outputs = self._task.refined(outputs, self._image)
        maps = self._task.finish_map(self._task.in_world(outputs, self._grid), resample, self._order, self._fill)
        return maps | self._task.finish_spread(spread, resample, self._order)

    def _volume(self, slab: np.ndarray, region: Region) -> np.ndarray:
        """Makes room for a whole map: channels apart, each slab in one piece."""
        axis = next((axis for axis, part in enumerate(region) if part != slice(None)), 0)
        shape = list(self._grid.shape)
        length = shape.pop(axis)
        kept = self._scratch.empty((*slab.shape[3:], length, *shape), slab.dtype)
        if slab.ndim == 4:
            kept = np.moveaxis(kept, 0, -1)
        return np.moveaxis(kept, 0, axis)

    def _resample(self, volume: np.ndarray, order: int, fill: float) -> np.ndarray:
        """Brings a volume onto the subject's grid, one channel at a time."""
        if volume.ndim == 3:
            return resample_like(volume, self._grid.affine, self._native.shape, self._native.affine, order, fill)
        result = np.moveaxis(self._scratch.empty((volume.shape[3], *self._native.shape)), 0, -1)
        for channel in range(volume.shape[3]):
            result[..., channel] = self._resample(volume[..., channel], order, fill)
        return result


def view_of(grid: Grid, native: Grid) -> View | None:
    """Returns what takes the voxels of one grid out of a volume on another, or None where they lie between.

    Turned, flipped and cut volumes need no interpolation, so that it does not matter whether they are finished before
    or after.

    Args:
        grid: The volume's grid.
        native: The wanted grid.
    """
    if grid.is_same(native):
        return _unchanged
    found = parallel_grid(np.linalg.inv(grid.affine) @ native.affine, native.shape)
    if found is None:
        return None
    parts = []
    for source, step, start, length in zip(found.sources, found.steps, found.starts, native.shape, strict=True):
        first, direction = round(start), 1 if step > 0 else -1
        last = first + direction * (length - 1)
        strays = max(abs(start - first), abs(start + step * (length - 1) - last))
        if strays > SAME_PLACE or min(first, last) < 0 or max(first, last) >= grid.shape[source]:
            return None
        behind = last + direction
        parts.append(slice(first, behind if behind >= 0 else None, direction))
    region, sources = tuple(parts), found.sources

    def view(volume: np.ndarray) -> np.ndarray:
        return np.transpose(volume, (*sources, *range(3, volume.ndim)))[region]

    return view


def _unchanged(volume: np.ndarray) -> np.ndarray:
    return volume


def _as_it_is(volume: np.ndarray, order: int, fill: float) -> np.ndarray:
    return volume
