"""Which subjects there are, which files belong to each, and which phase each serves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sfgkeras.config import Config
from sfgkeras.data.image_folder import read_attributes
from sfgkeras.data.subjects import (
    Subject,
    find_files,
    make_split,
    read_file_list,
    read_split,
    read_table,
    write_split,
)
from sfgkeras.errors import ConfigError, DataError

PHASES = ("training", "validation", "inference")


@dataclass(frozen=True)
class Cohort:
    """The subjects of one INI file.

    Attributes:
        subjects: Every subject that has all image sources, by id; its files may lack targets.
        values: Scalar targets: `{source: {subject id: {attribute: text}}}`.
        split: Subject ids by phase.
        files: What was found for each source, matched or not: `{source: {id: path}}`.
        warnings: What looks wrong but does not stop the work.
    """

    subjects: Mapping[str, Subject]
    values: Mapping[str, Mapping[str, Mapping[str, str]]]
    split: Mapping[str, Sequence[str]]
    files: Mapping[str, Mapping[str, Path]]
    warnings: Sequence[str] = field(default_factory=tuple)

    def phase(self, *phases: str) -> list[Subject]:
        """Returns the subjects of the given phases, in the order of the split file."""
        return [self.subjects[subject_id] for phase in phases for subject_id in self.split.get(phase, ())]

    def has_targets(self, subject: Subject, sources: Sequence[str]) -> bool:
        """Says whether a subject has every one of the target sources."""
        return all(
            subject.subject_id in self.values[source] if source in self.values else source in subject.files
            for source in sources
        )


def target_sources(config: Config) -> list[str]:
    """Returns the sources that training reads besides the images, without repeats."""
    names = [task.target for task in config.tasks.values()]
    if config.sampler and config.network.window_sampling in ("weighted", "balanced"):
        names.append(config.sampler)
    return list(dict.fromkeys(name for name in names if name not in config.image or _is_scalar(config, name)))


def _is_scalar(config: Config, source: str) -> bool:
    settings = config.sources[source]
    return bool(settings.filename_attributes) or settings.loader == "table"


def is_scalar_task(config: Config, name: str) -> bool:
    """Says whether a task's target is one value per subject rather than a volume."""
    return config.tasks[name].attribute is not None


def find_cohort(config: Config, write: bool = False) -> Cohort:
    """Finds the files of every source, matches them to subjects and reads (or draws) the split.

    Args:
        config: The configuration.
        write: Whether a newly drawn split is written to `dataset_split_file`.

    Raises:
        DataError: If a folder or list is missing or empty, nothing matches, or the split names unknown subjects.
    """
    files: dict[str, dict[str, Path]] = {}
    values: dict[str, dict[str, dict[str, str]]] = {}
    warnings: list[str] = []
    for name, source in config.sources.items():
        if name not in (*config.image, *target_sources(config)):
            continue
        if source.loader == "table":
            values[name] = _read_values(name, source)
            continue
        files[name] = _find(name, source)
        if source.filename_attributes:
            attributes, odd = read_attributes(files[name], source.filename_attributes)
            values[name] = {key: {name: str(v) for name, v in row.items()} for key, row in attributes.items()}
            warnings += odd
    subjects = _match(config, files)
    split = _split(config, subjects, values, write)
    return Cohort(subjects, values, split, files, tuple(warnings))


def _find(name: str, source: Any) -> dict[str, Path]:
    if source.csv_file is not None:
        return read_file_list(source.csv_file)
    if not source.path_to_search:
        raise ConfigError(f"[{name}] says neither path_to_search nor csv_file; add one of them")
    return find_files(
        source.path_to_search,
        source.filename_contains,
        source.filename_not_contains,
        source.filename_removefromid,
    )


def _read_values(name: str, source: Any) -> dict[str, dict[str, str]]:
    if source.csv_file is None:
        raise ConfigError(f"[{name}] loader = table needs csv_file, a table with subject_id in its first column")
    return read_table(source.csv_file)


def _match(config: Config, files: Mapping[str, Mapping[str, Path]]) -> dict[str, Subject]:
    first = files[config.image[0]]
    subjects = {
        subject_id: Subject(
            subject_id, {name: found[subject_id] for name, found in files.items() if subject_id in found}
        )
        for subject_id in sorted(first)
        if all(subject_id in files[name] for name in config.image)
    }
    if not subjects:
        example = ", ".join(f"[{name}] {sorted(files[name])[0]!r}" for name in config.image)
        raise DataError(
            f"no subject has all of {', '.join(config.image)}: the ids do not match ({example}); "
            "set filename_removefromid so that they do"
        )
    return subjects


def _split(
    config: Config, subjects: Mapping[str, Subject], values: Mapping[str, Any], write: bool
) -> dict[str, list[str]]:
    path = config.system.dataset_split_file
    if path.is_file():
        split = read_split(path)
        unknown = [subject_id for phase in split.values() for subject_id in phase if subject_id not in subjects]
        known = {phase: [s for s in split.get(phase, ()) if s in subjects] for phase in PHASES}
        if not any(known.values()):
            raise DataError(
                f"{path}: none of its {len(unknown)} subjects is among the {len(subjects)} found, e.g. "
                f"{unknown[0]!r} against {next(iter(subjects))!r}; correct the ids or remove the file"
            )
        if unknown:
            raise DataError(
                f"{path}: subject {unknown[0]!r} and {len(unknown) - 1} more have no image in "
                f"{', '.join(config.image)}; remove their lines or add the files"
            )
        return known
    wanted = target_sources(config)
    complete = [
        subject_id
        for subject_id, subject in subjects.items()
        if all(subject_id in values[name] if name in values else name in subject.files for name in wanted)
    ]
    if not complete:
        raise DataError(
            f"no subject has all of {', '.join((*config.image, *wanted))}; check path_to_search, "
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
    if write:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_split(path, split)
    return split
