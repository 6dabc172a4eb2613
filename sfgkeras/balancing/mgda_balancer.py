"""The shortest vector in the hull of the tasks' gradients."""

from collections.abc import Mapping
from typing import Any

from keras import ops

from sfgkeras.balancing.gradient_balancer import GradientBalancer
from sfgkeras.balancing.hull import lowest_point


class MGDABalancer(GradientBalancer):
    """Steps along the shortest vector in the hull, times the number of tasks (Sener and Koltun 2018).

    Tasks without a label in the batch have no gradient, and do not count: the shortest vector would be theirs.

    Args:
        weights: `w_t` by task, in the order of the tasks.
        normalisation: See `MGDA`.
    """

    def __init__(self, weights: Mapping[str, float], normalisation: str) -> None:
        super().__init__(weights, name="mgda")
        self._normalisation = normalisation

    def combine(self, products: Any, losses: Any, present: Any) -> Any:
        """Returns the number of tasks times the weights of the shortest vector."""
        sizes = ops.ones_like(losses)
        if self._normalisation in ("l2", "loss+"):
            sizes = sizes * ops.sqrt(ops.diagonal(products))
        if self._normalisation in ("loss", "loss+"):
            sizes = sizes * ops.abs(losses)
        scaled = ops.divide_no_nan(products, sizes[:, None] * sizes[None, :])
        weights = lowest_point(scaled, ops.zeros_like(losses), 1.0, present)
        return ops.sum(ops.cast(present, "float32")) * weights
