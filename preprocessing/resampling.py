"""Resampling in physical space: to another spacing, or onto another image's grid.

Affines map voxel centres to millimetres. A volume and its resampled self cover the same box: the outer faces
of the first voxels coincide, so the new origin moves by half the difference of the voxel sizes. Grids whose
axes are parallel are resampled by one matrix product per axis; oblique ones by ITK.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfgkeras.data.grids import Grid, resampled_shape
from sfgkeras.data.orientation import FLATTEST
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing.spline_weights import axis_weights, gaussian_matrix, point_spread_sigma

ORDERS = (0, 1, 2, 3)
# Grids count as parallel if no voxel centre of the new grid strays further than this, in voxels.
PARALLEL_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ParallelGrid:
    """How a new grid's axes run along an old grid's.

    Voxel `i` of new axis `a` lies at `starts[a] + steps[a] * i` on old axis `sources[a]`.

    Attributes:
        sources: For every new axis the old axis it runs along.
        steps: Old voxels per new voxel, negative if the axis is flipped.
        starts: Position of the first new voxel, in old voxels.
    """

    sources: tuple[int, ...]
    steps: tuple[float, ...]
    starts: tuple[float, ...]


def resample_to_spacing(
    volume: np.ndarray,
    affine: np.ndarray,
    spacing: float | Sequence[float | None],
    order: int = 1,
    antialias: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Resamples a volume to voxels of a given size along its own axes.

    The new number of voxels is the old extent divided by the new spacing, rounded, at least 1. With
    `antialias`, an axis whose voxels grow is first blurred to the larger voxel's point spread (not for
    `order` 0).

    Args:
        volume: `(x, y, z)` or `(x, y, z, channels)`.
        affine: 4 x 4, voxel to mm.
        spacing: New voxel size in mm: one number for all axes or three; None keeps an axis.
        order: 0 nearest (labels), 1 linear, 2 quadratic, 3 cubic B-spline.
        antialias: Blur before going down.

    Returns:
        The volume (float32; order 0 keeps the type of integers) and its affine.

    Raises:
        DataError: If the volume is not 3-D with optional channels, or not finite, or the affine is singular.
        ConfigError: If the spacing or the order cannot be.

    Examples:
        >>> volume, affine = resample_to_spacing(np.ones((4, 4, 2)), np.eye(4), 2.0)
        >>> volume.shape, affine[:3, 3].tolist()  # the outer faces stay where they are
        ((2, 2, 1), [0.5, 0.5, 0.5])
    """
    volume, affine = _checked(volume, affine, order)
    shape, new_affine = spacing_grid(volume.shape, affine, spacing)
    return resample_like(volume, affine, shape, new_affine, order, antialias=antialias), new_affine


def spacing_grid(
    shape: Sequence[int], affine: np.ndarray, spacing: float | Sequence[float | None]
) -> tuple[tuple[int, int, int], np.ndarray]:
    """Returns shape and affine of the grid with the given spacing that covers the box of an old grid.

    An axis too short for one new voxel keeps its centre; see `resample_to_spacing` for the rest.

    Examples:
        >>> spacing_grid((256, 256, 20), np.diag([0.5, 0.5, 3.0, 1.0]), (1.0, 1.0, None))[0]
        (128, 128, 20)
    """
    affine = _checked_affine(affine)
    old = np.linalg.norm(affine[:3, :3], axis=0)
    new = _checked_spacing(spacing, old)
    ratio, lengths = new / old, np.asarray(shape[:3])
    step = np.diag([*ratio, 1.0])
    is_short = lengths / ratio < 0.5 + 1e-4
    step[:3, 3] = np.where(is_short, (lengths - 1) / 2, (ratio - 1) / 2)
    return resampled_shape(shape, old, new), affine @ step


