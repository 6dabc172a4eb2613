"""Streaming metrics that take spatial masks, and the tables that name them in INI files."""

from collections.abc import Mapping

from sfgkeras.metrics.base import StreamingMetric
from sfgkeras.metrics.boxes import BoxOverlap
from sfgkeras.metrics.labels import Accuracy, Dice, Jaccard
from sfgkeras.metrics.regression import MeanAbsoluteError, RootMeanSquaredError

# By type of task, then by INI name. Dice alone needs an argument, `num_classes`.
METRICS: Mapping[str, Mapping[str, type[StreamingMetric]]] = {
    "regression": {"mae": MeanAbsoluteError, "rmse": RootMeanSquaredError},
    "segmentation": {"dice": Dice, "accuracy": Accuracy},
    "classification": {"accuracy": Accuracy},
}

__all__ = [
    "METRICS",
    "Accuracy",
    "BoxOverlap",
    "Dice",
    "Jaccard",
    "MeanAbsoluteError",
    "RootMeanSquaredError",
    "StreamingMetric",
]
