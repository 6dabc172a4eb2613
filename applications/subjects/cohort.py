"""Which subjects there are, which files belong to each, and which phase each serves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sfgkeras.applications.records.files import make_writable
from sfgkeras.applications.tasks.targets import ImageTarget
from sfgkeras.config import Config
from sfgkeras.data.file_search import find_files
from sfgkeras.data.image_folder import read_attributes
from sfgkeras.data.references import ImageRef, references
from sfgkeras.data.subjects import (
    Subject,
    make_split,
    read_file_list,
    read_split,
    read_table,
    write_split,
)
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.tables.loaders import gives_values

PHASES = ("training", "validation", "inference")


@dataclass(frozen=True)
class Cohort:
    """The subjects of one INI file.

    Attributes:
        subjects: Every subject that has all image sources, by id; its images may lack targets.
        values: Scalar targets: `{source: {subject id: {attribute: text}}}`.
        split: Subject ids by phase.
        images: What was found for each source, matched or not: `{source: {id: image}}`.
        tables: The table of each source that is one.
        warnings: What looks wrong but does not stop the work.
    """

    subjects: Mapping[str, Subject]
    values: Mapping[str, Mapping[str, Mapping[str, str]]]
    split: Mapping[str, Sequence[str]]
    images: Mapping[str, Mapping[str, ImageRef]]
    tables: Mapping[str, Path] = field(default_factory=dict)
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

    def value_path(self, subject: Subject, task: ImageTarget) -> Path:
        """Returns the table or photo that a subject's scalar target is read from."""
        if task.source in self.tables:
            return self.tables[task.source]
        return subject.images[task.source].path if task.source in subject.images else Path()

    def value(self, subject: Subject, task: ImageTarget, read: Callable[..., Any]) -> Any:
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
        missing = [attribute for attribute in task.attributes if attribute not in row]
        if missing:
            raise DataError(
                f"{path}: has no {missing[0]!r} for subject {subject.subject_id!r}, only {', '.join(row)}; correct "
                f"attribute of task {task.name!r}"
            )
        try:
            return read(*(row[attribute] for attribute in task.attributes))
        except DataError as error:
            raise DataError(f"{path}: subject {subject.subject_id!r}: {error}") from None

    def _voxel(self, subject: Subject, task: ImageTarget, read: Callable[..., Any]) -> Any:
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
    if config.sampler and config.network.window_sampling in ("weighted", "balanced"):
        names.append(config.sampler)
    if config.multitask.weight:
        names.append(config.multitask.weight)
    return list(dict.fromkeys(name for name in names if name not in config.image or _is_scalar(config, name)))


def _is_scalar(config: Config, source: str) -> bool:
    settings = config.sources[source]
    return bool(settings.filename_attributes) or gives_values(settings.loader)


