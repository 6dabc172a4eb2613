"""Hard sharing: one trunk for all tasks (Caruana 1997)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.sharing.base import Sharing

if TYPE_CHECKING:
    from sfgkeras.architecture.graph import Architecture
    from sfgkeras.architecture.layer_settings import LayerSettings
    from sfgkeras.sharing.trunk import Trunk


@dataclass(frozen=True)
class HardSharing(Sharing):
    """All filters are shared: an ordinary network with one head per task."""

    name: ClassVar[str] = "hard_sharing"
    summary: ClassVar[str] = "all filters serve all tasks"

    def build_trunk(self, architecture: "Architecture", settings: "LayerSettings") -> "Trunk":
        """Builds a trunk in which the shared group has every filter."""
        from sfgkeras.sharing.allocation import allocate_shared
        from sfgkeras.sharing.grouped_trunk import GroupedTrunk

        allocation = allocate_shared(architecture)
        return GroupedTrunk(architecture, settings, allocation, name="trunk")
