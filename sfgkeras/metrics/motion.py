"""Streaming error of motion: how much frames differ from the first one, moved."""

from typing import Any, ClassVar

import keras
from keras import ops

from sfgkeras.metrics.base import WeightedMean
from sfgkeras.warping import warp


@keras.saving.register_keras_serializable(package="sfgkeras.metrics")
class WarpedMeanAbsoluteError(WeightedMean):
    """The mean absolute difference between the frames of a sequence and the first one, moved, as the network sees them.

    Args:
        name: Name of the metric.
    """

    higher_is_better: ClassVar[bool] = False

    def __init__(self, name: str = "warped_mae"):
        super().__init__(name)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: The frames, `(batch, *spatial, frames)`.
            y_pred: Displacements in voxels, `(batch, *spatial, rank * (frames - 1))`; see `losses.motion`.
            sample_weight: None, `(batch,)`, or `(batch, *spatial)`; zeros leave voxels out.
        """
        frames, rank = ops.cast(y_true, "float32"), len(y_pred.shape) - 2
        count = frames.shape[-1] - 1
        errors = [
            ops.abs(warp(frames[..., 0], y_pred[..., rank * frame : rank * (frame + 1)]) - frames[..., frame + 1])
            for frame in range(count)
        ]
        self.add(sum(errors[1:], errors[0]) / count, sample_weight)
