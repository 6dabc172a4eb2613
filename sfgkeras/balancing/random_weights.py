"""Weights drawn anew at every step (Lin, Ye, Zhang and Tsang 2022)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.balancing.base import Balancing, given_weights

if TYPE_CHECKING:
    from sfgkeras.balancing.balancer import Balancer


@dataclass(frozen=True)
class RandomWeights(Balancing):
    """`sum_t f_t w_t L_t` with `f = T softmax(z)`, where `z` are standard normal numbers drawn at every step.

    The paper's weights sum to 1 (Lin et al. 2022, section 3.1); times the number of tasks they are 1 on average, and a
    learning rate means what it means with `fixed`. A baseline: what a rule gains over it is what its choice is worth.

    Attributes:
        weights: Factor `w` of the loss by task; 1 for those that are not named.
    """

    name: ClassVar[str] = "random"
    summary: ClassVar[str] = "weights drawn at every step (Lin et al. 2022)"
    task_keys: ClassVar[Mapping[str, str]] = {"weight": "weights"}

    weights: Mapping[str, float] = field(default_factory=dict)

    def build(self, tasks: Sequence[str]) -> "Balancer":
        """Builds the sum with drawn weights."""
        from sfgkeras.balancing.random_weights_balancer import RandomWeightsBalancer

        return RandomWeightsBalancer(given_weights(self.weights, tasks))
