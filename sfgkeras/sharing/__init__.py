"""The sharing mechanisms: which weights tasks share, one file each; their settings are known without Keras."""

from collections.abc import Mapping
from typing import Any

from sfgkeras.errors import lookup
from sfgkeras.sharing.base import GroupSharing, Sharing
from sfgkeras.sharing.constant_mask import ConstantMask
from sfgkeras.sharing.constant_p import ConstantP
from sfgkeras.sharing.cross_stitch import CrossStitch
from sfgkeras.sharing.deep_relationship import DeepRelationship
from sfgkeras.sharing.fully_adaptive import FullyAdaptive
from sfgkeras.sharing.hard_sharing import HardSharing
from sfgkeras.sharing.joint_many import JointMany
from sfgkeras.sharing.sfg import SFG
from sfgkeras.sharing.single_task import SingleTask
from sfgkeras.sharing.sluice import Sluice
from sfgkeras.sharing.soft_sharing import SoftSharing
from sfgkeras.sharing.tree import Tree
from sfgkeras.tables.entry import LoadedTable
from sfgkeras.tables.sharing import SHARING as ENTRIES

SHARING: Mapping[str, type[Sharing]] = LoadedTable(ENTRIES)


def find_sharing(sharing: str | Sharing, settings: Mapping[str, Any]) -> Sharing:
    """Returns a mechanism, given by its name and settings, or as it is.

    Args:
        sharing: A name in `SHARING`, or a mechanism.
        settings: Settings by name; none beside a mechanism, which has its own.

    Raises:
        ConfigError: If there is no mechanism of that name.
        TypeError: If it has no such setting, or a mechanism is given with settings beside it.
    """
    if isinstance(sharing, str):
        return lookup(SHARING, sharing, "sharing mechanism").from_values(settings)
    if not isinstance(sharing, Sharing):
        raise TypeError(f"sharing = {sharing!r} is neither a name nor a mechanism; known are {', '.join(SHARING)}")
    if settings:
        raise TypeError(
            f"{', '.join(sorted(settings))} stands beside sharing = {sharing!r}; a mechanism brings its own settings: "
            f"write sharing={type(sharing).__name__}({next(iter(settings))}=...)"
        )
    return sharing


__all__ = [
    "SFG",
    "SHARING",
    "ConstantMask",
    "ConstantP",
    "CrossStitch",
    "DeepRelationship",
    "FullyAdaptive",
    "GroupSharing",
    "HardSharing",
    "JointMany",
    "Sharing",
    "SingleTask",
    "Tree",
    "Sluice",
    "SoftSharing",
    "find_sharing",
]
