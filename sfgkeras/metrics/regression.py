"""Streaming errors of continuous predictions, in the units of the target."""

from typing import Any, ClassVar

import keras
from keras import ops

from sfgkeras.metrics.base import StreamingMetric, elementwise_weight, ratio_or_nan
from sfgkeras.targets import residuals


class _MeanOfResiduals(StreamingMetric):
    """The weighted mean of a function of the residuals over all voxels seen."""

    higher_is_better: ClassVar[bool] = False

    def __init__(self, name: str):
        super().__init__(name)
        self.total = self.sum_variable("total")
        self.weight = self.sum_variable("weight")

    def of_residual(self, residual: Any) -> Any:
        """Returns what is averaged, of the shape of the residuals."""
        raise NotImplementedError(f"{type(self).__name__} lacks of_residual")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: Targets, as for the losses: `(batch, *spatial, channels)` or `(batch, channels)`.
            y_pred: Predictions of the same shape.
            sample_weight: None, `(batch,)`, or `(batch, *spatial)`; zeros leave voxels out.
        """
        values = self.of_residual(residuals(y_true, y_pred))
        if len(values.shape) > 1:
            values = ops.mean(values, axis=-1)
        weight = elementwise_weight(sample_weight, values)
        self.total.assign_add(ops.sum(values * weight))
        self.weight.assign_add(ops.sum(weight))

    def result(self) -> Any:
        """Returns the mean so far, a scalar; NaN without data."""
        return ratio_or_nan(ops.convert_to_tensor(self.total), ops.convert_to_tensor(self.weight))


@keras.saving.register_keras_serializable(package="sfgkeras.metrics")
class MeanAbsoluteError(_MeanOfResiduals):
    """The mean absolute error over all voxels of all samples seen.

    Args:
        name: Name of the metric.
    """

    def __init__(self, name: str = "mae"):
        super().__init__(name)

    def of_residual(self, residual: Any) -> Any:
        """Returns the absolute residuals."""
        return ops.abs(residual)


@keras.saving.register_keras_serializable(package="sfgkeras.metrics")
class RootMeanSquaredError(_MeanOfResiduals):
    """The root of the mean squared residual over all voxels of all samples seen.

    The loss of the same name takes the root per sample and averages the roots.

    Args:
        name: Name of the metric.
    """

    def __init__(self, name: str = "rmse"):
        super().__init__(name)

    def of_residual(self, residual: Any) -> Any:
        """Returns the squared residuals."""
        return ops.square(residual)

    def result(self) -> Any:
        """Returns the root of the mean so far, a scalar; NaN without data."""
        return ops.sqrt(super().result())
