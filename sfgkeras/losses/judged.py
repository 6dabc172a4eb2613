"""What an adversary is shown of a task: the true map and the predicted one, as quantities of one kind."""

from typing import Any

from keras import ops

from sfgkeras.losses.likelihood import likelihood_of
from sfgkeras.targets import one_hot_targets, residuals, split_weight


def judged_maps(loss: Any, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tuple[Any, Any, Any]:
    """Returns the true maps, the predicted ones, and what each sample counts.

    A loss may say itself what its maps are, by a method `judged_maps` of the other arguments. Otherwise labels are
    shown one-hot, and logits as probabilities; quantities as they are. What has no weight is 0 in both.

    Args:
        loss: The loss of the task.
        y_true: Targets as the loss takes them.
        y_pred: Outputs `(batch, *spatial, channels)`.
        sample_weight: As the loss takes it.

    Returns:
        `(batch, *spatial, channels)` twice, and `(batch,)`: 0 for samples without a label, otherwise 1.

    Raises:
        ValueError: If outputs are no maps.

    Examples:
        >>> from sfgkeras.losses import MeanSquaredError
        >>> truth, shown, counts = judged_maps(MeanSquaredError(), [[[[3.0], [5.0]]]], ops.ones((1, 1, 2, 1)))
        >>> float(truth[0, 0, 1, 0]), float(shown[0, 0, 1, 0]), float(counts[0])
        (5.0, 1.0, 1.0)
    """
    if hasattr(loss, "judged_maps"):
        return loss.judged_maps(y_true, y_pred, sample_weight)
    if len(y_pred.shape) < 4:
        raise ValueError(f"an adversary judges maps; outputs of shape {tuple(y_pred.shape)} are none")
    outputs = ops.cast(y_pred, "float32")
    if likelihood_of(loss) != "categorical":
        truth, prediction = outputs - residuals(y_true, outputs), outputs
    elif outputs.shape[-1] == 1:
        prediction = ops.sigmoid(outputs)
        truth = prediction - residuals(y_true, prediction)
    else:
        truth, prediction = one_hot_targets(y_true, outputs), ops.softmax(outputs, axis=-1)
    # A target without a label may hold anything.
    factor, weights = split_weight(sample_weight, tuple(outputs.shape[:-1]))
    if weights is not None:
        known = (weights > 0)[..., None]
        truth, prediction = ops.where(known, truth, 0.0), ops.where(known, prediction, 0.0)
        factor = ops.max(weights, axis=tuple(range(1, len(weights.shape))))
    counts = ops.ones_like(outputs[(slice(None), *(0,) * (len(outputs.shape) - 1))])
    return truth, prediction, counts if factor is None else ops.cast(factor > 0, "float32")
