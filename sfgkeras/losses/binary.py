"""The loss on one logit: of two classes the second is predicted, and the first is what is left.

A network with one output channel `z` says `p = sigmoid(z)` of class 1. That is the softmax of two logits, 0 and z.
"""

from typing import Any

import keras
from keras import ops

from sfgkeras.losses.base import TaskLoss, mean_per_sample
from sfgkeras.targets import binary_targets, split_weight


def binary_cross_entropy(y_true: Any, y_pred: Any, sample_weight: Any = None, positive_weight: float = 1.0) -> Any:
    """Averages `-w y log p - (1 - y) log(1 - p)` with `p = sigmoid(logit)` over the voxels of each sample.

    It is computed as `w y softplus(-z) + (1 - y) softplus(z)`, which is finite for every logit z. A label outside
    0 .. 1 belongs to no class and costs nothing, as in `cross_entropy`.

    Args:
        y_true: Labels 0 and 1, or probabilities of 1: `(batch, *spatial)` or `(batch, *spatial, 1)`; without spatial
            axes for one class per sample.
        y_pred: Logits, `(batch, *spatial, 1)`.
        sample_weight: None, `(batch,)`, or `(batch, *spatial)`.
        positive_weight: The factor w of class 1.

    Returns:
        The losses of the samples, `(batch,)`.

    Raises:
        ValueError: If there is more than one logit, or the shapes do not fit.

    Examples:
        >>> round(float(binary_cross_entropy([1.0], ops.zeros((1, 1)))[0]), 6)  # undecided: ln 2
        0.693147
    """
    truth = binary_targets(y_true, y_pred)
    logit = ops.cast(ops.convert_to_tensor(y_pred), "float32")[..., 0]
    values = positive_weight * truth * ops.softplus(-logit) + (1.0 - truth) * ops.softplus(logit)
    values = ops.where(ops.logical_and(truth >= 0.0, truth <= 1.0), values, 0.0)
    factor, weight_map = split_weight(sample_weight, tuple(values.shape))
    return mean_per_sample(values, weight_map) * (1.0 if factor is None else factor)


@keras.saving.register_keras_serializable(package="sfgkeras")
class BinaryCrossEntropy(TaskLoss):
    """The cross-entropy of one logit, of a map or of one class per sample, averaged over voxels, then over the batch.

    Args:
        positive_weight: Factor of class 1, above 0; where it is rare, the ratio of the others to it makes both count
            alike.
        reduction: See `TaskLoss`.
        name: Name of the loss.

    Raises:
        ValueError: If the factor is not positive.
    """

    def __init__(
        self,
        positive_weight: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ):
        super().__init__(reduction=reduction, name=name)
        if not 0 < positive_weight < float("inf"):
            raise ValueError(f"positive_weight = {positive_weight!r} must be positive")
        self.positive_weight = float(positive_weight)

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `binary_cross_entropy`, `(batch,)`."""
        return binary_cross_entropy(y_true, y_pred, sample_weight, self.positive_weight)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "positive_weight": self.positive_weight}
