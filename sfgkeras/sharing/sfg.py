"""Stochastic Filter Groups: every filter learns whether it serves one task or all (Bragman et al. 2019)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from sfgkeras.errors import Problem
from sfgkeras.quoting import unquote
from sfgkeras.settings import setting
from sfgkeras.sharing.base import GROUP_MULTIPLE, GroupSharing, plain
from sfgkeras.tables.grouping import ASSIGNMENTS
from sfgkeras.values import Reads, parse_numbers

if TYPE_CHECKING:
    from sfgkeras.architecture.graph import Architecture
    from sfgkeras.architecture.layer_settings import LayerSettings
    from sfgkeras.sharing.trunk import Trunk


_DRAWN = ("dirichlet", "vertices")

LAST_TEMPERATURE = 0.1
"""Temperature at the end of a search that learns groups; it falls from 1."""

WAY_OF_LOGITS = 8.0
"""How far Adam can move a logit in such a search, whatever its length: 0.05 in each of 160 steps."""


def _parse_probabilities(text: str) -> str | tuple[float, ...]:
    """Reads probabilities of groups, or how they are drawn."""
    word = unquote(text).lower()
    if word in _DRAWN:
        return word
    try:
        return parse_numbers(text)
    except Problem as problem:
        raise Problem(problem.what, f"write one probability per group, or {' or '.join(_DRAWN)}") from problem


@dataclass(frozen=True)
class SFG(GroupSharing):
    """Masks drawn from grouping probabilities that are learned (section 3 of the paper).

    Attributes:
        initial_probabilities: See `grouping.initial_probabilities`.
        learn_grouping: Whether the probabilities are trained.
        assignment: `soft` (relaxed masks) or `hard` (one-hot masks, straight-through gradient).
        per_sample: Whether every sample of a batch gets a draw of its own in training.
        entropy_decay: lambda_2 of the paper, weight of the sum of entropies of all trained probabilities.
        cost_weight: Weight of `networks.expected_multiplies` in the objective, relative to all shared.
        group_multiple: What the filters of every group are multiples of once groups are fixed; see
            `group_multiples.assign_groups`.
        temperature: Initial value, rate and minimum of the temperature; see `grouping.temperature_schedule`.
        noise: Whether masks are drawn. False takes `softmax(ln p / temperature)`, the draw without its noise (mean
            field): with `hard` assignment the most probable groups with the gradient of that.
    """

    name: ClassVar[str] = "sfg"
    summary: ClassVar[str] = "filter groups with learned probabilities"

    initial_probabilities: str | Sequence[float] | None = setting(
        None,
        "Initial probability of each group, tasks in order, then shared; `dirichlet` draws those of each filter from a "
        "flat Dirichlet, `vertices` gives each filter 0.9 for one group; empty for 0.6 shared and the rest equal, of "
        "`constant_p` for equal ones.",
        ge=0,
        reads=Reads(_parse_probabilities, "list of fractions / `dirichlet` / `vertices`"),
    )
    learn_grouping: bool = True
    assignment: str = setting(
        "soft", "Masks: relaxed, or one-hot with the gradient of the relaxed draw.", choices=ASSIGNMENTS
    )
    per_sample: bool = setting(False, "Whether each window of a batch draws its own masks in training.")
    entropy_decay: float = setting(1e-5, "Weight of the entropy of the probabilities, lambda_2 of the paper.", ge=0)
    cost_weight: float = setting(
        0.0,
        "Weight in the objective of the multiplies that the hardened network is expected to cost, as a multiple of "
        "those with all filters shared; 0 leaves the groups to the losses alone.",
        ge=0,
    )
    group_multiple: int = setting(1, GROUP_MULTIPLE, ge=1)
    temperature: tuple[float, float, float] = setting(
        (1.0, 1e-5, 0.1),
        "Initial value, rate r and minimum of the temperature max(minimum, initial exp(-r t)) at iteration t.",
        ge=0,
    )
    noise: bool = True

    def __post_init__(self) -> None:
        for name in ("initial_probabilities", "temperature"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        super().__post_init__()

    def build_trunk(self, architecture: "Architecture", settings: "LayerSettings") -> "Trunk":
        """Builds a trunk whose masks are drawn."""
        from sfgkeras.sharing.masked_trunk import MaskedTrunk

        return MaskedTrunk(architecture, settings, self, name="trunk")

    def searching(self, steps: int) -> "SFG":
        """Returns the mechanism as a search learns groups by it in so many steps: without noise, decided at the end."""
        temperature = (1.0, -math.log(LAST_TEMPERATURE) / steps, LAST_TEMPERATURE)
        return replace(self, noise=False, assignment="soft", per_sample=False, temperature=temperature)

    def probabilities_of(self, groups: Sequence[int]) -> Any:
        """Returns the initial probabilities of a stage.

        Args:
            groups: The groups that its filters can serve, shared last; given numbers are of all groups.
        """
        from sfgkeras.sharing.allocation import of_groups

        given = self.initial_probabilities
        return given if given is None or isinstance(given, str) else of_groups(given, groups)
