"""The names of result files: every subject and task has its own, and a file system takes it."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from sfgkeras.applications.records.files import prediction_path
from sfgkeras.applications.tasks.table import voxel_tasks
from sfgkeras.applications.tasks.task import Task
from sfgkeras.config import Config
from sfgkeras.errors import DataError
from sfgkeras.files import LONGEST_NAME


def result_paths(config: Config, tasks: Mapping[str, Task], subject_id: str) -> list[Path]:
    """Returns the files that the inference of one subject writes."""
    return [
        prediction_path(config, subject_id, name, ending)
        for name, task in voxel_tasks(tasks).items()
        for ending in (*task.map_endings, *spread_endings(config, task))
    ]


def name_problems(config: Config, tasks: Mapping[str, Task], subject_ids: Iterable[str]) -> Iterator[str]:
    """Yields why results cannot be named: two of one name, or one too long for a file; one line each.

    Names count as one where they differ in the case of letters only, which some file systems do not tell apart.
    """
    maker: dict[str, str] = {}
    for subject_id in subject_ids:
        for path in result_paths(config, tasks, subject_id):
            other = maker.setdefault(path.name.casefold(), subject_id)
            if other != subject_id:
                yield (
                    f"{path}: would be a result of subject {other!r} and of subject {subject_id!r}; rename a task or "
                    "a subject, or infer them into folders of their own"
                )
            length = len(os.fsencode(path.name))
            if length > LONGEST_NAME:
                yield (
                    f"{path}: the name of this result has {length} bytes, and a file's name {LONGEST_NAME} at most; "
                    f"shorten the subject id {subject_id!r}, the name of the task, or [INFERENCE] output_postfix"
                )


def refuse_unusable_names(config: Config, tasks: Mapping[str, Task], subject_ids: Iterable[str]) -> None:
    """Refuses results that cannot be named; see `name_problems`.

    Raises:
        DataError: Names all of them.
    """
    problems = list(name_problems(config, tasks, subject_ids))
    if problems:
        raise DataError("\n".join(problems))


def spread_endings(config: Config, task: Task) -> Iterable[str]:
    """Returns the endings of the maps of uncertainty that inference writes for a task."""
    return task.build_statistics().endings if config.inference.monte_carlo else ()
