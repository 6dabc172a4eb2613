"""What would stop a training though its files are in order: phases, places to write to, states, memory, devices."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from sfgkeras.applications.records.checkpoints import CheckpointFolder, read_names
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.subjects.cohort import Cohort
from sfgkeras.applications.subjects.label_counts import count_labels
from sfgkeras.applications.subjects.memory import large_images, refuse_large_batch
from sfgkeras.applications.subjects.whole_images import partial_windows
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.config import Config
from sfgkeras.data.checks import Problem
from sfgkeras.errors import ConfigError, DataError


def find_obstacles(config: Config, cohort: Cohort) -> list[Problem]:
    """Finds what training refuses besides bad files, as far as it can be told without TensorFlow."""
    found = [*_missing_phases(config, cohort), *_missing_tasks(config, cohort)]
    found += [*_places(config), *_states(config), *_memory(config, cohort)]
    found += partial_windows(config, build_tasks(config), cohort.phase("training", "validation"))
    return [Problem("error", path, message) for path, message in found]


def _missing_phases(config: Config, cohort: Cohort) -> Iterator[tuple[Path, str]]:
    path = config.system.dataset_split_file
    if not path.is_file() and _writing_problem(path.parent) is not None:
        return  # no split can be kept at all, which is said of the place
    remedy = "add one, or remove the file to have it drawn anew"
    if not path.is_file():
        remedy = "set exclude_fraction_for_validation in [TRAINING] (or validation_every_n = 0), or write the file"
    for phase in ("training", *(["validation"] if config.training.validates else [])):
        if not cohort.phase(phase):
            yield path, f"{path}: no subject has the phase {phase!r}; {remedy}"


def _missing_tasks(config: Config, cohort: Cohort) -> Iterator[tuple[Path, str]]:
    """Yields the tasks that no subject of a phase has a target of, where targets may be missing."""
    if config.multitask.missing_targets == "refuse":
        return
    path = config.system.dataset_split_file
    counts = count_labels(cohort, build_tasks(config))
    for phase in ("training", *(["validation"] if config.training.validates else [])):
        for name, found in counts.items():
            if cohort.phase(phase) and not found[phase]:
                yield (
                    path,
                    f"{path}: none of the {len(cohort.phase(phase))} subjects of the phase {phase!r} has a target of "
                    f"task {name!r}; give this phase one that has, or leave the task out of [MULTITASK] tasks",
                )


def _places(config: Config) -> Iterator[tuple[Path, str]]:
    run = RunFolder(config.system.model_dir)
    places = {run.path: "[SYSTEM] model_dir", run.checkpoints: "its checkpoints", run.logs: "its logs"}
    places[config.system.cache_dir] = "[SYSTEM] cache_dir"
    places[config.system.dataset_split_file.parent] = "the folder of [SYSTEM] dataset_split_file"
    told: set[Path] = set()
    for folder, what in places.items():
        problem = _writing_problem(folder)
        if problem is not None and problem[0] not in told:
            told.add(problem[0])
            yield folder, f"{folder}: {what} cannot be written: {problem[0]} {problem[1]}; choose another folder"


def _writing_problem(folder: Path) -> tuple[Path, str] | None:
    """Returns what stands in the way of a folder that is there or has to be made, without making it."""
    place = folder.absolute()
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return place, "is a file"
    return None if os.access(place, os.W_OK | os.X_OK) else (place, "may not be written to")


def _states(config: Config) -> Iterator[tuple[Path, str]]:
    """Yields what is wrong with `restore_from` and `vars_to_restore`, from the names in the state alone."""
    path, training = config.training.restore_from, config.training
    if path is None or CheckpointFolder(RunFolder(config.system.model_dir).checkpoints).iterations():
        return  # a run that is resumed restores nothing
    try:
        names = read_names(_state_file(path))
    except DataError as error:
        yield path, f"{error}; correct [TRAINING] restore_from"
        return
    if training.vars_to_restore and not any(re.search(training.vars_to_restore, name) for name in names):
        yield (
            path,
            f"{path}: no variable matches [TRAINING] vars_to_restore = {training.vars_to_restore!r}; "
            f"the first one there is {next(iter(names), 'none')!r}",
        )


def _state_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    folder = CheckpointFolder(path / "checkpoints" if (path / "checkpoints").is_dir() else path)
    iterations = folder.iterations()
    if not iterations:
        raise DataError(f"{folder.folder}: no checkpoint")
    return folder.path(iterations[-1])


def _memory(config: Config, cohort: Cohort) -> Iterator[tuple[Path, str]]:
    try:
        refuse_large_batch(config, build_tasks(config))
    except ConfigError as error:
        yield config.path, str(error)
    for message in large_images(config, cohort.phase("training", "validation")):
        yield config.path, message