def resample_like(
    volume: np.ndarray,
    affine: np.ndarray,
    reference_shape: Sequence[int],
    reference_affine: np.ndarray,
    order: int = 1,
    fill: float = 0,
    antialias: bool = True,
) -> np.ndarray:
    """Resamples a volume onto the grid of a reference image: same shape, same place in the scanner.

    Args:
        volume: `(x, y, z)` or `(x, y, z, channels)`.
        affine: 4 x 4, voxel to mm, of the volume.
        reference_shape: Shape of the reference; its first three numbers count.
        reference_affine: 4 x 4, voxel to mm, of the reference.
        order: 0 nearest (labels), 1 linear, 2 quadratic, 3 cubic B-spline.
        fill: Value of voxels whose centre lies outside the volume.
        antialias: Blur along axes whose voxels grow (not for `order` 0).

    Returns:
        Array of the reference's shape and the volume's channels; float32, order 0 keeps the type of integers.

    Raises:
        DataError: If the volume is not 3-D with optional channels, or not finite, or an affine is singular.
        ConfigError: If the order cannot be.

    Examples:
        >>> column = np.arange(4.0).reshape(4, 1, 1)
        >>> resample_like(column, np.eye(4), (2, 1, 1), np.diag([2.0, 1.0, 1.0, 1.0]), order=0).ravel().tolist()
        [0.0, 2.0]
    """
    volume, affine = _checked(volume, affine, order)
    shape = tuple(int(n) for n in reference_shape[:3])
    reference_affine = _checked_affine(reference_affine)
    if volume.ndim == 4:
        channels = [
            resample_like(volume[..., c], affine, shape, reference_affine, order, fill, antialias)
            for c in range(volume.shape[3])
        ]
        return np.stack(channels, axis=-1)
    to_old = np.linalg.inv(affine) @ reference_affine
    if Grid(volume.shape, affine).is_same(Grid(shape, reference_affine)):
        return volume.copy(order="K") if _keeps_type(volume, order) else volume.astype(np.float32)
    grid = parallel_grid(to_old, shape)
    if grid is not None:
        return _resample_parallel(volume, shape, grid, order, fill, antialias)
    return _resample_oblique(volume, shape, to_old, order, fill, antialias)


def resample_labels_like(
    label_map: np.ndarray,
    affine: np.ndarray,
    reference_shape: Sequence[int],
    reference_affine: np.ndarray,
    method: str = "nearest",
    fill: int = 0,
) -> np.ndarray:
    """Resamples a label map onto a reference grid without inventing labels.

    Args:
        label_map: Integers `(x, y, z)`.
        affine: 4 x 4, voxel to mm, of the label map.
        reference_shape: Shape of the reference.
        reference_affine: 4 x 4, voxel to mm, of the reference.
        method: `"nearest"`, or `"linear"`: every label as its own volume, resampled linearly, the largest
            wins; smoother borders and better volumes when voxels grow.
        fill: Label of voxels outside.

    Returns:
        Label map of the reference's shape, of the same integer type.

    Raises:
        DataError: If the values are not integers, and as `resample_like`.
        ConfigError: If the method is unknown.

    Examples:
        >>> labels = np.array([3, 7]).reshape(2, 1, 1)
        >>> resample_labels_like(labels, np.eye(4), (4, 1, 1), np.diag([0.5, 1.0, 1.0, 1.0])).ravel().tolist()
        [3, 7, 7, 0]
    """
    label_map = np.asarray(label_map)
    if label_map.dtype.kind not in "iub":
        raise DataError(f"a label map holds integers, got {label_map.dtype}; read it as a label map")
    if method == "nearest":
        return resample_like(label_map, affine, reference_shape, reference_affine, 0, fill)
    if method != "linear":
        raise ConfigError(f"label method {method!r} does not exist; known are nearest, linear")
    best = np.zeros(tuple(reference_shape[:3]), dtype=np.float32)
    result = np.full(best.shape, fill, dtype=label_map.dtype)
    for label in np.unique(label_map):
        share = resample_like((label_map == label).astype(np.float32), affine, best.shape, reference_affine, 1)
        wins = share > best
        result[wins] = label
        best[wins] = share[wins]
    return result


def resample_labels_to_spacing(
    label_map: np.ndarray,
    affine: np.ndarray,
    spacing: float | Sequence[float | None],
    method: str = "nearest",
) -> tuple[np.ndarray, np.ndarray]:
    """Resamples a label map to the grid of its image's `resample_to_spacing`, as `resample_labels_like`.

    Examples:
        >>> labels, affine = resample_labels_to_spacing(np.array([3, 7]).reshape(2, 1, 1), np.eye(4), (0.5, None, None))
        >>> labels.ravel().tolist()
        [3, 3, 7, 7]
    """
    shape, new_affine = spacing_grid(np.asarray(label_map).shape, affine, spacing)
    return resample_labels_like(label_map, affine, shape, new_affine, method), new_affine


