"""Streaming errors of depths and of surface normals, as Eigen and Fergus (2015) measure them."""

import math
from typing import Any, ClassVar

import keras
from keras import ops

from sfgkeras.metrics.base import WeightedMean
from sfgkeras.targets import residuals

NEAR_FACTOR = 1.25
"""Two depths are near each other where the larger one is less than this times the other."""

STEEPEST = 30.0
"""Degrees within which a normal is about right."""


class _OfLogDepth(WeightedMean):
    """The weighted mean of a function of the residuals of log depth over all voxels seen."""

    higher_is_better: ClassVar[bool] = False

    def of_residual(self, residual: Any) -> Any:
        """Returns what is averaged, of the shape of the residuals."""
        raise NotImplementedError(f"{type(self).__name__} lacks of_residual")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: Natural logarithms of depths, `(batch, *spatial, 1)`.
            y_pred: The same shape.
            sample_weight: None, `(batch,)`, or `(batch, *spatial)`; zeros leave voxels out.
        """
        self.add(ops.mean(self.of_residual(residuals(y_true, y_pred)), axis=-1), sample_weight)


@keras.saving.register_keras_serializable(package="sfgkeras.metrics")
class RelativeDepthError(_OfLogDepth):
    """The mean of `|d - d*| / d*` of depths d, given as logarithms.

    Args:
        name: Name of the metric.
    """

    def __init__(self, name: str = "abs_rel"):
        super().__init__(name)

    def of_residual(self, residual: Any) -> Any:
        """Returns `|d / d* - 1|`."""
        return ops.abs(ops.expm1(residual))


@keras.saving.register_keras_serializable(package="sfgkeras.metrics")
class LogDepthError(_OfLogDepth):
    """The root of the mean squared residual of log depth.

    Args:
        name: Name of the metric.
    """

    def __init__(self, name: str = "rmse_log"):
        super().__init__(name)

    def of_residual(self, residual: Any) -> Any:
        """Returns the squared residuals."""
        return ops.square(residual)

    def result(self) -> Any:
        """Returns the root of the mean so far, a scalar; NaN without data."""
        return ops.sqrt(self.mean())


@keras.saving.register_keras_serializable(package="sfgkeras.metrics")
class DepthWithin(_OfLogDepth):
    """The fraction of voxels whose depths are within a factor of 1.25 of the true ones.

    Args:
        name: Name of the metric.
    """

    higher_is_better: ClassVar[bool] = True

    def __init__(self, name: str = "delta_1"):
        super().__init__(name)

    def of_residual(self, residual: Any) -> Any:
        """Returns 1 where it is, else 0."""
        return ops.cast(ops.abs(residual) < math.log(NEAR_FACTOR), "float32")


class _OfAngle(WeightedMean):
    """The weighted mean of a function of the angles between vectors over all voxels seen."""

    higher_is_better: ClassVar[bool] = False

    def of_angle(self, angle: Any) -> Any:
        """Returns what is averaged, of the shape of the angles in degrees."""
        raise NotImplementedError(f"{type(self).__name__} lacks of_angle")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: Vectors, `(batch, *spatial, channels)`; only their directions count.
            y_pred: The same shape.
            sample_weight: None, `(batch,)`, or `(batch, *spatial)`; zeros leave voxels out.
        """
        self.add(self.of_angle(angles(y_true, y_pred)), sample_weight)


@keras.saving.register_keras_serializable(package="sfgkeras.metrics")
class MeanAngle(_OfAngle):
    """The mean angle between true and predicted normals, in degrees.

    Args:
        name: Name of the metric.
    """

    def __init__(self, name: str = "mean_angle"):
        super().__init__(name)

    def of_angle(self, angle: Any) -> Any:
        """Returns the angles."""
        return angle


@keras.saving.register_keras_serializable(package="sfgkeras.metrics")
class AngleWithin(_OfAngle):
    """The fraction of voxels whose normals are within 30 degrees of the true ones.

    Args:
        name: Name of the metric.
    """

    higher_is_better: ClassVar[bool] = True

    def __init__(self, name: str = "within_30"):
        super().__init__(name)

    def of_angle(self, angle: Any) -> Any:
        """Returns 1 where it is, else 0."""
        return ops.cast(angle < STEEPEST, "float32")


def angles(y_true: Any, y_pred: Any) -> Any:
    """Returns the angles between vectors in degrees, `(...)` of `(..., channels)`; 90 where one has no direction.

    Examples:
        >>> float(angles(ops.array([[0.0, 0.0, 2.0]]), ops.array([[0.0, 3.0, 3.0]]))[0])
        45.0
    """
    truth = ops.cast(ops.convert_to_tensor(y_true), "float32")
    prediction = ops.cast(ops.convert_to_tensor(y_pred), "float32")
    product = ops.sum(truth * prediction, axis=-1)
    first, second = ops.sum(ops.square(truth), axis=-1), ops.sum(ops.square(prediction), axis=-1)
    # Through the sine as well: a cosine near 1 tells no angle in float32.
    sine = ops.sqrt(ops.maximum(first * second - ops.square(product), 0.0))
    return ops.where(first * second > 0.0, ops.arctan2(sine, product), math.pi / 2) * (180.0 / math.pi)
