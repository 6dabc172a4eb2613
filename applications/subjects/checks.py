"""Finds what is wrong with images and labels before any long work, and says what training will see."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sfgkeras.applications.subjects.cohort import Cohort, target_sources
from sfgkeras.applications.subjects.frames import read_as_written
from sfgkeras.applications.subjects.label_counts import teaching
from sfgkeras.applications.subjects.preprocessing_settings import build_steps
from sfgkeras.applications.subjects.readiness import find_obstacles
from sfgkeras.applications.tasks.result_names import name_problems
from sfgkeras.applications.tasks.table import build_tasks, image_tasks
from sfgkeras.applications.tasks.targets import PointTarget
from sfgkeras.classes import find_module, is_class_path
from sfgkeras.config import Config
from sfgkeras.data.checks import Problem, SourceInfo, check_shared_files, check_subjects
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError
from sfgkeras.extras import require_extra
from sfgkeras.reporter import Reporter
from sfgkeras.tables.samplers import SAMPLERS

SHOWN = 100
"""How many problems are listed at most; thousands of rows of one file may have the same."""


def refuse_problems(config: Config, cohort: Cohort, reporter: Reporter) -> None:
    """Checks the headers of every file and refuses to start with a problem.

    Raises:
        DataError: Lists all of them, one line each.
    """
    problems = find_problems(config, cohort, False, reporter) + find_obstacles(config, cohort)
    for problem in problems:
        if problem.level == "warning":
            reporter.warning(problem.message)
    errors = [problem.message for problem in problems if problem.level == "error"]
    if errors:
        more = f"\n... and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
        raise DataError("\n".join(errors[:SHOWN]) + more)


def check_images(config: Config, subjects: Sequence[Subject], reporter: Reporter) -> None:
    """Checks the headers of images that are to be predicted, and the files that steps of `[PREPROCESSING]` name.

    Raises:
        DataError: Lists all problems, one line each.
    """
    roles = _source_infos(config)
    with reporter.stage("checking images", len(subjects) * len(config.image)) as stage:
        problems = check_subjects(
            subjects,
            {name: roles[name] for name in config.image},
            resampled=_meets_in_space(config, config.image[1:]),
            read_voxels=False,
            num_threads=config.system.num_threads,
            progress=lambda done, total: stage.advance(),
        )
    problems += _check_step_files(config)
    if problems:
        raise DataError("\n".join(problem.message for problem in problems))


def find_problems(config: Config, cohort: Cohort, read_voxels: bool, reporter: Reporter) -> list[Problem]:
    """Finds the problems of the files that training and validation use, and of the images to infer."""
    roles = _source_infos(config)
    learning = _restrict(cohort.phase("training", "validation"), list(roles))
    images = _restrict(cohort.phase("inference"), list(config.image))
    others = [name for name in roles if name != config.image[0]]
    needed = [name for name in roles if name not in _may_lack(config)]
    ids = {subject.subject_id for subject in learning}
    tables = {
        name: {subject_id: image for subject_id, image in cohort.images[name].items() if subject_id in ids}
        for name in needed
        if name in cohort.images
    }
    files = len(learning) * len(roles) + len(images) * len(config.image)
    with reporter.stage("checking files", files * (2 if read_voxels else 1)) as stage:
        settings: dict[str, Any] = {
            "window_size": None if _shape_is_unknown(config) else config.window_size,
            "volume_padding": config.network.volume_padding_size,
            "resampled": _meets_in_space(config, others),
            "read_voxels": read_voxels,
            "num_threads": config.system.num_threads,
            "progress": lambda done, total: stage.advance(),
        }
        problems = check_subjects(learning, roles, tables=tables, **settings) if learning else []
        if images:
            problems += check_subjects(images, {name: roles[name] for name in config.image}, **settings)
    problems += check_shared_files(list(cohort.subjects.values()), roles)
    problems += _check_fractions(config, cohort)
    return problems + _check_values(config, cohort) + _check_step_files(config) + _check_names(config, cohort)


def _may_lack(config: Config) -> set[str]:
    """Returns the sources that a subject of training need not have."""
    if config.multitask.missing_targets == "refuse":
        return set()
    return {task.target for task in config.tasks.values()} - {*config.image, config.sampler, config.multitask.weight}


def _check_fractions(config: Config, cohort: Cohort) -> list[Problem]:
    """Warns of a split, not yet written, whose fractions leave a phase one subject or none."""
    path = config.system.dataset_split_file
    if path.is_file():
        return []
    held_out = ("validation", "inference")
    fractions = {phase: getattr(config.training, f"exclude_fraction_for_{phase}") for phase in held_out}
    total = sum(len(ids) for ids in cohort.split.values())
    problems = []
    for phase in ("training", *held_out):
        count = len(cohort.split.get(phase, ()))
        if count > 1 or total < 2 or not any(fractions.values()) or (phase in held_out and fractions[phase] == 0):
            continue
        keys = [phase] if phase in held_out else [name for name in held_out if fractions[name]]
        settings = " and ".join(f"exclude_fraction_for_{name} = {fractions[name]:g}" for name in keys)
        left = f"one subject for {phase}, on which all hangs" if count else f"no subject for {phase}"
        message = f"[TRAINING] {settings} of {total} subjects leaves {left}; change it, or write {path} by hand"
        problems.append(Problem("warning", path, message))
    return problems


def _shape_is_unknown(config: Config) -> bool:
    """Says whether headers do not tell how large the volumes are that windows are cut from."""
    pipeline = build_steps(config)
    return SAMPLERS[config.network.window_sampling].whole or (pipeline is not None and bool(pipeline.changing("grid")))


def _meets_in_space(config: Config, others: Sequence[str]) -> bool:
    """Says whether sources may lie on grids of their own: all are resampled, or the image is brought onto another's."""
    pipeline = build_steps(config)
    is_placed = pipeline is not None and "resample_like" in pipeline.names
    return is_placed or (bool(others) and all(config.sources[name].pixdim for name in others))


