"""What rules have in common that weigh the losses by themselves: factors that change, beside weights that stay."""

from collections.abc import Mapping
from typing import Any

from keras import ops

from sfgkeras.balancing.balancer import Balancer, OverDevices
from sfgkeras.balancing.gradients import on_one_device


class WeighingBalancer(Balancer):
    """`sum_t f_t w_t L_t`: the rule finds the factors `f`, the user gives the weights `w`.

    In validation the factors are left out: losses of different moments can be compared then, and the best of them
    chosen.

    Args:
        weights: `w_t` by task, in the order of the tasks.
        name: Name of the layer.
    """

    logs_weights = True

    def __init__(self, weights: Mapping[str, float], name: str) -> None:
        super().__init__(tuple(weights), name=name)
        self._given = tuple(float(weight) for weight in weights.values())

    def factors(self) -> Any:
        """Returns `f` of all tasks, float32 `(tasks,)`; what it has for stopped tasks does not count."""
        raise NotImplementedError(f"{type(self).__name__} lacks factors")

    def task_weights(self) -> dict[str, Any]:
        """Returns `f_t w_t` by task."""
        return dict(zip(self.tasks, ops.unstack(self.factors() * self.given, num=len(self.tasks)), strict=True))

    def total(
        self,
        losses: Mapping[str, Any],
        presence: Mapping[str, Any] | None = None,
        training: bool = False,
        over_devices: OverDevices = on_one_device,
    ) -> Any:
        """Returns the objective of a batch, in validation with the given weights alone."""
        if training:
            return super().total(losses, presence, True, over_devices)
        return self.given_total(losses)

    def given_total(self, losses: Mapping[str, Any]) -> Any:
        """Returns `sum_t w_t L_t`."""
        given = dict(zip(self.tasks, self._given, strict=True))
        total = ops.zeros((), "float32")
        for task, loss in losses.items():
            total = total + given[task] * loss
        return total

    @property
    def given(self) -> Any:
        """The weights `w`, float32 `(tasks,)`."""
        return ops.convert_to_tensor(self._given, "float32")

    @property
    def is_active(self) -> Any:
        """Which tasks are trained, booleans `(tasks,)`."""
        return ops.convert_to_tensor(self.active) > 0.0

    def shared_out(self, scores: Any) -> Any:
        """Returns factors of which each task's part grows with its score, and which are 1 on average.

        Args:
            scores: float32 `(tasks,)`.

        Returns:
            `n softmax(scores)` over the `n` tasks that are trained; 0 for the others.
        """
        there = ops.cast(self.is_active, "float32")
        # The largest of those that count: beside that of a stopped task, all the others could vanish.
        largest = ops.max(ops.where(self.is_active, scores, float("-inf")))
        powers = ops.where(self.is_active, ops.exp(scores - largest), 0.0)
        return ops.sum(there) * ops.divide_no_nan(powers, ops.sum(powers))


def stacked(values: Mapping[str, Any] | None, tasks: tuple[str, ...], default: float) -> Any:
    """Returns numbers by task as a float32 tensor `(tasks,)`, into which no gradient flows.

    Args:
        values: Scalars by task; None for the default of all.
        tasks: All tasks.
        default: The number of those that are missing.
    """
    found = [ops.convert_to_tensor((values or {}).get(task, default)) for task in tasks]
    return ops.stop_gradient(ops.stack([ops.cast(value, "float32") for value in found]))
