"""A baseline of the paper: one allocation of filters to groups that never changes (supplement, section 1.4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.settings import setting
from sfgkeras.sharing.base import GROUP_MULTIPLE, GroupSharing, plain
from sfgkeras.values import Reads, parse_numbers

if TYPE_CHECKING:
    from sfgkeras.architecture.graph import Architecture
    from sfgkeras.architecture.layer_settings import LayerSettings
    from sfgkeras.sharing.trunk import Trunk


@dataclass(frozen=True)
class ConstantMask(GroupSharing):
    """Every filter has one group for good: a given one, or one drawn by fractions.

    Attributes:
        fractions: Fractions of every layer's filters per group, shared last; None: equal ones.
        group_multiple: What the filters of every group are multiples of; see `grouping.count_allocation`.
        allocation: The group of every filter of every stage, instead of fractions.
    """

    name: ClassVar[str] = "constant_mask"
    summary: ClassVar[str] = "one allocation of filters to groups, drawn once or given"

    fractions: Sequence[float] | None = setting(
        None,
        "Fractions of every layer's filters per group, tasks in order, then shared; empty for equal ones.",
        ge=0,
        reads=Reads(parse_numbers, "list of fractions"),
    )
    group_multiple: int = setting(1, GROUP_MULTIPLE, ge=1)
    allocation: Sequence[Sequence[int]] | None = None

    def __post_init__(self) -> None:
        for name in ("fractions", "allocation"):
            object.__setattr__(self, name, plain(getattr(self, name)))
        super().__post_init__()

    def build_trunk(self, architecture: "Architecture", settings: "LayerSettings") -> "Trunk":
        """Builds a trunk of fixed groups."""
        from sfgkeras.sharing.allocation import allocate_once
        from sfgkeras.sharing.grouped_trunk import GroupedTrunk

        # A given allocation draws no seed: networks of earlier versions have drawn none.
        allocation = self.allocation or allocate_once(
            architecture, self.fractions, settings.next_seed(), self.group_multiple
        )
        return GroupedTrunk(architecture, settings, allocation, self.routing, self.mask_residual, name="trunk")
