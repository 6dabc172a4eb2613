"""Reads the voxels of a window from a volume: copied, through an affine map, or through a deformation.

The three classes below share two methods: `linear` for images and continuous targets, `nearest` for label
maps. Volumes may be memory maps of any type and any strides; only the region that the window shows is
converted.

A position is outside of the volume when it is more than half a voxel beyond the centres of the outermost
voxels. Inside, the outermost voxels reach as far as that; outside, the window is 0 and `inside` is False.

2-D windows go through OpenCV, whose interpolation is exact from version 5 on (version 4 rounds positions to
1/32 voxel); 3-D ones through ITK, four times as fast as SciPy.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np
import scipy.ndimage
import scipy.sparse

EXACT_CHANNELS = (1, 3, 4)
"""Numbers of channels for which OpenCV interpolates in float; others go through its fixed-point code."""

MARGIN = 1
"""Voxels by which the region is larger than what the map needs, against rounding."""


class WindowMap(Protocol):
    """Where the voxels of a window come from."""

    inside: np.ndarray | None

    def linear(self, volume: np.ndarray, out: np.ndarray) -> None:
        """Writes the linearly interpolated `volume`, `(*shape, channels)`, to `out`, `(*size, channels)`
        float32."""

    def nearest(self, labels: np.ndarray, out: np.ndarray) -> None:
        """Writes the nearest voxels of `labels`, `shape`, to `out`, `size`, int32."""


class Crop:
    """Copies voxels, mirrored where asked: no interpolation, exact.

    Args:
        start: First voxel of the window.
        size: Voxels of the window along each axis.
        flips: Whether each axis is mirrored.
    """

    inside: np.ndarray | None = None

    def __init__(self, start: Sequence[int], size: Sequence[int], flips: Sequence[bool]) -> None:
        index = []
        for first, count, flip in zip(start, size, flips, strict=True):
            last = int(first + count) - 1
            before = int(first) - 1
            index.append(
                slice(last, before if before >= 0 else None, -1) if flip else slice(int(first), last + 1)
            )
        self._index = tuple(index)

    def linear(self, volume: np.ndarray, out: np.ndarray) -> None:
        """Copies the window."""
        out[...] = volume[self._index]

    def nearest(self, labels: np.ndarray, out: np.ndarray) -> None:
        """Copies the window."""
        out[...] = labels[self._index]


class AffineMap:
    """Reads window voxel `i` at the position `matrix @ i + offset` of the volume.

    Args:
        matrix: `(rank, rank)`, in voxels.
        offset: `(rank,)`, in voxels.
        size: Voxels of the window along each axis.
        shape: Voxels of the volume along each axis.
    """

    def __init__(
        self, matrix: np.ndarray, offset: np.ndarray, size: Sequence[int], shape: Sequence[int]
    ) -> None:
        self._matrix = matrix
        self._size = tuple(size)
        low, high = _reach(matrix, offset, size)
        self.inside: np.ndarray | None = None
        if min(low) < -0.5 or any(last > extent - 0.5 for last, extent in zip(high, shape, strict=True)):
            self.inside = _inside(affine_positions(matrix, offset, size), shape)
        self._region, first = _region(low, high, shape)
        self._offset = offset - first

    def linear(self, volume: np.ndarray, out: np.ndarray) -> None:
        """Writes the linearly interpolated window to `out`."""
        region = volume[self._region].astype(np.float32, order="C")
        if len(self._size) == 2:
            _by_channels(region, out, self._warp)
        else:
            for channel in range(region.shape[-1]):
                out[..., channel] = self._resample(region[..., channel], nearest=False)
        if self.inside is not None:
            out *= self.inside[..., None]

    def nearest(self, labels: np.ndarray, out: np.ndarray) -> None:
        """Writes the nearest labels to `out`."""
        region = labels[self._region]
        if len(self._size) == 2:
            pixels, dtype = _as_pixels(region)
            out[...] = _as_labels(self._warp(pixels, nearest=True), dtype)
        else:
            out[...] = self._resample(region.astype(np.int32), nearest=True)
        if self.inside is not None:
            out *= self.inside

    def _warp(self, region: np.ndarray, nearest: bool = False) -> np.ndarray:
        """Samples a plane; OpenCV counts columns first."""
        (a, b), (c, d) = self._matrix.tolist()
        row, column = self._offset.tolist()
        return cv2.warpAffine(
            region,
            np.array(((d, c, column), (b, a, row))),
            (self._size[1], self._size[0]),
            flags=(cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )

    def _resample(self, region: np.ndarray, nearest: bool) -> np.ndarray:
        """Samples a volume; ITK counts z first and gives 0 beyond the region, hence the copied edge."""
        import SimpleITK as sitk

        offset = self._offset
        if self.inside is not None:
            region, offset = np.pad(region, MARGIN, mode="edge"), offset + MARGIN
        transform = sitk.AffineTransform(3)
        transform.SetMatrix(self._matrix[::-1, ::-1].ravel().tolist())
        transform.SetTranslation(offset[::-1].tolist())
        resample = sitk.ResampleImageFilter()
        resample.SetNumberOfThreads(1)
        resample.SetSize([int(size) for size in self._size[::-1]])
        resample.SetTransform(transform)
        resample.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
        return sitk.GetArrayFromImage(resample.Execute(sitk.GetImageFromArray(region)))


class DenseMap:
    """Reads every voxel of the window at a position of its own.

    Args:
        positions: Positions in the volume in voxels, `(rank, *size)`.
        shape: Voxels of the volume along each axis.
    """

    def __init__(self, positions: np.ndarray, shape: Sequence[int]) -> None:
        inside = _inside(list(positions), shape)
        self.inside: np.ndarray | None = None if inside.all() else inside
        axes = tuple(range(1, positions.ndim))
        self._region, first = _region(
            positions.min(axis=axes).tolist(), positions.max(axis=axes).tolist(), shape
        )
        self._positions = positions - first.reshape((-1,) + (1,) * len(axes))

    def linear(self, volume: np.ndarray, out: np.ndarray) -> None:
        """Writes the linearly interpolated window to `out`."""
        region = volume[self._region].astype(np.float32, order="C")
        if len(self._positions) == 2:
            _by_channels(region, out, self._remap)
        else:
            for channel in range(region.shape[-1]):
                out[..., channel] = self._map(region[..., channel], nearest=False)
        if self.inside is not None:
            out *= self.inside[..., None]

    def nearest(self, labels: np.ndarray, out: np.ndarray) -> None:
        """Writes the nearest labels to `out`."""
        region = labels[self._region]
        if len(self._positions) == 2:
            pixels, dtype = _as_pixels(region)
            out[...] = _as_labels(self._remap(pixels, nearest=True), dtype)
        else:
            out[...] = self._map(region.astype(np.int32), nearest=True)
        if self.inside is not None:
            out *= self.inside

    def _remap(self, region: np.ndarray, nearest: bool = False) -> np.ndarray:
        rows, columns = self._positions.astype(np.float32)
        method = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        return cv2.remap(region, columns, rows, method, borderMode=cv2.BORDER_REPLICATE)

    def _map(self, region: np.ndarray, nearest: bool) -> np.ndarray:
        order = 0 if nearest else 1
        return scipy.ndimage.map_coordinates(
            region, self._positions, order=order, mode="nearest", prefilter=False
        )


def affine_positions(matrix: np.ndarray, offset: np.ndarray, size: Sequence[int]) -> list[np.ndarray]:
    """Returns the positions `matrix @ i + offset` of all voxels `i` of a window, one array of shape `size`
    per axis."""
    steps = np.ogrid[tuple(slice(0, count) for count in size)]
    return [
        sum((row[axis] * steps[axis] for axis in range(len(size))), start=np.asarray(shift))
        for row, shift in zip(matrix, offset, strict=True)
    ]


def resize_linear(volume: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resizes a volume by linear interpolation, with a triangle as wide as the output voxels when going down.

    Args:
        volume: `(*shape, channels)`.
        size: Output voxels along each axis.

    Returns:
        Array of shape `(*size, channels)`, float32.
    """
    result = volume.astype(np.float32, order="C")
    for axis, count in enumerate(size):
        if result.shape[axis] != count:
            lines = np.moveaxis(result, axis, 0)
            resized = _triangle_weights(lines.shape[0], int(count)) @ lines.reshape(lines.shape[0], -1)
            result = np.moveaxis(resized.reshape(int(count), *lines.shape[1:]), 0, axis)
    return result


