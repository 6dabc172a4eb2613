"""Which subjects there are, which files belong to each, and which phase each serves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sfgkeras.applications.records.files import make_writable
from sfgkeras.applications.subjects.sources import (
    build_source,
    refuse_other_kind,
    refuse_other_lengths,
    split_by_phase,
)
from sfgkeras.applications.tasks.outputs import RowTask
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.applications.tasks.task import Task
from sfgkeras.config import Config
from sfgkeras.data.references import ImageRef
from sfgkeras.data.sources import Source
from sfgkeras.data.subjects import Subject, make_split, read_split, write_split
from sfgkeras.errors import DataError
from sfgkeras.tables.samplers import SAMPLERS

PHASES = ("training", "validation", "inference")
NOTHING = ("", "nan")
"""What a cell of a table holds that has no value."""


@dataclass(frozen=True)
class Cohort:
    """The subjects of one INI file.

    Attributes:
        subjects: Every subject that has all image sources, by id; its images may lack targets.
        values: Scalar targets: `{source: {subject id: {attribute: text}}}`.
        split: Subject ids by phase.
        images: What was found for each source, matched or not: `{source: {id: image or row of a table}}`.
        warnings: What looks wrong but does not stop the work.
    """

    subjects: Mapping[str, Subject]
    values: Mapping[str, Mapping[str, Mapping[str, str]]]
    split: Mapping[str, Sequence[str]]
    images: Mapping[str, Mapping[str, ImageRef]]
    warnings: Sequence[str] = field(default_factory=tuple)

    def phase(self, *phases: str) -> list[Subject]:
        """Returns the subjects of the given phases, in the order of the split file."""
        return [self.subjects[subject_id] for phase in phases for subject_id in self.split.get(phase, ())]

    def has_targets(self, subject: Subject, sources: Sequence[str]) -> bool:
        """Says whether a subject has every one of the target sources."""
        return all(
            subject.subject_id in self.values[source] if source in self.values else source in subject.images
            for source in sources
        )

    def has_target_of(self, subject: Subject, task: Task) -> bool:
        """Says whether a subject has a target of a task; of a table's row, whether any of its cells says something."""
        if task.source not in self.values or not isinstance(task, RowTask):
            return self.has_targets(subject, [task.source])
        row = self.values[task.source].get(subject.subject_id)
        # A column that is not there is a mistake, which reading the value tells.
        return row is not None and any(
            text.strip().lower() not in NOTHING
            for text in (_cells(row, task).get(name, "?") for name in _required(task))
        )

    def value_path(self, subject: Subject, task: RowTask) -> Path:
        """Returns what a subject's values are read from, as messages call it: table, photo, or row of a data set."""
        found = self.images.get(task.source, {})
        image = found.get(subject.subject_id) or next(iter(found.values()), None)
        return Path() if image is None else Path(image.name)

    def value(self, subject: Subject, task: RowTask, read: Callable[..., Any]) -> Any:
        """Reads the target of a subject that is given by numbers, e.g. with the task's `prepare_value`.

        Raises:
            DataError: If there is none or it cannot be used; names the table or photo.
        """
        if task.source_settings.loader == "voxel":
            return self._voxel(subject, task, read)
        row, path = self.values[task.source].get(subject.subject_id), self.value_path(subject, task)
        if row is None:
            raise DataError(
                f"{path}: [{task.source}] has no values for subject {subject.subject_id!r}; add them, or give the "
                "subject the phase 'inference' in dataset_split_file"
            )
        row = _cells(row, task)
        missing = [attribute for attribute in _required(task) if attribute not in row]
        if missing:
            raise DataError(
                f"{path}: has no {missing[0]!r} for subject {subject.subject_id!r}, only {', '.join(row)}; correct "
                f"attribute of task {task.name!r}"
            )
        try:
            return read(*(row.get(attribute, "") for attribute in task.attributes))
        except DataError as error:
            raise DataError(f"{path}: subject {subject.subject_id!r}: {error}") from None

    def _voxel(self, subject: Subject, task: RowTask, read: Callable[..., Any]) -> Any:
        """Reads a value or class from an image of one voxel."""
        image = subject.images.get(task.source)
        if image is None:
            raise DataError(
                f"subject {subject.subject_id!r} has no file for [{task.source}], which task {task.name!r} needs; add "
                "it, or give the subject the phase 'inference' in dataset_split_file"
            )
        try:
            return read(read_voxel(image))
        except DataError as error:
            raise DataError(str(error) if image.name in str(error) else f"{image}: {error}") from None


def _required(task: RowTask) -> tuple[str, ...]:
    """Returns the columns that a table must have for a task."""
    return tuple(name for name in task.attributes if name not in task.optional_attributes)


def _cells(row: Mapping[str, str], task: RowTask) -> Mapping[str, str]:
    """Returns a row by the names of a task's columns; one that only numbers its values may lack the optional ones."""
    return _named(row, task.attributes if len(row) >= len(task.attributes) else _required(task))


