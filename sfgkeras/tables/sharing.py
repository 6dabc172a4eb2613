"""The sharing mechanisms that `[NETWORK] sharing` may choose."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfgkeras.tables.entry import Entry

if TYPE_CHECKING:
    from sfgkeras.sharing.base import Sharing


@dataclass(frozen=True)
class SharingEntry(Entry["type[Sharing]"]):
    """A sharing mechanism; its class holds its settings and knows no Keras.

    Attributes:
        learned: Whether probabilities of groups are learned.
        drawn: Whether masks are drawn at every step.
        constant: Whether every filter belongs to what it belongs to for good.
        own_steps: Whether it has a say in how training steps are taken: in turns, or with branches that part.
    """

    learned: bool = False
    drawn: bool = False
    constant: bool = False
    own_steps: bool = False

    def settings_class(self) -> type | None:
        """Returns the mechanism itself: its fields are its settings."""
        return self.load()


def _sfg() -> "type[Sharing]":
    from sfgkeras.sharing.sfg import SFG

    return SFG


def _hard_sharing() -> "type[Sharing]":
    from sfgkeras.sharing.hard_sharing import HardSharing

    return HardSharing


def _single_task() -> "type[Sharing]":
    from sfgkeras.sharing.single_task import SingleTask

    return SingleTask


def _constant_mask() -> "type[Sharing]":
    from sfgkeras.sharing.constant_mask import ConstantMask

    return ConstantMask


def _constant_p() -> "type[Sharing]":
    from sfgkeras.sharing.constant_p import ConstantP

    return ConstantP


def _cross_stitch() -> "type[Sharing]":
    from sfgkeras.sharing.cross_stitch import CrossStitch

    return CrossStitch


def _tree() -> "type[Sharing]":
    from sfgkeras.sharing.tree import Tree

    return Tree


def _soft_sharing() -> "type[Sharing]":
    from sfgkeras.sharing.soft_sharing import SoftSharing

    return SoftSharing


def _deep_relationship() -> "type[Sharing]":
    from sfgkeras.sharing.deep_relationship import DeepRelationship

    return DeepRelationship


def _sluice() -> "type[Sharing]":
    from sfgkeras.sharing.sluice import Sluice

    return Sluice


def _joint_many() -> "type[Sharing]":
    from sfgkeras.sharing.joint_many import JointMany

    return JointMany


def _fully_adaptive() -> "type[Sharing]":
    from sfgkeras.sharing.fully_adaptive import FullyAdaptive

    return FullyAdaptive


SHARING: dict[str, SharingEntry] = {
    "sfg": SharingEntry(_sfg, "filter groups with learned probabilities", learned=True, drawn=True),
    "hard_sharing": SharingEntry(_hard_sharing, "all filters serve all tasks", constant=True),
    "single_task": SharingEntry(_single_task, "an independent narrow network per task", constant=True),
    "constant_mask": SharingEntry(
        _constant_mask, "one allocation of filters to groups, drawn once or given", constant=True
    ),
    "constant_p": SharingEntry(_constant_p, "filter groups drawn from probabilities that are not trained", drawn=True),
    "cross_stitch": SharingEntry(
        _cross_stitch, "a narrow network per task, joined by learned mixtures of features", constant=True
    ),
    "sluice": SharingEntry(
        _sluice, "a narrow network per task, joined by learned mixtures of subspaces and of layers", constant=True
    ),
    "tree": SharingEntry(_tree, "shared up to a stage, then a branch for each group of tasks", constant=True),
    "fully_adaptive": SharingEntry(
        _fully_adaptive, "one thin trunk that splits into branches while it is trained", constant=True, own_steps=True
    ),
    "soft_sharing": SharingEntry(
        _soft_sharing, "a narrow network per task, whose kernels a penalty draws together", constant=True
    ),
    "deep_relationship": SharingEntry(
        _deep_relationship,
        "shared stages, then layers per task whose kernels have a learned covariance over tasks",
        constant=True,
    ),
    "joint_many": SharingEntry(
        _joint_many,
        "one trunk with heads at successive depths, lower tasks protected from higher ones",
        constant=True,
        own_steps=True,
    ),
}
