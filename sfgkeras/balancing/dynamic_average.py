"""Dynamic weight averaging: tasks whose losses fall slowly count more (Liu, Johns and Davison 2019)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.balancing.base import Balancing, given_weights
from sfgkeras.settings import setting

if TYPE_CHECKING:
    from sfgkeras.balancing.balancer import Balancer


@dataclass(frozen=True)
class DynamicAverage(Balancing):
    """`sum_t f_t w_t L_t` with `f_t = T exp(r_t / tau) / sum_i exp(r_i / tau)`, `r_t = L_t(k - 1) / L_t(k - 2)`.

    `L_t(k)` is the mean loss over the k-th interval of steps, the paper's epoch (Liu et al. 2019, equation 7). In the
    first two intervals all factors are 1.

    Attributes:
        weights: Factor `w` of the loss by task; 1 for those that are not named.
        temperature: `tau`; the larger, the more equal are the factors.
        interval: Steps over which losses are averaged.
    """

    name: ClassVar[str] = "dynamic_average"
    summary: ClassVar[str] = "the slower a loss falls, the more it counts (Liu et al. 2019)"
    task_keys: ClassVar[Mapping[str, str]] = {"weight": "weights"}
    compares: ClassVar[str] = "losses"

    weights: Mapping[str, float] = field(default_factory=dict)
    temperature: float = setting(2.0, "The paper's temperature; the larger, the more equal are the factors.", gt=0)
    interval: int = setting(
        100, "Iterations over which losses are averaged before the factors change; the paper's is an epoch.", ge=1
    )

    def build(self, tasks: Sequence[str]) -> "Balancer":
        """Builds the sum whose factors follow the losses."""
        from sfgkeras.balancing.dynamic_average_balancer import DynamicAverageBalancer

        return DynamicAverageBalancer(given_weights(self.weights, tasks), self.temperature, self.interval)
