"""The sum of the losses with fixed weights."""

from collections.abc import Mapping
from typing import Any

from keras import ops

from sfgkeras.balancing.balancer import Balancer


class FixedBalancer(Balancer):
    """`sum_t w_t L_t`.

    Args:
        weights: `w_t` by task, in the order of the tasks.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__(tuple(weights), name="fixed")
        self._weights = tuple(float(weight) for weight in weights.values())

    def task_weights(self) -> dict[str, Any]:
        """Returns `w_t` by task."""
        return {
            task: ops.convert_to_tensor(weight, "float32")
            for task, weight in zip(self.tasks, self._weights, strict=True)
        }