def resize_nearest(labels: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Resizes a label map: every output voxel takes the label at its centre."""
    index = [
        np.floor((np.arange(count) + 0.5) * (extent / count)).astype(int)
        for count, extent in zip(size, labels.shape, strict=True)
    ]
    return labels[np.ix_(*index)]


@lru_cache(maxsize=256)
def _triangle_weights(extent: int, count: int) -> scipy.sparse.csr_matrix:
    """Returns the weights of `extent` voxels in each of `count` output voxels, `(count, extent)`; rows sum to
    1."""
    scale = extent / count
    width = max(scale, 1.0)
    centre = (np.arange(count) + 0.5) * scale
    weights = np.maximum(1.0 - np.abs(np.arange(extent) + 0.5 - centre[:, None]) / width, 0.0)
    return scipy.sparse.csr_matrix((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))


def _inside(positions: Sequence[np.ndarray], shape: Sequence[int]) -> np.ndarray:
    """Returns which positions are at most half a voxel beyond the centres of the outermost voxels."""
    inside = np.ones(positions[0].shape, bool)
    for position, extent in zip(positions, shape, strict=True):
        inside &= (position >= -0.5) & (position <= extent - 0.5)
    return inside


def _reach(matrix: np.ndarray, offset: np.ndarray, size: Sequence[int]) -> tuple[list[float], list[float]]:
    """Returns the lowest and the highest position along each axis that an affine map leads to."""
    low, high = [], []
    # Plain numbers: for two or three axes NumPy costs ten times as much.
    for row, shift in zip(matrix.tolist(), offset.tolist(), strict=True):
        steps = [factor * (count - 1) for factor, count in zip(row, size, strict=True)]
        low.append(shift + sum(step for step in steps if step < 0))
        high.append(shift + sum(step for step in steps if step > 0))
    return low, high


def _region(
    low: Sequence[float], high: Sequence[float], shape: Sequence[int]
) -> tuple[tuple[slice, ...], np.ndarray]:
    """Returns the part of a volume between two positions, as slices, and its first voxel."""
    slices, firsts = [], []
    for lowest, highest, extent in zip(low, high, shape, strict=True):
        first = min(max(math.floor(lowest) - MARGIN, 0), extent - 1)
        last = max(first, min(math.ceil(highest) + MARGIN, extent - 1))
        slices.append(slice(first, last + 1))
        firsts.append(first)
    return tuple(slices), np.array(firsts)


def _by_channels(region: np.ndarray, out: np.ndarray, sample: Callable[[np.ndarray], np.ndarray]) -> None:
    """Applies `sample` to a plane of any number of channels."""
    if region.shape[-1] in EXACT_CHANNELS:
        out[...] = sample(region).reshape(out.shape)
    else:
        for channel in range(region.shape[-1]):
            out[..., channel] = sample(np.ascontiguousarray(region[..., channel]))


def _as_pixels(labels: np.ndarray) -> tuple[np.ndarray, np.dtype]:
    """Returns labels as unsigned pixels, for which OpenCV's nearest neighbour is exact, and the type to read
    back.

    Nearest neighbour moves bits and never looks at their value; labels of 32 bits travel as four channels of
    8.
    """
    dtype = labels.dtype.newbyteorder("=") if labels.dtype.itemsize <= 2 else np.dtype(np.int32)
    pixels = np.ascontiguousarray(labels, dtype=dtype)
    if dtype.itemsize == 4:
        return pixels.view(np.uint8).reshape(*pixels.shape, 4), dtype
    return pixels.view(np.uint8 if dtype.itemsize == 1 else np.uint16), dtype


def _as_labels(pixels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Undoes `_as_pixels`."""
    labels = np.ascontiguousarray(pixels).view(dtype)
    return labels[..., 0] if dtype.itemsize == 4 else labels
