"""Validation scores of runs against epochs, from their logs."""

from collections.abc import Iterator, Sequence

import numpy as np

from sfgkeras.analysis.epoch_curves import EpochCurve
from sfgkeras.applications.comparison.plan import PlannedRun
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.records.logs import read_log


def read_epoch_curves(plan: Sequence[PlannedRun]) -> list[EpochCurve]:
    """Returns every validation score of some runs, one curve per run and score; runs without validation have none."""
    return [curve for planned in plan for curve in _curves(planned)]


def _curves(planned: PlannedRun) -> Iterator[EpochCurve]:
    rows = read_log(RunFolder(planned.config.system.model_dir).logs / "validation.csv")
    if not rows or not rows[0].get("epoch"):
        return
    epochs = np.array([float(row["epoch"]) for row in rows])
    for name in rows[0]:
        if name not in ("iteration", "epoch"):
            values = np.array([float(row[name]) if row[name] else np.nan for row in rows])
            yield EpochCurve(planned.network, planned.seed, name, epochs, values)
