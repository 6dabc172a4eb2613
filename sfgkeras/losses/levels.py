"""Targets at the size of a coarser level, for heads that sit there in training (deep supervision)."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from sfgkeras.losses.likelihood import likelihood_of


def targets_at_level(loss: Any, y_true: Any, sample_weight: Any, level: int, size: Sequence[Any]) -> tuple[Any, Any]:
    """Brings targets and their weights to the size of a level.

    Classes are those of the voxel that is nearest to the middle of what a voxel of the level stands for, of equally
    near ones the first; as their weights are. Quantities are averaged over it, voxels counting by their weights, and
    their weights are averaged, too. As where features are pooled, odd sizes are rounded up: what stands alone at the
    end of an axis is a voxel of its own on the next level.

    Args:
        loss: The loss of the task; `likelihood_of` it says whether targets are classes.
        y_true: Labels or quantities, `(batch, *spatial)`, or with an axis of channels behind.
        sample_weight: None, `(batch,)`, `(batch, 1)` or `(batch, *spatial)`, or that with an axis of 1 behind.
        level: How often the size is halved, at least once.
        size: `(*spatial)` of the level.

    Returns:
        Targets and weights, each in the form that it was given in; weights per sample as they are.

    Raises:
        ValueError: If targets are no maps.

    Examples:
        >>> from sfgkeras.losses import MeanSquaredError
        >>> image = ops.reshape(ops.arange(4.0), (1, 2, 2, 1))
        >>> float(targets_at_level(MeanSquaredError(), image, None, 1, (1, 1))[0][0, 0, 0, 0])
        1.5
    """
    targets, rank = ops.convert_to_tensor(y_true), len(size)
    if len(targets.shape) not in (rank + 1, rank + 2):
        raise ValueError(
            f"targets of shape {tuple(targets.shape)} are no maps of {rank} axes, which deep supervision needs; leave "
            "the task out of deep_supervision"
        )
    weight = None if sample_weight is None else ops.cast(ops.convert_to_tensor(sample_weight), "float32")
    of_samples = weight is None or len(weight.shape) <= 2
    if likelihood_of(loss) == "categorical":
        return _nearest(targets, level, size), weight if of_samples else _nearest(weight, level, size)
    targets = ops.cast(targets, "float32")
    if weight is None or of_samples:
        return _mean(targets, level, rank), weight
    shares = ops.reshape(weight, ops.shape(weight)[: rank + 1])
    known = _mean(shares, level, rank)
    fits = len(targets.shape) == rank + 2
    # A target without a weight may hold anything.
    counted = ops.where((shares > 0)[..., None] if fits else shares > 0, targets, 0.0)
    total = _mean(counted * (shares[..., None] if fits else shares), level, rank)
    averaged = ops.divide_no_nan(total, known[..., None] if fits else known)
    return averaged, known if len(weight.shape) == rank + 1 else known[..., None]


def _nearest(values: Any, level: int, size: Sequence[Any]) -> Any:
    """Returns the voxel in the middle of each block of `2^level` voxels per axis."""
    side, shape = 2**level, ops.shape(values)
    for axis, count in enumerate(size, start=1):
        places = ops.arange(count, dtype="int32") * side + (side - 1) // 2
        values = ops.take(values, ops.minimum(places, shape[axis] - 1), axis=axis)
    return values


def _mean(values: Any, level: int, rank: int) -> Any:
    """Returns the mean of pairs of voxels along every axis, as often as a level says."""
    has_channels = len(values.shape) == rank + 2
    values = values if has_channels else values[..., None]
    for _ in range(level):
        values = ops.average_pool(values, 2, strides=2, padding="same", data_format="channels_last")
    return values if has_channels else values[..., 0]
