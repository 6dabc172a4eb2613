"""Fixed weights: each task's loss times a number of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.balancing.base import Balancing, given_weights

if TYPE_CHECKING:
    from sfgkeras.balancing.balancer import Balancer


@dataclass(frozen=True)
class Fixed(Balancing):
    """`sum_t w_t L_t` with numbers `w_t` that stay.

    Attributes:
        weights: Factor of the loss by task; 1 for those that are not named.
    """

    name: ClassVar[str] = "fixed"
    summary: ClassVar[str] = "each task's loss times its weight, which stays"
    task_keys: ClassVar[Mapping[str, str]] = {"weight": "weights"}

    weights: Mapping[str, float] = field(default_factory=dict)

    def build(self, tasks: Sequence[str]) -> "Balancer":
        """Builds the sum with fixed weights."""
        from sfgkeras.balancing.fixed_balancer import FixedBalancer

        return FixedBalancer(given_weights(self.weights, tasks))
