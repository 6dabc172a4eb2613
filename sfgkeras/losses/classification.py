"""The loss on one class per sample."""

from typing import Any

import keras

from sfgkeras.losses.base import TaskLoss
from sfgkeras.losses.segmentation import cross_entropy


@keras.saving.register_keras_serializable(package="sfgkeras")
class ClassificationCrossEntropy(TaskLoss):
    """The cross-entropy of one class per sample, averaged over the batch.

    Logits are `(batch, classes)`; targets are integers `(batch,)` or `(batch, 1)`, or one-hot rows. A label
    map is the case with spatial axes, so the formula is the same.
    """

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns the cross-entropies of the samples, `(batch,)`.

        Raises:
            ValueError: If the logits have spatial axes.
        """
        if len(y_pred.shape) != 2:
            raise ValueError(f"class logits of shape {tuple(y_pred.shape)} need the shape (batch, classes)")
        return cross_entropy(y_true, y_pred, sample_weight)
