"""Cross-stitch units: every task reads a learned mixture of all tasks' features (Misra et al. 2016)."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras.layers.backend import fan_out, ordered_sum


@keras.saving.register_keras_serializable(package="sfgkeras")
class CrossStitch(keras.layers.Layer):
    """Mixes the features of T tasks linearly: `y_a = sum_b alpha_ab x_b` (Misra et al. 2016, equation 1).

    The identity leaves the tasks' networks independent; equal weights make their features common.

    Args:
        num_tasks: T.
        own_weight: Initial `alpha_aa`; what it lacks to 1 is shared out equally among the other tasks, so that a unit
            starts as a convex combination, as in the paper. With one task the weight is 1.
        per_channel: Whether every channel has weights of its own, rather than one matrix for the layer.
        regularizer: Keras regulariser of the weights, or None.

    Raises:
        ValueError: If `own_weight` is not a fraction or there is no task.
    """

    built: bool

    def __init__(
        self,
        num_tasks: int,
        own_weight: float = 0.9,
        per_channel: bool = False,
        regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        if num_tasks < 1:
            raise ValueError(f"num_tasks = {num_tasks}: a cross-stitch unit needs at least one task")
        if not 0 <= own_weight <= 1:
            raise ValueError(f"own_weight = {own_weight} must be a fraction of 1, e.g. 0.9")
        self.num_tasks = num_tasks
        self.own_weight = own_weight
        self.per_channel = per_channel
        self.regularizer = keras.regularizers.get(regularizer)

    def initial_weights(self) -> np.ndarray:
        """Returns the initial matrix `alpha`, `(tasks, tasks)`; rows sum to 1."""
        return initial_mixtures(self.num_tasks, self.own_weight)

    def build(self, input_shape: Any) -> None:
        """Creates `alpha`, `(tasks, tasks)` or `(tasks, tasks, channels)`, for one shape or a list of equal ones."""
        if self.built:
            return
        shape = input_shape[0] if isinstance(input_shape[0], list | tuple) else input_shape
        initial = self.initial_weights()
        if self.per_channel:
            initial = np.repeat(initial[..., None], int(shape[-1]), axis=-1)
        self.alpha = self.add_weight(
            shape=initial.shape,
            initializer=keras.initializers.Constant(initial),
            regularizer=self.regularizer,
            autocast=False,
            name="alpha",
        )
        self.built = True

    def call(self, inputs: Sequence[Any]) -> list[Any]:
        """Mixes the tasks' features.

        Args:
            inputs: One tensor `(batch, *spatial, channels)` per task, all of one shape.

        Returns:
            As many tensors of that shape.

        Raises:
            ValueError: If there are more or fewer tensors than tasks.
        """
        if len(inputs) != self.num_tasks:
            raise ValueError(f"{self.name} received {len(inputs)} tensors; it mixes {self.num_tasks} tasks")
        alpha = ops.cast(ops.convert_to_tensor(self.alpha), inputs[0].dtype)
        copies = [fan_out(features, self.num_tasks) for features in inputs]
        return [
            ordered_sum([copies[other][task] * alpha[task, other] for other in range(self.num_tasks)])
            for task in range(self.num_tasks)
        ]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {
            "num_tasks": self.num_tasks,
            "own_weight": self.own_weight,
            "per_channel": self.per_channel,
            "regularizer": keras.regularizers.serialize(self.regularizer),
        }


def initial_mixtures(count: int, own_weight: float | None) -> np.ndarray:
    """Returns a matrix of mixtures of `count` things, float32, whose rows sum to 1.

    Args:
        count: Number of things.
        own_weight: The diagonal; the rest to 1 is shared out equally. None gives everything the same weight.
    """
    own = 1.0 / count if own_weight is None or count == 1 else own_weight
    others = (1.0 - own) / max(1, count - 1)
    return np.where(np.eye(count, dtype=bool), own, others).astype("float32")
