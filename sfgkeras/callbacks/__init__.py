"""Keras callbacks for filter group networks, and the rules they follow."""

from typing import Any

from sfgkeras.callbacks.grouping_convergence import GroupingConvergence, largest_movement

__all__ = ["GroupingConvergence", "GroupingMonitor", "largest_movement", "read_grouping_history"]


def __getattr__(name: str) -> Any:
    """Loads what needs Keras only when it is asked for."""
    if name in ("GroupingMonitor", "read_grouping_history"):
        from sfgkeras.callbacks import grouping_monitor

        return getattr(grouping_monitor, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
