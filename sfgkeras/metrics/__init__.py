"""Streaming metrics that take spatial masks, by the names that INI files have for them (`sfgkeras.tables.metrics`)."""

from collections.abc import Mapping

from sfgkeras.metrics.base import StreamingMetric
from sfgkeras.metrics.boxes import BoxOverlap
from sfgkeras.metrics.labels import Accuracy, Dice, Jaccard
from sfgkeras.metrics.landmarks import RadialError
from sfgkeras.metrics.motion import WarpedMeanAbsoluteError
from sfgkeras.metrics.regression import MeanAbsoluteError, RootMeanSquaredError
from sfgkeras.metrics.surfaces import AngleWithin, DepthWithin, LogDepthError, MeanAngle, RelativeDepthError
from sfgkeras.tables.entry import LoadedTable
from sfgkeras.tables.metrics import METRICS as ENTRIES

METRICS: Mapping[str, Mapping[str, type[StreamingMetric]]] = {
    task_type: LoadedTable(entries) for task_type, entries in ENTRIES.items()
}

__all__ = [
    "METRICS",
    "Accuracy",
    "AngleWithin",
    "BoxOverlap",
    "DepthWithin",
    "Dice",
    "Jaccard",
    "LogDepthError",
    "MeanAbsoluteError",
    "MeanAngle",
    "RadialError",
    "RelativeDepthError",
    "RootMeanSquaredError",
    "StreamingMetric",
    "WarpedMeanAbsoluteError",
]
