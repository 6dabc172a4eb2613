"""Learned weights by homoscedastic uncertainty (Kendall, Gal and Cipolla 2018)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.balancing.base import Balancing, by_task
from sfgkeras.errors import suggestion

if TYPE_CHECKING:
    from sfgkeras.balancing.balancer import Balancer

LIKELIHOODS: Mapping[str, float] = {"categorical": 1.0, "gaussian": 0.5}
"""The factor `c` of `c / s^2` by what a loss is the negative logarithm of."""


@dataclass(frozen=True)
class Uncertainty(Balancing):
    """`sum_t c_t L_t / s_t^2 + log s_t`, of which the network learns every `log s_t`.

    `c` is 1 for the cross-entropy and its kin, and 1/2 for the squared error and its kin (Kendall et al. 2018, eqs. 7
    and 10). A weight rests where `s^2 = 2 c L`: at twice the cross-entropy, at the squared error.

    Attributes:
        log_sigma: Initial `log s` by task; 0 for those that are not named.
        likelihood: `categorical` or `gaussian` by task; that of the task's loss for those that are not named.
    """

    name: ClassVar[str] = "uncertainty"
    summary: ClassVar[str] = "weights learned with the network, as the uncertainty of each task (Kendall et al. 2018)"
    task_keys: ClassVar[Mapping[str, str]] = {"log_sigma": "log_sigma"}

    log_sigma: Mapping[str, float] = field(default_factory=dict)
    likelihood: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def instead_of(cls, key: str, value: float, likelihood: str) -> str:
        """Returns the `log_sigma` that begins with a weight."""
        if key != "weight" or value <= 0:
            return ""
        return f"log_sigma = {log_sigma_of(value, likelihood):.4g}, which begins with that weight"

    def build(self, tasks: Sequence[str]) -> "Balancer":
        """Builds the sum with learned weights."""
        from sfgkeras.balancing.uncertainty_balancer import UncertaintyBalancer

        log_sigma = by_task("log_sigma", self.log_sigma, tasks, 0.0)
        for task, value in log_sigma.items():
            if not math.isfinite(value):
                raise ValueError(f"log_sigma: {value!r} of task {task!r} must be a number")
        for task, name in by_task("likelihood", self.likelihood, tasks, "categorical").items():
            if name not in LIKELIHOODS:
                hint = suggestion(name, list(LIKELIHOODS)) or f"; use one of {', '.join(LIKELIHOODS)}"
                raise ValueError(f"likelihood: {name!r} of task {task!r} is not known{hint}")
        return UncertaintyBalancer(log_sigma, self.likelihood)


def initial_weight(log_sigma: float, likelihood: str) -> float:
    """Returns the factor `c / s^2` that a loss has with some `log s`.

    >>> initial_weight(0.0, "categorical")
    1.0
    """
    return LIKELIHOODS[likelihood] * math.exp(-2.0 * log_sigma)


def log_sigma_of(weight: float, likelihood: str) -> float:
    """Returns the `log s` with which a loss has some factor, a positive number."""
    return 0.0 - 0.5 * math.log(weight / LIKELIHOODS[likelihood])
