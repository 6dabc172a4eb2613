"""Losses on continuous targets: images, or one or several numbers per sample.

Predictions are `(batch, *spatial, channels)` or `(batch, channels)`; targets have the same shape, and may
lack the channel axis where there is one channel. Every channel counts equally.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from sfgkeras.losses.base import TaskLoss, mean_per_sample, sum_per_sample
from sfgkeras.targets import residuals, split_weight

# sqrt(EPSILON) is what a perfect prediction costs; it keeps the gradient of the root finite there.
EPSILON = 1e-13


def _voxelwise(function: Callable[[Any], Any], y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
    """Applies a function to the residuals and averages over the channels.

    Returns:
        The values `(batch, *spatial)`, the weight of every voxel of that shape or None, and the factor of
        every sample `(batch,)` or 1.
    """
    values = function(residuals(y_true, y_pred))
    if len(values.shape) > 1:
        values = ops.mean(values, axis=-1)
    factor, weight_map = split_weight(sample_weight, values.shape)
    return values, weight_map, 1.0 if factor is None else factor


def _mean(function: Callable[[Any], Any], y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
    """Averages a function of the residuals over each sample; returns `(batch,)`."""
    values, weight_map, factor = _voxelwise(function, y_true, y_pred, sample_weight)
    return mean_per_sample(values, weight_map) * factor


def mean_absolute_error(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Averages the absolute residuals of every sample; returns `(batch,)`.

    Examples:
        >>> float(mean_absolute_error([[0.0, 0.0]], ops.array([[1.0, 3.0]]))[0])
        2.0
    """
    return _mean(ops.abs, y_true, y_pred, sample_weight)


