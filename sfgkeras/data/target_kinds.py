"""The kinds of target by name: how windows carry what a task learns."""

from collections.abc import Mapping

from sfgkeras.data.surface_targets import LogDepthTarget, VectorsTarget
from sfgkeras.data.window_targets import (
    ClassTarget,
    ImageTarget,
    LabelsTarget,
    MapTarget,
    PointsTarget,
    TargetKind,
    ValueTarget,
)

TASK_KINDS: Mapping[str, type[TargetKind]] = {
    "map": MapTarget,
    "labels": LabelsTarget,
    "value": ValueTarget,
    "class": ClassTarget,
    "points": PointsTarget,
    "image": ImageTarget,
    "log_depth": LogDepthTarget,
    "vectors": VectorsTarget,
}
"""Kinds of target by name."""
