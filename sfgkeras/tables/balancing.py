"""How the losses of the tasks become one: what `[TRAINING] balancing` may choose."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfgkeras.tables.entry import Entry

if TYPE_CHECKING:
    from sfgkeras.balancing.base import Balancing


@dataclass(frozen=True)
class BalancingEntry(Entry["type[Balancing]"]):
    """A balancing rule; its class holds its settings and knows no Keras."""

    def settings_class(self) -> type | None:
        """Returns the rule itself: its fields are its settings."""
        return self.load()


def _fixed() -> "type[Balancing]":
    from sfgkeras.balancing.fixed import Fixed

    return Fixed


def _uncertainty() -> "type[Balancing]":
    from sfgkeras.balancing.uncertainty import Uncertainty

    return Uncertainty


def _sum_of_gradients() -> "type[Balancing]":
    from sfgkeras.balancing.sum_of_gradients import SumOfGradients

    return SumOfGradients


def _dynamic_average() -> "type[Balancing]":
    from sfgkeras.balancing.dynamic_average import DynamicAverage

    return DynamicAverage


def _gradnorm() -> "type[Balancing]":
    from sfgkeras.balancing.gradnorm import GradNorm

    return GradNorm


def _pcgrad() -> "type[Balancing]":
    from sfgkeras.balancing.pcgrad import PCGrad

    return PCGrad


def _mgda() -> "type[Balancing]":
    from sfgkeras.balancing.mgda import MGDA

    return MGDA


def _cagrad() -> "type[Balancing]":
    from sfgkeras.balancing.cagrad import CAGrad

    return CAGrad


def _random() -> "type[Balancing]":
    from sfgkeras.balancing.random_weights import RandomWeights

    return RandomWeights


BALANCING: dict[str, BalancingEntry] = {
    "fixed": BalancingEntry(_fixed, "by each task's `weight`, which stays"),
    "uncertainty": BalancingEntry(
        _uncertainty, "by weights learned with the network, from each task's `log_sigma` (Kendall et al. 2018)"
    ),
    "sum_of_gradients": BalancingEntry(
        _sum_of_gradients, "by `weight`, each a mean over its own labelled samples (Pinto and Gupta 2017)"
    ),
    "dynamic_average": BalancingEntry(
        _dynamic_average, "the slower a loss falls, the more it counts (Liu et al. 2019)"
    ),
    "gradnorm": BalancingEntry(
        _gradnorm, "by weights learned from `weight` on, so that all train at similar rates (Chen et al. 2018)"
    ),
    "pcgrad": BalancingEntry(_pcgrad, "conflicting gradients of what tasks share are projected (Yu et al. 2020)"),
    "mgda": BalancingEntry(_mgda, "the shortest vector in the hull of the gradients (Sener and Koltun 2018)"),
    "cagrad": BalancingEntry(_cagrad, "near the mean gradient, what is best for the worst task (Liu et al. 2021)"),
    "random": BalancingEntry(_random, "by weights drawn at every iteration (Lin et al. 2022)"),
}
