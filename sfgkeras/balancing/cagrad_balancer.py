"""The gradient near the mean one that is best for the worst task."""

from collections.abc import Mapping
from typing import Any

from keras import ops

from sfgkeras.balancing.gradient_balancer import GradientBalancer
from sfgkeras.balancing.hull import lowest_point


class CAGradBalancer(GradientBalancer):
    """Steps along `g_0 + c |g_0| g_w / |g_w|`, times the number of tasks (Liu et al. 2021).

    Tasks without a label in the batch have no gradient, and do not count.

    Args:
        weights: `w_t` by task, in the order of the tasks.
        c: How far from the mean gradient, in units of its norm.
    """

    def __init__(self, weights: Mapping[str, float], c: float) -> None:
        super().__init__(weights, name="cagrad")
        self._c = c

    def combine(self, products: Any, losses: Any, present: Any) -> Any:
        """Returns the number of tasks times the factors of the gradients in `d`."""
        there = ops.cast(present, "float32")
        count = ops.sum(there)
        mean = ops.divide_no_nan(there, count)
        with_mean = ops.sum(products * mean[None, :], axis=1)
        radius = self._c * ops.sqrt(ops.maximum(ops.sum(with_mean * mean), 0.0))
        worst = lowest_point(products, with_mean, radius, present)
        norm = ops.sqrt(ops.maximum(ops.sum(worst * ops.sum(products * worst[None, :], axis=1)), 0.0))
        return count * (mean + ops.divide_no_nan(radius, norm) * worst)
