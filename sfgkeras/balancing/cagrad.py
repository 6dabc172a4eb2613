"""Conflict-averse gradient descent: near the mean gradient, what is best for the worst task (Liu et al. 2021)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.balancing.base import Balancing, given_weights
from sfgkeras.settings import setting

if TYPE_CHECKING:
    from sfgkeras.balancing.balancer import Balancer


@dataclass(frozen=True)
class CAGrad(Balancing):
    """What tasks share follows the `d` with the largest `min_t g_t . d` among all with `|d - g_0| <= c |g_0|`.

    `g_0` is the mean gradient. By duality `d = g_0 + sqrt(phi) g_w / |g_w|` with `phi = c^2 |g_0|^2` and the `g_w` of
    the hull that has the least `g_w . g_0 + sqrt(phi) |g_w|` (Liu et al. 2021, equation 3 and algorithm 1). The step is
    `T d`, as the authors do it: with `c = 0` it is `fixed`.

    Attributes:
        weights: Factor of the loss by task; 1 for those that are not named.
        c: How far from the mean gradient, in units of its norm.
    """

    name: ClassVar[str] = "cagrad"
    summary: ClassVar[str] = "near the mean gradient, what is best for the worst task (Liu et al. 2021)"
    task_keys: ClassVar[Mapping[str, str]] = {"weight": "weights"}
    compares: ClassVar[str] = "gradients"

    weights: Mapping[str, float] = field(default_factory=dict)
    c: float = setting(
        0.5, "How far the step may lie from the mean gradient, as a part of its norm; 0 for the mean.", ge=0, lt=1
    )

    def build(self, tasks: Sequence[str]) -> "Balancer":
        """Builds what looks for the best step for the worst task."""
        from sfgkeras.balancing.cagrad_balancer import CAGradBalancer

        return CAGradBalancer(given_weights(self.weights, tasks), self.c)
