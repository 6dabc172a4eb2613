"""From the numbers that a file stores to the values that they stand for."""

from collections.abc import Callable

import numpy as np

BLOCK = 1 << 16  # voxels; half a megabyte of float64 stays in the cache


def scale_into(out: np.ndarray, stored: np.ndarray, slope: float, intercept: float) -> None:
    """Writes `stored * slope + intercept` to `out`, computed in float64 and rounded once.

    Args:
        out: Contiguous float32 array, `(voxels,)`.
        stored: Numbers as in the file, `(voxels,)`, of any real type and byte order.
        slope: Factor of the file.
        intercept: Offset of the file.
    """
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which the checks report
        if (slope, intercept) == (1.0, 0.0):
            out[...] = stored
            return
        values = np.empty(min(BLOCK, stored.size), np.float64)
        for start in range(0, stored.size, BLOCK):
            block = values[: min(BLOCK, stored.size - start)]
            block[...] = stored[start : start + BLOCK]
            block *= slope
            block += intercept
            out[start : start + BLOCK] = block


def to_float32(stored: np.ndarray, slope: float = 1.0, intercept: float = 0.0) -> np.ndarray:
    """Returns `stored * slope + intercept` as float32, computed in float64 and rounded once.

    Args:
        stored: Numbers as in the file, of any shape and memory order, both of which are kept.
        slope: Factor of the file.
        intercept: Offset of the file.
    """
    out = np.empty_like(stored, np.float32, subok=False)
    scale_into(out.reshape(-1, order="A"), stored.reshape(-1, order="A"), slope, intercept)
    return out


def convert_in_blocks(
    convert: Callable[[np.ndarray], np.ndarray], array: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    """Converts an array to float32 a few planes at a time, so that what `convert` makes in between stays small.

    Args:
        convert: Elementwise: takes a part of the array and returns real numbers of its shape.
        array: Any shape.
        out: Where the result goes, float32; may be `array` itself. None makes a new array in the same memory order.

    Returns:
        The result, float32.
    """
    if out is None:
        out = np.empty_like(array, np.float32, subok=False)
    if array.ndim == 0:
        out[...] = convert(array)
        return out
    # Planes across the slowest axis are contiguous in whatever order the array has.
    axis = int(np.argmax(np.abs(array.strides)))
    source, target = np.moveaxis(array, axis, 0), np.moveaxis(out, axis, 0)
    step = max(1, BLOCK * len(source) // max(source.size, 1))
    for first in range(0, len(source), step):
        target[first : first + step] = convert(source[first : first + step])
    return out


def count_not_finite(array: np.ndarray) -> int:
    """Returns how many values are NaN or infinite, a few planes at a time."""
    if array.dtype.kind != "f" or array.size == 0:
        return 0
    planes = np.moveaxis(np.atleast_1d(array), int(np.argmax(np.abs(array.strides))) if array.ndim else 0, 0)
    step = max(1, BLOCK * len(planes) // planes.size)
    parts = (planes[first : first + step] for first in range(0, len(planes), step))
    return sum(part.size - int(np.count_nonzero(np.isfinite(part))) for part in parts)
