"""The sum of the losses with weights that are learned from the norms of their gradients."""

import re
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import keras
from keras import ops

from sfgkeras.balancing.balancer import Gradient
from sfgkeras.balancing.gradients import Gradients
from sfgkeras.balancing.weighing_balancer import WeighingBalancer, stacked

LEAST = 1e-3
"""No weight falls below this part of the mean one: at 0 it would stay."""

_STAGE = re.compile(r"[a-z]_(\d+)(?=[_/])")


class GradNormBalancer(WeighingBalancer):
    """Weights that go down the gradient of the distances between norms and goals (Chen et al. 2018, algorithm 1).

    Losses `L(0)` are those of the first batch in which a task has a label; of a batch in which it has none, its weight
    is left as it is.

    Args:
        weights: Initial weights by task, in the order of the tasks.
        alpha: Power of the relative inverse training rates.
        rate: Learning rate of the weights.
        layer: Pattern of the name of the kernel whose gradients are compared; empty for the last shared one.
    """

    is_learned = True
    asks_for_gradients: ClassVar[bool] = True

    def __init__(self, weights: Mapping[str, float], alpha: float, rate: float, layer: str) -> None:
        super().__init__(weights, name="gradnorm")
        self._alpha, self._rate, self._pattern = alpha, rate, layer
        # Behind a name that Keras does not follow: the kernel is the network's, and saved with it.
        self._place = SimpleNamespace(kernel=None)
        count, total = len(weights), sum(weights.values())
        initial = [count * weight / total for weight in weights.values()]
        self.weighs = self._state("weights")
        self.weighs.assign(initial)
        self.first = self._state("first_losses")

    def _state(self, name: str) -> Any:
        return self.add_weight(
            shape=(len(self.tasks),),
            initializer=keras.initializers.Zeros(),
            trainable=False,
            aggregation="only_first_replica",
            name=name,
        )

    def factors(self) -> Any:
        """Returns the learned weights; `task_weights` are these, as the given ones are where they began."""
        return ops.convert_to_tensor(self.weighs)

    def task_weights(self) -> dict[str, Any]:
        """Returns the learned weights by task."""
        return dict(zip(self.tasks, ops.unstack(self.factors(), num=len(self.tasks)), strict=True))

    def backward(
        self, losses: Mapping[str, Any], presence: Mapping[str, Any] | None, extra: Any, gradient: Gradient
    ) -> tuple[Any, list[Any]]:
        """Returns the weighed sum and its gradient, and learns the weights of the next step.

        Raises:
            ValueError: If the tasks share no variable, or the pattern fits none.
        """
        if not isinstance(gradient, Gradients):
            raise TypeError(f"balancing = gradnorm needs the gradients of a training step, not {gradient!r}")
        total = self.total(losses, presence, training=True) + extra
        gradients = gradient(total)
        trained = tuple(task for task in losses if task not in self.stopped)
        if len(trained) > 1:
            self._learn({task: losses[task] for task in trained}, presence, gradient)
        return total, gradients

    def _learn(self, losses: Mapping[str, Any], presence: Mapping[str, Any] | None, gradient: Gradients) -> None:
        # A network that grows has other variables then.
        if not any(variable is self._place.kernel for variable in gradient.variables):
            self._place.kernel = self._find_layer(losses, gradient)
        kernel = self._place.kernel
        parts = []
        for loss in losses.values():
            (part,) = gradient(loss, [kernel])
            parts.append(ops.zeros(kernel.shape) if part is None else ops.cast(part, "float32"))
        whole = ops.reshape(gradient.over_devices(ops.stack(parts)), (len(parts), -1)) / gradient.scale
        found = ops.unstack(ops.sqrt(ops.sum(whole * whole, axis=1)), num=len(parts))
        absent = 0.0 if presence is not None else 1.0
        labelled = {task: absent if presence is None else presence[task] for task in losses}
        of_batch = ops.stack([stacked(losses, self.tasks, 0.0), stacked(labelled, self.tasks, 0.0)])
        loss, present = ops.unstack(gradient.over_devices(of_batch), num=2)
        norms = stacked(dict(zip(losses, found, strict=True)), self.tasks, 0.0)
        self._step(norms, ops.divide_no_nan(loss, present), present > 0.0)

    def _step(self, norms: Any, losses: Any, present: Any) -> None:
        """Moves the weights.

        Args:
            norms: `|d L_t / dW|`, `(tasks,)`.
            losses: Mean losses of the samples with a label, `(tasks,)`.
            present: Which tasks have labels and are trained, booleans `(tasks,)`.
        """
        weights, first = ops.convert_to_tensor(self.weighs), ops.convert_to_tensor(self.first)
        usable = ops.all(ops.logical_and(ops.isfinite(norms), ops.isfinite(losses)))
        present = ops.logical_and(present, usable)
        first = ops.where(ops.logical_and(present, first == 0.0), losses, first)
        rates = ops.where(first > 0.0, ops.divide_no_nan(losses, first), 1.0)
        slopes = weight_gradient(weights, norms, rates, present, self._alpha)
        moved = ops.maximum(weights - self._rate * ops.where(present, slopes, 0.0), LEAST)
        # The weights of the tasks that are trained sum to their number; those of the others stay.
        active = ops.cast(self.is_active, "float32")
        moved = moved * ops.divide_no_nan(ops.sum(active), ops.sum(active * moved))
        self.weighs.assign(ops.where(ops.logical_and(self.is_active, usable), moved, weights))
        self.first.assign(first)

    def _find_layer(self, losses: Mapping[str, Any], gradient: Gradients) -> Any:
        reached = list(zip(*(gradient.reached(loss) for loss in losses.values()), strict=True))
        found = last_shared(gradient.variables, [sum(each) for each in reached], self._pattern)
        if found is None:
            what = f"whose name matches layer = {self._pattern!r}" if self._pattern else "of several tasks"
            raise ValueError(
                "balancing = gradnorm compares gradients at a layer that tasks share, and there is no kernel "
                f"{what} that two losses depend on; choose another rule or mechanism of sharing"
            )
        return found


