"""Cross-stitch networks: a narrow network per task, and learned mixtures of their features (Misra et al. 2016)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.settings import setting
from sfgkeras.sharing.base import Sharing

if TYPE_CHECKING:
    from sfgkeras.architecture.graph import Architecture
    from sfgkeras.architecture.layer_settings import LayerSettings
    from sfgkeras.sharing.trunk import Trunk


@dataclass(frozen=True)
class CrossStitch(Sharing):
    """A narrow network per task; after each grouped layer every task reads a learned mixture of all.

    Attributes:
        weight: Initial weight of a task's own features; the rest to 1 is shared out among the others.
        per_channel: Whether units have weights for every channel.
        decay: Weight of the sum of squares of all cross-stitch weights.
    """

    name: ClassVar[str] = "cross_stitch"
    summary: ClassVar[str] = "a narrow network per task, joined by learned mixtures of features"

    weight: float = setting(
        0.9,
        "Initial weight of a task's own features; the rest goes to the other tasks in equal parts.",
        ge=0,
        le=1,
    )
    per_channel: bool = setting(
        False, "Whether every channel has its own cross-stitch weights, rather than one matrix per layer."
    )
    decay: float = setting(0.0, "Weight of the sum of squares of the cross-stitch weights in the loss.", ge=0)

    def build_trunk(self, architecture: "Architecture", settings: "LayerSettings") -> "Trunk":
        """Builds narrow networks joined by cross-stitch units."""
        from sfgkeras.sharing.cross_stitch_trunk import CrossStitchTrunk

        return CrossStitchTrunk(architecture, settings, self, name="trunk")
