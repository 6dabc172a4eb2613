"""Cross-validation: who is in which fold, and the run of each of them, in a folder of its own in `model_dir`.

`model_dir/folds.csv` says which fold holds each subject out. Run number k lies in `model_dir/fold_k`, laid out as any
run's, with a `dataset_split.csv` in which that fold is for validation and the others are for training. Subjects for
inference stay for inference in all of them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.applications.records.files import make_writable
from sfgkeras.applications.subjects.cohort import Cohort, find_cohort, keep_split
from sfgkeras.applications.subjects.preprocessing_settings import build_steps
from sfgkeras.applications.tasks.outputs import RowTask
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.config import Config
from sfgkeras.config.sections import Section
from sfgkeras.config.settle import output_paths
from sfgkeras.data.folds import make_folds, read_folds, write_folds
from sfgkeras.data.subjects import read_split, write_split
from sfgkeras.errors import DataError, counted
from sfgkeras.tables.tasks import TASK_TYPES

FOLDS = "folds.csv"
FIFTHS = 5
"""Parts of equal size that values are divided into, to be spread evenly over the folds."""


def has_all_folds(config: Config) -> bool:
    """Says whether a configuration stands for the runs of all its folds."""
    return config.training.folds > 0 and config.training.fold is None


def folds_file(config: Config) -> Path:
    """Returns the file that says which fold holds each subject out."""
    return config.system.model_dir / FOLDS


def fold_folder(model_dir: Path, fold: int) -> Path:
    """Returns the model folder of a fold."""
    return model_dir / f"fold_{fold}"


def fold_config(config: Config, fold: int) -> Config:
    """Returns the configuration of one fold's run: the same, with everything that it writes in its own folder.

    Prepared volumes are shared, and so is what `[PREPROCESSING]` writes, unless a step is fitted to training subjects.
    """
    base = config.system.model_dir
    own = fold_folder(base, fold)
    shared = ("cache_dir",) if _is_fitted(config) else ("cache_dir", "output")
    changes: dict[str, Any] = {}
    for name in ("system", "network", "training", "inference", "evaluation", "preprocessing"):
        section: Section | None = getattr(config, name)
        if section is not None:
            paths = {key: getattr(section, key) for key in output_paths(type(section)) if key not in shared}
            update = {key: _of_fold(key, path, base, own) for key, path in paths.items() if path is not None}
            changes[name] = section.model_copy(update=update)
    changes["system"] = changes["system"].model_copy(update={"model_dir": own})
    changes["training"] = changes["training"].model_copy(update={"fold": fold})
    return replace(config, **changes)


def _of_fold(key: str, path: Path, base: Path, own: Path) -> Path:
    """Returns where a fold writes what a key names; landmarks that lie elsewhere are the user's own, and stay."""
    if path.is_relative_to(base):
        return own / path.relative_to(base)
    if key == "histogram_ref_file" and path.is_file():
        return path
    return own / path.name if key in ("histogram_ref_file", "dataset_split_file") else path / own.name


def _is_fitted(config: Config) -> bool:
    pipeline = build_steps(config)
    return pipeline is not None and bool(pipeline.fitted)


def chosen_fold(config: Config) -> Config:
    """Returns the configuration of the run of `[TRAINING] fold`, where that is given; else the configuration itself."""
    fold, folder = config.training.fold, config.system.model_dir
    if fold is None or folder.name == fold_folder(folder, fold).name:
        return config
    return fold_config(replace(config, training=config.training.model_copy(update={"fold": None})), fold)


