"""Any number of tasks of any types on one network: the table of task types and the list of a run's tasks."""

from collections.abc import Mapping

from sfgkeras.applications.tasks.label_mapping import has_mapping, read_mapping
from sfgkeras.applications.tasks.outputs import RowTask, VolumeTask
from sfgkeras.applications.tasks.task import Task
from sfgkeras.config import Config
from sfgkeras.errors import Problem, lookup
from sfgkeras.tables.entry import LoadedTable
from sfgkeras.tables.tasks import TASK_TYPES as ENTRIES

TASK_TYPES: Mapping[str, tuple[type[Task], ...]] = LoadedTable(ENTRIES)
"""The classes of each type, one for every kind of target that it can have."""


def build_tasks(config: Config) -> dict[str, Task]:
    """Builds the tasks of a run, by name, in the order of the INI file.

    Raises:
        ConfigError: If a task cannot have a target of the kind that its source gives.
    """
    labels = read_mapping(config) if has_mapping(config) else {}
    tasks = {}
    for name, settings in config.tasks.items():
        task_class = class_for(settings.type, settings.attribute is not None)
        if task_class is None:
            gives = "one value per subject" if settings.attribute is not None else "volumes"
            raise Problem(
                f"gives {gives}, and no {settings.type} learns these",
                "choose another target or type",
                key="target",
                value=settings.target,
                section=f"TASK {name}",
            )
        found = labels.get(name, ()) if settings.label_normalisation else ()
        axes = tuple(axis for axis, size in enumerate(config.window_size) if size != 1)
        tasks[name] = task_class(name, settings.target, settings, config.sources[settings.target], found, axes)
    return tasks


def class_for(type_name: str, gives_values: bool) -> type[Task] | None:
    """Returns the class of a type whose target is given by values, or by volumes; None where it has none.

    Args:
        type_name: A key of `TASK_TYPES`.
        gives_values: Whether the source of the target gives numbers for each subject.
    """
    kind = RowTask if gives_values else VolumeTask
    return next((each for each in lookup(TASK_TYPES, type_name, "task type") if issubclass(each, kind)), None)


def voxel_tasks(tasks: Mapping[str, Task]) -> dict[str, VolumeTask]:
    """Returns the tasks whose results are images."""
    return {name: task for name, task in tasks.items() if isinstance(task, VolumeTask)}


def image_tasks(tasks: Mapping[str, Task]) -> dict[str, RowTask]:
    """Returns the tasks whose results are rows of the table of values."""
    return {name: task for name, task in tasks.items() if isinstance(task, RowTask)}
