"""Keras callbacks for filter group networks, and the rules they follow."""

from typing import Any

from sfgkeras.callbacks.grouping_convergence import GroupingConvergence, largest_movement
from sfgkeras.callbacks.grouping_file import read_grouping_history
from sfgkeras.callbacks.grouping_history import GroupingHistory
from sfgkeras.callbacks.sharing_history import Histories, SharingHistory, learned_path, read_learned

__all__ = [
    "GroupingConvergence",
    "GroupingHistory",
    "GroupingMonitor",
    "Histories",
    "SharingHistory",
    "largest_movement",
    "learned_path",
    "read_grouping_history",
    "read_learned",
]


def __getattr__(name: str) -> Any:
    """Loads what needs Keras only when it is asked for."""
    if name == "GroupingMonitor":
        from sfgkeras.callbacks import grouping_monitor

        return grouping_monitor.GroupingMonitor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
