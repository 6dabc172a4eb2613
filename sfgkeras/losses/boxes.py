"""The loss on how well boxes overlap, whatever their size."""

from typing import Any

import keras

from sfgkeras.boxes import generalised_intersection_over_union
from sfgkeras.losses.base import TaskLoss
from sfgkeras.targets import split_weight


def generalised_overlap_loss(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Returns one minus the generalised IoU of each sample's box (Rezatofighi et al. 2019, algorithm 2).

    Args:
        y_true: Boxes, `(batch, 2 * rank)`: the low corner, then the high one.
        y_pred: Boxes of the same shape; corners in either order.
        sample_weight: None or `(batch,)`.

    Returns:
        The losses, `(batch,)`, from 0 for equal boxes to 2.

    Examples:
        >>> float(generalised_overlap_loss([[0, 0, 1, 1]], [[0, 0, 1, 2]])[0])  # half of what they cover is shared
        0.5
    """
    values = 1.0 - generalised_intersection_over_union(y_true, y_pred)
    factor, _ = split_weight(sample_weight, tuple(values.shape))
    return values if factor is None else values * factor


@keras.saving.register_keras_serializable(package="sfgkeras")
class GeneralisedOverlapLoss(TaskLoss):
    """One minus the generalised IoU of each sample's box, averaged over the batch (Rezatofighi et al. 2019)."""

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `generalised_overlap_loss`, `(batch,)`."""
        return generalised_overlap_loss(y_true, y_pred, sample_weight)
