"""From the numbers that a file stores to the values that they stand for."""

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
