"""Stochastic Filter Groups: every filter learns whether it serves one task or all (Bragman et al. 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sfgkeras.sharing.base import GroupSharing, check_choice, plain
from sfgkeras.tables.grouping import ASSIGNMENTS

if TYPE_CHECKING:
    from sfgkeras.architecture.graph import Architecture
    from sfgkeras.architecture.layer_settings import LayerSettings
    from sfgkeras.sharing.trunk import Trunk


@dataclass(frozen=True)
class SFG(GroupSharing):
    """Masks drawn from grouping probabilities that are learned (section 3 of the paper).

    Attributes:
        initial_probabilities: See `grouping.initial_probabilities`.
        learn_grouping: Whether the probabilities are trained.
        assignment: `soft` (relaxed masks) or `hard` (one-hot masks, straight-through gradient).
        per_sample: Whether every sample of a batch gets a draw of its own in training.
        entropy_decay: lambda_2 of the paper, weight of the sum of entropies of all trained probabilities.
        temperature: Initial value, rate and minimum of the temperature; see `grouping.temperature_schedule`.
    """

    name: ClassVar[str] = "sfg"
    summary: ClassVar[str] = "filter groups with learned probabilities"

    initial_probabilities: str | Sequence[float] | None = None
    learn_grouping: bool = True
    assignment: str = "soft"
    per_sample: bool = False
    entropy_decay: float = 1e-5
    temperature: Sequence[float] = (1.0, 1e-5, 0.1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("assignment", self.assignment, ASSIGNMENTS)
        for name in ("initial_probabilities", "temperature"):
            object.__setattr__(self, name, plain(getattr(self, name)))

    def build_trunk(self, architecture: "Architecture", settings: "LayerSettings") -> "Trunk":
        """Builds a trunk whose masks are drawn."""
        from sfgkeras.sharing.masked_trunk import MaskedTrunk

        return MaskedTrunk(architecture, settings, self, name="trunk")

    def probabilities_of(self, groups: Sequence[int]) -> Any:
        """Returns the initial probabilities of a stage.

        Args:
            groups: The groups that its filters can serve, shared last; given numbers are of all groups.
        """
        from sfgkeras.sharing.allocation import of_groups

        given = self.initial_probabilities
        return given if given is None or isinstance(given, str) else of_groups(given, groups)
