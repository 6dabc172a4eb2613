"""Task-wise early stopping: a task that has overfitted is trained no longer (Zhang et al. 2014)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from sfgkeras.applications.training.stopping import Decision, Record, StoppingRule
from sfgkeras.settings import setting

STEADIEST = 1000.0
"""What a flat strip counts: where its sum is within a thousandth of `k` medians."""


@dataclass(frozen=True)
class TaskWise(StoppingRule):
    """Stops an auxiliary task once its training error stands still and its validation error lies above it.

    `k med / (sum - k med) * (E_val - min E_tr) / (lambda min E_tr) > eps`, with the median and the sum of the training
    errors of the last `k` validations, the least training error and the last validation error so far (Zhang et al.
    2014, TCDCN, equation 4). The main task never stops, and a task that has stopped does not begin again.

    Attributes:
        importances: The paper's `lambda` by task; 1 for those that are not named.
        main: The main task; empty for the first one.
        k: Validations over which the trend of the training error is measured.
        eps: What the measure must exceed.
    """

    name: ClassVar[str] = "task_wise"
    task_keys: ClassVar[Mapping[str, str]] = {"importance": "importances"}
    uses_patience: ClassVar[bool] = False
    stops_tasks: ClassVar[bool] = True

    importances: Mapping[str, float] = field(default_factory=dict)
    main: str = setting("", "The main task, which never stops; empty for the first one of `tasks`.")
    k: int = setting(5, "Validations over which the trend of a task's training loss is measured.", ge=2)
    eps: float = setting(20.0, "What the measure of overfitting must exceed for a task to stop.", ge=0)

    def observe(self, record: Record) -> Decision:
        """Looks at the tasks that are still trained, after a validation."""
        if not record.is_validation:
            return Decision()
        main = self.main or record.tasks[0]
        found = {}
        for task in record.tasks:
            # Between two validations there may have been no label of a task.
            training = [loss for loss in record.training.get(task, ()) if not math.isnan(loss)]
            validation = record.validation.get(task, ())
            if task == main or task in record.stopped_tasks or len(training) < self.k:
                continue
            found[task] = overfitting(training, validation[-1], self.k, self.importances.get(task, 1.0))
        stops = {task: measure for task, measure in found.items() if measure > self.eps}
        why = ", ".join(f"{task} {measure:.3g}" for task, measure in stops.items())
        return Decision(stop_tasks=frozenset(stops), why_tasks=f"task_wise: {why} > {self.eps:g}" if stops else "")


def overfitting(training: Sequence[float], validation: float, k: int, importance: float) -> float:
    """Returns the measure of Zhang et al. 2014, equation 4.

    It is 0 where the validation error lies below the least training error. A strip without skew (`sum <= k med`) may be
    a flat line or a straight fall: where it ends below its beginning the measure is 0, where it does not its first
    factor is `STEADIEST`, the largest that it can be.

    Args:
        training: Training errors, one for each validation so far, at least `k`.
        validation: The last validation error.
        k: Length of the strip.
        importance: `lambda`, above 0.

    Examples:
        >>> overfitting([4.0, 3.0, 1.0, 1.0], 1.5, 3, 1.0)  # 3 / (5 - 3) * 0.5 / 1
        0.75
        >>> overfitting([4.0, 1.0, 1.0, 1.0], 1.5, 3, 1.0)
        500.0
    """
    strip = np.asarray(training[-k:], float)
    median, least = k * float(np.median(strip)), float(np.min(training))
    skew, excess = float(strip.sum()) - median, validation - least
    is_skewed = skew * STEADIEST > abs(median)
    if not excess > 0 or (not is_skewed and strip[-1] < strip[0]):
        return 0.0
    trend = abs(median) / skew if is_skewed else STEADIEST
    return trend * (excess / (importance * abs(least)) if least else math.inf) if trend else 0.0
