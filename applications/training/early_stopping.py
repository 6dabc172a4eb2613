"""When the validation loss no longer falls: rules with NiftyNet's names, on the last `patience + 1` validations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfgkeras.applications.training.stopping import EarlyStopping

MIN_DELTA = 0.03


@dataclass(frozen=True)
class NoNewBest(EarlyStopping):
    """None of the later losses is below the first one (ours; the usual meaning of patience)."""

    name = "best"

    def has_worsened(self, losses: Sequence[float]) -> bool:
        """Compares the later losses with the first one."""
        return min(losses[1:]) >= losses[0]


@dataclass(frozen=True)
class AboveMean(EarlyStopping):
    """The last loss exceeds the mean of the earlier ones by more than 0.03."""

    name = "mean"

    def has_worsened(self, losses: Sequence[float]) -> bool:
        """Compares the last loss with the mean of the earlier ones."""
        return bool(losses[-1] > np.mean(losses[:-1]) + MIN_DELTA)


@dataclass(frozen=True)
class AboveRobustMean(EarlyStopping):
    """As `mean`, with the earlier losses outside their 5th to 95th percentile left out."""

    name = "robust_mean"

    def has_worsened(self, losses: Sequence[float]) -> bool:
        """Compares the last loss with the mean of the earlier ones without outliers."""
        earlier = np.asarray(losses[:-1])
        low, high = np.percentile(earlier, [5, 95])
        return bool(losses[-1] > earlier[(earlier >= low) & (earlier <= high)].mean() + MIN_DELTA)


@dataclass(frozen=True)
class AboveMedian(EarlyStopping):
    """The last loss exceeds the median of the earlier ones by more than 0.03."""

    name = "median"

    def has_worsened(self, losses: Sequence[float]) -> bool:
        """Compares the last loss with the median of the earlier ones."""
        return bool(losses[-1] > np.median(losses[:-1]) + MIN_DELTA)


@dataclass(frozen=True)
class GeneralisationLoss(EarlyStopping):
    """The last loss is more than 20 % above the lowest one (Prechelt 1998, criterion GL)."""

    name = "generalisation_loss"

    def has_worsened(self, losses: Sequence[float]) -> bool:
        """Compares the last loss with the lowest one."""
        lowest = min(losses)
        return losses[-1] - lowest > 0.2 * abs(lowest)


@dataclass(frozen=True)
class Rising(EarlyStopping):
    """The mean of the later half is above the mean of the earlier half (Prechelt 1998, UP)."""

    name = "validation_up"

    def has_worsened(self, losses: Sequence[float]) -> bool:
        """Compares the two halves."""
        half = len(losses) // 2
        return float(np.mean(losses[half:])) > float(np.mean(losses[:half]))


@dataclass(frozen=True)
class AboveSmoothedMedian(EarlyStopping):
    """The median-filtered (5 points) losses end more than 0.03 above their own median."""

    name = "median_smoothing"

    def has_worsened(self, losses: Sequence[float]) -> bool:
        """Compares the last smoothed loss with the median of the earlier ones."""
        padded = np.pad(np.asarray(losses, float), 2, mode="edge")
        smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=-1)
        return bool(smooth[-1] > np.median(smooth[:-1]) + MIN_DELTA)
