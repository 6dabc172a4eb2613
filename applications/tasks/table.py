"""Any number of tasks of any types on one network: the table of task types and the list of a run's tasks."""

from collections.abc import Mapping

from sfgkeras.applications.tasks.label_mapping import has_mapping, read_mapping
from sfgkeras.applications.tasks.task import TaskType
from sfgkeras.config import Config
from sfgkeras.errors import ConfigError, lookup
from sfgkeras.tables.entry import LoadedTable
from sfgkeras.tables.tasks import TASK_TYPES as ENTRIES

TASK_TYPES: Mapping[str, type[TaskType]] = LoadedTable(ENTRIES)


def build_tasks(config: Config) -> dict[str, TaskType]:
    """Builds the tasks of a run, by name, in the order of the INI file.

    Raises:
        ConfigError: If a task's target does not fit the network's kind of output.
    """
    labels = read_mapping(config) if has_mapping(config) else {}
    tasks = {
        name: lookup(TASK_TYPES, settings.type, "task type")(
            name,
            settings.target,
            settings,
            config.sources[settings.target],
            labels.get(name, ()) if settings.label_normalisation else (),
        )
        for name, settings in config.tasks.items()
    }
    per_image = config.is_window_network
    for name, task in tasks.items():
        if per_image and not task.is_scalar:
            raise ConfigError(
                f"[NETWORK] name = {config.network.name!r} gives one output per image, but task {name!r} "
                f"has the volume [{task.source}] as target; use name = highresnet, or set attribute in "
                f"[TASK {name}]"
            )
        if task.is_scalar and not per_image:
            raise ConfigError(
                f"[NETWORK] name = {config.network.name!r} gives one output per voxel, but task {name!r} "
                "has one value per subject as target; use name = vgg11"
            )
    return tasks
