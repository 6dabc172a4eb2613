"""Streaming distance between predicted and true landmarks."""

from typing import Any, ClassVar

import keras
from keras import ops

from sfgkeras.landmarks import predicted_positions, true_positions
from sfgkeras.metrics.base import WeightedMean, elementwise_weight


@keras.saving.register_keras_serializable(package="sfgkeras.metrics")
class RadialError(WeightedMean):
    """The distance between a true landmark and the predicted one, averaged over all that windows show.

    Args:
        name: Name of the metric.
    """

    higher_is_better: ClassVar[bool] = False

    def __init__(self, name: str = "radial_error"):
        super().__init__(name)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: Positions in fractions of the window, `(batch, landmarks, rank)`; those beyond it do not count.
            y_pred: Coordinates `(batch, landmarks * rank)`, or heat maps `(batch, *spatial, landmarks)`.
            sample_weight: None, `(batch,)`, or visibility `(batch, landmarks)`.
        """
        truth = true_positions(y_true)
        shown = ops.cast(ops.all((truth >= 0.0) & (truth <= 1.0), axis=-1), "float32")
        squares = ops.sum(ops.square(predicted_positions(y_pred, truth) - truth), axis=-1)
        weight = shown * elementwise_weight(sample_weight, shown)
        self.add(ops.where(weight > 0.0, ops.sqrt(squares), 0.0), weight)
