"""What all losses share: one value per sample, spatial masks, and the Keras class around them."""

from typing import Any

import keras
from keras import ops

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "none", None)


def sum_per_sample(values: Any) -> Any:
    """Sums `(batch, ...)` over all axes but the first.

    Examples:
        >>> print(ops.convert_to_numpy(sum_per_sample(ops.ones((2, 3, 3)))))
        [9. 9.]
    """
    return values if len(values.shape) == 1 else ops.sum(values, axis=tuple(range(1, len(values.shape))))


def mean_per_sample(values: Any, weight_map: Any = None) -> Any:
    """Averages each sample over its voxels, counting each as much as the map says.

    Args:
        values: `(batch, *spatial)`, or `(batch,)` without spatial axes.
        weight_map: Weights `(batch, *spatial)`, or None for the plain mean. Only their ratios within a
            sample matter; a sample whose weights are all zero gives zero.

    Returns:
        The means, `(batch,)`.

    Examples:
        >>> float(mean_per_sample(ops.array([[1.0, 5.0]]), ops.array([[1.0, 0.0]]))[0])
        1.0
    """
    if weight_map is None:
        return values if len(values.shape) == 1 else ops.mean(values, axis=tuple(range(1, len(values.shape))))
    return ops.divide_no_nan(sum_per_sample(values * weight_map), sum_per_sample(weight_map))


class TaskLoss(keras.losses.Loss):
    """A Keras loss made of one value per sample.

    Keras reduces a loss over the voxels first and applies the weights afterwards, which is too late for a
    square root or a ratio. Here the weight reaches `per_sample`, and Keras only averages over the batch
    (and, under `tf.distribute`, divides by the number of replicas). All is computed in float32, whatever
    the precision of the predictions.

    Args:
        reduction: `"sum_over_batch_size"` (the mean over the batch), `"mean"` (the same), `"sum"`, or
            `"none"` for the values of the samples, `(batch,)`.
        name: Name of the loss.
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None):
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction = {reduction!r} is not one of {', '.join(map(repr, REDUCTIONS))}")
        super().__init__(name=name, reduction=reduction, dtype="float32")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns the loss of a batch.

        Args:
            y_true: Targets; see `per_sample`.
            y_pred: Predictions; see `per_sample`.
            sample_weight: None, `(batch,)` to scale samples, or `(batch, *spatial)` to leave voxels out (0)
                or count them more.
        """
        targets = y_true if sample_weight is None else (y_true, sample_weight)
        return super().__call__(targets, y_pred)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the values of the samples, `(batch,)`; `y_true` may be `(targets, sample_weight)`."""
        if isinstance(y_true, tuple):
            return self.per_sample(y_true[0], y_pred, y_true[1])
        return self.per_sample(y_true, y_pred)

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns one value per sample, `(batch,)`."""
        raise NotImplementedError(f"{type(self).__name__} lacks per_sample")
