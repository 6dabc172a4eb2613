"""Losses on label maps.

Predictions are logits, `(batch, *spatial, classes)`. Targets are integer labels, `(batch, *spatial)` or
`(batch, *spatial, 1)`, or one-hot maps (or probabilities) of the shape of the predictions. A label outside
0 .. classes - 1 belongs to no class.
"""

from typing import Any

import keras
from keras import ops

from sfgkeras.losses.base import TaskLoss, mean_per_sample
from sfgkeras.targets import one_hot_targets, split_weight

# Voxels that keep a ratio of a class that a sample has finite.
SMOOTHING = 1e-5


def log_probabilities(logits: Any) -> Any:
    """Returns the logarithm of the softmax over the last axis, in float32.

    Examples:
        >>> print(ops.convert_to_numpy(log_probabilities(ops.zeros((1, 2)))).round(4))
        [[-0.6931 -0.6931]]
    """
    return ops.log_softmax(ops.cast(ops.convert_to_tensor(logits), "float32"), axis=-1)


def cross_entropy_from(one_hot: Any, log_probability: Any, weight_map: Any = None) -> Any:
    """Averages `-log p(label)` over the voxels of each sample; returns `(batch,)`.

    Examples:
        >>> float(cross_entropy_from(ops.array([[[1.0, 0.0]]]), ops.array([[[-0.5, -1.0]]]))[0])
        0.5
    """
    return mean_per_sample(-ops.sum(one_hot * log_probability, axis=-1), weight_map)


def dice_loss_from(
    one_hot: Any,
    probability: Any,
    weight_map: Any = None,
    include_background: bool = True,
    smoothing: float = SMOOTHING,
    absent_smoothing: float = 1.0,
) -> Any:
    """Averages one minus the soft Dice coefficient over the classes of each sample.

    For a class with `g` in the targets and `p` predicted: `1 - (2 sum(p g) + s) / (sum(p) + sum(g) + s)`
    (Drozdzal et al. 2016; Isensee et al. 2018, there per batch). All sums are weighted by the map.
    `s` is `smoothing` where the class occurs in the sample. Where it does not, `s` is `absent_smoothing`,
    so that the loss is `sum(p) / (sum(p) + s)`: zero if nothing is predicted either, and with a gradient
    that a tiny `s` would not leave.

    Args:
        one_hot: `(batch, *spatial, classes)`.
        probability: Of the same shape.
        weight_map: `(batch, *spatial)` or None.
        include_background: Whether class 0 counts in the average.
        smoothing: In voxels.
        absent_smoothing: In voxels.

    Returns:
        The losses of the samples, `(batch,)`, between 0 and 1.

    Examples:
        >>> round(float(dice_loss_from(ops.array([[[1.0, 0.0], [0.0, 1.0]]]), ops.full((1, 2, 2), 0.5))[0]), 4)
        0.5
    """
    axes = tuple(range(1, len(probability.shape) - 1))
    if weight_map is not None:
        weights = ops.expand_dims(weight_map, axis=-1)
        one_hot, weighted = one_hot * weights, probability * weights
    else:
        weighted = probability
    overlap = ops.sum(one_hot * probability, axis=axes)
    in_truth = ops.sum(one_hot, axis=axes)
    total = ops.sum(weighted, axis=axes) + in_truth
    smooth = ops.where(in_truth > 0, smoothing, absent_smoothing)
    loss = 1.0 - (2.0 * overlap + smooth) / (total + smooth)
    return ops.mean(loss if include_background else loss[:, 1:], axis=-1)


def targets_and_weights(y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Any, Any, Any, Any]:
    """Returns one-hot targets, log probabilities, the weight map or None, and the factor or 1.

    Examples:
        >>> one_hot, log_probability, weight_map, factor = targets_and_weights([[1]], ops.zeros((1, 1, 2)), None)
        >>> ops.convert_to_numpy(one_hot).tolist(), weight_map, factor
        ([[[0.0, 1.0]]], None, 1.0)
    """
    factor, weight_map = split_weight(sample_weight, tuple(y_pred.shape)[:-1])
    one_hot = one_hot_targets(y_true, y_pred)
    return one_hot, log_probabilities(y_pred), weight_map, 1.0 if factor is None else factor


def cross_entropy(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Averages the cross-entropy over the voxels of each sample; returns `(batch,)`.

    Examples:
        >>> round(float(cross_entropy([[1]], ops.zeros((1, 1, 2)))[0]), 4)  # undecided between two classes: ln 2
        0.6931
    """
    one_hot, log_probability, weight_map, factor = targets_and_weights(y_true, y_pred, sample_weight)
    return cross_entropy_from(one_hot, log_probability, weight_map) * factor


def dice_loss(y_true: Any, y_pred: Any, sample_weight: Any = None, include_background: bool = True) -> Any:
    """Averages one minus the soft Dice over the classes of each sample; returns `(batch,)`.

    See `dice_loss_from`.

    Examples:
        >>> round(float(dice_loss([[0, 1]], ops.zeros((1, 2, 2)))[0]), 4)
        0.5
    """
    one_hot, log_probability, weight_map, factor = targets_and_weights(y_true, y_pred, sample_weight)
    return dice_loss_from(one_hot, ops.exp(log_probability), weight_map, include_background) * factor


def dice_cross_entropy(y_true: Any, y_pred: Any, sample_weight: Any = None, include_background: bool = True) -> Any:
    """Adds the Dice loss and the cross-entropy of each sample (Isensee et al. 2018); returns `(batch,)`.

    Examples:
        >>> round(float(dice_cross_entropy([[0, 1]], ops.zeros((1, 2, 2)))[0]), 4)  # 0.5 + ln 2
        1.1931
    """
    one_hot, log_probability, weight_map, factor = targets_and_weights(y_true, y_pred, sample_weight)
    dice = dice_loss_from(one_hot, ops.exp(log_probability), weight_map, include_background)
    return (dice + cross_entropy_from(one_hot, log_probability, weight_map)) * factor


@keras.saving.register_keras_serializable(package="sfgkeras")
class CrossEntropy(TaskLoss):
    """The cross-entropy of label maps with logits, averaged over voxels, then over the batch."""

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `cross_entropy`, `(batch,)`."""
        return cross_entropy(y_true, y_pred, sample_weight)


@keras.saving.register_keras_serializable(package="sfgkeras")
class DiceLoss(TaskLoss):
    """One minus the soft Dice coefficient per sample and class, averaged over classes and batch.

    It is NiftyNet's Dice_NS; NiftyNet's Dice is `SquaredDiceLoss`.

    Args:
        include_background: Whether class 0 counts in the average over the classes.
        reduction: See `TaskLoss`.
        name: Name of the loss.
    """

    def __init__(
        self,
        include_background: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ):
        super().__init__(reduction=reduction, name=name)
        self.include_background = include_background

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `dice_loss`, `(batch,)`."""
        return dice_loss(y_true, y_pred, sample_weight, self.include_background)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "include_background": self.include_background}


@keras.saving.register_keras_serializable(package="sfgkeras")
class DiceCrossEntropy(DiceLoss):
    """The Dice loss plus the cross-entropy, the segmentation loss of Bragman et al. 2019.

    Args:
        include_background: Whether class 0 counts in the Dice loss; it always does in the cross-entropy.
        reduction: See `TaskLoss`.
        name: Name of the loss.
    """

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `dice_cross_entropy`, `(batch,)`."""
        return dice_cross_entropy(y_true, y_pred, sample_weight, self.include_background)
