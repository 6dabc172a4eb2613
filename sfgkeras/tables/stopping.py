"""The rules by which a run may stop before its last iteration: what `[TRAINING] early_stopping_mode` may choose."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfgkeras.tables.entry import Entry

if TYPE_CHECKING:
    from sfgkeras.applications.training.stopping import StoppingRule


@dataclass(frozen=True)
class StoppingEntry(Entry["type[StoppingRule]"]):
    """A stopping rule; the fields of its class are its settings, `patience` among them."""

    def settings_class(self) -> type | None:
        """Returns the rule itself: its fields are its settings."""
        return self.load()


def _best() -> "type[StoppingRule]":
    from sfgkeras.applications.training.early_stopping import NoNewBest

    return NoNewBest


def _mean() -> "type[StoppingRule]":
    from sfgkeras.applications.training.early_stopping import AboveMean

    return AboveMean


def _robust_mean() -> "type[StoppingRule]":
    from sfgkeras.applications.training.early_stopping import AboveRobustMean

    return AboveRobustMean


def _median() -> "type[StoppingRule]":
    from sfgkeras.applications.training.early_stopping import AboveMedian

    return AboveMedian


def _generalisation_loss() -> "type[StoppingRule]":
    from sfgkeras.applications.training.early_stopping import GeneralisationLoss

    return GeneralisationLoss


def _median_smoothing() -> "type[StoppingRule]":
    from sfgkeras.applications.training.early_stopping import AboveSmoothedMedian

    return AboveSmoothedMedian


def _validation_up() -> "type[StoppingRule]":
    from sfgkeras.applications.training.early_stopping import Rising

    return Rising


def _task_wise() -> "type[StoppingRule]":
    from sfgkeras.applications.training.task_wise import TaskWise

    return TaskWise


def _non_finite() -> "type[StoppingRule]":
    from sfgkeras.applications.training.stopping import NonFinite

    return NonFinite


def _grouping_converges() -> "type[StoppingRule]":
    from sfgkeras.applications.training.stopping import GroupingConverges

    return GroupingConverges


STOPPING: dict[str, StoppingEntry] = {
    "best": StoppingEntry(_best, "no later loss is below the first"),
    "mean": StoppingEntry(_mean, "the last loss exceeds the mean of the earlier ones"),
    "robust_mean": StoppingEntry(_robust_mean, "as `mean`, without the earlier outliers"),
    "median": StoppingEntry(_median, "the last loss exceeds the median of the earlier ones"),
    "generalisation_loss": StoppingEntry(_generalisation_loss, "the last loss is 20 % above the lowest"),
    "median_smoothing": StoppingEntry(_median_smoothing, "as `median`, of smoothed losses"),
    "validation_up": StoppingEntry(_validation_up, "the later half has a higher mean than the earlier"),
    "task_wise": StoppingEntry(
        _task_wise,
        "each task but the main one stops by itself once it overfits (Zhang et al. 2014); no `patience`",
    ),
}

ALWAYS: dict[str, StoppingEntry] = {
    "non_finite": StoppingEntry(_non_finite, "a loss is no finite number: the run fails"),
}
"""Rules of every run."""

GROUPING = StoppingEntry(_grouping_converges, "the grouping probabilities stand still")
"""The rule that `[TRAINING] stop_when_grouping_converges` switches on."""
