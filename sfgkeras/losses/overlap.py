"""NiftyNet's other losses on label maps: squared and generalised Dice, Wasserstein Dice, Tversky, sensitivity.

Predictions are logits, targets labels or one-hot maps, as in `segmentation`; a sample that is masked out altogether
costs nothing.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras.losses.base import TaskLoss, sum_per_sample
from sfgkeras.losses.segmentation import SMOOTHING, targets_and_weights

TINY = 1e-7


def _masses(y_true: Any, y_pred: Any, sample_weight: Any) -> tuple[Any, Any, Any, Any]:
    """Returns targets and probabilities `(batch, *spatial, classes)`, weights `(batch, *spatial, 1)` and the factor."""
    one_hot, log_probability, weight_map, factor = targets_and_weights(y_true, y_pred, sample_weight)
    weights = ops.ones_like(one_hot[..., :1]) if weight_map is None else ops.expand_dims(weight_map, axis=-1)
    return one_hot, ops.exp(log_probability), weights, factor


def _per_class(values: Any) -> Any:
    """Sums `(batch, *spatial, classes)` over space, `(batch, classes)`."""
    return ops.sum(values, axis=tuple(range(1, len(values.shape) - 1)))


def _unless_masked_out(losses: Any, weights: Any, factor: Any) -> Any:
    return ops.where(sum_per_sample(weights) > 0, losses, 0.0) * factor


def squared_dice_loss(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Averages `1 - 2 sum(p g) / (sum(p^2) + sum(g^2))` over the classes of each sample (Milletari et al. 2016).

    A class that a sample lacks costs `sum(p^2) / (sum(p^2) + 1)`, as in `dice_loss_from`.

    Returns:
        The losses, `(batch,)`.

    Examples:
        >>> round(float(squared_dice_loss([[0, 1]], ops.zeros((1, 2, 2)))[0]), 4)  # undecided: 1 - 2 * 0.5 / 1.5
        0.3333
    """
    one_hot, probability, weights, factor = _masses(y_true, y_pred, sample_weight)
    overlap = _per_class(weights * one_hot * probability)
    in_truth = _per_class(weights * ops.square(one_hot))
    smooth = ops.where(in_truth > 0, SMOOTHING, 1.0)
    total = _per_class(weights * ops.square(probability)) + in_truth
    return ops.mean(1.0 - (2.0 * overlap + smooth) / (total + smooth), axis=-1) * factor


def tversky_loss(
    y_true: Any, y_pred: Any, sample_weight: Any = None, false_positives: float = 0.5, false_negatives: float = 0.5
) -> Any:
    """Averages one minus the Tversky index over the classes of each sample (Salehi et al. 2017).

    The index of a class is `sum(p g) / (sum(p g) + a sum(p (1 - g)) + b sum((1 - p) g))`.

    Args:
        y_true: Labels, or one-hot.
        y_pred: Logits.
        sample_weight: Weights of samples or voxels.
        false_positives: The paper's alpha, here a.
        false_negatives: The paper's beta, here b; 0.5 and 0.5 make the Dice coefficient.

    Returns:
        The losses, `(batch,)`.

    Examples:
        >>> round(float(tversky_loss([[0, 1]], ops.zeros((1, 2, 2)))[0]), 4)  # undecided: half is shared
        0.5
    """
    one_hot, probability, weights, factor = _masses(y_true, y_pred, sample_weight)
    overlap = _per_class(weights * one_hot * probability)
    wrong = false_positives * _per_class(weights * probability * (1.0 - one_hot))
    missed = false_negatives * _per_class(weights * (1.0 - probability) * one_hot)
    smooth = ops.where(_per_class(weights * one_hot) > 0, SMOOTHING, 1.0)
    return ops.mean(1.0 - (overlap + smooth) / (overlap + wrong + missed + smooth), axis=-1) * factor


