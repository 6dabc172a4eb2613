"""Boxes as losses and metrics both read them: pure functions on keras.ops.

A box is two opposite corners in one row of `2 * rank` numbers: in 2-D x_min, y_min, x_max, y_max, in 3-D x_min, y_min,
z_min, x_max, y_max, z_max. Whichever of two corners is further along an axis is its end there, so that no prediction is
a box turned inside out (Rezatofighi et al. 2019, algorithm 2).
"""

from typing import Any, NamedTuple

from keras import ops

from sfgkeras.targets import same_shape


class Overlap(NamedTuple):
    """How two boxes of each sample lie to each other, areas (volumes in 3-D), `(batch,)`.

    Attributes:
        intersection: Of what both cover.
        union: Of what at least one covers.
        hull: Of the smallest box around both.
        are_equal: Whether they are the same box, true or false.
    """

    intersection: Any
    union: Any
    hull: Any
    are_equal: Any


def corners(boxes: Any) -> tuple[Any, Any]:
    """Returns the low and the high corner of boxes `(batch, 2 * rank)`, each `(batch, rank)` in float32.

    Raises:
        ValueError: If the last axis holds no two corners.
    """
    tensor = ops.cast(ops.convert_to_tensor(boxes), "float32")
    shape = tuple(tensor.shape)
    if len(shape) != 2 or shape[1] is None or shape[1] % 2 or not shape[1]:
        raise ValueError(f"boxes of shape {shape} need the shape (batch, 4) or (batch, 6): two opposite corners")
    rank = shape[1] // 2
    first, second = tensor[:, :rank], tensor[:, rank:]
    return ops.minimum(first, second), ops.maximum(first, second)


def overlap(y_true: Any, y_pred: Any) -> Overlap:
    """Measures the overlap of true and predicted boxes, both `(batch, 2 * rank)`.

    Raises:
        ValueError: If the shapes are not those of boxes, or differ.
    """
    low_true, high_true = corners(y_true)
    low, high = corners(y_pred)
    if not same_shape(low_true.shape, low.shape):
        raise ValueError(f"true boxes of shape {tuple(y_true.shape)} do not fit predictions of {tuple(y_pred.shape)}")
    common = ops.maximum(ops.minimum(high_true, high) - ops.maximum(low_true, low), 0.0)
    intersection = ops.prod(common, axis=-1)
    union = ops.prod(high_true - low_true, axis=-1) + ops.prod(high - low, axis=-1) - intersection
    hull = ops.prod(ops.maximum(high_true, high) - ops.minimum(low_true, low), axis=-1)
    distance = ops.abs(low_true - low) + ops.abs(high_true - high)
    return Overlap(intersection, union, hull, ops.sum(distance, axis=-1) == 0.0)


def intersection_over_union(y_true: Any, y_pred: Any) -> Any:
    """Divides what two boxes share by what they cover together, `(batch,)`, from 0 to 1.

    Two boxes without area cover nothing: then it is 1 where they are equal, else 0.

    Examples:
        >>> round(float(intersection_over_union([[0, 0, 2, 2]], [[1, 0, 3, 2]])[0]), 6)  # 2 of 6 squares
        0.333333
    """
    found = overlap(y_true, y_pred)
    empty = found.union <= 0.0
    ratio = found.intersection / ops.where(empty, 1.0, found.union)
    return ops.where(empty, ops.cast(found.are_equal, "float32"), ratio)


def generalised_intersection_over_union(y_true: Any, y_pred: Any) -> Any:
    """Returns the generalised IoU (Rezatofighi et al. 2019, algorithm 2), `(batch,)`, from -1 to 1.

    It is the IoU less the part of the smallest box around both that neither covers, and so tells apart boxes that do
    not meet by how far they are from each other.

    Examples:
        >>> float(generalised_intersection_over_union([[0, 0, 1, 1]], [[3, 0, 4, 1]])[0])  # a gap of 2 in a hull of 4
        -0.5
    """
    found = overlap(y_true, y_pred)
    empty = found.hull <= 0.0
    uncovered = (found.hull - found.union) / ops.where(empty, 1.0, found.hull)
    return intersection_over_union(y_true, y_pred) - ops.where(empty, 0.0, uncovered)
