"""What rules have in common that make one gradient of the tasks' gradients of what they share."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from sfgkeras.balancing.balancer import Gradient
from sfgkeras.balancing.gradients import Gradients
from sfgkeras.balancing.weighing_balancer import WeighingBalancer, stacked


class GradientBalancer(WeighingBalancer):
    """Steps along `sum_t f_t g_t`, with factors found from the gradients `g_t` of the tasks' losses at every step.

    `g_t` is the gradient of `w_t L_t` with respect to the shared variables: those that the losses of several tasks
    depend on. A variable that one task alone reaches gets that task's gradient as it is, and the regularisation is
    added to both. All that a rule needs is the matrix of products `g_s . g_t`: it is of the whole batch, the same on
    every device, and the factors of it hold for each device's part.

    Args:
        weights: `w_t` by task, in the order of the tasks.
        name: Name of the layer.
    """

    asks_for_gradients: ClassVar[bool] = True
    weighs_in_step: ClassVar[bool] = True

    def __init__(self, weights: Mapping[str, float], name: str) -> None:
        super().__init__(weights, name=name)
        self.found = self._state("factors", (len(self.tasks),), 1.0)
        self.cosine = self._state("cosine", (), 0.0)

    def _state(self, name: str, shape: tuple[int, ...], value: float) -> Any:
        return self.add_weight(
            shape=shape,
            initializer=keras.initializers.Constant(value),
            trainable=False,
            aggregation="only_first_replica",
            name=name,
        )

    def combine(self, products: Any, losses: Any, present: Any) -> Any:
        """Returns the factors of the gradients, float32 `(tasks,)`.

        Args:
            products: `g_s . g_t`, float32 `(tasks, tasks)`.
            losses: Weighed losses of the whole batch, `(tasks,)`.
            present: Which tasks have a label in the batch, booleans `(tasks,)`.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks combine")

    def factors(self) -> Any:
        """Returns the factors of the last step."""
        return ops.convert_to_tensor(self.found)

    def measures(self) -> dict[str, Any]:
        """Returns the mean cosine between the gradients of two tasks in the last step, where there are two."""
        return {"gradient_cosine": ops.convert_to_tensor(self.cosine)} if len(self.tasks) > 1 else {}

    def backward(
        self, losses: Mapping[str, Any], presence: Mapping[str, Any] | None, extra: Any, gradient: Gradient
    ) -> tuple[Any, list[Any]]:
        """Returns the weighed sum of the losses, and the gradient that is made of the tasks' gradients."""
        if not isinstance(gradient, Gradients):
            raise TypeError(f"balancing = {self.name} needs the gradients of a training step, not {gradient!r}")
        given = dict(zip(self.tasks, self._given, strict=True))
        trained = [task for task in losses if task not in self.stopped]
        weighed = {task: given[task] * losses[task] for task in trained}
        parts = {task: gradient(loss) for task, loss in weighed.items()}
        combined = self._combined(parts, weighed, presence, gradient)
        rest = gradient(ops.convert_to_tensor(extra))
        total = self.given_total({task: losses[task] for task in trained}) + extra
        return total, [_sum(pair) for pair in zip(combined, rest, strict=True)]

    def _combined(
        self,
        parts: Mapping[str, Sequence[Any]],
        losses: Mapping[str, Any],
        presence: Mapping[str, Any] | None,
        gradient: Gradients,
    ) -> list[Any]:
        """Returns this device's part of the gradient of the tasks, for each variable."""
        combined = [_sum(of_variable) for of_variable in zip(*parts.values(), strict=True)]
        shared = [index for index, each in enumerate(zip(*parts.values(), strict=True)) if _count(each) > 1]
        if not shared:
            self._note(dict.fromkeys(parts, 1.0), 0.0)
            return combined
        tasks = tuple(parts)
        flat = ops.stack([_flat(parts[task], shared, gradient.variables) for task in tasks])
        whole = gradient.over_devices(flat)
        products = ops.stack([ops.sum(whole * row, axis=1) for row in ops.unstack(whole, num=len(tasks))])
        products = products / (gradient.scale * gradient.scale)
        absent = 0.0 if presence is not None else 1.0
        of_batch = ops.stack([stacked(losses, tasks, 0.0), stacked(presence, tasks, absent)])
        loss, labelled = ops.unstack(gradient.over_devices(of_batch), num=2)
        present = labelled > 0.0
        # Of a step that overflows nothing is taken, whatever a rule makes of numbers that are none.
        is_number = ops.all(ops.isfinite(products))
        factors = ops.where(is_number, self.combine(products, loss, present), float("nan"))
        self._note(dict(zip(tasks, ops.unstack(factors, num=len(tasks)), strict=True)), mean_cosine(products, present))
        joined = ops.sum(factors[:, None] * flat, axis=0)
        begin = 0
        for index in shared:
            variable = gradient.variables[index]
            size = math.prod(variable.shape)
            combined[index] = ops.reshape(joined[begin : begin + size], variable.shape)
            begin += size
        return combined

    def _note(self, factors: Mapping[str, Any], cosine: Any) -> None:
        """Keeps what was found; of a step that overflows, which is not taken, nothing."""
        found, cosine = stacked(factors, self.tasks, 0.0), ops.convert_to_tensor(cosine, "float32")
        self.found.assign(ops.where(ops.all(ops.isfinite(found)), found, ops.convert_to_tensor(self.found)))
        self.cosine.assign(ops.where(ops.isfinite(cosine), cosine, ops.convert_to_tensor(self.cosine)))


def mean_cosine(products: Any, present: Any) -> Any:
    """Returns the mean cosine between two gradients, over all pairs of tasks with labels; 0 where there is none.

    Args:
        products: `g_s . g_t`, float32 `(tasks, tasks)`.
        present: Which tasks have a label, booleans `(tasks,)`.
    """
    norms = ops.sqrt(ops.diagonal(products))
    cosines = ops.divide_no_nan(products, norms[:, None] * norms[None, :])
    there = ops.cast(present, "float32")
    pairs = there[:, None] * there[None, :] * (1.0 - ops.eye(products.shape[0]))
    return ops.divide_no_nan(ops.sum(pairs * cosines), ops.sum(pairs))


def _count(gradients: Sequence[Any]) -> int:
    return sum(gradient is not None for gradient in gradients)


def _sum(gradients: Sequence[Any]) -> Any:
    there = [gradient for gradient in gradients if gradient is not None]
    total = there[0] if there else None
    for gradient in there[1:]:
        total = total + gradient
    return total


def _flat(gradients: Sequence[Any], indices: Sequence[int], variables: Sequence[Any]) -> Any:
    """Returns some of a task's gradients in one row, float32; 0 where its loss does not depend on a variable."""
    rows = []
    for index in indices:
        gradient = gradients[index]
        flat = ops.zeros(variables[index].shape) if gradient is None else gradient
        rows.append(ops.reshape(ops.cast(flat, "float32"), (-1,)))
    return ops.concatenate(rows)
