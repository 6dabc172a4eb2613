"""Deep relationship networks: shared stages, then layers per task under a learned prior (Long et al. 2017)."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.settings import setting
from sfgkeras.sharing.base import Sharing

if TYPE_CHECKING:
    from sfgkeras.architecture.graph import Architecture
    from sfgkeras.architecture.layer_settings import LayerSettings
    from sfgkeras.sharing.trunk import Trunk

COVARIANCES: Mapping[str, str] = MappingProxyType(
    {
        "all": "over features, classes and tasks, as in the paper",
        "tasks": "over tasks alone, which costs next to nothing",
    }
)
"""Which covariances are learned."""


@dataclass(frozen=True)
class DeepRelationship(Sharing):
    """All tasks share the first stages; the kernels that tasks have of their own have a tensor normal prior in common.

    Attributes:
        task_layers: How many of the last stages every task has for itself; those that the network has per task count.
        strength: Weight of the negative logarithm of the prior in the objective.
        update_every: Training steps between two updates of the covariances.
        epsilon: What is added to the diagonal of a covariance, as a part of its mean.
        covariances: Which are learned: `all` or `tasks`.
        same_start: Whether the kernels of all tasks start equal.
    """

    name: ClassVar[str] = "deep_relationship"
    summary: ClassVar[str] = "shared stages, then layers per task whose kernels have a learned covariance over tasks"
    shaping: ClassVar[tuple[str, ...]] = ("task_layers", "covariances")

    task_layers: int = setting(
        1,
        "How many of the last stages every task has for itself, with an equal part of the filters; stages that the "
        "network has per task anyway are among them. With 0 only the heads are the tasks' own.",
        ge=0,
    )
    strength: float = setting(1e-5, "Weight of the negative logarithm of the prior in the loss.", ge=0)
    update_every: int = setting(100, "Training steps between two updates of the covariances.", ge=1)
    epsilon: float = setting(
        1e-2, "What is added to the diagonal of each covariance, as a part of the diagonal's mean.", gt=0
    )
    covariances: str = setting("all", "Which covariances of the kernels are learned.", choices=COVARIANCES)
    same_start: bool = setting(
        True,
        "Whether the tasks' own kernels start equal where their shapes agree, so that the same place means the same "
        "for all tasks.",
    )

    def build_trunk(self, architecture: "Architecture", settings: "LayerSettings") -> "Trunk":
        """Builds shared stages, and stages per task under the prior."""
        from sfgkeras.sharing.deep_relationship_trunk import DeepRelationshipTrunk

        return DeepRelationshipTrunk(architecture, settings, self, name="trunk")
