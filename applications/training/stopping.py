"""When a run may stop before `max_iter`: rules on the recent validation losses, with NiftyNet's names."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sfgkeras.tables.entry import LoadedTable
from sfgkeras.tables.stopping import STOPPING

MIN_DELTA = 0.03


def no_new_best(losses: Sequence[float]) -> bool:
    """Says stop when none of the later losses is below the first one (ours; the usual meaning of patience)."""
    return min(losses[1:]) >= losses[0]


def above_mean(losses: Sequence[float]) -> bool:
    """Says stop when the last loss exceeds the mean of the earlier ones by more than 0.03."""
    return bool(losses[-1] > np.mean(losses[:-1]) + MIN_DELTA)


def above_robust_mean(losses: Sequence[float]) -> bool:
    """Says stop as `above_mean`, with the earlier losses outside their 5th to 95th percentile left out."""
    earlier = np.asarray(losses[:-1])
    low, high = np.percentile(earlier, [5, 95])
    return bool(losses[-1] > earlier[(earlier >= low) & (earlier <= high)].mean() + MIN_DELTA)


def above_median(losses: Sequence[float]) -> bool:
    """Says stop when the last loss exceeds the median of the earlier ones by more than 0.03."""
    return bool(losses[-1] > np.median(losses[:-1]) + MIN_DELTA)


def generalisation_loss(losses: Sequence[float]) -> bool:
    """Says stop when the last loss is more than 20 % above the lowest one (Prechelt 1998, criterion GL)."""
    lowest = min(losses)
    return losses[-1] - lowest > 0.2 * abs(lowest)


def rising(losses: Sequence[float]) -> bool:
    """Says stop when the mean of the later half is above the mean of the earlier half (Prechelt 1998, UP)."""
    half = len(losses) // 2
    return float(np.mean(losses[half:])) > float(np.mean(losses[:half]))


def above_smoothed_median(losses: Sequence[float]) -> bool:
    """Says stop when the median-filtered (5 points) losses end more than 0.03 above their own median."""
    padded = np.pad(np.asarray(losses, float), 2, mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=-1)
    return bool(smooth[-1] > np.median(smooth[:-1]) + MIN_DELTA)


EARLY_STOPPING: Mapping[str, Callable[[Sequence[float]], bool]] = LoadedTable(STOPPING)


def should_stop(losses: Sequence[float], patience: int, rule: Callable[[Sequence[float]], bool]) -> bool:
    """Applies a rule to the last `patience + 1` validation losses.

    Args:
        losses: All validation losses so far.
        patience: How many validations a run may go on without improving; 0 never stops.
        rule: One of `EARLY_STOPPING`.
    """
    if patience < 1 or len(losses) <= patience:
        return False
    return bool(rule(list(losses[-(patience + 1) :])))
