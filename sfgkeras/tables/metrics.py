"""The validation metrics that a task may have, by the type of the task; all of them are measured by default."""

from typing import TYPE_CHECKING

from sfgkeras.tables.entry import Entry

if TYPE_CHECKING:
    from sfgkeras.metrics.base import StreamingMetric


def _mae() -> "type[StreamingMetric]":
    from sfgkeras.metrics.regression import MeanAbsoluteError

    return MeanAbsoluteError


def _rmse() -> "type[StreamingMetric]":
    from sfgkeras.metrics.regression import RootMeanSquaredError

    return RootMeanSquaredError


def _dice() -> "type[StreamingMetric]":
    from sfgkeras.metrics.labels import Dice

    return Dice


def _accuracy() -> "type[StreamingMetric]":
    from sfgkeras.metrics.labels import Accuracy

    return Accuracy


METRICS: "dict[str, dict[str, Entry[type[StreamingMetric]]]]" = {
    "regression": {
        "mae": Entry(_mae, "mean absolute error over all voxels"),
        "rmse": Entry(_rmse, "root of the mean squared error over all voxels"),
    },
    "segmentation": {
        "dice": Entry(_dice, "Dice coefficient, averaged over the labels but the background"),
        "accuracy": Entry(_accuracy, "fraction of the voxels with the right label"),
    },
    "classification": {"accuracy": Entry(_accuracy, "fraction of the samples with the right class")},
}
