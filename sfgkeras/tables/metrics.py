"""The validation metrics that a task may have, by the type of the task."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfgkeras.tables.entry import Entry
from sfgkeras.tables.tasks import for_type

if TYPE_CHECKING:
    from sfgkeras.metrics.base import StreamingMetric


@dataclass(frozen=True)
class MetricEntry(Entry["type[StreamingMetric]"]):
    """A metric.

    Attributes:
        usual: Whether it is measured where no metric is named.
    """

    usual: bool = True


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


def _jaccard() -> "type[StreamingMetric]":
    from sfgkeras.metrics.labels import Jaccard

    return Jaccard


def _warped_mae() -> "type[StreamingMetric]":
    from sfgkeras.metrics.motion import WarpedMeanAbsoluteError

    return WarpedMeanAbsoluteError


def _box_overlap() -> "type[StreamingMetric]":
    from sfgkeras.metrics.boxes import BoxOverlap

    return BoxOverlap


def _radial_error() -> "type[StreamingMetric]":
    from sfgkeras.metrics.landmarks import RadialError

    return RadialError


def _abs_rel() -> "type[StreamingMetric]":
    from sfgkeras.metrics.surfaces import RelativeDepthError

    return RelativeDepthError


def _rmse_log() -> "type[StreamingMetric]":
    from sfgkeras.metrics.surfaces import LogDepthError

    return LogDepthError


def _delta_1() -> "type[StreamingMetric]":
    from sfgkeras.metrics.surfaces import DepthWithin

    return DepthWithin


def _mean_angle() -> "type[StreamingMetric]":
    from sfgkeras.metrics.surfaces import MeanAngle

    return MeanAngle


def _within_30() -> "type[StreamingMetric]":
    from sfgkeras.metrics.surfaces import AngleWithin

    return AngleWithin


METRICS: dict[str, dict[str, MetricEntry]] = {
    "regression": {
        "mae": MetricEntry(_mae, "mean absolute error over all voxels"),
        "rmse": MetricEntry(_rmse, "root of the mean squared error over all voxels"),
    },
    "segmentation": {
        "dice": MetricEntry(_dice, "Dice coefficient, averaged over the labels but the background"),
        "accuracy": MetricEntry(_accuracy, "fraction of the voxels with the right label"),
        "jaccard": MetricEntry(
            _jaccard, "intersection over union, averaged over the labels but the background", usual=False
        ),
    },
    "classification": {"accuracy": MetricEntry(_accuracy, "fraction of the samples with the right class")},
    "motion": {
        "warped_mae": MetricEntry(_warped_mae, "mean absolute difference between frames and the first one, moved")
    },
    "bounding_box": {"box_iou": MetricEntry(_box_overlap, "intersection over union of true and predicted boxes")},
    "landmarks": {
        "radial_error": MetricEntry(
            _radial_error, "distance between true and predicted landmarks, as a fraction of the window"
        )
    },
}


METRICS["depth"] = {
    "abs_rel": MetricEntry(_abs_rel, "mean error of the depth as a part of the true one"),
    "rmse_log": MetricEntry(_rmse_log, "root of the mean squared error of the logarithm"),
    "delta_1": MetricEntry(_delta_1, "fraction of the pixels within a factor of 1.25"),
}
METRICS["normals"] = {
    "mean_angle": MetricEntry(_mean_angle, "mean angle between true and predicted normals, in degrees"),
    "within_30": MetricEntry(_within_30, "fraction of the pixels within 30 degrees"),
}
METRICS["reconstruction"] = METRICS["regression"]


def usual_metrics(task_type: str) -> tuple[str, ...]:
    """Returns the metrics of a type of task that names none."""
    return tuple(name for name, entry in for_type(METRICS, task_type).items() if entry.usual)
