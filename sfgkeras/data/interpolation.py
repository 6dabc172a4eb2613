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
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np
import scipy.ndimage
import scipy.sparse

from sfgkeras.data.inverse import places_showing

EXACT_CHANNELS = (1, 3, 4)
"""Numbers of channels for which OpenCV interpolates in float; others go through its fixed-point code."""

MARGIN = 1
"""Voxels by which the region is larger than what the map needs, against rounding."""

TRUNCATION = 3
"""Standard deviations after which a Gaussian ends."""

SMALLEST_SIGMA = 0.25
"""Standard deviation, in voxels, up to which a sampled Gaussian changes nothing but the fourth digit."""


class WindowMap(Protocol):
    """Where the voxels of a window come from."""

    inside: np.ndarray | None

    def linear(self, volume: np.ndarray, out: np.ndarray, smoothing: Sequence[float] = ()) -> None:
        """Interpolates `volume`, `(*shape, channels)`, linearly into `out`, `(*size, channels)` float32.

        `smoothing` holds standard deviations in voxels, one per axis, of a Gaussian applied before; empty for none.
        """

    def nearest(self, labels: np.ndarray, out: np.ndarray) -> None:
        """Writes the nearest voxels of `labels`, `shape`, to `out`, `size`, int32."""

    def steps(self) -> np.ndarray:
        """Returns how a position in the volume changes from voxel to voxel of the window, `(rank, rank)`, in voxels.

        Columns belong to the window's axes. Where it is not the same everywhere it is `(*size, rank, rank)`.
        """

    def points(self, positions: np.ndarray) -> np.ndarray:
        """Returns where positions in the volume, `(n, rank)`, lie in the window, both in voxels; NaN stays NaN.

        Whole numbers are the centres of voxels. What the window does not show lies outside of 0 .. size - 1, by more
        than half a voxel.
        """


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
            last = first + count - 1
            backwards = slice(last, first - 1 if first > 0 else None, -1)
            index.append(backwards if flip else slice(first, last + 1))
        self._index = tuple(index)
        self._start, self._size, self._flips = start, size, flips

    def linear(self, volume: np.ndarray, out: np.ndarray, smoothing: Sequence[float] = ()) -> None:
        """Copies the window; what is not shrunk needs no smoothing."""
        out[...] = volume[self._index]

    def nearest(self, labels: np.ndarray, out: np.ndarray) -> None:
        """Copies the window."""
        out[...] = labels[self._index]

    def steps(self) -> np.ndarray:
        """Returns 1 for each axis, -1 for mirrored ones."""
        return np.diag(np.where(self._flips, -1.0, 1.0))

    def points(self, positions: np.ndarray) -> np.ndarray:
        """Shifts positions `(n, rank)`, and mirrors them."""
        shifted = positions - np.asarray(self._start)
        return np.where(self._flips, np.asarray(self._size) - 1 - shifted, shifted)


