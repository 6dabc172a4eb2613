"""What a training noted of which tasks share what, and the numbers that its figures and tables show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ITERATIONS = "iterations"


@dataclass(frozen=True, eq=False)
class SharingRecord:
    """Sharing matrices over a training; entry `[i, j]` is how much of what task i uses task j uses, too.

    Attributes:
        iterations: When they were noted, `(n,)`, rising.
        stages: `(n, tasks, tasks)` by the name of the stage, in order of depth.
        task_names: The tasks.
        learned: What the mechanism learned besides, by `<quantity>/<stage>` or `<quantity>`; see `Trunk.learned`.
    """

    iterations: np.ndarray
    stages: Mapping[str, np.ndarray]
    task_names: tuple[str, ...]
    learned: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def from_history(
        cls,
        history: Mapping[str, np.ndarray],
        task_names: Sequence[str],
        learned: Mapping[str, np.ndarray] | None = None,
    ) -> "SharingRecord":
        """Makes a record of what a `SharingHistory` holds.

        Raises:
            ValueError: If it was noted for other tasks, or holds nothing.
        """
        stages = {name: values for name, values in history.items() if name != ITERATIONS}
        count = len(task_names)
        found = {values.shape[1:] for values in stages.values()}
        if found != {(count, count)}:
            shapes = " and ".join(f"{shape[0]} x {shape[1]}" for shape in sorted(found)) or "no"
            raise ValueError(f"the record of what is shared has {shapes} tasks, {count} are expected")
        return cls(np.asarray(history[ITERATIONS]), stages, tuple(task_names), learned or {})

    @property
    def num_tasks(self) -> int:
        """Number of tasks."""
        return len(self.task_names)

    def last(self) -> dict[str, np.ndarray]:
        """Returns the newest matrix of every stage."""
        return {name: values[-1] for name, values in self.stages.items()}


def mutual(matrix: np.ndarray) -> np.ndarray:
    """Returns how much tasks share with each other: the mean of both directions, `(..., tasks, tasks)`."""
    return (matrix + np.swapaxes(matrix, -1, -2)) / 2


def mean_shared(matrix: np.ndarray) -> float:
    """Returns the mean over all pairs of tasks, 1 being hard sharing; NaN for one task."""
    others = ~np.eye(len(matrix), dtype=bool)
    return float(matrix[others].mean()) if others.any() else float("nan")


def shared_course(record: SharingRecord) -> dict[str, np.ndarray]:
    """Returns the mean over all pairs of tasks at every note, `(n,)` by stage."""
    return {stage: np.array([mean_shared(matrix) for matrix in values]) for stage, values in record.stages.items()}


def has_moved(record: SharingRecord, least: float = 0.005) -> bool:
    """Says whether what tasks share has changed during the training, by more than a figure would show."""
    return any(float(np.ptp(values, axis=0).max()) >= least for values in record.stages.values())


def mean_matrices(matrices: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns the mean of several networks' matrices at every stage that one of them has."""
    stages = dict.fromkeys(name for own in matrices for name in own)
    return {name: np.mean([own[name] for own in matrices if name in own], axis=0) for name in stages}


def sharing_rows(matrices: Mapping[str, np.ndarray], task_names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns one row per stage and ordered pair of different tasks: `stage`, `task`, `other`, `shared`."""
    return [
        {"stage": stage, "task": first, "other": second, "shared": float(matrix[i, j])}
        for stage, matrix in matrices.items()
        for i, first in enumerate(task_names)
        for j, second in enumerate(task_names)
        if i != j
    ]


def sharing_table(matrices: Mapping[str, np.ndarray], task_names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns one line per stage with a column for every ordered pair of tasks, and the mean over all."""
    lines = []
    for stage, matrix in matrices.items():
        pairs = {
            f"{first} with {second}": round(float(matrix[i, j]), 3)
            for i, first in enumerate(task_names)
            for j, second in enumerate(task_names)
            if i != j
        }
        lines.append({"stage": stage, **pairs, "mean": round(mean_shared(matrix), 3)})
    return lines


def learned_tables(learned: Mapping[str, np.ndarray], task_names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Lays out what a mechanism learned as tables, one per quantity.

    A number or a list per stage is a line of its quantity's table. A matrix has a line per row; behind two axes of
    tasks, or in what has more axes, values are averaged, and their standard deviation stands behind them.

    Args:
        learned: Arrays by `<quantity>/<stage>` or `<quantity>`.
        task_names: The tasks, names of axes that are as long as there are tasks.
    """
    tables: dict[str, list[dict[str, Any]]] = {}
    for name, values in learned.items():
        quantity, _, stage = name.partition("/")
        lines = tables.setdefault(quantity, [])
        array = np.asarray(values, np.float64)
        start = {"stage": stage} if stage else {}
        if array.ndim < 2:
            lines.append(start | _cells(np.atleast_1d(array), task_names))
            continue
        for label, row in zip(_labels(len(array), task_names), array, strict=True):
            lines.append(start | {"": label} | _cells(row, task_names))
    return tables


def _labels(count: int, task_names: Sequence[str]) -> list[str]:
    return list(task_names) if count == len(task_names) else [str(number + 1) for number in range(count)]


def _cells(row: np.ndarray, task_names: Sequence[str]) -> dict[str, str]:
    labels = ["value"] if row.shape == (1,) and len(task_names) != 1 else _labels(len(row), task_names)
    return {label: _text(value) for label, value in zip(labels, row, strict=True)}


def _text(value: np.ndarray) -> str:
    value = np.asarray(value)
    if np.isnan(value).all():
        return "-"
    if value.ndim == 0:
        return f"{float(value):.3g}"
    return f"{np.nanmean(value):.3g} \u00b1 {np.nanstd(value):.2g}"
