"""Ranges of outputs, from the targets of the training subjects: `output_activation = range`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sfgkeras.applications.tasks.task import Task
from sfgkeras.data.target_kinds import TASK_KINDS
from sfgkeras.data.windows import PreparedSubject
from sfgkeras.errors import DataError
from sfgkeras.reporter import Reporter


def set_output_ranges(
    network: Any, tasks: Mapping[str, Task], subjects: Sequence[PreparedSubject], reporter: Reporter
) -> None:
    """Bounds the outputs of every head with the activation `range` by the targets of subjects.

    Args:
        network: The network, before its first step.
        tasks: The tasks by name, in the order of the network's heads.
        subjects: Those of the training.
        reporter: Told the bounds, in the units of results.

    Raises:
        DataError: If all targets of a task are one number.
    """
    for head, (name, task) in zip(network.heads, tasks.items(), strict=True):
        if head.limits is None:
            continue
        lower, upper = target_range(task, subjects)
        if not lower < upper:
            raise DataError(
                f"[TASK {name}] output_activation = range: all targets of the training are {lower:g}, so that there is "
                "no range; check the target, or use another activation"
            )
        head.set_bounds(lower, upper)
        for deep in network.deep_heads_of(name):
            deep.set_bounds(lower, upper)
        factor, offset = task.spread_factor, task.describe_output().get("add", 0.0)
        own = sorted((lower * factor + offset, upper * factor + offset))
        unit = f" {task.unit}" if task.unit else ""
        reporter.message(f"outputs of {name} are between {own[0]:g} and {own[1]:g}{unit}, as the targets of training")


def target_range(task: Task, subjects: Sequence[PreparedSubject]) -> tuple[float, float]:
    """Returns the smallest and the largest known target of subjects, as the network learns them."""
    kind = TASK_KINDS[task.target_kind](task.name)
    lower, upper = np.inf, -np.inf
    for subject in subjects:
        if task.name in subject.missing:
            continue
        values = kind.read(subject)
        if kind.is_spatial and task.name in subject.known:
            values = values[subject.known[task.name]]
        if values.size:
            lower, upper = min(lower, float(values.min())), max(upper, float(values.max()))
    return lower, upper
