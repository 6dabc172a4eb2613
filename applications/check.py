"""`sfgkeras check`: every problem of a run before any long work, and what training will see."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sfgkeras.applications.inference.inferring import Hook, no_hook
from sfgkeras.applications.subjects.checks import find_problems, refuse_missing_modules
from sfgkeras.applications.subjects.cohort import PHASES, Cohort, find_cohort, target_sources
from sfgkeras.applications.subjects.epochs import last_iteration
from sfgkeras.applications.subjects.folds import find_folds, split_of
from sfgkeras.applications.subjects.label_counts import label_rows, teaching
from sfgkeras.applications.subjects.label_fitting import (
    describe_labels,
    find_labels,
    labels_to_find,
    refuse_too_many,
)
from sfgkeras.applications.subjects.pace import describe_pace
from sfgkeras.applications.subjects.preprocessing_settings import build_steps
from sfgkeras.applications.subjects.readiness import find_obstacles
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.applications.tasks.task import Task
from sfgkeras.applications.training.fingerprint import has_own_head
from sfgkeras.config import Config
from sfgkeras.data.checks import Problem
from sfgkeras.errors import ConfigError, DataError, counted
from sfgkeras.reporter import Reporter
from sfgkeras.tables.balancing import BALANCING


def check_run(config: Config, reporter: Reporter, read_voxels: bool = True, before_network: Hook = no_hook) -> bool:
    """Checks every file of a run and shows all problems, then what training will see.

    Args:
        config: The configuration.
        reporter: Shows problems and tables.
        read_voxels: Whether voxels are read besides the headers.
        before_network: Called before anything needs TensorFlow, e.g. to load it without a word.

    Returns:
        Whether training can start.
    """
    tasks = build_tasks(config)
    refuse_missing_modules(config)
    cohort = find_cohort(config)
    if config.training.folds:
        cohort = _first_fold(config, cohort, reporter)
    for warning in (*config.warnings, *cohort.warnings, *describe_pace(config, len(cohort.phase("training")))):
        reporter.warning(warning)
    problems = find_problems(config, cohort, read_voxels, reporter) + find_obstacles(config, cohort)
    problems += [
        Problem("error", path, message) for path, message in (*_network(config, before_network), *_devices(config))
    ]
    if read_voxels and not any(problem.level == "error" for problem in problems):
        problems += _check_labels(config, tasks, cohort, reporter)
    for problem in problems:
        (reporter.warning if problem.level == "warning" else reporter.message)(problem.message)
    errors = sum(problem.level == "error" for problem in problems)
    _show_plan(config, cohort, reporter)
    warnings = len(problems) - errors
    found = f"{counted(errors, 'error')}, {counted(warnings, 'warning')}"
    reporter.message(found if problems else "nothing wrong was found")
    return errors == 0


def _first_fold(config: Config, cohort: Cohort, reporter: Reporter) -> Cohort:
    """Shows the folds; returns the cohort as the fold sees it that is meant, or else the first one."""
    base = replace(config, training=config.training.model_copy(update={"fold": None}))
    folds = find_folds(base, cohort)
    held_out = {
        fold: sorted(subject_id for subject_id, number in folds.items() if number == fold)
        for fold in range(1, config.training.folds + 1)
    }
    reporter.table("folds", ["fold", "held out", "first"], [[fold, len(ids), ids[0]] for fold, ids in held_out.items()])
    return replace(cohort, split=split_of(config.training.fold or 1, folds, cohort.split))


def _check_labels(config: Config, tasks: Mapping[str, Task], cohort: Cohort, reporter: Reporter) -> list[Problem]:
    """Finds the labels that `label_normalisation` will number, and says where there are more than classes."""
    problems = []
    for task in labels_to_find(tasks).values():
        labels = find_labels(task, cohort, teaching(config, cohort, task, "training"), reporter)
        try:
            refuse_too_many(task, labels)
        except DataError as error:
            problems.append(Problem("error", Path(), str(error)))
        else:
            reporter.message(f"{task.name}: {describe_labels(task, labels)}")
    return problems


def _network(config: Config, before_network: Hook) -> Iterator[tuple[Path, str]]:
    """Yields what is wrong with stages and variables that keys name: the network is built for it, and only for it."""
    names_any = config.training.vars_to_freeze or (config.sharing and config.sharing.names_stages)
    if names_any or any(has_own_head(config, name) for name in config.tasks):
        before_network()
        from sfgkeras.applications.training.fine_tuning import freeze_variables
        from sfgkeras.applications.training.network import build_network
        from sfgkeras.reporter import SilentReporter

        try:
            network = build_network(config, build_tasks(config), len(config.image))
            freeze_variables(network, config.training.vars_to_freeze, SilentReporter())
        except ConfigError as error:
            told = str(error)
            yield config.path, told if told.startswith(str(config.path)) else f"{config.path}: {told}"


def _devices(config: Config) -> Iterator[tuple[Path, str]]:
    if config.system.cuda_devices:
        from sfgkeras.applications.workers.strategies import configure_devices

        try:
            configure_devices(config.system.cuda_devices)
        except ConfigError as error:
            yield config.path, f"{config.path}: {error}"


def _show_plan(config: Config, cohort: Cohort, reporter: Reporter) -> None:
    """Shows subjects by phase, and what each task learns from what."""
    wanted = target_sources(config)
    reporter.table(
        "subjects",
        ["phase", "number", "with all targets", "first"],
        [
            [
                phase,
                len(subjects),
                sum(cohort.has_targets(subject, wanted) for subject in subjects),
                subjects[0].subject_id if subjects else "-",
            ]
            for phase in PHASES
            for subjects in [cohort.phase(phase)]
        ],
    )
    if config.multitask.missing_targets == "allow":
        rows = [list(row.values()) for row in label_rows(cohort, build_tasks(config))]
        reporter.table("subjects with a target", ["task", *PHASES], rows)
    # What a task says to the balancing rule: its weight, or what another rule has in its place.
    keys = list(BALANCING[config.training.balancing].load().task_keys)
    reporter.table(
        "tasks",
        ["task", "type", "target", "per", "loss", *keys],
        [
            [
                *(name, task.type, task.target, task.per if config.has_value(name) else "voxel", task.loss),
                *(getattr(task, key) or 0 for key in keys),
            ]
            for name, task in config.tasks.items()
        ],
    )
    _show_steps(config, reporter)
    window = " x ".join(str(size) for size in config.window_size)
    reporter.message(
        f"images {', '.join(config.image)}; windows {window}; batches of {config.network.batch_size}; "
        f"{counted(last_iteration(config, len(cohort.phase('training'))), 'iteration')}{_epochs(config)}"
    )


def _epochs(config: Config) -> str:
    return f", {counted(config.training.max_epochs, 'epoch')}" if config.training.max_epochs else ""


def _show_steps(config: Config, reporter: Reporter) -> None:
    """Shows what `[PREPROCESSING]` does to which images, with every setting in effect."""
    section, pipeline = config.preprocessing, build_steps(config)
    if section is None or pipeline is None:
        return
    rows = [
        [f"{described['step']}_{key}", _plain(value)]
        for described in pipeline.describe()
        for key, value in described.items()
        if key != "step"
    ]
    where = section.scheduler or counted(section.workers, "process", "processes")
    reporter.message(
        f"preprocessing of {', '.join(section.sources)}: {', '.join(pipeline.names)}; {where}; into {section.output}"
    )
    reporter.table("settings of its steps", ["setting", "value"], rows)


def _plain(value: Any) -> str:
    """Writes a setting as an INI file has it."""
    if isinstance(value, list):
        return ", ".join(_plain(each) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