def generalised_dice_loss(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Computes the generalised Dice loss of each sample (Sudre et al. 2017).

    `1 - 2 sum_l w_l sum(p g) / sum_l w_l (sum(p) + sum(g))` with `w_l = 1 / (sum g_l)^2`. A class that a sample lacks
    has no such weight; as in NiftyNet it gets that of the rarest class that is there.

    Returns:
        The losses, `(batch,)`.

    Examples:
        >>> round(float(generalised_dice_loss([[0, 1]], ops.zeros((1, 2, 2)))[0]), 4)
        0.5
    """
    one_hot, probability, weights, factor = _masses(y_true, y_pred, sample_weight)
    in_truth = _per_class(weights * one_hot)
    there = in_truth > 0
    inverse = ops.where(there, 1.0 / ops.square(ops.where(there, in_truth, 1.0)), 0.0)
    of_class = ops.where(there, inverse, ops.max(inverse, axis=-1, keepdims=True))
    overlap = ops.sum(of_class * _per_class(weights * one_hot * probability), axis=-1)
    total = ops.sum(of_class * (_per_class(weights * probability) + in_truth), axis=-1)
    return _unless_masked_out(1.0 - ops.divide_no_nan(2.0 * overlap, total), weights, factor)


def check_distances(distances: Any) -> np.ndarray:
    """Returns distances between labels as a matrix `(classes, classes)` float32.

    Args:
        distances: The matrix, or the numbers above its diagonal row by row: 0-1, 0-2, ..., 1-2, ...

    Raises:
        ValueError: If the numbers are none such, or not symmetric, or not positive off the diagonal.

    Examples:
        >>> check_distances([1, 2, 3]).tolist()
        [[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]]
    """
    values = np.asarray(distances, np.float32)
    if values.ndim == 1:
        classes = int(round((1 + np.sqrt(1 + 8 * values.size)) / 2))
        if classes * (classes - 1) // 2 != values.size:
            raise ValueError(f"{values.size} distances fit no number of classes; n classes have n (n - 1) / 2 pairs")
        matrix = np.zeros((classes, classes), np.float32)
        matrix[np.triu_indices(classes, 1)] = values
        values = matrix + matrix.T
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not np.allclose(values, values.T):
        raise ValueError(f"distances of shape {values.shape} are no symmetric matrix of one row per label")
    if np.diag(values).any() or not (values + np.eye(len(values)) > 0).all():
        raise ValueError("distances must be 0 from a label to itself and positive to every other")
    return values


def wasserstein_dice_loss(y_true: Any, y_pred: Any, sample_weight: Any = None, distances: Any = None) -> Any:
    """Computes the generalised Wasserstein Dice loss of each sample (Fidon et al. 2017).

    With the distance `M` between labels, `W = sum_l p_l M(l, g)` is how far a voxel's probabilities lie from its label
    g. The loss is `1 - 2 T / (2 T + sum(W))`, where `T = sum(M(0, g) (1 - W))` counts what is right outside of the
    background, label 0.

    Args:
        y_true: Labels, or one-hot.
        y_pred: Logits.
        sample_weight: Weights of samples or voxels.
        distances: See `check_distances`; None puts all labels at a distance of 1.

    Returns:
        The losses, `(batch,)`.

    Raises:
        ValueError: If there are distances of another number of classes.

    Examples:
        >>> round(float(wasserstein_dice_loss([[0, 1]], ops.zeros((1, 2, 2)))[0]), 4)
        0.5
    """
    one_hot, probability, weights, factor = _masses(y_true, y_pred, sample_weight)
    classes = probability.shape[-1]
    matrix = np.ones((classes, classes), np.float32) - np.eye(classes, dtype=np.float32)
    if distances is not None:
        matrix = check_distances(distances)
    if len(matrix) != classes:
        raise ValueError(f"distances between {len(matrix)} labels do not fit logits of {classes} classes")
    to_label = ops.matmul(one_hot, ops.convert_to_tensor(matrix))
    disagreement = ops.sum(to_label * probability, axis=-1, keepdims=True)
    right = sum_per_sample(weights * to_label[..., :1] * (1.0 - disagreement))
    wrong = sum_per_sample(weights * disagreement)
    loss = wrong / (2.0 * right + wrong + TINY)
    return _unless_masked_out(loss, weights, factor)


def sensitivity_specificity_loss(
    y_true: Any, y_pred: Any, sample_weight: Any = None, sensitivity_ratio: float = 0.05
) -> Any:
    """Sums the weighted errors on and off each label (Brosch et al. 2015), over the classes of each sample.

    For a class `r sum((g - p)^2 g) / sum(g) + (1 - r) sum((g - p)^2 (1 - g)) / sum(1 - g)`; a part without voxels
    counts nothing.

    Args:
        y_true: Labels, or one-hot.
        y_pred: Logits.
        sample_weight: Weights of samples or voxels.
        sensitivity_ratio: The paper's r.

    Returns:
        The losses, `(batch,)`.

    Examples:
        >>> round(float(sensitivity_specificity_loss([[0, 1]], ops.zeros((1, 2, 2)))[0]), 4)  # 0.5^2, for either class
        0.5
    """
    one_hot, probability, weights, factor = _masses(y_true, y_pred, sample_weight)
    squared = weights * ops.square(one_hot - probability)
    on, off = weights * one_hot, weights * (1.0 - one_hot)
    missed = ops.divide_no_nan(_per_class(squared * one_hot), _per_class(on))
    wrong = ops.divide_no_nan(_per_class(squared * (1.0 - one_hot)), _per_class(off))
    return ops.sum(sensitivity_ratio * missed + (1.0 - sensitivity_ratio) * wrong, axis=-1) * factor


@keras.saving.register_keras_serializable(package="sfgkeras")
class SquaredDiceLoss(TaskLoss):
    """The Dice loss with squares in the denominator (Milletari et al. 2016), NiftyNet's Dice."""

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `squared_dice_loss`, `(batch,)`."""
        return squared_dice_loss(y_true, y_pred, sample_weight)


@keras.saving.register_keras_serializable(package="sfgkeras")
class GeneralisedDiceLoss(TaskLoss):
    """The generalised Dice loss (Sudre et al. 2017), NiftyNet's GDSC."""

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `generalised_dice_loss`, `(batch,)`."""
        return generalised_dice_loss(y_true, y_pred, sample_weight)


@keras.saving.register_keras_serializable(package="sfgkeras")
class WassersteinDiceLoss(TaskLoss):
    """The generalised Wasserstein Dice loss (Fidon et al. 2017), NiftyNet's WGDL.

    Args:
        distances: Distances between labels; see `check_distances`. None, or none at all, puts all at 1.
        reduction: See `TaskLoss`.
        name: Name of the loss.

    Raises:
        ValueError: If the distances are none.
    """

    def __init__(
        self,
        distances: Sequence[float] | Sequence[Sequence[float]] | None = (),
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ):
        super().__init__(reduction=reduction, name=name)
        self.distances = None if distances is None or len(distances) == 0 else check_distances(distances).tolist()

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `wasserstein_dice_loss`, `(batch,)`."""
        return wasserstein_dice_loss(y_true, y_pred, sample_weight, self.distances)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "distances": self.distances}


