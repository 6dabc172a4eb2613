"""What changes while a run trains and must survive a restart."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sfgkeras.applications.training.stopping import TOTAL, Record


@dataclass
class Progress:
    """What changes from iteration to iteration besides the network, the optimisers and the generators.

    Attributes:
        iteration: Finished optimiser steps.
        best_score: Best value of the watched validation score so far, or None.
        best_iteration: Where it was reached.
        validation_iterations: The iterations that were validated.
        validation: Validation losses of each of them, by task and, for the objective, as `loss`.
        training: Training losses of each of them: the mean over all windows with a label since the one before; NaN
            where there was none.
        pending: Sums of the training losses since the last validation.
        pending_shares: Sums of the shares of their batches that had a label.
        stopped_tasks: Tasks that are trained no longer.
        stopped_at: The iterations after which they were not, by task.
        stopped: Why the run ended before its last iteration; empty while it has not.
        started_from: The `starting_iter` that the run began with; 0 for a run from the beginning.
        memory: What a kind of training step keeps from one to the next; see `TrainingStep.take`.
    """

    iteration: int = 0
    best_score: float | None = None
    best_iteration: int = 0
    validation_iterations: list[int] = field(default_factory=list)
    validation: dict[str, list[float]] = field(default_factory=dict)
    training: dict[str, list[float]] = field(default_factory=dict)
    pending: dict[str, float] = field(default_factory=dict)
    pending_shares: dict[str, float] = field(default_factory=dict)
    stopped_tasks: list[str] = field(default_factory=list)
    stopped_at: dict[str, int] = field(default_factory=dict)
    stopped: str = ""
    started_from: int = 0
    memory: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "Progress":
        """Reads what a state of this version or an earlier one tells; those kept the validations' objective only."""
        known = {each.name for each in fields(cls)}
        found = {name: value for name, value in values.items() if name in known}
        if "validation_losses" in values:
            found["validation"] = {TOTAL: list(values["validation_losses"])}
        if "pending_count" in values:
            found["pending_shares"] = dict.fromkeys(values.get("pending", ()), float(values["pending_count"]))
        return cls(**found)

    def values(self) -> dict[str, Any]:
        """Returns everything as plain values; `from_values` takes them back."""
        return asdict(self)

    def note_training(self, losses: Mapping[str, float], labelled: Mapping[str, float] | None = None) -> None:
        """Takes the training losses of an iteration.

        Args:
            losses: Sums of the losses of a batch over its size, by task and, for the objective, as `loss`.
            labelled: Share of the batch that has a label, by task; 1 for those that are not named.
        """
        for name, loss in losses.items():
            self.pending[name] = self.pending.get(name, 0.0) + loss
            share = (labelled or {}).get(name, 1.0)
            self.pending_shares[name] = self.pending_shares.get(name, 0.0) + share

    def note_validation(self, losses: Mapping[str, float]) -> None:
        """Takes the losses of a validation after this iteration, means over the windows with a label."""
        self.validation_iterations.append(self.iteration)
        for name, loss in losses.items():
            self.validation.setdefault(name, []).append(loss)
        for name, total in self.pending.items():
            share = self.pending_shares[name]
            self.training.setdefault(name, []).append(total / share if share else math.nan)
        self.pending, self.pending_shares = {}, {}

    def record(self, tasks: Sequence[str], logged: Mapping[str, float], grouping_converged: bool) -> Record:
        """Returns what stopping rules may look at after this iteration."""
        return Record(
            iteration=self.iteration,
            tasks=tuple(tasks),
            stopped_tasks=frozenset(self.stopped_tasks),
            logged=logged,
            training=self.training,
            validation=self.validation,
            is_validation=bool(self.validation_iterations) and self.validation_iterations[-1] == self.iteration,
            grouping_converged=grouping_converged,
        )
