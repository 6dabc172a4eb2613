"""Streaming errors of continuous predictions, in the unit of the target."""

from typing import Any, ClassVar

import keras
from keras import ops

from sfgkeras.metrics.base import WeightedMean
from sfgkeras.targets import residuals


class _MeanOfResiduals(WeightedMean):
    """The weighted mean of a function of the residuals over all voxels seen."""

    higher_is_better: ClassVar[bool] = False
    has_target_unit: ClassVar[bool] = True

    def __init__(self, name: str, factor: float = 1.0):
        if not factor > 0:
            raise ValueError(f"factor = {factor!r} must be above 0")
        super().__init__(name)
        self.factor = float(factor)

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
        self.add(values, sample_weight)

    def result(self) -> Any:
        """Returns the mean so far, a scalar; NaN without data."""
        return self.factor * self.mean()

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable(package="sfgkeras.metrics")
class MeanAbsoluteError(_MeanOfResiduals):
    """The mean absolute error over all voxels of all samples seen.

    Args:
        name: Name of the metric.
        factor: What the result is multiplied by, e.g. 1024 for Hounsfield units of targets that are HU / 1024 + 1.
    """

    def __init__(self, name: str = "mae", factor: float = 1.0):
        super().__init__(name, factor)

    def of_residual(self, residual: Any) -> Any:
        """Returns the absolute residuals."""
        return ops.abs(residual)


@keras.saving.register_keras_serializable(package="sfgkeras.metrics")
class RootMeanSquaredError(_MeanOfResiduals):
    """The root of the mean squared residual over all voxels of all samples seen.

    The loss of the same name takes the root per sample and averages the roots.

    Args:
        name: Name of the metric.
        factor: See `MeanAbsoluteError`.
    """

    def __init__(self, name: str = "rmse", factor: float = 1.0):
        super().__init__(name, factor)

    def of_residual(self, residual: Any) -> Any:
        """Returns the squared residuals."""
        return ops.square(residual)

    def result(self) -> Any:
        """Returns the root of the mean so far, a scalar; NaN without data."""
        return self.factor * ops.sqrt(self.mean())