@keras.saving.register_keras_serializable(package="sfgkeras")
class TverskyLoss(TaskLoss):
    """One minus the Tversky index per sample and class (Salehi et al. 2017), averaged over classes and batch.

    Args:
        false_positives: Weight of false positives, the paper's alpha.
        false_negatives: Weight of false negatives, the paper's beta.
        reduction: See `TaskLoss`.
        name: Name of the loss.

    Raises:
        ValueError: If a weight is negative, or both are 0.
    """

    def __init__(
        self,
        false_positives: float = 0.5,
        false_negatives: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ):
        super().__init__(reduction=reduction, name=name)
        if min(false_positives, false_negatives) < 0 or not false_positives + false_negatives > 0:
            raise ValueError(
                f"false_positives = {false_positives!r} and false_negatives = {false_negatives!r} must not be "
                "negative, and one of them positive"
            )
        self.false_positives, self.false_negatives = float(false_positives), float(false_negatives)

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `tversky_loss`, `(batch,)`."""
        return tversky_loss(y_true, y_pred, sample_weight, self.false_positives, self.false_negatives)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        own = {"false_positives": self.false_positives, "false_negatives": self.false_negatives}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="sfgkeras")
class SensitivitySpecificityLoss(TaskLoss):
    """Weighted squared errors on and off each label (Brosch et al. 2015), NiftyNet's SensSpec.

    Args:
        sensitivity_ratio: Weight of the errors on the label, the paper's r; it suggests 0.01 to 0.1.
        reduction: See `TaskLoss`.
        name: Name of the loss.

    Raises:
        ValueError: If the ratio is not between 0 and 1.
    """

    def __init__(
        self,
        sensitivity_ratio: float = 0.05,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ):
        super().__init__(reduction=reduction, name=name)
        if not 0 <= sensitivity_ratio <= 1:
            raise ValueError(f"sensitivity_ratio = {sensitivity_ratio!r} must be from 0 to 1")
        self.sensitivity_ratio = float(sensitivity_ratio)

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `sensitivity_specificity_loss`, `(batch,)`."""
        return sensitivity_specificity_loss(y_true, y_pred, sample_weight, self.sensitivity_ratio)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "sensitivity_ratio": self.sensitivity_ratio}