def find_folds(config: Config, cohort: Cohort) -> dict[str, int]:
    """Reads the folds of a cohort's subjects, or draws them where there are none yet.

    Args:
        config: The configuration of all folds.
        cohort: Its subjects; those for training and validation are divided.

    Raises:
        DataError: If the folds that there are do not fit the configuration or the subjects, or none can be drawn.
    """
    path, count = folds_file(config), config.training.folds
    if not path.is_file():
        ids = [subject.subject_id for subject in cohort.phase("training", "validation")]
        return make_folds(ids, count, config.system.seed, _groups(config, ids), _strata(config, cohort, ids))
    folds = read_folds(path)
    numbers = sorted(set(folds.values()))
    if numbers != list(range(1, count + 1)):
        raise DataError(
            f"{path}: has folds {', '.join(map(str, numbers))}, and [TRAINING] folds = {count} says 1 to {count}; "
            f"restore the number, or choose another model_dir"
        )
    lost = [subject_id for subject_id in folds if subject_id not in cohort.subjects]
    if lost:
        raise DataError(
            f"{path}: {counted(len(lost), 'subject')} of it, e.g. {lost[0]!r}, {'has' if len(lost) == 1 else 'have'} "
            "no image here; add the files, or remove the lines and begin anew with --restart"
        )
    tested = [subject_id for subject_id in cohort.split.get("inference", ()) if subject_id in folds]
    if tested:
        raise DataError(
            f"{path}: subject {tested[0]!r} is in fold {folds[tested[0]]}, and {config.system.dataset_split_file} "
            "holds it out for inference; correct one of the two"
        )
    return folds


def prepare_folds(config: Config, cohort: Cohort | None = None) -> dict[str, int]:
    """Finds the folds, and writes what is not there yet: the split, the folds, and the split of each of them.

    Returns:
        The fold of every subject.

    Raises:
        DataError: If what is there does not fit; nothing that is there is changed.
    """
    cohort = cohort or find_cohort(config)
    make_writable(config.system.model_dir)
    folds = find_folds(config, cohort)
    keep_split(config, cohort)
    if not folds_file(config).is_file():
        write_folds(folds_file(config), folds)
    for fold in range(1, config.training.folds + 1):
        _keep_split(fold_config(config, fold), split_of(fold, folds, cohort.split))
    return folds


def split_of(fold: int, folds: Mapping[str, int], split: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Returns the split of a fold's run: it validates on the fold, and trains on the others."""
    return {
        "training": sorted(subject_id for subject_id, number in folds.items() if number != fold),
        "validation": sorted(subject_id for subject_id, number in folds.items() if number == fold),
        "inference": sorted(split.get("inference", ())),
    }


def _keep_split(config: Config, split: Mapping[str, Sequence[str]]) -> None:
    path = config.system.dataset_split_file
    if not path.is_file():
        make_writable(path.parent)
        write_split(path, split)
        return
    found = read_split(path)
    for phase, ids in split.items():
        changed = set(found[phase]) ^ set(ids)
        if changed:
            raise DataError(
                f"{path}: subject {min(changed)!r} is {'not ' if min(changed) in ids else ''}for {phase} there, "
                f"otherwise than {FOLDS} and the split say; restore the file it differs from, or choose another "
                "model_dir"
            )


def _groups(config: Config, ids: Sequence[str]) -> dict[str, str] | None:
    """Returns what `fold_groups` matches in each id: its first group, or all of the match.

    Raises:
        DataError: If an id does not match.
    """
    pattern = config.training.fold_groups
    if not pattern:
        return None
    found = {}
    for subject_id in ids:
        match = re.search(pattern, subject_id)
        if match is None:
            raise DataError(
                f"{config.path}: [TRAINING] fold_groups = {pattern!r} matches nothing in the subject id "
                f"{subject_id!r}; it must match in every one, as its first group in brackets, or all of the match, is "
                "who belongs together"
            )
        found[subject_id] = match[1] if match.re.groups and match[1] is not None else match[0]
    return found


def _strata(config: Config, cohort: Cohort, ids: Sequence[str]) -> dict[str, str] | None:
    """Returns the class of each subject in the task `fold_strata`, or in which fifth of the subjects its value lies."""
    name = config.training.fold_strata
    if name is None:
        return None
    task = build_tasks(config)[name]
    if not isinstance(task, RowTask):
        raise TypeError(f"task {name!r} has no value for each subject")
    subjects = {subject_id: cohort.subjects[subject_id] for subject_id in ids}
    known = {
        key: float(cohort.value(each, task, task.read_value))
        for key, each in subjects.items()
        if cohort.has_target_of(each, task)
    }
    if TASK_TYPES[task.settings.type].of_value == "class":
        found = {key: f"{value:g}" for key, value in known.items()}
    else:
        ranks = np.argsort(np.argsort(list(known.values()), kind="stable"), kind="stable")
        found = {key: str(rank * FIFTHS // len(known)) for key, rank in zip(known, ranks.tolist(), strict=True)}
    return {subject_id: found.get(subject_id, "none") for subject_id in ids}