def _check_step_files(config: Config) -> list[Problem]:
    """Finds files and folders that steps of `[PREPROCESSING]` name and that are not there."""
    pipeline = build_steps(config)
    return [
        Problem(
            "error",
            value,
            f"{value}: [PREPROCESSING] {step.name}_{key} does not exist; correct the path, which starts from the "
            "folder that the command is run in",
        )
        for step in (() if pipeline is None else pipeline.steps)
        for key, value in vars(step.settings).items()
        if isinstance(value, Path) and not value.exists()
    ]


def _check_names(config: Config, cohort: Cohort) -> list[Problem]:
    """Finds results that would have one name, or one that no file may have."""
    folder = config.inference.save_seg_dir
    found = name_problems(config, build_tasks(config), cohort.subjects)
    return [Problem("error", folder, message) for message in found]


def refuse_missing_modules(config: Config) -> None:
    """Refuses what needs modules that are not there: classes of the user's own, none of which is run, and a cluster.

    Raises:
        ConfigError: Names the module and where it was looked for, or the command that installs it.
    """
    if config.preprocessing is not None and config.preprocessing.scheduler:
        require_extra("cluster", f"[PREPROCESSING] scheduler = {config.preprocessing.scheduler}")
    for name in config.training.trackers:
        require_extra(name, f"[TRAINING] trackers = {name}")
    if is_class_path(config.network.name):
        find_module(config.network.name, "[NETWORK] name")
    for name, task in config.tasks.items():
        if is_class_path(task.loss):
            find_module(task.loss, f"loss of task {name!r}")


def _check_values(config: Config, cohort: Cohort) -> list[Problem]:
    """Finds scalar targets that training or validation cannot use."""
    problems = []
    for task in image_tasks(build_tasks(config)).values():
        for subject in teaching(config, cohort, task, "training", "validation"):
            try:
                if isinstance(task, PointTarget):
                    read_as_written(config, cohort, task, subject)
                    continue
                # Which labels there are, training will find; before it, any whole number may be one.
                read = task.parse_label if task.settings.label_normalisation else task.prepare_value
                cohort.value(subject, task, read)
            except DataError as error:
                problems.append(Problem("error", cohort.value_path(subject, task), str(error)))
    return problems


def _restrict(subjects: Sequence[Subject], sources: Sequence[str]) -> list[Subject]:
    return [
        Subject(subject.subject_id, {name: image for name, image in subject.images.items() if name in sources})
        for subject in subjects
    ]


def _source_infos(config: Config) -> dict[str, SourceInfo]:
    classes: dict[str, int | None] = {}
    if config.sampler and SAMPLERS[config.network.window_sampling].labels:
        classes[config.sampler] = None
    for name, task in config.tasks.items():
        if config.target_kind(name) == "labels":
            own = None if task.label_normalisation else task.num_classes
            known = [count for count in (own, classes.get(task.target)) if count]
            classes[task.target] = min(known, default=None)
    infos = {}
    for name in dict.fromkeys([*config.image, *target_sources(config)]):
        source = config.sources[name]
        if source.gives_values and not source.filename_attributes:
            continue
        is_labels = name in classes
        role = "image" if name in config.image else "labels" if is_labels else "map"
        weighs, draws = name == config.multitask.weight, name == config.sampler and not is_labels
        infos[name] = SourceInfo(
            role,  # type: ignore[arg-type]
            classes.get(name),
            source.axcodes,
            source.pixdim,
            must_vary=role == "image" and config.network.whitening and not _makes_images(config, name),
            is_weight=weighs or draws,
            is_ct=source.scaling == "ct",
        )
    return infos


def _makes_images(config: Config, name: str) -> bool:
    """Says whether `[PREPROCESSING]` gives the network another image than the file."""
    return config.preprocessing is not None and name in config.preprocessing.sources