def parallel_grid(to_old: np.ndarray, shape: Sequence[int]) -> ParallelGrid | None:
    """Finds how a grid's axes run along the axes of another, or None if they are oblique to each other.

    Args:
        to_old: 4 x 4, voxels of the new grid to voxels of the old.
        shape: Shape of the new grid.

    Examples:
        >>> grid = parallel_grid(np.array([[0, 2.0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), (4, 4, 4))
        >>> grid.sources, grid.steps
        ((1, 0, 2), (1.0, 2.0, 1.0))
    """
    linear = to_old[:3, :3]
    sources = tuple(int(axis) for axis in np.argmax(np.abs(linear), axis=0))
    if len(set(sources)) != 3:
        return None
    pure = np.zeros((4, 4))
    for new_axis, old_axis in enumerate(sources):
        pure[old_axis, new_axis] = linear[old_axis, new_axis]
    difference = to_old - pure
    difference[:, 3] = 0
    if _strays(difference, shape) > PARALLEL_TOLERANCE:
        return None
    steps = tuple(float(linear[old_axis, new_axis]) for new_axis, old_axis in enumerate(sources))
    return ParallelGrid(sources, steps, tuple(float(to_old[old_axis, 3]) for old_axis in sources))


def _strays(difference: np.ndarray, shape: Sequence[int]) -> float:
    """Returns the largest displacement, in old voxels, that a difference of affines makes within a shape."""
    extent = np.maximum(np.asarray(shape[:3]) - 1, 0)
    return float(np.max(np.abs(difference[:3, :3]) @ extent + np.abs(difference[:3, 3])))


def _resample_parallel(
    volume: np.ndarray, shape: tuple[int, ...], grid: ParallelGrid, order: int, fill: float, antialias: bool
) -> np.ndarray:
    result = np.transpose(volume, grid.sources)
    if not _keeps_type(volume, order):
        result = result.astype(np.float32, copy=False)
    positions = [start + step * np.arange(n) for start, step, n in zip(grid.starts, grid.steps, shape, strict=True)]
    # Axes that shrink most come first: less is left for the others to do.
    for axis in sorted(range(3), key=lambda a: shape[a] / result.shape[a]):
        result = _resample_axis(result, axis, positions[axis], abs(grid.steps[axis]), order, antialias)
    if np.may_share_memory(result, volume):
        result = result.copy(order="K")
    for axis, old_axis in enumerate(grid.sources):
        is_outside = (positions[axis] < -0.5 - 1e-6) | (positions[axis] >= volume.shape[old_axis] - 0.5 - 1e-6)
        if is_outside.any():
            np.moveaxis(result, axis, 0)[is_outside] = fill
    return result


def _resample_axis(
    volume: np.ndarray, axis: int, positions: np.ndarray, step: float, order: int, antialias: bool
) -> np.ndarray:
    length = volume.shape[axis]
    if positions.size == length and np.allclose(positions, np.arange(length), rtol=0, atol=1e-6):
        return volume
    if positions.size == length and np.allclose(positions, np.arange(length)[::-1], rtol=0, atol=1e-6):
        return np.flip(volume, axis)
    if order == 0:
        nearest = np.clip(np.floor(positions + 0.5 + 1e-9), 0, length - 1).astype(np.intp)
        return np.take(volume, nearest, axis=axis)
    smoothing = point_spread_sigma(1.0, step) if antialias else 0.0
    return multiply_axis(axis_weights(length, positions, order, smoothing), volume, axis)


def multiply_axis(matrix: np.ndarray, volume: np.ndarray, axis: int) -> np.ndarray:
    """Multiplies a matrix `(new, old)` onto one axis of a volume, keeping the memory order of the volume.

    nibabel's arrays are Fortran-ordered; working on the transpose spares copying them.

    Examples:
        >>> multiply_axis(np.array([[0.5, 0.5]]), np.array([1.0, 3.0]).reshape(2, 1, 1), 0).ravel().tolist()
        [2.0]
    """
    if volume.flags.f_contiguous and not volume.flags.c_contiguous:
        return multiply_axis(matrix, volume.T, volume.ndim - 1 - axis).T
    volume = np.ascontiguousarray(volume)
    before = int(np.prod(volume.shape[:axis]))
    after = int(np.prod(volume.shape[axis + 1 :]))
    new_shape = (*volume.shape[:axis], matrix.shape[0], *volume.shape[axis + 1 :])
    if after == 1:
        return (volume.reshape(before, -1) @ matrix.T).reshape(new_shape)
    return np.matmul(matrix, volume.reshape(before, -1, after)).reshape(new_shape)


