"""The balancing rules: how the losses of several tasks become one, one file each; settings are known without Keras."""

from collections.abc import Mapping
from typing import Any

from sfgkeras.balancing.base import Balancing
from sfgkeras.balancing.cagrad import CAGrad
from sfgkeras.balancing.dynamic_average import DynamicAverage
from sfgkeras.balancing.fixed import Fixed
from sfgkeras.balancing.gradnorm import GradNorm
from sfgkeras.balancing.mgda import MGDA
from sfgkeras.balancing.pcgrad import PCGrad
from sfgkeras.balancing.random_weights import RandomWeights
from sfgkeras.balancing.sum_of_gradients import SumOfGradients
from sfgkeras.balancing.uncertainty import Uncertainty
from sfgkeras.errors import lookup
from sfgkeras.tables.balancing import BALANCING as ENTRIES
from sfgkeras.tables.entry import LoadedTable

BALANCING: Mapping[str, type[Balancing]] = LoadedTable(ENTRIES)


def find_balancing(balancing: "str | Balancing | Mapping[str, float] | None") -> Balancing:
    """Returns a rule, given by its name with its defaults, or as it is.

    Args:
        balancing: A name in `BALANCING`, a rule, fixed weights by task, or None for fixed weights of 1.

    Raises:
        ConfigError: If there is no rule of that name.
        TypeError: If it is nothing of these.
    """
    if balancing is None:
        return Fixed()
    if isinstance(balancing, str):
        return lookup(BALANCING, balancing, "balancing rule")()
    if isinstance(balancing, Mapping):
        return Fixed(balancing)
    if not isinstance(balancing, Balancing):
        raise TypeError(f"balancing = {balancing!r} is neither a name nor a rule; known are {', '.join(BALANCING)}")
    return balancing


def read_balancing(values: Mapping[str, Any]) -> Balancing:
    """Returns a rule from its `name` and its settings, as plain values.

    Raises:
        ConfigError: If there is no rule of that name.
        TypeError: If it has no such setting.
    """
    settings = {name: value for name, value in values.items() if name != "name"}
    return lookup(BALANCING, values["name"], "balancing rule").from_values(settings)


__all__ = [
    "BALANCING",
    "MGDA",
    "Balancing",
    "CAGrad",
    "DynamicAverage",
    "Fixed",
    "GradNorm",
    "PCGrad",
    "RandomWeights",
    "SumOfGradients",
    "Uncertainty",
    "find_balancing",
    "read_balancing",
]
