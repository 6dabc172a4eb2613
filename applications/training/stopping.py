"""What may end a training, or the training of a task: rules that look at its record and decide."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

TOTAL = "loss"
"""The name of the objective among the losses of the tasks."""


@dataclass(frozen=True)
class Decision:
    """What a rule wants; by default nothing.

    Attributes:
        stop_run: Why the whole run is to end now; empty where it is not.
        stop_tasks: Tasks that are to be trained no longer: their losses and weights get no gradient from now on.
        why_tasks: Why these tasks.
        is_failure: Whether the run ends as an error, without a saved state.
    """

    stop_run: str = ""
    stop_tasks: frozenset[str] = frozenset()
    why_tasks: str = ""
    is_failure: bool = False


@dataclass(frozen=True)
class Record:
    """What a rule may look at, after an iteration.

    The histories have one number for each validation so far, by task and, for the objective, as `loss`. Those of a
    task are means over the windows that have a label of it, and NaN where there was none.

    Attributes:
        iteration: Finished iterations.
        tasks: Names of all tasks.
        stopped_tasks: Those that are trained no longer.
        logged: Losses of this iteration where they are logged or saved, of `regularisation` too; else empty.
        training: Training losses: the mean of those since the validation before.
        validation: Validation losses.
        is_validation: Whether this iteration was validated: the last numbers of the histories are new.
        grouping_converged: Whether the grouping probabilities stand still (`callbacks.GroupingConvergence`).
    """

    iteration: int
    tasks: Sequence[str]
    stopped_tasks: frozenset[str] = frozenset()
    logged: Mapping[str, float] = field(default_factory=dict)
    training: Mapping[str, Sequence[float]] = field(default_factory=dict)
    validation: Mapping[str, Sequence[float]] = field(default_factory=dict)
    is_validation: bool = False
    grouping_converged: bool = False


@dataclass(frozen=True)
class StoppingRule(ABC):
    """Decides after iterations that are logged, saved or validated, or whose grouping probabilities are noted.

    A rule keeps nothing between two decisions: all that it needs is in the record, which survives a restart. Its fields
    are its settings.

    Attributes:
        task_keys: Fields that hold a number for each task, by the key that gives it in the INI file's `[TASK name]`.
        uses_patience: Whether it makes use of `patience`.
        stops_tasks: Whether it stops single tasks: it needs several, and validations.
        patience: How many validations a run may go on without improving; 0 never stops for that.
    """

    task_keys: ClassVar[Mapping[str, str]] = {}
    uses_patience: ClassVar[bool] = True
    stops_tasks: ClassVar[bool] = False

    patience: int = 0

    @abstractmethod
    def observe(self, record: Record) -> Decision:
        """Returns what the rule wants now."""


@dataclass(frozen=True)
class NonFinite(StoppingRule):
    """Fails once a loss is no finite number."""

    def observe(self, record: Record) -> Decision:
        """Looks at what is logged."""
        for name, value in record.logged.items():
            if not math.isfinite(value):
                why = f"the {name} is {value} at iteration {record.iteration}: training has diverged"
                return Decision(stop_run=why, is_failure=True)
        return Decision()


@dataclass(frozen=True)
class GroupingConverges(StoppingRule):
    """Stops once the grouping probabilities stand still (supplement of Bragman et al. 2019, section 1.3)."""

    def observe(self, record: Record) -> Decision:
        """Looks at whether they do."""
        return Decision("the grouping probabilities no longer move" if record.grouping_converged else "")


@dataclass(frozen=True)
class EarlyStopping(StoppingRule):
    """Stops once the validation loss has not improved over `patience` validations; a subclass says what that means.

    Attributes:
        name: What the rule is called in INI files.
    """

    name: ClassVar[str]

    @abstractmethod
    def has_worsened(self, losses: Sequence[float]) -> bool:
        """Judges the last `patience + 1` validation losses."""

    def observe(self, record: Record) -> Decision:
        """Looks at the last validations."""
        losses = record.validation.get(TOTAL, ())
        if not record.is_validation or not 0 < self.patience < len(losses):
            return Decision()
        stops = self.has_worsened(list(losses[-(self.patience + 1) :]))
        return Decision(f"the validation loss no longer falls ({self.name})" if stops else "")