def find_cohort(config: Config, needs_targets: bool = True) -> Cohort:
    """Finds the files of every source, matches them to subjects and reads (or draws) the split.

    Args:
        config: The configuration.
        needs_targets: Whether targets that are not there are an error; for inference they are a warning.

    Raises:
        DataError: If a folder or list is missing or empty, nothing matches, or the split names unknown subjects.
    """
    images: dict[str, dict[str, ImageRef]] = {}
    values: dict[str, dict[str, dict[str, str]]] = {}
    tables: dict[str, Path] = {}
    warnings: list[str] = []
    # Only evaluation reads these.
    measured = [config.evaluation.mask] if config.evaluation.mask else []
    measured += [task.inferred for task in config.tasks.values() if task.inferred is not None]
    for name in dict.fromkeys([*config.image, *target_sources(config), *measured]):
        source = config.sources[name]
        try:
            if source.loader == "table" and source.csv_file is not None:
                tables[name] = source.csv_file
                values[name] = read_table(source.csv_file)
                continue
            images[name] = find_source(name, source)
            if source.csv_file is not None and not source.csv_file.is_file():
                warnings.append(
                    f"[{name}] csv_file = {source.csv_file} does not exist; path_to_search was searched, and no list "
                    "is written"
                )
        except DataError as error:
            if (needs_targets and name not in measured) or name in config.image:
                raise
            warnings.append(f"[{name}] {error} (needed for training and evaluation)")
            (values if source.loader == "table" else images)[name] = {}
            continue
        if source.filename_attributes:
            paths = {subject_id: image.path for subject_id, image in images[name].items()}
            attributes, odd = read_attributes(paths, source.filename_attributes)
            values[name] = {key: {name: str(v) for name, v in row.items()} for key, row in attributes.items()}
            warnings += odd
    subjects = _match(config, images)
    warnings += _unmatched(config, subjects, images, values)
    masks = [config.evaluation.mask] if config.evaluation.mask else []
    warnings += [text for name in masks for text in _without_mask(name, subjects)]
    complete = [
        subject_id
        for subject_id, subject in subjects.items()
        if all(
            subject_id in values[name] if name in values else name in subject.images for name in target_sources(config)
        )
    ]
    split = _read_split(config, subjects)
    warnings += [] if split is None else _left_over(config, subjects, split)
    if split is None:
        split = _draw_split(config, subjects, complete, needs_targets)
        if 0 < len(complete) < len(subjects):
            first = next(subject_id for subject_id in subjects if subject_id not in complete)
            warnings.append(
                f"{len(subjects) - len(complete)} of {len(subjects)} subjects "
                f"{'has' if len(subjects) - len(complete) == 1 else 'have'} no target "
                f"in {' or '.join(target_sources(config))}, for inference only, e.g. {first!r}"
            )
    return Cohort(subjects, values, split, images, tables, tuple(warnings))


def keep_split(config: Config, cohort: Cohort) -> None:
    """Writes a newly drawn split to `dataset_split_file`, for all later runs.

    Raises:
        DataError: If it cannot be written.
    """
    path = config.system.dataset_split_file
    if not path.is_file():
        make_writable(path.parent)
        write_split(path, cohort.split)


def find_source(name: str, source: Any) -> dict[str, ImageRef]:
    """Returns the image of each subject id of an input source.

    Raises:
        ConfigError: If the source does not say where its files are.
        DataError: If they cannot be found.
    """
    if source.csv_file is not None and (source.csv_file.is_file() or not source.path_to_search):
        return references(read_file_list(source.csv_file), _reader(source))
    if not source.path_to_search:
        raise ConfigError(f"[{name}] says neither path_to_search nor csv_file; add one of them")
    files = find_files(
        source.path_to_search,
        source.filename_contains,
        source.filename_not_contains,
        source.filename_removefromid,
        source.layout,
    )
    return references(files, _reader(source))


def _reader(source: Any) -> str | None:
    return None if gives_values(source.loader) else source.loader


def _match(config: Config, images: Mapping[str, Mapping[str, ImageRef]]) -> dict[str, Subject]:
    first = images[config.image[0]]
    subjects = {
        subject_id: Subject(
            subject_id, {name: found[subject_id] for name, found in images.items() if subject_id in found}
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
    config: Config, subjects: Mapping[str, Subject], complete: list[str], needs_targets: bool
) -> dict[str, list[str]]:
    if not complete and not needs_targets:
        return {"inference": list(subjects)}
    if not complete:
        raise DataError(
            f"no subject has all of {', '.join((*config.image, *target_sources(config)))}; check path_to_search, "
            "filename_contains and filename_removefromid of these sections"
        )
    split = make_split(
        complete,
        config.training.exclude_fraction_for_validation,
        config.training.exclude_fraction_for_inference,
        config.system.seed,
    )
    # Subjects without targets cannot teach, but they can be inferred.
    split["inference"] = [*split["inference"], *(s for s in subjects if s not in set(complete))]
    return split