def _named(row: Mapping[str, str], attributes: Sequence[str]) -> Mapping[str, str]:
    """Returns a row of as many values as are asked for by their names, where it only numbers them."""
    numbers = tuple(map(str, range(len(row))))
    return dict(zip(attributes, row.values(), strict=True)) if tuple(row) == numbers[: len(attributes)] else row


def read_voxel(image: ImageRef) -> str:
    """Reads the one voxel of an image of 1 x 1 x 1, as text.

    Raises:
        DataError: If the image has more voxels.
    """
    array = image.read().array
    if array.size != 1:
        raise DataError(
            f"{image}: has {' x '.join(map(str, array.shape))} voxels, and a value or class per subject is one voxel, "
            "1 x 1 x 1; write such an image, or a table for loader = table"
        )
    return repr(float(array.reshape(-1)[0]))


def target_sources(config: Config) -> list[str]:
    """Returns the sources that training reads besides the images, without repeats."""
    names = [task.target for task in config.tasks.values()]
    if config.sampler and SAMPLERS[config.network.window_sampling].needs_source:
        names.append(config.sampler)
    if config.multitask.weight:
        names.append(config.multitask.weight)
    return list(dict.fromkeys(name for name in names if name not in config.image or config.sources[name].gives_values))


def find_cohort(config: Config, needs_targets: bool = True) -> Cohort:
    """Finds the files of every source, matches them to subjects and reads (or draws) the split.

    Args:
        config: The configuration.
        needs_targets: Whether targets that are not there are an error; for inference they are a warning.

    Raises:
        DataError: If a folder or list is missing or empty, nothing matches, or the split names unknown subjects.
    """
    images: dict[str, Mapping[str, ImageRef]] = {}
    values: dict[str, dict[str, Mapping[str, str]]] = {}
    sources: dict[str, Source] = {}
    warnings: list[str] = []
    # Only evaluation reads these.
    measured = [config.evaluation.mask] if config.evaluation.mask else []
    measured += [task.inferred for task in config.tasks.values() if task.inferred is not None]
    for name in dict.fromkeys([*config.image, *target_sources(config), *measured]):
        section = config.sources[name]
        try:
            sources[name] = build_source(name, section)
            images[name] = sources[name].find()
            refuse_other_kind(config, name, images[name])
            if section.gives_values and section.loader != "voxel":
                rows = {subject_id: image.values() for subject_id, image in images[name].items()}
                # Photos whose names say nothing are no targets.
                values[name] = {key: row for key, row in rows.items() if row or not section.filename_attributes}
        except DataError as error:
            told = str(error) if f"[{name}]" in str(error) else f"[{name}] {error}"
            if (needs_targets and name not in measured) or name in config.image:
                raise type(error)(told) from error
            warnings.append(f"{told} (needed for training and evaluation)")
            images[name] = {}
            if section.loader == "table":
                values[name] = {}
        warnings += sources[name].warnings
    refuse_other_lengths(sources)
    subjects = _match(config, images)
    warnings += _unmatched(config, subjects, images, values)
    masks = [config.evaluation.mask] if config.evaluation.mask else []
    warnings += [text for name in masks for text in _without_mask(name, subjects)]
    patterns = _target_patterns(config, Cohort(subjects, values, {}, images))
    complete = list(patterns)
    split = _read_split(config, subjects)
    warnings += [] if split is None else _left_over(config, subjects, split)
    if split is None:
        split = split_by_phase({key: subject.images[config.image[0]] for key, subject in subjects.items()}) or None
    if split is None:
        split = _draw_split(config, subjects, patterns, needs_targets)
        if 0 < len(complete) < len(subjects):
            first = next(subject_id for subject_id in subjects if subject_id not in complete)
            warnings.append(
                f"{len(subjects) - len(complete)} of {len(subjects)} subjects "
                f"{'has' if len(subjects) - len(complete) == 1 else 'have'} no target "
                f"in {' or '.join(target_sources(config))}, for inference only, e.g. {first!r}"
            )
    return Cohort(subjects, values, split, images, tuple(warnings))


def _target_patterns(config: Config, cohort: Cohort) -> dict[str, tuple[bool, ...]]:
    """Returns the subjects that can teach something, and which tasks: all of them unless targets may be missing."""
    wanted = target_sources(config)
    if config.multitask.missing_targets == "refuse":
        return {key: () for key, subject in cohort.subjects.items() if cohort.has_targets(subject, wanted)}
    tasks = list(build_tasks(config).values())
    others = [name for name in wanted if name not in {task.source for task in tasks}]
    if config.sampler and config.sampler in wanted:
        others.append(config.sampler)
    patterns = {
        key: tuple(cohort.has_target_of(subject, task) for task in tasks)
        for key, subject in cohort.subjects.items()
        if cohort.has_targets(subject, others)
    }
    return {key: pattern for key, pattern in patterns.items() if any(pattern)}


def keep_split(config: Config, cohort: Cohort) -> None:
    """Writes a newly drawn split to `dataset_split_file`, for all later runs.

    Raises:
        DataError: If it cannot be written.
    """
    path = config.system.dataset_split_file
    if not path.is_file():
        make_writable(path.parent)
        write_split(path, cohort.split)


