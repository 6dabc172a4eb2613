"""Exact percentiles of whole volumes by counting instead of sorting."""

import numpy as np

from sfgkeras.errors import DataError

# Beyond this many distinct values a table costs more memory traffic than it saves.
LONGEST_TABLE = 1 << 17


def compact_integers(array: np.ndarray) -> tuple[np.ndarray, int, int] | None:
    """Finds out whether an array holds integers of a short range, as scanners write them.

    Args:
        array: Numbers of any type; floats are looked at too, since readers return float32.

    Returns:
        Codes `array - lowest` (non-negative integers of the array's shape), the lowest value, and the number
        of codes; None where the values are not integers or their range is too long for a table.

    Examples:
        >>> codes, lowest, count = compact_integers(np.array([-2.0, 3.0]))
        >>> codes.tolist(), lowest, count
        ([0, 5], -2, 6)
        >>> compact_integers(np.array([0.5])) is None
        True
    """
    array = np.asarray(array)
    if array.size == 0:
        return None
    if array.dtype.kind == "f":
        whole = _whole_numbers(array)
        if whole is None:
            return None
        array = whole
    elif array.dtype.kind == "b":
        array = array.view(np.uint8)
    elif array.dtype.kind not in "iu":
        return None
    lowest, highest = int(array.min()), int(array.max())
    if highest - lowest >= LONGEST_TABLE:
        return None
    if lowest == 0:
        return array, 0, highest + 1
    # In the array's own type the difference could wrap around (int8, int16) or lowest not fit.
    return (
        np.subtract(array, lowest, dtype=np.int32 if array.itemsize <= 2 else np.int64),
        lowest,
        highest - lowest + 1,
    )


def _whole_numbers(array: np.ndarray) -> np.ndarray | None:
    """Returns a float array as int32 if it holds whole numbers of moderate size, else None."""
    flat = array.ravel(order="K")
    sample = flat[:: max(1, flat.size // 1024)]
    # Most images that are not integers show it in the first thousand voxels: the full pass is spared.
    if not np.all(np.isfinite(sample)) or np.any(sample != np.rint(sample)):
        return None
    limit = 2.0**30
    if not (float(flat.min()) > -limit and float(flat.max()) < limit):
        return None
    whole = array.astype(np.int32)
    return whole if np.array_equal(whole, array) else None


def exact_percentiles(values: np.ndarray, percentiles: np.ndarray) -> np.ndarray:
    """Computes percentiles with linear interpolation between order statistics, equal to `numpy.percentile`.

    Integers are counted; float32 values are counted by their upper 16 bits first, and only the few buckets
    that hold a wanted rank are sorted.

    Args:
        values: Finite numbers, any shape.
        percentiles: Percentiles in percent, 0 to 100.

    Returns:
        float64 array of the shape of `percentiles`.

    Raises:
        DataError: If there is no value, or one that is not finite.

    Examples:
        >>> exact_percentiles(np.arange(5), np.array([25, 60])).round(6).tolist()
        [1.0, 2.4]
    """
    values = np.asarray(values)
    if values.size == 0:
        raise DataError("the foreground is empty: no voxel to measure; look at the foreground rule and the image")
    if values.dtype.kind == "f" and not np.isfinite(values.sum(dtype=np.float64)):
        bad = int(values.size - np.count_nonzero(np.isfinite(values)))
        if bad:
            raise DataError(f"{bad} of {values.size} values are not finite (NaN or inf); clean the image first")
    ranks = np.asarray(percentiles, dtype=np.float64) / 100 * (values.size - 1)
    below = np.floor(ranks).astype(np.int64)
    above = np.minimum(below + 1, values.size - 1)
    wanted = np.union1d(below, above)
    compact = compact_integers(values)
    if compact is not None:
        codes, lowest, _ = compact
        statistics = lowest + _ranks_by_counting(codes, wanted).astype(np.float64)
    elif values.dtype == np.float32:
        statistics = _ranks_by_buckets(values, wanted)
    else:
        flat = values.astype(np.float64).ravel()
        statistics = np.partition(flat, wanted)[wanted]
    low = statistics[np.searchsorted(wanted, below)]
    high = statistics[np.searchsorted(wanted, above)]
    return low + (ranks - below) * (high - low)


def _ranks_by_counting(codes: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Returns the codes at the given ranks of the sorted array."""
    cumulative = np.cumsum(np.bincount(codes.ravel(order="K")))
    return np.searchsorted(cumulative, ranks, side="right")


def _ranks_by_buckets(values: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Returns the float32 values at the given ranks of the sorted array, as float64."""
    flat = np.ascontiguousarray(values.ravel(order="K"))
    bits = flat.view(np.uint32)
    # As unsigned integers, negative floats must be inverted and positive ones moved above them to sort alike.
    buckets = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)) >> 16
    cumulative = np.cumsum(np.bincount(buckets, minlength=1 << 16))
    homes = np.searchsorted(cumulative, ranks, side="right")
    is_home = np.zeros(1 << 16, dtype=bool)
    is_home[homes] = True
    candidates = np.sort(flat[is_home[buckets]]).astype(np.float64)
    # Ranks among the candidates: those of all values, less the values in buckets nobody asked for.
    sizes = np.diff(cumulative, prepend=0)
    skipped = np.cumsum(np.where(is_home, 0, sizes))
    return candidates[ranks - skipped[homes]]
