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


BALANCING: dict[str, BalancingEntry] = {
    "fixed": BalancingEntry(_fixed, "by each task's `weight`, which stays"),
    "uncertainty": BalancingEntry(
        _uncertainty, "by weights learned with the network, from each task's `log_sigma` (Kendall et al. 2018)"
    ),
}