class _InterpolatedMap:
    """What the two interpolating maps share: region, channels, and zeros outside of the volume.

    Args:
        inside: Which voxels of the window show the volume, or None for all.
        low: Lowest position along each axis.
        high: Highest position along each axis.
        shape: Voxels of the volume along each axis.
    """

    def __init__(
        self, inside: np.ndarray | None, low: Sequence[float], high: Sequence[float], shape: Sequence[int]
    ) -> None:
        self.inside = inside
        self._region, self._first = _region(low, high, shape)
        self._rank = len(shape)

    def linear(self, volume: np.ndarray, out: np.ndarray, smoothing: Sequence[float] = ()) -> None:
        """Smooths, then interpolates `volume`, `(*shape, channels)`, linearly into `out`, `(*size, channels)`."""
        if any(sigma > SMALLEST_SIGMA for sigma in smoothing):
            region = _smoothed(volume, self._region, smoothing)
        else:
            region = volume[self._region].astype(np.float32, order="C")
        if self._rank == 2 and region.shape[-1] in EXACT_CHANNELS:
            out[...] = self._plane(region, nearest=False).reshape(out.shape)
        else:
            sample = self._plane if self._rank == 2 else self._volume
            for channel in range(region.shape[-1]):
                out[..., channel] = sample(np.ascontiguousarray(region[..., channel]), nearest=False)
        if self.inside is not None:
            out *= self.inside[..., None]

    def nearest(self, labels: np.ndarray, out: np.ndarray) -> None:
        """Writes the nearest voxels of `labels`, `shape`, to `out`, `size`, int32."""
        region = labels[self._region]
        if self._rank == 2:
            pixels, dtype = _as_pixels(region)
            out[...] = _as_labels(self._plane(pixels, nearest=True), dtype)
        else:
            out[...] = self._volume(region.astype(np.int32), nearest=True)
        if self.inside is not None:
            out *= self.inside

    def steps(self) -> np.ndarray:
        """Returns how a position in the volume changes from voxel to voxel of the window."""
        raise NotImplementedError

    def points(self, positions: np.ndarray) -> np.ndarray:
        """Returns where positions in the volume, `(n, rank)`, lie in the window."""
        raise NotImplementedError

    def _plane(self, region: np.ndarray, nearest: bool) -> np.ndarray:
        """Samples a plane, with channels or without."""
        raise NotImplementedError

    def _volume(self, region: np.ndarray, nearest: bool) -> np.ndarray:
        """Samples a volume without channels."""
        raise NotImplementedError


def _smoothed(volume: np.ndarray, region: tuple[slice, ...], sigmas: Sequence[float]) -> np.ndarray:
    """Returns a region of a volume smoothed by a Gaussian, to which what lies around the region contributes.

    Args:
        volume: `(*shape, channels)`.
        region: The region, one slice per axis.
        sigmas: Standard deviations in voxels, one per axis.

    Returns:
        float32 `(*region, channels)`, contiguous.
    """
    wide, inner = [], []
    for part, sigma, extent in zip(region, sigmas, volume.shape, strict=False):
        reach = math.ceil(TRUNCATION * sigma)
        first = max(part.start - reach, 0)
        wide.append(slice(first, min(part.stop + reach, extent)))
        inner.append(slice(part.start - first, part.stop - first))
    around = volume[tuple(wide)].astype(np.float32, order="C")
    smooth = scipy.ndimage.gaussian_filter(around, (*sigmas, 0), mode="nearest", truncate=TRUNCATION)
    return np.ascontiguousarray(smooth[tuple(inner)])


