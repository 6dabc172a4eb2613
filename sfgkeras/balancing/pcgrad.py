"""Gradient surgery: conflicting gradients are projected onto each other's normal planes (Yu et al. 2020)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.balancing.base import Balancing, given_weights

if TYPE_CHECKING:
    from sfgkeras.balancing.balancer import Balancer


@dataclass(frozen=True)
class PCGrad(Balancing):
    """Each task's gradient loses what points against another task's, one after the other in random order.

    `g_i <- g_i - (g_i . g_j) / |g_j|^2 g_j` wherever `g_i . g_j < 0`; the step is along the sum (Yu et al. 2020,
    algorithm 1). Without conflict it is `fixed`.

    Attributes:
        weights: Factor of the loss by task; 1 for those that are not named.
    """

    name: ClassVar[str] = "pcgrad"
    summary: ClassVar[str] = "conflicting gradients of what tasks share are projected (Yu et al. 2020)"
    task_keys: ClassVar[Mapping[str, str]] = {"weight": "weights"}
    compares: ClassVar[str] = "gradients"

    weights: Mapping[str, float] = field(default_factory=dict)

    def build(self, tasks: Sequence[str]) -> "Balancer":
        """Builds what projects gradients."""
        from sfgkeras.balancing.pcgrad_balancer import PCGradBalancer

        return PCGradBalancer(given_weights(self.weights, tasks))