def weight_gradient(weights: Any, norms: Any, rates: Any, present: Any, alpha: float) -> Any:
    """Returns the gradient of `sum_t |f_t n_t - G r_t^alpha| / G` with respect to `f`, with goals and `G` constant.

    Args:
        weights: `f`, `(tasks,)`.
        norms: `n`, norms of the gradients of the losses that are not weighed.
        rates: `L_t / L_t(0)`.
        present: Which tasks count, booleans.
        alpha: Power of the rates, which are divided by their mean.
    """
    there = ops.cast(present, "float32")
    count = ops.maximum(ops.sum(there), 1.0)
    mean = ops.sum(there * weights * norms) / count
    relative = ops.divide_no_nan(rates, ops.sum(there * rates) / count)
    goals = mean * ops.power(ops.maximum(relative, 0.0), alpha)
    return there * ops.sign(weights * norms - goals) * ops.divide_no_nan(norms, mean)


def last_shared(variables: Sequence[Any], readers: Sequence[int], pattern: str = "") -> Any:
    """Returns the kernel of the last stage that most tasks' losses depend on; None if no two share one.

    Args:
        variables: All variables, in the order of the network.
        readers: How many losses depend on each.
        pattern: Regular expression that its name has to match; empty for any kernel.
    """
    wanted = re.compile(pattern or r"(^|[/_])kernel$")
    kernels = [
        (count, _stage(variable.path), number)
        for number, (variable, count) in enumerate(zip(variables, readers, strict=True))
        if count > 1 and wanted.search(variable.path)
    ]
    return variables[max(kernels)[2]] if kernels else None


def _stage(path: str) -> int:
    """Returns the number of the stage that a variable's path names, behind the name of the network; 0 if none."""
    found = _STAGE.search(path.partition("/")[2])
    return int(found.group(1)) if found else 0
