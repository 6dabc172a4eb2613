"""Subspaces of the tasks' features: units that mix them, and a penalty that keeps them apart (Ruder et al. 2017)."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras.layers.backend import fan_out, ordered_sum
from sfgkeras.layers.cross_stitch import initial_mixtures


@keras.saving.register_keras_serializable(package="sfgkeras")
class SubspaceStitch(keras.layers.Layer):
    """Mixes all subspaces of the features of T tasks: `y_ai = sum_bj alpha_ai,bj x_bj` (Ruder et al. 2017, eq. 4).

    The C channels of a task are S subspaces of C / S channels, one after the other. With the identity tasks are
    independent; with `alpha_ai,bj = a_ab` for i = j and 0 elsewhere this is a cross-stitch unit of the matrix a.

    Args:
        num_tasks: T.
        subspaces: S.
        own_weight: Initial weight of a subspace's own features; what it lacks to 1 is shared out equally among all
            other subspaces of all tasks. None gives all of them the same weight.

    Raises:
        ValueError: If there is no task or no subspace, or `own_weight` is not a fraction.
    """

    built: bool

    def __init__(self, num_tasks: int, subspaces: int = 2, own_weight: float | None = 0.9, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        if num_tasks < 1 or subspaces < 1:
            raise ValueError(f"num_tasks = {num_tasks}, subspaces = {subspaces}: a unit needs at least one of each")
        if own_weight is not None and not 0 <= own_weight <= 1:
            raise ValueError(f"own_weight = {own_weight} must be a fraction of 1, e.g. 0.9, or None")
        self.num_tasks = num_tasks
        self.subspaces = subspaces
        self.own_weight = own_weight

    def initial_weights(self) -> np.ndarray:
        """Returns the initial matrix `alpha`, `(tasks * subspaces,) * 2`; rows sum to 1."""
        return initial_mixtures(self.num_tasks * self.subspaces, self.own_weight)

    def build(self, input_shape: Any) -> None:
        """Creates `alpha`, `(tasks * subspaces,) * 2`, for the shape of a task's features, or a list of equal ones.

        Raises:
            ValueError: If the channels do not fall into equal subspaces.
        """
        if self.built:
            return
        shape = input_shape[0] if isinstance(input_shape[0], list | tuple) else input_shape
        if shape[-1] % self.subspaces:
            raise ValueError(f"{self.name}: {shape[-1]} channels do not fall into {self.subspaces} equal subspaces")
        initial = self.initial_weights()
        self.alpha = self.add_weight(
            shape=initial.shape,
            initializer=keras.initializers.Constant(initial),
            autocast=False,
            name="alpha",
        )
        self.built = True

    def call(self, inputs: Sequence[Any]) -> list[Any]:
        """Mixes the tasks' features.

        Subspaces of a task are moved around, so that every weight meets a whole tensor: S moved copies of T tensors
        rather than T S pieces for each of T S sums.

        Args:
            inputs: One tensor `(batch, *spatial, channels)` per task, all of one shape.

        Returns:
            As many tensors of that shape.

        Raises:
            ValueError: If there are more or fewer tensors than tasks.
        """
        if len(inputs) != self.num_tasks:
            raise ValueError(f"{self.name} received {len(inputs)} tensors; it mixes {self.num_tasks} tasks")
        width = inputs[0].shape[-1] // self.subspaces
        alpha = ops.cast(ops.convert_to_tensor(self.alpha), inputs[0].dtype)
        # Every weight is taken once, so that the order in which its gradients are added does not matter.
        places = mixing_places(self.num_tasks, self.subspaces)
        factors = ops.repeat(ops.take(ops.reshape(alpha, (-1,)), places), width, axis=-1)
        copies = []
        for features in inputs:
            used = fan_out(features, self.num_tasks + self.subspaces - 1)
            to_move = enumerate(used[self.num_tasks :], start=1)
            moved = [ops.roll(copy, -shift * width, axis=-1) for shift, copy in to_move]
            copies.append([used[: self.num_tasks], *(fan_out(copy, self.num_tasks) for copy in moved)])
        return [
            ordered_sum(
                [
                    copies[other][shift][task] * factors[task, other, shift]
                    for other in range(self.num_tasks)
                    for shift in range(self.subspaces)
                ]
            )
            for task in range(self.num_tasks)
        ]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {
            "num_tasks": self.num_tasks,
            "subspaces": self.subspaces,
            "own_weight": self.own_weight,
        }


def mixing_places(num_tasks: int, subspaces: int) -> np.ndarray:
    """Returns where the weights of whole tensors stand in a flattened `alpha`, `(tasks, tasks, shifts, subspaces)`.

    Entry `[a, b, d, i]` is the place of the weight by which subspace i of task a takes subspace i + d, around the end,
    of task b: that of the d-th moved copy of b's features.
    """
    task, other, shift, subspace = np.indices((num_tasks, num_tasks, subspaces, subspaces))
    row = task * subspaces + subspace
    column = other * subspaces + (subspace + shift) % subspaces
    return row * (num_tasks * subspaces) + column


@keras.saving.register_keras_serializable(package="sfgkeras")
class SubspaceOrthogonality(keras.regularizers.Regularizer):
    """Penalty of one kernel: `weight * sum_(i<j) ||G_i^T G_j||_F^2` over its subspaces (Ruder et al. 2017, eq. 3).

    `G_i` are the filters of subspace i as columns. It is 0 where all filters of different subspaces are orthogonal.

    Args:
        weight: Factor of the penalty.
        subspaces: Into how many equal parts the filters fall.
        further: A Keras regulariser of the same kernel besides, or None.
    """

    def __init__(self, weight: float, subspaces: int = 2, further: Any = None) -> None:
        self.weight = weight
        self.subspaces = subspaces
        self.further = keras.regularizers.get(further)

    def __call__(self, kernel: Any) -> Any:
        """Returns the scalar loss of a kernel `(*kernel_size, channels, filters)`."""
        # Read once, whatever is penalised: with three reads gradients would be added in no fixed order.
        values = ops.cast(ops.convert_to_tensor(kernel), "float32")
        penalty = self.weight * subspace_overlap(values, self.subspaces)
        return penalty if self.further is None else penalty + self.further(values)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "weight": self.weight,
            "subspaces": self.subspaces,
            "further": keras.regularizers.serialize(self.further),
        }


def subspace_overlap(kernel: Any, subspaces: int) -> Any:
    """Returns `sum_(i<j) ||G_i^T G_j||_F^2` of the filters of a kernel, in equal subspaces one after the other.

    Args:
        kernel: float32 `(..., filters)`.
        subspaces: Number of subspaces.

    Examples:
        >>> float(subspace_overlap([[1.0, 2.0], [0.0, 3.0]], 2))  # columns (1, 0) and (2, 3)
        4.0
    """
    kernel = ops.convert_to_tensor(kernel)
    filters = kernel.shape[-1]
    columns = ops.reshape(kernel, (-1, filters))
    products = ops.matmul(ops.transpose(columns), columns)
    subspace = np.arange(filters) * subspaces // filters
    counted = ops.convert_to_tensor((subspace[:, None] < subspace).astype("float32"))
    return ops.sum(ops.square(products * counted))
