"""Streaming overlap of predicted and true boxes."""

from typing import Any, ClassVar

import keras
from keras import ops

from sfgkeras.boxes import intersection_over_union
from sfgkeras.metrics.base import StreamingMetric, elementwise_weight, ratio_or_nan


@keras.saving.register_keras_serializable(package="sfgkeras.metrics")
class BoxOverlap(StreamingMetric):
    """The intersection over union of a predicted and a true box, averaged over all samples seen.

    Args:
        name: Name of the metric.
    """

    higher_is_better: ClassVar[bool] = True

    def __init__(self, name: str = "box_iou"):
        super().__init__(name)
        self.total = self.sum_variable("total")
        self.weight = self.sum_variable("weight")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: Boxes, `(batch, 4)` or `(batch, 6)`: the low corner, then the high one.
            y_pred: Boxes of the same shape.
            sample_weight: None, or `(batch,)`; zeros leave samples out.
        """
        values = intersection_over_union(y_true, y_pred)
        weight = elementwise_weight(sample_weight, values)
        self.total.assign_add(ops.sum(values * weight))
        self.weight.assign_add(ops.sum(weight))

    def result(self) -> Any:
        """Returns the mean so far, a scalar; NaN without data."""
        return ratio_or_nan(ops.convert_to_tensor(self.total), ops.convert_to_tensor(self.weight))
