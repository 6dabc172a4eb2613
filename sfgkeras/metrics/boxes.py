"""Streaming overlap of predicted and true boxes."""

from typing import Any, ClassVar

import keras

from sfgkeras.boxes import intersection_over_union
from sfgkeras.metrics.base import WeightedMean


@keras.saving.register_keras_serializable(package="sfgkeras.metrics")
class BoxOverlap(WeightedMean):
    """The intersection over union of a predicted and a true box, averaged over all samples seen.

    Args:
        name: Name of the metric.
    """

    higher_is_better: ClassVar[bool] = True

    def __init__(self, name: str = "box_iou"):
        super().__init__(name)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: Boxes, `(batch, 4)` or `(batch, 6)`: the low corner, then the high one.
            y_pred: Boxes of the same shape.
            sample_weight: None, or `(batch,)`; zeros leave samples out.
        """
        self.add(intersection_over_union(y_true, y_pred), sample_weight)