def _match(config: Config, images: Mapping[str, Mapping[str, ImageRef]]) -> dict[str, Subject]:
    first = images[config.image[0]]
    subjects = {
        subject_id: Subject(
            subject_id,
            {
                name: found[subject_id]
                for name, found in images.items()
                if subject_id in found and found[subject_id].is_image
            },
        )
        for subject_id in sorted(first)
        if all(subject_id in images[name] for name in config.image)
    }
    if not subjects:
        example = ", ".join(f"[{name}] {sorted(images[name])[0]!r}" for name in config.image)
        raise DataError(
            f"no subject has all of {', '.join(config.image)}: the ids do not match ({example}); "
            "set filename_removefromid so that they do"
        )
    return subjects


def _without_mask(name: str, subjects: Mapping[str, Subject]) -> list[str]:
    """Says which subjects have no mask for evaluation."""
    lost = [subject_id for subject_id, subject in subjects.items() if name not in subject.images]
    if not lost:
        return []
    return [f"{len(lost)} of {len(subjects)} subjects, e.g. {lost[0]!r}, have no file in [{name}], [EVALUATION] mask"]


def _unmatched(
    config: Config,
    subjects: Mapping[str, Subject],
    images: Mapping[str, Mapping[str, ImageRef]],
    values: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """Says of each source which of its ids belong to no subject with an image."""
    warnings = []
    seen = " and ".join(f"[{name}]" for name in config.image)
    for name in dict.fromkeys([*images, *values]):
        found = images.get(name) or values.get(name, {})
        lost = [subject_id for subject_id in found if subject_id not in subjects]
        if lost:
            shown = ", ".join(map(repr, lost[:3])) + (", ..." if len(lost) > 3 else "")
            warnings.append(
                f"{images[name][lost[0]] if images.get(name) else config.sources[name].csv_file}: {len(lost)} of "
                f"{len(found)} ids of [{name}] match no subject of {seen} and are left out: {shown}"
            )
    return warnings


def _read_split(config: Config, subjects: Mapping[str, Subject]) -> dict[str, list[str]] | None:
    path = config.system.dataset_split_file
    if not path.is_file():
        return None
    split = read_split(path)
    unknown = [subject_id for phase in split.values() for subject_id in phase if subject_id not in subjects]
    known = {phase: [s for s in split.get(phase, ()) if s in subjects] for phase in PHASES}
    if not any(known.values()):
        raise DataError(
            f"{path}: none of its {len(unknown)} subjects is among the {len(subjects)} found, e.g. "
            f"{unknown[0]!r} against {next(iter(subjects))!r}; correct the ids or remove the file"
        )
    if unknown:
        others = f" (nor have {len(unknown) - 1} others)" if len(unknown) > 1 else ""
        raise DataError(
            f"{path}: subject {unknown[0]!r} has no image in {', '.join(config.image)}{others}; remove its line or "
            "add the file"
        )
    return known


def _left_over(config: Config, subjects: Mapping[str, Subject], split: Mapping[str, Sequence[str]]) -> list[str]:
    """Says which subjects an existing split does not name: files that came after it was drawn."""
    named = {subject_id for ids in split.values() for subject_id in ids}
    others = [subject_id for subject_id in subjects if subject_id not in named]
    if not others:
        return []
    shown = ", ".join(map(repr, others[:5])) + (", ..." if len(others) > 5 else "")
    return [
        f"{config.system.dataset_split_file}: {len(others)} of {len(subjects)} subjects are in none of its phases and "
        f"are passed over: {shown}; for new patients there is `sfgkeras predict`; to use them here, add lines "
        "`subject_id,phase`, or remove the file to have the split drawn anew before training"
    ]


def _draw_split(
    config: Config, subjects: Mapping[str, Subject], patterns: Mapping[str, tuple[bool, ...]], needs_targets: bool
) -> dict[str, list[str]]:
    """Draws a split; subjects with the same targets are divided among themselves, so that no phase lacks a task."""
    complete = list(patterns)
    if not complete and not needs_targets:
        return {"inference": list(subjects)}
    if not complete:
        raise DataError(
            f"no subject has all of {', '.join((*config.image, *target_sources(config)))}; check path_to_search, "
            "filename_contains and filename_removefromid of these sections"
        )
    split: dict[str, list[str]] = {phase: [] for phase in PHASES}
    for pattern in sorted(set(patterns.values())):
        drawn = make_split(
            [subject_id for subject_id in complete if patterns[subject_id] == pattern],
            config.training.exclude_fraction_for_validation,
            config.training.exclude_fraction_for_inference,
            config.system.seed,
        )
        split = {phase: sorted([*split[phase], *drawn[phase]]) for phase in PHASES}
    # Subjects without targets cannot teach, but they can be inferred.
    split["inference"] = [*split["inference"], *(s for s in subjects if s not in set(complete))]
    return split
