"""The loss of motion without labels: how well the first frame, moved, explains the others."""

from typing import Any

import keras
from keras import ops

from sfgkeras.losses.base import TaskLoss, mean_per_sample
from sfgkeras.targets import split_weight
from sfgkeras.warping import warp

ROUGHNESS = 0.01
"""What the squares of all differences are summed with under the root, Qin's epsilon: below 0.1 the penalty is flat."""


def roughness(flow: Any) -> Any:
    """Returns an approximate Huber norm of the differences of a flow between neighbours, `(batch, *spatial)`.

    `sqrt(0.01 + sum_i sum_a (d_a u_i)^2)` over components i and axes a (Qin et al. 2018, equation 2), less the value of
    a flow without differences, 0.1. The difference of the last voxel of an axis is 0.

    Args:
        flow: Displacements in voxels, `(batch, *spatial, rank)`.

    Examples:
        >>> float(roughness(ops.ones((1, 4, 4, 2)))[0, 0, 0])
        0.0
    """
    squares: Any = 0.0
    rank = len(flow.shape) - 2
    for axis in range(1, rank + 1):
        after = tuple(slice(1, None) if other == axis else slice(None) for other in range(rank + 2))
        before = tuple(slice(None, -1) if other == axis else slice(None) for other in range(rank + 2))
        differences = ops.sum(ops.square(flow[after] - flow[before]), axis=-1)
        padding = [(0, 1) if other == axis else (0, 0) for other in range(rank + 1)]
        squares = squares + ops.pad(differences, padding)
    return ops.sqrt(ROUGHNESS + squares) - ROUGHNESS**0.5


def warping_loss(y_true: Any, y_pred: Any, sample_weight: Any = None, smoothness: float = 0.1) -> Any:
    """Averages `(I_0(x + u_t(x)) - I_t(x))^2 + smoothness * roughness(u_t)` over voxels and frames t > 0.

    Args:
        y_true: The frames, `(batch, *spatial, frames)`.
        y_pred: Displacements in voxels, `(batch, *spatial, rank * (frames - 1))`, those of the second frame first.
        sample_weight: Weights of samples or voxels.
        smoothness: Weight of the roughness.

    Returns:
        The losses, `(batch,)`.

    Examples:
        >>> frames = ops.reshape(ops.array([0.0, 1.0, 2.0, 1.0, 2.0, 2.0]), (1, 1, 2, 3))
        >>> frames = ops.transpose(frames, (0, 1, 3, 2))  # the second frame is the first, one voxel to the left
        >>> float(warping_loss(frames, ops.ones((1, 1, 3, 2)) * ops.array([0.0, 1.0]))[0])
        0.0
    """
    factor, weight_map = split_weight(sample_weight, tuple(y_pred.shape)[:-1])
    frames, flows = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    rank, count = len(flows.shape) - 2, frames.shape[-1] - 1
    first = ops.concatenate([frames[..., 0]] * count, axis=0)
    others = ops.concatenate([frames[..., frame] for frame in range(1, count + 1)], axis=0)
    flow = ops.concatenate([flows[..., rank * frame : rank * (frame + 1)] for frame in range(count)], axis=0)
    cost = ops.square(warp(first, flow) - others) + smoothness * roughness(flow)
    of_voxels = sum(ops.split(cost, count, axis=0)) / count
    return mean_per_sample(of_voxels, weight_map) * (1.0 if factor is None else factor)


@keras.saving.register_keras_serializable(package="sfgkeras")
class WarpingLoss(TaskLoss):
    """How badly the first frame of a sequence, moved, explains the others, and how rough the motion is.

    See `warping_loss`. The targets are the frames themselves: nothing is labelled.

    Args:
        smoothness: Weight of the roughness of the motion.
        reduction: See `TaskLoss`.
        name: Name of the loss.
    """

    def __init__(self, smoothness: float = 0.1, reduction: str | None = "sum_over_batch_size", name: str | None = None):
        super().__init__(reduction=reduction, name=name)
        self.smoothness = smoothness

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `warping_loss`, `(batch,)`."""
        return warping_loss(y_true, y_pred, sample_weight, self.smoothness)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "smoothness": self.smoothness}
