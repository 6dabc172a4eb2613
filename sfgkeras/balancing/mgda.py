"""Multiple gradient descent: the shortest vector in the hull of the tasks' gradients (Sener and Koltun 2018)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.balancing.base import Balancing, given_weights
from sfgkeras.settings import setting

if TYPE_CHECKING:
    from sfgkeras.balancing.balancer import Balancer

NORMALISATIONS: Mapping[str, str] = {
    "none": "the gradients as they are",
    "l2": "each divided by its norm",
    "loss": "each divided by its loss",
    "loss+": "each divided by the product of both",
}


@dataclass(frozen=True)
class MGDA(Balancing):
    """What tasks share follows the shortest vector `sum_t a_t g_t` with `a_t >= 0` and `sum_t a_t = 1`.

    Along it no loss rises; where it is 0, no step makes one task better without another's getting worse (Sener and
    Koltun 2018, equation 3). Exact for two tasks, by Frank-Wolfe steps for more. The step is `T` times as long as that
    vector: `T a_t` is 1 on average, as the weights of other rules are.

    Attributes:
        weights: Factor of the loss by task; 1 for those that are not named.
        normalisation: By what gradients are divided before the hull is searched.
    """

    name: ClassVar[str] = "mgda"
    summary: ClassVar[str] = "the shortest vector in the hull of the tasks' gradients (Sener and Koltun 2018)"
    task_keys: ClassVar[Mapping[str, str]] = {"weight": "weights"}
    compares: ClassVar[str] = "gradients"

    weights: Mapping[str, float] = field(default_factory=dict)
    normalisation: str = setting(
        "none", "How the gradients are made comparable before the weights are found.", choices=NORMALISATIONS
    )

    def build(self, tasks: Sequence[str]) -> "Balancer":
        """Builds what searches the hull."""
        from sfgkeras.balancing.mgda_balancer import MGDABalancer

        return MGDABalancer(given_weights(self.weights, tasks), self.normalisation)
