"""The types of tasks that `[TASK name] type` may choose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sfgkeras.errors import Problem
from sfgkeras.quoting import split_list
from sfgkeras.settings import Settings, setting
from sfgkeras.tables.entry import Entry

if TYPE_CHECKING:
    from sfgkeras.applications.tasks.task import Task

Known = TypeVar("Known")


@dataclass(frozen=True)
class TaskEntry(Entry["tuple[type[Task], ...]"]):
    """A type of task: one class for every kind of target that it can have.

    Attributes:
        of_volume: The kind of its targets where their source gives volumes (`map`, `labels`, `image`); None: it takes
            none.
        of_value: The kind where the source gives values of each subject (`value`, `class`, `points`); None: it takes
            none.
        has_classes: Whether it needs `num_classes`, and may name them.
        has_unit: Whether its target is a quantity with a `unit`.
        has_scale: Whether what is learned may be scaled (`scale`) and bounded (`output_activation`).
        measured_as: The type whose metrics and measures fit it, and whose losses, if the tables have none of its own;
            empty for itself.
    """

    of_volume: str | None = None
    of_value: str | None = None
    has_classes: bool = False
    has_unit: bool = False
    has_scale: bool = False
    measured_as: str = ""


@dataclass(frozen=True)
class LandmarkSettings(Settings):
    """Settings of `landmarks`: how the columns of their table are called, and what stands in them."""

    dimensions: int | None = setting(
        None, "2 for x and y in images of one slice, 3 for x, y and z; empty for those of the window.", ge=2, le=3
    )
    columns: str = setting("{name}_{axis}", "What the columns of a landmark are called, for each `x`, `y` (and `z`).")
    visibility: str = setting(
        "{name}_visible",
        "What the column is called that says whether a landmark is visible, 0 or 1; all are where there is none.",
    )

    lengths: str = setting(
        "",
        "Distances between two landmarks that are results of their own, in mm, e.g. `long: a, b; short: c, d`: written "
        "as `<task>_long_length`, and measured by `length_error`.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.named_lengths()
        for key, parts in (("columns", ("{name}", "{axis}")), ("visibility", ("{name}",))):
            if not all(part in getattr(self, key) for part in parts):
                has = " and ".join(parts)
                raise Problem(f"lacks {has}", f"write e.g. {'_'.join(parts)}", key=key, value=getattr(self, key))

    def point_columns(self, names: Sequence[str]) -> tuple[str, ...]:
        """Returns the columns of some landmarks, all of the first one first."""
        axes = "xyz"[: self.dimensions or 3]
        return tuple(_filled(self.columns, name, axis) for name in names for axis in axes)

    def named_lengths(self) -> dict[str, tuple[str, str]]:
        """Returns the two landmarks of every length by its name.

        Raises:
            Problem: If a length has not two landmarks, or a name is there twice.
        """
        found: dict[str, tuple[str, str]] = {}
        for part in filter(None, (part.strip() for part in self.lengths.split(";"))):
            name, colon, ends = (each.strip() for each in part.partition(":"))
            landmarks = split_list(ends)
            if not (name and colon) or len(set(landmarks)) != 2 or len(landmarks) != 2:
                what = f"has {part!r}, which is no name and two landmarks"
                raise Problem(what, "write e.g. long: a, b; short: c, d", key="lengths", value=self.lengths)
            if name in found:
                raise Problem(f"has {name!r} twice", "give every length a name", key="lengths", value=self.lengths)
            found[name] = (landmarks[0], landmarks[1])
        return found

    def visibility_columns(self, names: Sequence[str]) -> tuple[str, ...]:
        """Returns the columns that say which landmarks are visible."""
        return tuple(_filled(self.visibility, name) for name in names)


def _filled(pattern: str, name: str, axis: str = "") -> str:
    return pattern.replace("{name}", name).replace("{axis}", axis)


def _regression() -> "tuple[type[Task], ...]":
    from sfgkeras.applications.tasks.regression import MapRegression, ValueRegression

    return MapRegression, ValueRegression


def _segmentation() -> "tuple[type[Task], ...]":
    from sfgkeras.applications.tasks.segmentation import SegmentationTask

    return (SegmentationTask,)


def _classification() -> "tuple[type[Task], ...]":
    from sfgkeras.applications.tasks.classification import ClassificationTask

    return (ClassificationTask,)


def _bounding_box() -> "tuple[type[Task], ...]":
    from sfgkeras.applications.tasks.bounding_box import BoundingBoxTask

    return (BoundingBoxTask,)


def _landmarks() -> "tuple[type[Task], ...]":
    from sfgkeras.applications.tasks.landmarks import LandmarkTask

    return (LandmarkTask,)


def _reconstruction() -> "tuple[type[Task], ...]":
    from sfgkeras.applications.tasks.reconstruction import ReconstructionTask

    return (ReconstructionTask,)


def _depth() -> "tuple[type[Task], ...]":
    from sfgkeras.applications.tasks.depth import DepthTask

    return (DepthTask,)


def _normals() -> "tuple[type[Task], ...]":
    from sfgkeras.applications.tasks.normals import NormalsTask

    return (NormalsTask,)


def _motion() -> "tuple[type[Task], ...]":
    from sfgkeras.applications.tasks.motion import MotionTask

    return (MotionTask,)


TASK_TYPES: dict[str, TaskEntry] = {
    "regression": TaskEntry(
        _regression,
        "a quantity per voxel or per subject",
        of_volume="map",
        of_value="value",
        has_unit=True,
        has_scale=True,
    ),
    "segmentation": TaskEntry(_segmentation, "a label per voxel", of_volume="labels", has_classes=True),
    "classification": TaskEntry(_classification, "a class per subject", of_value="class", has_classes=True),
    "bounding_box": TaskEntry(_bounding_box, "the box around something, one per subject", of_value="points"),
    "landmarks": TaskEntry(_landmarks, "points in the image, any number of them", LandmarkSettings, of_value="points"),
    "motion": TaskEntry(
        _motion, "where every voxel of a frame was in the first one; without any labels", of_volume="image"
    ),
    "reconstruction": TaskEntry(
        _reconstruction, "the image itself, as the network sees it", of_volume="image", measured_as="regression"
    ),
    "depth": TaskEntry(
        _depth,
        "how far away each pixel is, learned as its logarithm; 0 is not known",
        of_volume="log_depth",
        has_unit=True,
    ),
    "normals": TaskEntry(
        _normals,
        "how surfaces are turned, a unit vector per pixel; 0, 0, 0 is not known",
        of_volume="vectors",
    ),
}


def for_type(tables: Mapping[str, Known], task_type: str) -> Known:
    """Returns what tables by type of task have for a type: its own, or that of the type that it is measured as.

    Args:
        tables: Losses, metrics or measures by type; of what is the same for all types, by an empty string.
        task_type: A type.
    """
    entry = TASK_TYPES.get(task_type)
    for name in (task_type, entry.measured_as if entry is not None else "", ""):
        if name in tables:
            return tables[name]
    raise KeyError(task_type)


def learns_image(task_type: str) -> bool:
    """Says whether a type of task has the image for its target, so that it needs no source of one."""
    return task_type in TASK_TYPES and TASK_TYPES[task_type].of_volume == "image"


def measured_as(task_type: str) -> str:
    """Returns the type whose metrics and measures fit a type of task."""
    return TASK_TYPES[task_type].measured_as or task_type
