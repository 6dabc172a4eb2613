"""Sluice networks: a network per task, mixtures of their subspaces, and of each task's layers (Ruder et al. 2017)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.errors import Problem
from sfgkeras.settings import setting
from sfgkeras.sharing.base import Sharing
from sfgkeras.tables.coupling import SLUICE_STARTS

if TYPE_CHECKING:
    from sfgkeras.architecture.graph import Architecture
    from sfgkeras.architecture.layer_settings import LayerSettings
    from sfgkeras.sharing.trunk import Trunk

OWN_WEIGHT = 0.9
"""Initial weight of what is a subspace's own, and of the last layer, in the paper's imbalanced initialisation."""


@dataclass(frozen=True)
class Sluice(Sharing):
    """A narrow network per task; subspaces of all tasks are mixed after each grouped layer, and layers at the heads.

    Attributes:
        subspaces: Into how many equal parts the filters of a task fall.
        orthogonality: Weight of the penalty that keeps subspaces of a layer apart.
        beta: Whether every head reads a learned mixture of all layers of its task, rather than the last one.
        initialisation: `imbalanced` or `uniform`.
        weight: Initial weight of a subspace's own features, and of the last layer.
    """

    name: ClassVar[str] = "sluice"
    summary: ClassVar[str] = "a narrow network per task, joined by learned mixtures of subspaces and of layers"
    shaping: ClassVar[tuple[str, ...]] = ("subspaces", "beta")

    subspaces: int = setting(
        2,
        "Into how many equal parts the filters that a task has in a layer fall; 1 mixes whole layers.",
        ge=1,
    )
    orthogonality: float = setting(
        1e-3,
        "Weight of `sum ||G_i^T G_j||_F^2` over layers, tasks and pairs of subspaces in the loss, G the filters of a "
        "subspace; 0 switches it off.",
        ge=0,
    )
    beta: bool = setting(
        True, "Whether every head reads a learned mixture of all layers of its task, rather than the last one."
    )
    initialisation: str = setting("imbalanced", "How mixtures start.", choices=SLUICE_STARTS)
    weight: float = setting(
        OWN_WEIGHT,
        "With `imbalanced`: initial weight of a subspace's own features, and of the last layer; the rest goes to all "
        "others in equal parts.",
        ge=0,
        le=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.initialisation == "uniform" and self.weight != OWN_WEIGHT:
            raise Problem(
                "has no effect with initialisation = uniform",
                "remove it, or write initialisation = imbalanced",
                key="weight",
                value=self.weight,
            )

    @property
    def own_weight(self) -> float | None:
        """Initial weight of what is one's own; None is the same as everything else."""
        return self.weight if self.initialisation == "imbalanced" else None

    def build_trunk(self, architecture: "Architecture", settings: "LayerSettings") -> "Trunk":
        """Builds narrow networks joined by mixtures."""
        from sfgkeras.sharing.sluice_trunk import SluiceTrunk

        return SluiceTrunk(architecture, settings, self, name="trunk")
