"""Puts the windows that a network has seen back together into a volume."""

from collections.abc import Sequence

import numpy as np

from sfgkeras.data.samplers import window_axes
from sfgkeras.errors import ConfigError, lookup

GAUSSIAN_SIGMA = 1 / 8
"""Standard deviation of the blending weights as a part of the window, as in nnU-Net (Isensee et al. 2021)."""


def grid_starts(
    shape: Sequence[int], window_size: Sequence[int], border: Sequence[int] = (0, 0, 0)
) -> list[tuple[int, int, int]]:
    """Lists the first voxels of windows that cover a volume when the border of each is cut off.

    Windows advance by what is left of them without border. The border is not cut off at the edges of the
    volume, and the last window along an axis is moved back inside.

    Args:
        shape: Voxels of the volume, three numbers.
        window_size: Voxels of the window, three numbers; a 1 marks the sliced axis.
        border: Voxels cut off on each side along each axis.

    Returns:
        The starts, last axis fastest.

    Raises:
        ConfigError: If the border leaves nothing of the window, or the window is larger than the volume.
    """
    border = _checked_border(window_size, border)
    axes = []
    for extent, size, cut in zip(shape, window_size, border, strict=True):
        if size > extent:
            raise ConfigError(
                f"the window of {tuple(window_size)} voxels is larger than the volume of {tuple(shape)}; "
                "choose a smaller [INFERENCE] spatial_window_size or pad the volume (volume_padding_size)"
            )
        axes.append([*range(0, extent - size, size - 2 * cut), extent - size])
    return [(x, y, z) for x in axes[0] for y in axes[1] for z in axes[2]]


def slab_axis(shape: Sequence[int], window_size: Sequence[int]) -> int:
    """Chooses the axis along which windows leave the least of a volume unfinished: the sliced one, if there is.

    Otherwise it is the axis that a window covers the smallest part of, and the first of equal ones.
    """
    if 1 in window_size:
        return [*window_size].index(1)
    return min(range(3), key=lambda axis: window_size[axis] / shape[axis])


class SlabAggregator:
    """Averages overlapping windows that come in order along one axis, and gives away what no later one reaches.

    Of the volume no more is kept than one window is long along that axis. Every voxel is divided by the true sum of its
    weights.

    Args:
        shape: Voxels of the volume, three numbers.
        num_channels: Channels of the network's output.
        window_size: Voxels of the window, three numbers; a 1 marks the sliced axis, which windows come
            without.
        border: With blending "none", voxels cut off on each side of a window, except at the edges of the
            volume. With "gaussian" nothing is cut off; the border is the overlap that `grid_starts` makes.
        blending: "gaussian" weights voxels by their distance from the centre of the window; "none" weights
            them alike.
        axis: The axis along which windows come in order.

    Raises:
        ConfigError: If a setting cannot be used.
    """

    def __init__(
        self,
        shape: Sequence[int],
        num_channels: int,
        window_size: Sequence[int],
        border: Sequence[int] = (0, 0, 0),
        blending: str = "gaussian",
        axis: int = 2,
    ) -> None:
        self._place = _Placement(shape, num_channels, window_size, border, blending)
        self._axis = axis
        extent = [*self._place.shape]
        extent[axis] = self._place.size[axis]
        self._sum = np.zeros((*extent, num_channels), np.float32)
        self._weight = np.zeros(extent, np.float32)
        self._first = 0

    def add(self, window_output: np.ndarray, start: Sequence[int]) -> None:
        """Adds one window.

        Args:
            window_output: `(*window, channels)`; 2-D windows without the sliced axis.
            start: First voxel of the window in the volume, three numbers.

        Raises:
            ValueError: If the shape is not that of a window, or the window does not lie inside the volume, or not
                inside what is kept: `finished` has to be called before.
        """
        values, weight, target = self._place(window_output, start)
        if start[self._axis] != self._first:
            raise ValueError(
                f"a window at {start[self._axis]} on axis {self._axis} does not begin where the kept voxels do, at "
                f"{self._first}; bring windows in order, and take what is finished before the next"
            )
        part = target[self._axis]
        inside = [*target]
        inside[self._axis] = slice(part.start - self._first, part.stop - self._first)
        self._sum[tuple(inside)] += values * weight[..., None]
        self._weight[tuple(inside)] += weight

    def finished(self, up_to: int | None = None) -> tuple[tuple[slice, slice, slice], np.ndarray] | None:
        """Takes what is finished, and makes room for windows that start at `up_to`.

        Args:
            up_to: Start of all later windows along the axis; None where there are no more.

        Returns:
            Where it lies in the volume, and the voxels, `(x, y, z, channels)` float32; None if there are none.

        Raises:
            ValueError: If a finished voxel is covered by no window, or `up_to` lies behind.
        """
        length, thickness = self._place.shape[self._axis], self._place.size[self._axis]
        stop = length if up_to is None else up_to
        if stop == self._first:
            return None
        count = stop - self._first
        if not 0 < count <= thickness:
            raise ValueError(
                f"windows at {up_to} on axis {self._axis} cannot follow those at {self._first} with a window of "
                f"{thickness}; bring them in order, without holes"
            )
        done, kept = self._along(slice(0, count)), self._along(slice(count, None))
        slab = _divided(self._sum[done], self._weight[done])
        region = self._along(slice(self._first, stop))
        for array in (self._sum, self._weight):
            rest = array[kept].copy()
            array[self._along(slice(0, thickness - count))] = rest
            array[self._along(slice(thickness - count, None))] = 0
        self._first = stop
        return region, slab

    def _along(self, part: slice) -> tuple[slice, slice, slice]:
        x, y, z = (part if axis == self._axis else slice(None) for axis in range(3))
        return x, y, z


