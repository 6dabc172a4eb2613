"""Independent networks: nothing is shared."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.sharing.base import Sharing

if TYPE_CHECKING:
    from sfgkeras.architecture.graph import Architecture
    from sfgkeras.architecture.layer_settings import LayerSettings
    from sfgkeras.sharing.trunk import Trunk


@dataclass(frozen=True)
class SingleTask(Sharing):
    """Every task has an equal part of the filters: independent narrow networks."""

    name: ClassVar[str] = "single_task"
    summary: ClassVar[str] = "an independent narrow network per task"

    def build_trunk(self, architecture: "Architecture", settings: "LayerSettings") -> "Trunk":
        """Builds a trunk in which every task has as many filters, and the shared group none."""
        from sfgkeras.sharing.allocation import allocate_evenly
        from sfgkeras.sharing.grouped_trunk import GroupedTrunk

        allocation = allocate_evenly(architecture)
        return GroupedTrunk(architecture, settings, allocation, name="trunk")
