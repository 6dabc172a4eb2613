"""Which tasks share what in the runs of a comparison: one figure for all networks, and its numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.analysis.pictures import save_figure
from sfgkeras.analysis.sharing_figures import draw_sharing_compared
from sfgkeras.analysis.sharing_record import mean_matrices, sharing_rows
from sfgkeras.analysis.tables import write_csv
from sfgkeras.applications.comparison.plan import PlannedRun
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.records.sharing import read_sharing_record
from sfgkeras.errors import DataError

DPI = 150


@dataclass(frozen=True, eq=False)
class SharedByRun:
    """What the tasks of a run shared at its end.

    Attributes:
        network: Its name in the tables.
        seed: Its seed.
        tasks: Its tasks.
        matrices: `(tasks, tasks)` by stage.
    """

    network: str
    seed: int
    tasks: tuple[str, ...]
    matrices: Mapping[str, np.ndarray]


def read_shared(plan: Sequence[PlannedRun]) -> list[SharedByRun]:
    """Returns what tasks share in those runs that have several, and have noted it."""
    return list(_read(plan))


def _read(plan: Sequence[PlannedRun]) -> Iterator[SharedByRun]:
    for planned in plan:
        tasks = tuple(planned.config.tasks)
        if len(tasks) < 2:
            continue
        try:
            record = read_sharing_record(RunFolder(planned.config.system.model_dir), tasks)
        except (DataError, ValueError):
            continue  # e.g. a run that an earlier version trained: the tables do without it
        yield SharedByRun(planned.network, planned.seed, tasks, record.last())


def write_shared(runs: Sequence[SharedByRun], output: Path) -> list[str]:
    """Writes `sharing.csv`, and `sharing.png` with the means over seeds of all networks side by side.

    Networks of other tasks than those of the first one have figures of their own, `sharing_2.png` and so on.

    Returns:
        Names of the figures.
    """
    if not runs:
        return []
    write_csv(output / "sharing.csv", [row for run in runs for row in _rows(run)])
    names: list[str] = []
    for tasks in dict.fromkeys(run.tasks for run in runs):
        of_tasks = [run for run in runs if run.tasks == tasks]
        networks = {
            name: mean_matrices([run.matrices for run in of_tasks if run.network == name])
            for name in dict.fromkeys(run.network for run in of_tasks)
        }
        names.append(f"sharing_{len(names) + 1}.png" if names else "sharing.png")
        save_figure(draw_sharing_compared(networks, tasks), output / names[-1], DPI)
    return names


def _rows(run: SharedByRun) -> list[dict[str, Any]]:
    return [{"network": run.network, "seed": run.seed, **row} for row in sharing_rows(run.matrices, run.tasks)]