def _resample_oblique(
    volume: np.ndarray, shape: tuple[int, ...], to_old: np.ndarray, order: int, fill: float, antialias: bool
) -> np.ndarray:
    import SimpleITK as sitk

    interpolators = {
        0: sitk.sitkNearestNeighbor,
        1: sitk.sitkLinear,
        2: sitk.sitkBSpline2,
        3: sitk.sitkBSpline3,
    }
    dtype = volume.dtype if _keeps_type(volume, order) else np.dtype(np.float32)
    working = volume.astype(np.uint8 if dtype.kind == "b" else dtype, copy=False)
    if antialias and order > 0:
        # Along each old axis the new grid steps at most this many voxels.
        for axis, step in enumerate(np.abs(to_old[:3, :3]).max(axis=1)):
            sigma = point_spread_sigma(1.0, float(step))
            if sigma > 0:
                working = multiply_axis(gaussian_matrix(volume.shape[axis], sigma).astype(np.float32), working, axis)
    # ITK counts axes from the fastest in memory: an array (x, y, z) is an image (z, y, x).
    image = sitk.GetImageFromArray(np.ascontiguousarray(working))
    reverse = [2, 1, 0]
    matrix = to_old[:3, :3][np.ix_(reverse, reverse)]
    transform = sitk.AffineTransform(matrix.ravel().tolist(), to_old[:3, 3][reverse].tolist())
    result = sitk.Resample(
        image, [shape[a] for a in reverse], transform, interpolators[order], (0.0, 0.0, 0.0), (1.0, 1.0, 1.0),
        np.eye(3).ravel().tolist(), float(fill), image.GetPixelID(),
    )  # fmt: skip
    return sitk.GetArrayFromImage(result).astype(dtype, copy=False)


def _keeps_type(volume: np.ndarray, order: int) -> bool:
    return order == 0 and volume.dtype.kind in "iub"


def _checked(volume: np.ndarray, affine: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    volume = np.asarray(volume)
    if volume.ndim not in (3, 4) or 0 in volume.shape:
        raise DataError(f"a volume is (x, y, z) or (x, y, z, channels), got shape {volume.shape}")
    if order not in ORDERS:
        raise ConfigError(f"order = {order!r} does not exist; known are 0 (nearest), 1 (linear), 2, 3 (cubic)")
    if volume.dtype.kind == "f" and not np.all(np.isfinite(volume)):
        bad = int(volume.size - np.count_nonzero(np.isfinite(volume)))
        raise DataError(f"{bad} of {volume.size} voxels are not finite (NaN or inf) and would spread; clean them first")
    return volume, _checked_affine(affine)


def _checked_affine(affine: np.ndarray) -> np.ndarray:
    affine = np.asarray(affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.all(np.isfinite(affine)):
        raise DataError(f"an affine is a finite 4 x 4 matrix, got {affine.tolist()}")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if np.any(lengths == 0) or abs(np.linalg.det(affine[:3, :3] / np.maximum(lengths, 1e-300))) < FLATTEST:
        raise DataError(f"the affine is singular: {affine[:3].tolist()}; correct the header of the image")
    return affine


def _checked_spacing(spacing: float | Sequence[float | None], old: np.ndarray) -> np.ndarray:
    wanted = list(spacing) if isinstance(spacing, Sequence | np.ndarray) else [spacing] * 3
    if len(wanted) != 3:
        raise ConfigError(f"spacing = {spacing!r} has {len(wanted)} numbers; write one for all axes or three")
    new = np.array([o if s is None else float(s) for s, o in zip(wanted, old, strict=True)])
    if not np.all(np.isfinite(new) & (new > 0)):
        raise ConfigError(f"spacing = {spacing!r} must be positive, in mm")
    return new
