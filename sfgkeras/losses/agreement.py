"""The loss of agreement beyond chance: Cohen's kappa of label maps."""

from typing import Any

import keras
from keras import ops

from sfgkeras.losses.base import TaskLoss, sum_per_sample
from sfgkeras.losses.segmentation import SMOOTHING, targets_and_weights


def kappa_loss(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Returns one minus Cohen's kappa of each sample, with probabilities in place of predicted labels.

    Of n voxels, `o = 1/n sum_i sum_c g_ic p_ic` agree, and by chance `e = sum_c mean(g_c) mean(p_c)` would; kappa is
    `(o - e) / (1 - e)`, so that the loss is `(1 - o) / (1 - e)` (Cohen 1960; as a loss of lesions Playout et al.
    2018). However rare a lesion is, background everywhere has kappa 0. A sample of one class has no kappa; there x
    voxels of other classes cost `x / (x + 1)`.

    Args:
        y_true: Labels, or one-hot.
        y_pred: Logits.
        sample_weight: Weights of samples or voxels.

    Returns:
        The losses, `(batch,)`, between 0 and 2.

    Examples:
        >>> logits = ops.array([[[9.0, -9.0], [-9.0, 9.0], [-9.0, 9.0], [-9.0, 9.0]]])
        >>> round(float(kappa_loss([[0, 0, 1, 1]], logits)[0]), 3)  # o = 3/4, e = 1/2 1/4 + 1/2 3/4
        0.5
    """
    one_hot, log_probability, weight_map, factor = targets_and_weights(y_true, y_pred, sample_weight)
    probability = ops.exp(log_probability)
    weights = ops.ones_like(one_hot[..., 0]) if weight_map is None else weight_map
    voxels = sum_per_sample(weights)
    disagreeing = sum_per_sample(weights * (1.0 - ops.sum(one_hot * probability, axis=-1)))
    spatial = tuple(range(1, len(weights.shape)))
    in_truth = ops.sum(weights[..., None] * one_hot, axis=spatial)
    predicted = ops.sum(weights[..., None] * probability, axis=spatial)
    by_chance = voxels - ops.divide_no_nan(ops.sum(in_truth * predicted, axis=-1), voxels)
    smoothing = ops.where(ops.sum(ops.cast(in_truth > 0, "int32"), axis=-1) > 1, SMOOTHING, 1.0)
    return disagreeing / (by_chance + smoothing) * factor


@keras.saving.register_keras_serializable(package="sfgkeras")
class KappaLoss(TaskLoss):
    """One minus Cohen's kappa of label maps with logits; see `kappa_loss`."""

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `kappa_loss`, `(batch,)`."""
        return kappa_loss(y_true, y_pred, sample_weight)
