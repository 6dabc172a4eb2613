"""Soft sharing: a network per task, whose kernels are pulled together by a penalty (Duong et al. 2015)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.settings import setting
from sfgkeras.sharing.base import Sharing
from sfgkeras.tables.coupling import KERNEL_DISTANCES

if TYPE_CHECKING:
    from sfgkeras.architecture.graph import Architecture
    from sfgkeras.architecture.layer_settings import LayerSettings
    from sfgkeras.sharing.trunk import Trunk


@dataclass(frozen=True)
class SoftSharing(Sharing):
    """A narrow network per task; corresponding kernels of all tasks are drawn towards each other.

    Attributes:
        strength: Factor of the distance between the tasks' kernels in the loss; 0 leaves independent networks.
        distance: `squared`, `absolute` or `trace_norm`.
        layers: Which kernels are coupled, by patterns of their names; none means all of the stages that are shared.
    """

    name: ClassVar[str] = "soft_sharing"
    summary: ClassVar[str] = "a narrow network per task, whose kernels a penalty draws together"

    strength: float = setting(
        1e-3,
        "Factor of the distance between corresponding kernels of the tasks, summed over all of them, in the loss; "
        "0 leaves independent networks.",
        ge=0,
    )
    distance: str = setting("squared", "How the distance is measured.", choices=KERNEL_DISTANCES)
    layers: tuple[str, ...] = setting(
        (),
        "Which kernels are drawn together, by patterns with `*` and `?`: a stage (`stage_1`, or its own name) with "
        "its residual blocks, or single kernels, `stage_1/convolution` or `stage_1/block_1/convolution_2`. Empty: "
        "those of all stages but the ones that every task has for itself.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "layers", tuple(self.layers))

    @property
    def names_stages(self) -> bool:
        """Whether patterns choose kernels."""
        return bool(self.layers)

    def build_trunk(self, architecture: "Architecture", settings: "LayerSettings") -> "Trunk":
        """Builds narrow networks of one shape whose kernels are coupled."""
        from sfgkeras.sharing.soft_sharing_trunk import SoftSharingTrunk

        return SoftSharingTrunk(architecture, settings, self, name="trunk")
