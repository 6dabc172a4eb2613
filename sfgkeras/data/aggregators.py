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


class WindowAggregator:
    """Averages overlapping windows and divides by the true sum of their weights.

    Args:
        shape: Voxels of the volume, three numbers.
        num_channels: Channels of the network's output.
        window_size: Voxels of the window, three numbers; a 1 marks the sliced axis, which windows come
            without.
        border: With blending "none", voxels cut off on each side of a window, except at the edges of the
            volume. With "gaussian" nothing is cut off; the border is the overlap that `grid_starts` makes.
        blending: "gaussian" weights voxels by their distance from the centre of the window; "none" weights
            them alike.

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
    ) -> None:
        axis_weights = lookup(BLENDINGS, blending, "blending")
        self._axes = window_axes(window_size)
        self._shape = tuple(int(extent) for extent in shape)
        self._size = tuple(int(size) for size in window_size)
        self._border = _checked_border(window_size, border) if axis_weights is _uniform_weights else (0, 0, 0)
        self._axis_weights = [axis_weights(size) for size in self._size]
        self._sum = np.zeros((*self._shape, num_channels), np.float32)
        self._weight = np.zeros(self._shape, np.float32)

    def add(self, window_output: np.ndarray, start: Sequence[int]) -> None:
        """Adds one window.

        Args:
            window_output: `(*window, channels)`; 2-D windows without the sliced axis.
            start: First voxel of the window in the volume, three numbers.

        Raises:
            ValueError: If the shape is not that of a window, or the window does not lie inside the volume.
        """
        expected = (*(self._size[axis] for axis in self._axes), self._sum.shape[3])
        if np.shape(window_output) != expected:
            raise ValueError(f"the window has shape {np.shape(window_output)}, expected {expected}")
        kept, target = [], []
        for first, size, cut, extent in zip(start, self._size, self._border, self._shape, strict=True):
            if not 0 <= first <= extent - size:
                raise ValueError(f"a window of {self._size} at {tuple(start)} is not inside a volume of {self._shape}")
            low = 0 if first == 0 else cut
            high = size if first + size == extent else size - cut
            kept.append(slice(low, high))
            target.append(slice(first + low, first + high))
        values = np.asarray(window_output, np.float32).reshape(*self._size, -1)[tuple(kept)]
        x, y, z = (weights[part] for weights, part in zip(self._axis_weights, kept, strict=True))
        weight = x[:, None, None] * y[:, None] * z
        self._sum[tuple(target)] += values * weight[..., None]
        self._weight[tuple(target)] += weight

    def result(self, uncovered: float | None = None) -> np.ndarray:
        """Returns the volume, `(x, y, z, channels)` float32.

        Args:
            uncovered: Value of voxels that no window has reached; None refuses them.

        Raises:
            ValueError: If there are such voxels and no value for them.
        """
        missing = self._weight == 0
        if not missing.any():
            return self._sum / self._weight[..., None]
        if uncovered is None:
            raise ValueError(
                f"{np.count_nonzero(missing)} of {missing.size} voxels are covered by no window; add a "
                "window at each of grid_starts, or give a value for `uncovered`"
            )
        result = self._sum / np.where(missing, np.float32(1), self._weight)[..., None]
        result[missing] = uncovered
        return result


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
