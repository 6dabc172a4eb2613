"""Shapes of targets and weights, as losses and metrics both read them: pure functions on keras.ops."""

from typing import Any

from keras import ops


def same_shape(first: Any, second: Any) -> bool:
    """Tells whether two shapes agree wherever both are known."""
    return len(first) == len(second) and all(
        a is None or b is None or a == b for a, b in zip(first, second, strict=True)
    )


def split_weight(sample_weight: Any, shape: Any) -> tuple[Any, Any]:
    """Sorts a weight into a factor per sample and a map over the voxels of each sample.

    Args:
        sample_weight: None, `(batch,)` or `(batch, 1)`, or `(batch, *spatial)` or `(batch, *spatial, 1)`.
        shape: The shape `(batch, *spatial)` that a map must have.

    Returns:
        The factor `(batch,)` and the map `(batch, *spatial)`, float32; None for what is absent.

    Raises:
        ValueError: If the weight has another shape.
    """
    if sample_weight is None:
        return None, None
    weight = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
    received = tuple(weight.shape)
    if received[-1:] == (1,) and len(received) in (2, len(shape) + 1) and not same_shape(received, shape):
        weight = ops.squeeze(weight, axis=-1)
    if len(weight.shape) == 1 and same_shape(weight.shape, shape[:1]):
        return weight, None
    if not same_shape(weight.shape, shape):
        raise ValueError(
            f"sample_weight of shape {received} is neither one number per sample nor a map of shape {tuple(shape)}"
        )
    return None, weight


def residuals(y_true: Any, y_pred: Any) -> Any:
    """Returns `y_pred - y_true` in float32, refusing shapes that would only fit by broadcasting.

    Raises:
        ValueError: If the shapes differ by more than an absent channel axis of one.
    """
    prediction = ops.cast(ops.convert_to_tensor(y_pred), "float32")
    target = ops.cast(ops.convert_to_tensor(y_true), "float32")
    if len(target.shape) == len(prediction.shape) - 1 and prediction.shape[-1] == 1:
        target = ops.expand_dims(target, axis=-1)
    if not same_shape(target.shape, prediction.shape):
        raise ValueError(
            f"targets of shape {tuple(y_true.shape)} do not fit predictions of shape {tuple(y_pred.shape)}"
        )
    return prediction - target


def one_hot_targets(y_true: Any, y_pred: Any) -> Any:
    """Returns the targets one-hot in float32, in the shape of the logits.

    Args:
        y_true: Labels `(batch, *spatial)` or `(batch, *spatial, 1)`, or one-hot `(batch, *spatial, classes)`.
        y_pred: Logits `(batch, *spatial, classes)`.

    Raises:
        ValueError: If there are fewer than two classes, or if the shapes do not fit.
    """
    targets = ops.convert_to_tensor(y_true)
    shape, classes = tuple(y_pred.shape), y_pred.shape[-1]
    if classes is None or classes < 2:
        raise ValueError(f"logits of shape {shape} need a last axis of two classes or more")
    if len(targets.shape) == len(shape) and targets.shape[-1] == 1:
        targets = ops.squeeze(targets, axis=-1)
    if same_shape(targets.shape, shape):
        return ops.cast(targets, "float32")
    if not same_shape(targets.shape, shape[:-1]):
        raise ValueError(f"labels of shape {tuple(y_true.shape)} do not fit logits of shape {shape}")
    return ops.one_hot(ops.cast(targets, "int32"), classes, dtype="float32")


def binary_targets(y_true: Any, y_pred: Any) -> Any:
    """Returns what one logit is to say, in float32: 1 for class 1, 0 for class 0.

    Args:
        y_true: Labels `(batch, *spatial)` or `(batch, *spatial, 1)`.
        y_pred: Logits `(batch, *spatial, 1)`.

    Returns:
        The targets, `(batch, *spatial)`.

    Raises:
        ValueError: If there is not exactly one logit, or if the shapes do not fit.
    """
    targets, shape = ops.convert_to_tensor(y_true), tuple(y_pred.shape)
    if len(shape) < 2 or shape[-1] != 1:
        raise ValueError(f"logits of shape {shape} need a last axis of 1: one logit, of class 1")
    if len(targets.shape) == len(shape) and targets.shape[-1] == 1:
        targets = ops.squeeze(targets, axis=-1)
    if not same_shape(targets.shape, shape[:-1]):
        raise ValueError(f"labels of shape {tuple(y_true.shape)} do not fit logits of shape {shape}")
    return ops.cast(targets, "float32")


def hard_labels(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Returns true and predicted classes one-hot in float32, `(batch, *spatial, classes)`.

    One logit stands for two classes, of which the second is predicted where it is above 0. The first of equally
    probable classes is predicted in any case.

    Args:
        y_true: Labels, or one-hot; see `one_hot_targets`.
        y_pred: Logits or probabilities `(batch, *spatial, classes)`, or one logit `(batch, *spatial, 1)`.

    Raises:
        ValueError: If the shapes do not fit.
    """
    if y_pred.shape[-1] == 1:
        truth = ops.one_hot(ops.cast(binary_targets(y_true, y_pred), "int32"), 2, dtype="float32")
        positive = ops.cast(ops.convert_to_tensor(y_pred)[..., 0] > 0, "int32")
        return truth, ops.one_hot(positive, 2, dtype="float32")
    predicted = ops.one_hot(ops.argmax(y_pred, axis=-1), y_pred.shape[-1], dtype="float32")
    return one_hot_targets(y_true, y_pred), predicted