class _Placement:
    """Where windows come to lie in a volume, and with which weights.

    Attributes:
        shape: Voxels of the volume.
        size: Voxels of the window.
    """

    def __init__(
        self,
        shape: Sequence[int],
        num_channels: int,
        window_size: Sequence[int],
        border: Sequence[int],
        blending: str,
    ) -> None:
        axis_weights = lookup(BLENDINGS, blending, "blending")
        self.shape = tuple(int(extent) for extent in shape)
        self.size = tuple(int(size) for size in window_size)
        self._expected = (*(self.size[axis] for axis in window_axes(window_size)), num_channels)
        self._border = _checked_border(window_size, border) if axis_weights is _uniform_weights else (0, 0, 0)
        self._axis_weights = [axis_weights(size) for size in self.size]

    def __call__(
        self, window_output: np.ndarray, start: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray, tuple[slice, ...]]:
        """Returns the kept voxels `(x, y, z, channels)` of a window, their weights and their place in the volume."""
        if np.shape(window_output) != self._expected:
            raise ValueError(f"the window has shape {np.shape(window_output)}, expected {self._expected}")
        kept, target = [], []
        for first, size, cut, extent in zip(start, self.size, self._border, self.shape, strict=True):
            if not 0 <= first <= extent - size:
                raise ValueError(f"a window of {self.size} at {tuple(start)} is not inside a volume of {self.shape}")
            low = 0 if first == 0 else cut
            high = size if first + size == extent else size - cut
            kept.append(slice(low, high))
            target.append(slice(first + low, first + high))
        values = np.asarray(window_output, np.float32).reshape(*self.size, -1)[tuple(kept)]
        x, y, z = (weights[part] for weights, part in zip(self._axis_weights, kept, strict=True))
        return values, x[:, None, None] * y[:, None] * z, tuple(target)


def _divided(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Divides sums `(x, y, z, channels)` by their weights.

    Raises:
        ValueError: If there are voxels without weight.
    """
    missing = weight == 0
    if missing.any():
        raise ValueError(
            f"{np.count_nonzero(missing)} of {missing.size} voxels are covered by no window; add a window at each of "
            "grid_starts"
        )
    return total / weight[..., None]


def _gaussian_weights(size: int) -> np.ndarray:
    """Returns the weights along one axis, 1 in the middle and about 3e-4 at the ends, `(size,)`."""
    distance = np.arange(size) - (size - 1) / 2
    return np.exp(-0.5 * (distance / (GAUSSIAN_SIGMA * size)) ** 2).astype(np.float32)


def _uniform_weights(size: int) -> np.ndarray:
    return np.ones(size, np.float32)


BLENDINGS = {"gaussian": _gaussian_weights, "none": _uniform_weights}


def _checked_border(window_size: Sequence[int], border: Sequence[int]) -> tuple[int, ...]:
    """Returns the border as a tuple.

    Raises:
        ConfigError: If it is not three numbers that leave at least one voxel of the window along each axis.
    """
    values = tuple(border)
    if len(values) != 3 or any(
        int(cut) != cut or cut < 0 or 2 * cut >= size for cut, size in zip(values, window_size, strict=False)
    ):
        raise ConfigError(
            f"border = {values} cannot be cut off both sides of a window of {tuple(window_size)}; give three "
            "whole numbers, each less than half the window and 0 for the sliced axis"
        )
    return values
