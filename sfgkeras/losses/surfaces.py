"""Losses on depth maps and on maps of surface normals (Eigen and Fergus 2015), with masks of invalid voxels."""

from typing import Any

import keras
from keras import ops

from sfgkeras.losses.base import TaskLoss, sum_per_sample
from sfgkeras.losses.regression import cosine_distance
from sfgkeras.targets import residuals, split_weight


def scale_invariant_error(
    y_true: Any, y_pred: Any, sample_weight: Any = None, invariance: float = 0.5, gradients: bool = True
) -> Any:
    """Compares maps of log depth: `mean d^2 - invariance (mean d)^2 + mean |grad d|^2` of each sample.

    `d` is the residual; its gradient is the difference between neighbours along every spatial axis, of those pairs of
    which both are valid, divided by the number of valid voxels (Eigen and Fergus 2015, equation 1, where the
    invariance is 1/2).

    Args:
        y_true: `(batch, *spatial, channels)`; channels are averaged over. A map may lack the axis of one channel.
        y_pred: The same shape.
        sample_weight: A factor per sample, or a map of weights `(batch, *spatial)`, 0 where the target is not valid.
        invariance: How much of the error of a common scale of all depths is forgiven; 1 for all of it.
        gradients: Whether the term of the gradients counts.

    Returns:
        The values of the samples, `(batch,)`; zero for a sample without a valid voxel.

    Raises:
        ValueError: If these are no maps.

    Examples:
        >>> float(scale_invariant_error(ops.zeros((1, 2, 2, 1)), 3.0 * ops.ones((1, 2, 2, 1)))[0])  # c^2 / 2
        4.5
    """
    residual = residuals(y_true, y_pred)
    if len(residual.shape) < 3:
        raise ValueError(f"depths of shape {tuple(residual.shape)} are no maps (batch, *spatial, channels)")
    factor, valid = split_weight(sample_weight, residual.shape[:-1])
    if valid is None:
        valid = ops.ones_like(residual[..., 0])
    # What is not valid may hold anything, even what is no number.
    residual = ops.where(valid[..., None] > 0.0, residual, 0.0)
    count = sum_per_sample(valid)[:, None]
    axes = tuple(range(1, len(residual.shape) - 1))

    def mean(values: Any, weights: Any) -> Any:
        return ops.divide_no_nan(ops.sum(weights[..., None] * values, axis=axes), count)

    shift = mean(residual, valid)
    total = mean(residual * residual, valid) - invariance * shift * shift
    for axis in axes if gradients else ():
        step, both = _neighbours(residual, valid, axis)
        total = total + mean(step * step, both)
    return ops.mean(total, axis=-1) * (1.0 if factor is None else factor)


def _neighbours(values: Any, valid: Any, axis: int) -> tuple[Any, Any]:
    """Returns the differences between neighbours along an axis, and the weights of those of which both are valid."""
    size = int(values.shape[axis]) if values.shape[axis] is not None else ops.shape(values)[axis]
    first, second = ops.arange(size - 1), ops.arange(1, size)
    step = ops.take(values, second, axis=axis) - ops.take(values, first, axis=axis)
    return step, ops.minimum(ops.take(valid, second, axis=axis), ops.take(valid, first, axis=axis))


def normal_error(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Averages minus the product of unit normals over each sample: -1 for perfect ones (Eigen and Fergus 2015, eq. 2).

    Args:
        y_true: Vectors `(batch, *spatial, channels)`; only their directions count.
        y_pred: The same shape.
        sample_weight: A factor per sample, or a map of weights `(batch, *spatial)`.

    Returns:
        The values of the samples, `(batch,)`; zero for a sample without a valid voxel.

    Raises:
        ValueError: If there is one channel only.

    Examples:
        >>> round(float(normal_error([[0.0, 0.0, 2.0]], ops.array([[0.0, 0.0, 5.0]]))[0]), 5)
        -1.0
    """
    if y_pred.shape[-1] < 2:
        raise ValueError(f"normals of shape {tuple(y_pred.shape)} need two channels or more, one for each direction")
    shape = y_pred.shape[:-1]
    factor, valid = split_weight(sample_weight, shape)
    there = 1.0 if valid is None else ops.cast(sum_per_sample(valid) > 0.0, "float32")
    if valid is not None:
        # What is not valid may hold anything, even what is no number.
        truth = ops.cast(ops.convert_to_tensor(y_true), "float32")
        y_true = ops.where(valid[..., None] > 0.0, truth, 0.0)
    found = (cosine_distance(y_true, y_pred, valid) - 1.0) * there
    return found if factor is None else found * factor


@keras.saving.register_keras_serializable(package="sfgkeras")
class ScaleInvariantLoss(TaskLoss):
    """The scale-invariant error of log depth with its gradients, averaged over the batch (Eigen and Fergus 2015).

    Args:
        invariance: See `scale_invariant_error`.
        gradients: See `scale_invariant_error`.
        reduction: See `TaskLoss`.
        name: Name of the loss.
    """

    def __init__(
        self,
        invariance: float = 0.5,
        gradients: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ):
        super().__init__(reduction=reduction, name=name)
        if not 0.0 <= invariance <= 1.0:
            raise ValueError(f"invariance = {invariance!r} must lie between 0 and 1")
        self.invariance = invariance
        self.gradients = gradients

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `scale_invariant_error`, `(batch,)`."""
        return scale_invariant_error(y_true, y_pred, sample_weight, self.invariance, self.gradients)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "invariance": self.invariance, "gradients": self.gradients}


@keras.saving.register_keras_serializable(package="sfgkeras")
class NormalLoss(TaskLoss):
    """Minus the product of unit normals, averaged over the batch (Eigen and Fergus 2015)."""

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `normal_error`, `(batch,)`."""
        return normal_error(y_true, y_pred, sample_weight)