class AffineMap(_InterpolatedMap):
    """Reads window voxel `i` at the position `matrix @ i + offset` of the volume.

    Args:
        matrix: `(rank, rank)`, in voxels.
        offset: `(rank,)`, in voxels.
        size: Voxels of the window along each axis.
        shape: Voxels of the volume along each axis.
    """

    def __init__(self, matrix: np.ndarray, offset: np.ndarray, size: Sequence[int], shape: Sequence[int]) -> None:
        low, high = _reach(matrix, offset, size)
        inside = None
        if min(low) < -0.5 or any(last > extent - 0.5 for last, extent in zip(high, shape, strict=True)):
            inside = _inside(affine_positions(matrix, offset, size), shape)
        super().__init__(inside, low, high, shape)
        self._matrix = matrix
        self._offset = offset - self._first
        self._size = tuple(size)
        self._reaches_rim = min(low) < 0 or any(last > extent - 1 for last, extent in zip(high, shape, strict=True))

    def steps(self) -> np.ndarray:
        """Returns the matrix."""
        return self._matrix

    def points(self, positions: np.ndarray) -> np.ndarray:
        """Inverts the map."""
        return np.linalg.solve(self._matrix, (positions - (self._offset + self._first)).T).T

    def _plane(self, region: np.ndarray, nearest: bool) -> np.ndarray:
        (a, b), (c, d) = self._matrix.tolist()
        row, column = self._offset.tolist()
        return cv2.warpAffine(
            region,
            np.array(((d, c, column), (b, a, row))),  # OpenCV counts columns first
            (self._size[1], self._size[0]),
            flags=(cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )

    def _volume(self, region: np.ndarray, nearest: bool) -> np.ndarray:
        import SimpleITK as sitk

        offset = self._offset
        if self._reaches_rim:  # half a voxel beyond the outermost centres ITK stops interpolating and gives 0
            region, offset = np.pad(region, 1, mode="edge"), offset + 1
        transform = sitk.AffineTransform(3)  # ITK counts z first
        transform.SetMatrix(self._matrix[::-1, ::-1].ravel().tolist())
        transform.SetTranslation(offset[::-1].tolist())
        resample = sitk.ResampleImageFilter()
        resample.SetNumberOfThreads(1)
        resample.SetSize(self._size[::-1])
        resample.SetTransform(transform)
        resample.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
        return sitk.GetArrayFromImage(resample.Execute(sitk.GetImageFromArray(region)))


class DenseMap(_InterpolatedMap):
    """Reads every voxel of the window at a position of its own.

    Args:
        positions: Positions in the volume in voxels, `(rank, *size)`.
        shape: Voxels of the volume along each axis.
    """

    def __init__(self, positions: np.ndarray, shape: Sequence[int]) -> None:
        axes = tuple(range(1, positions.ndim))
        inside = _inside(list(positions), shape)
        low, high = positions.min(axis=axes).tolist(), positions.max(axis=axes).tolist()
        super().__init__(None if inside.all() else inside, low, high, shape)
        self._positions = positions - self._first.reshape((-1,) + (1,) * len(axes))

    def steps(self) -> np.ndarray:
        """Returns differences of neighbouring positions, `(*size, rank, rank)`."""
        axes = tuple(range(1, self._positions.ndim))
        return np.moveaxis(np.stack(np.gradient(self._positions, axis=axes), axis=-1), 0, -2)

    def points(self, positions: np.ndarray) -> np.ndarray:
        """Finds the places of the window that show positions `(n, rank)`; see `inverse.places_showing`."""
        return places_showing(self._positions, positions - self._first)

    def _plane(self, region: np.ndarray, nearest: bool) -> np.ndarray:
        rows, columns = self._positions.astype(np.float32)
        method = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        return cv2.remap(region, columns, rows, method, borderMode=cv2.BORDER_REPLICATE)

    def _volume(self, region: np.ndarray, nearest: bool) -> np.ndarray:
        order = 0 if nearest else 1
        return scipy.ndimage.map_coordinates(region, self._positions, order=order, mode="nearest", prefilter=False)


def affine_positions(matrix: np.ndarray, offset: np.ndarray, size: Sequence[int]) -> list[np.ndarray]:
    """Returns the positions `matrix @ i + offset` of a window's voxels `i`: an array of `size` per axis."""
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
    """Returns the weights of `extent` voxels in `count` output voxels, `(count, extent)`; rows sum to 1."""
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


def _region(low: Sequence[float], high: Sequence[float], shape: Sequence[int]) -> tuple[tuple[slice, ...], np.ndarray]:
    """Returns the part of a volume between two positions, as slices, and its first voxel."""
    slices, firsts = [], []
    for lowest, highest, extent in zip(low, high, shape, strict=True):
        first = min(max(math.floor(lowest) - MARGIN, 0), extent - 1)
        last = max(first, min(math.ceil(highest) + MARGIN, extent - 1))
        slices.append(slice(first, last + 1))
        firsts.append(first)
    return tuple(slices), np.array(firsts)


def _as_pixels(labels: np.ndarray) -> tuple[np.ndarray, np.dtype]:
    """Returns labels as unsigned pixels and the type to read them back.

    OpenCV's nearest neighbour is exact for unsigned pixels. It moves bits and never looks at their value, so
    that labels of 32 bits can travel as four channels of 8.
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
