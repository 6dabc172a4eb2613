"""Any Keras loss as a loss of a task."""

from typing import Any

import keras

from sfgkeras.losses.base import TaskLoss, mean_per_sample
from sfgkeras.targets import split_weight


class KerasLoss(TaskLoss):
    """A Keras loss that takes spatial masks where it gives a value per voxel.

    Args:
        loss: What gives the values: `(batch,)`, or `(batch, *spatial)` of targets and outputs.
        name: Name of the loss.
    """

    def __init__(self, loss: keras.losses.Loss, name: str | None = None):
        super().__init__(name=name)
        self.loss = loss

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns the loss of the samples, `(batch,)`.

        Raises:
            ValueError: If voxels are weighed and the loss has one value per sample, or one for the whole batch.
        """
        values = self.loss.call(y_true, y_pred)
        if not values.shape:
            raise ValueError(f"{type(self.loss).__name__} gives one value for a batch; it has to give one per sample")
        factor, weight_map = split_weight(sample_weight, values.shape if len(values.shape) > 1 else y_pred.shape[:-1])
        if weight_map is not None and len(values.shape) == 1:
            raise ValueError(
                f"{type(self.loss).__name__} gives one value per sample, and voxels are to be left out (loss_border, "
                "weight); derive it from sfgkeras.losses.TaskLoss, whose per_sample gets their weights"
            )
        return mean_per_sample(values, weight_map) * (1.0 if factor is None else factor)


def task_loss(loss_class: type[keras.losses.Loss], name: str, **arguments: Any) -> TaskLoss:
    """Builds a loss of the user's own class, wrapped where it is a plain Keras loss.

    Args:
        loss_class: The class.
        name: Name of the loss.
        **arguments: Arguments of its own.

    Examples:
        >>> loss = task_loss(keras.losses.MeanAbsoluteError, "ct_loss")
        >>> loss.name, isinstance(loss, TaskLoss)
        ('ct_loss', True)
    """
    loss = loss_class(name=name, **arguments)
    return loss if isinstance(loss, TaskLoss) else KerasLoss(loss, name)