def mean_squared_error(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Averages the squared residuals of every sample; returns `(batch,)`.

    Examples:
        >>> float(mean_squared_error([[0.0, 0.0]], ops.array([[1.0, 3.0]]))[0])
        5.0
    """
    return _mean(ops.square, y_true, y_pred, sample_weight)


def root_mean_squared_error(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Takes the root of the mean squared residual of every sample (Bragman et al. 2019, CT regression).

    A map of weights acts before the root; a factor per sample after it. The mean is raised by 1e-13, so
    that the gradient stays finite for a perfect prediction, which then costs 3e-7.

    Returns:
        The errors, `(batch,)`; zero for a sample that is masked out altogether.

    Examples:
        >>> round(float(root_mean_squared_error([[0.0, 0.0]], ops.array([[1.0, 3.0]]))[0]), 4)  # the root of 5
        2.2361
    """
    values, weight_map, factor = _voxelwise(ops.square, y_true, y_pred, sample_weight)
    root = ops.sqrt(mean_per_sample(values, weight_map) + EPSILON)
    if weight_map is not None:
        root = ops.where(sum_per_sample(weight_map) > 0, root, 0.0)
    return root * factor


def half_sum_of_squares(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Sums the squared residuals of every sample and halves the sum; returns `(batch,)`.

    This is NiftyNet's L2Loss, which grows with the size of the window; `mean_squared_error` does not.

    Examples:
        >>> float(half_sum_of_squares([[0.0, 0.0]], ops.array([[1.0, 3.0]]))[0])  # (1 + 9) / 2
        5.0
    """
    values, weight_map, factor = _voxelwise(ops.square, y_true, y_pred, sample_weight)
    channels = y_pred.shape[-1] if len(y_pred.shape) > 1 else 1
    if weight_map is not None:
        values = values * weight_map
    return 0.5 * channels * sum_per_sample(values) * factor


def huber(y_true: Any, y_pred: Any, sample_weight: Any = None, delta: float = 1.0) -> Any:
    """Averages Huber's function: `r^2 / 2` up to `|r| = delta`, then `delta (|r| - delta / 2)`.

    Returns:
        The values of the samples, `(batch,)`.

    Examples:
        >>> float(huber([[0.0, 0.0]], ops.array([[1.0, 3.0]]))[0])  # (0.5 + 2.5) / 2
        1.5
    """

    def elementwise(residual: Any) -> Any:
        size = ops.abs(residual)
        inner = ops.minimum(size, delta)
        return inner * (size - 0.5 * inner)

    return _mean(elementwise, y_true, y_pred, sample_weight)


def smooth_l1(y_true: Any, y_pred: Any, sample_weight: Any = None, beta: float = 1.0) -> Any:
    """Averages `r^2 / (2 beta)` up to `|r| = beta`, then `|r| - beta / 2` (Girshick 2015, eq. 3).

    Returns:
        The values of the samples, `(batch,)`; Huber's loss divided by `beta`.

    Examples:
        >>> float(smooth_l1([[0.0, 0.0]], ops.array([[1.0, 3.0]]), beta=2.0)[0])  # (0.25 + 2) / 2
        1.125
    """
    return huber(y_true, y_pred, sample_weight, delta=beta) / beta


def cosine_distance(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Averages one minus the cosine of the angle between the voxels' vectors of channels; returns `(batch,)`.

    With one channel the vector is completed by `sqrt(1 - min(x^2, 1))` to unit length, as NiftyNet does: the channel is
    then the sine of an angle.

    Examples:
        >>> float(cosine_distance([[1.0, 0.0]], ops.array([[0.0, 2.0]]))[0])  # at right angles
        1.0
    """
    prediction = ops.cast(ops.convert_to_tensor(y_pred), "float32")
    truth = prediction - residuals(y_true, y_pred)
    if len(truth.shape) == 1:
        truth, prediction = ops.expand_dims(truth, -1), ops.expand_dims(prediction, -1)
    if truth.shape[-1] == 1:
        truth, prediction = _completed(truth), _completed(prediction)
    product = ops.sum(truth * prediction, axis=-1)
    lengths = ops.sqrt(ops.sum(ops.square(truth), axis=-1) * ops.sum(ops.square(prediction), axis=-1) + EPSILON)
    values = 1.0 - product / lengths
    factor, weight_map = split_weight(sample_weight, values.shape)
    return mean_per_sample(values, weight_map) * (1.0 if factor is None else factor)


def _completed(component: Any) -> Any:
    rest = 1.0 - ops.minimum(ops.square(component), 1.0)
    return ops.concatenate([component, ops.sqrt(rest + EPSILON)], axis=-1)


@keras.saving.register_keras_serializable(package="sfgkeras")
class CosineLoss(TaskLoss):
    """One minus the cosine between vectors of channels, averaged over voxels and batch (NiftyNet's Cosine)."""

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `cosine_distance`, `(batch,)`."""
        return cosine_distance(y_true, y_pred, sample_weight)


@keras.saving.register_keras_serializable(package="sfgkeras")
class MeanAbsoluteError(TaskLoss):
    """The mean absolute error of each sample, averaged over the batch."""

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `mean_absolute_error`, `(batch,)`."""
        return mean_absolute_error(y_true, y_pred, sample_weight)


@keras.saving.register_keras_serializable(package="sfgkeras")
class MeanSquaredError(TaskLoss):
    """The mean squared error of each sample, averaged over the batch."""

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `mean_squared_error`, `(batch,)`."""
        return mean_squared_error(y_true, y_pred, sample_weight)


@keras.saving.register_keras_serializable(package="sfgkeras")
class RootMeanSquaredError(TaskLoss):
    """The root mean squared error of each sample, averaged over the batch."""

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `root_mean_squared_error`, `(batch,)`."""
        return root_mean_squared_error(y_true, y_pred, sample_weight)


@keras.saving.register_keras_serializable(package="sfgkeras")
class L2Loss(TaskLoss):
    """Half the sum of squared residuals of each sample, averaged over the batch (NiftyNet's L2Loss)."""

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `half_sum_of_squares`, `(batch,)`."""
        return half_sum_of_squares(y_true, y_pred, sample_weight)


def _positive(value: float, name: str) -> float:
    if not value > 0:
        raise ValueError(f"{name} = {value!r} must be positive")
    return float(value)


@keras.saving.register_keras_serializable(package="sfgkeras")
class Huber(TaskLoss):
    """Huber's loss of each sample, averaged over the batch.

    Args:
        delta: Residual from which on the loss is linear, in units of the target.
        reduction: See `TaskLoss`.
        name: Name of the loss.
    """

    def __init__(self, delta: float = 1.0, reduction: str | None = "sum_over_batch_size", name: str | None = None):
        super().__init__(reduction=reduction, name=name)
        self.delta = _positive(delta, "delta")

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `huber`, `(batch,)`."""
        return huber(y_true, y_pred, sample_weight, delta=self.delta)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "delta": self.delta}


@keras.saving.register_keras_serializable(package="sfgkeras")
class SmoothL1(TaskLoss):
    """The smooth absolute error of each sample, averaged over the batch.

    Args:
        beta: Residual below which the loss is quadratic, in units of the target.
        reduction: See `TaskLoss`.
        name: Name of the loss.
    """

    def __init__(self, beta: float = 1.0, reduction: str | None = "sum_over_batch_size", name: str | None = None):
        super().__init__(reduction=reduction, name=name)
        self.beta = _positive(beta, "beta")

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `smooth_l1`, `(batch,)`."""
        return smooth_l1(y_true, y_pred, sample_weight, beta=self.beta)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "beta": self.beta}
