"""Compares what inference wrote with the truth, per subject and in summary; of several workers each its share."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.analysis.measures import EVALUATIONS
from sfgkeras.analysis.tables import read_csv, summarise, summary_text, with_unit, write_csv
from sfgkeras.applications.records.files import VALUES_FILE, prediction_path
from sfgkeras.applications.regions import evaluation_masks
from sfgkeras.applications.subjects.frames import file_axes, read_as_written
from sfgkeras.applications.subjects.session import Session
from sfgkeras.applications.tasks.coverage import fill_value, known_on, outside_of, put_air
from sfgkeras.applications.tasks.labelled import LabelledTask
from sfgkeras.applications.tasks.outputs import RowTask, VolumeTask
from sfgkeras.applications.tasks.targets import InputTarget, PointTarget
from sfgkeras.applications.tasks.task import Task
from sfgkeras.applications.workers.team import Team
from sfgkeras.config import Config
from sfgkeras.data.directions import frame_directions, turned
from sfgkeras.data.nifti import Image, read_channels
from sfgkeras.data.references import ImageFile, ImageRef
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError, counted
from sfgkeras.preprocessing.resampling import resample_like
from sfgkeras.reporter import Reporter

GROUPS = ("label", "region")
COUNTS = ("num_voxels", "num_subjects")
TABLES = ("subjects", "summary", "pairs")
"""Tables that are written for a task, as `<task>_<table>.csv`."""


def refuse_foreign_tables(paths: Sequence[Path]) -> None:
    """Refuses to replace tables that no evaluation wrote: none of its columns is in them.

    Raises:
        DataError: Names the first one.
    """
    for path in paths:
        if path.is_file():
            with path.open(encoding="utf-8", errors="replace", newline="") as stream:
                columns = next(csv.reader(stream), [])
            # A unit may follow the name of a measure.
            own = {"subject_id", "measure", *COUNTS, *GROUPS, *EVALUATIONS}
            if columns and not own & {name.split(" ")[0] for name in columns}:
                raise DataError(
                    f"{path}: is no table of an evaluation ({', '.join(columns[:3])}) and would be replaced; move it, "
                    "or choose another [EVALUATION] save_csv_dir"
                )


def evaluate_task(
    session: Session, task: Task, subjects: Sequence[Subject], reporter: Reporter, team: Team | None = None
) -> list[dict[str, Any]]:
    """Evaluates one task over the subjects that have its target.

    Writes `<task>_subjects.csv` (one line per subject and group) and `<task>_summary.csv`, and shows the summary. Every
    worker compares the volumes of its share of the subjects; the chief gathers the rows, writes and shows. Tables of
    values are small: the chief reads them alone.

    Args:
        session: The run.
        task: The task.
        subjects: All subjects, the same for every worker.
        reporter: Shows progress and the summary; of workers that are not the chief, silent but for warnings.
        team: The workers; None for a single process.

    Returns:
        The rows of the summary; none for workers that are not the chief, and where `missing_targets = allow` and no
        subject has the target.

    Raises:
        ConfigError: If another worker met one of the following.
        DataError: If no subject has the target, or a prediction is missing or damaged.
    """
    team = team or Team()
    known = team.together(lambda: _with_target(session, task, subjects, reporter))
    if not known:
        return []
    if isinstance(task, RowTask):
        own = team.together(lambda: _evaluate_values(session, task, known) if team.is_chief else [])
        return team.together(lambda: _finish(session, task, own, reporter) if team.is_chief else [])
    if not isinstance(task, VolumeTask):
        raise TypeError(f"task {task.name!r} has a target that is neither per voxel nor per image")
    parts = team.together(lambda: _evaluate_volumes(session, task, team.share(known), reporter))
    rows = _in_order(team.gather(json.dumps(parts).encode()), len(known))
    return team.together(lambda: _finish(session, task, rows, reporter) if team.is_chief else [])


def _with_target(session: Session, task: Task, subjects: Sequence[Subject], reporter: Reporter) -> list[Subject]:
    known = [subject for subject in subjects if session.cohort.has_target_of(subject, task)]
    may_lack = session.config.multitask.missing_targets == "allow"
    if not known and may_lack:
        reporter.warning(f"{task.name}: none of {counted(len(subjects), 'subject')} has a target; it is not evaluated")
    elif not known:
        raise DataError(
            f"none of {counted(len(subjects), 'subject')} has a target in [{task.source}] for task {task.name!r}; "
            "choose other subjects with --dataset"
        )
    elif may_lack:
        reporter.message(f"{task.name}: {len(known)} of {counted(len(subjects), 'subject')} have a target")
    elif len(known) < len(subjects):
        without = len(subjects) - len(known)
        are = "is" if without == 1 else "are"
        reporter.warning(
            f"{counted(without, 'subject has', 'subjects have')} no target in [{task.source}] and {are} left out"
        )
    return known


def _in_order(gathered: Sequence[bytes], num_subjects: int) -> list[dict[str, Any]]:
    """Returns the rows of all subjects in the subjects' order, from what every worker found for its share.

    JSON gives every float back as it was, infinite and undefined ones too, so that files do not depend on the number of
    workers.
    """
    of_workers = [json.loads(content) for content in gathered]
    places = (divmod(number, len(of_workers)) for number in range(num_subjects))
    return [row for place, worker in places for row in of_workers[worker][place]]


def _finish(session: Session, task: Task, rows: Sequence[dict[str, Any]], reporter: Reporter) -> list[dict[str, Any]]:
    """Writes and shows the rows of all subjects; returns the summary."""
    folder = session.config.evaluation.save_csv_dir
    write_csv(folder / f"{task.name}_subjects.csv", rows)
    groups, summary = groups_of(rows), summary_of(rows, task.unit)
    write_csv(folder / f"{task.name}_summary.csv", summary)
    _show(task, rows, summary, groups, reporter)
    return summary


def groups_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the columns of measured rows that say what of a subject a row is about, e.g. `label`."""
    return [name for name in GROUPS if name in rows[0]]


def summary_of(rows: Sequence[dict[str, Any]], unit: str) -> list[dict[str, Any]]:
    """Returns a line for every group and measure of rows, with the measure's unit, and how many values are missing.

    Args:
        rows: At least one, as `<task>_subjects.csv` has them.
        unit: Of the task.
    """
    groups = groups_of(rows)
    return [_described(entry, rows, groups, unit) for entry in summarise(rows, groups, _measures(rows, groups))]


def _described(
    entry: dict[str, Any], rows: Sequence[dict[str, Any]], groups: Sequence[str], unit: str
) -> dict[str, Any]:
    """Returns a line of the summary with the measure's unit, and how many of the missing values are failures.

    Those are infinite errors, e.g. the distance to an organ that was not found. What is undefined, such as the distance
    to an organ that a subject has not, is none, nor is the infinite PSNR of a perfect prediction.
    """
    measure = EVALUATIONS[entry["measure"]]
    members = [row for row in rows if all(row[name] == entry[name] for name in groups)]
    missed = sum(np.isinf(row[entry["measure"]]) for row in members) if measure.higher_is_better is not True else 0
    place = [*groups, "measure"]
    head = {name: entry[name] for name in place} | {"unit": measure.unit_for(unit)}
    return head | {name: value for name, value in entry.items() if name not in place} | {"n_missed": int(missed)}


def _measures(rows: Sequence[dict[str, Any]], groups: Sequence[str]) -> list[str]:
    """Returns what was measured, of any row: lengths between landmarks have other measures than landmarks."""
    left_out = {"subject_id", *COUNTS, *groups}
    found = {name: None for row in rows for name, value in row.items() if not isinstance(value, list)}
    return [name for name in found if name not in left_out]


def _evaluate_volumes(
    session: Session, task: VolumeTask, subjects: Sequence[Subject], reporter: Reporter
) -> list[list[dict[str, Any]]]:
    """Returns the rows of every subject."""
    rows = []
    if isinstance(task, InputTarget):
        session.preprocess(subjects, reporter)
    with reporter.stage(f"evaluating {task.name}", len(subjects)) as stage:
        for subject in subjects:
            truth, prediction, valid, spacing = _read_result(session, task, subject)
            masks = evaluation_masks(session.config, task, subject)
            measured = task.evaluate_map(truth, prediction, valid, spacing, session.config.evaluation, masks)
            rows.append([{"subject_id": subject.subject_id, **row} for row in measured])
            stage.advance(1, subject.subject_id)
    return rows


Pair = tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, ...]]


def _read_result(session: Session, task: VolumeTask, subject: Subject) -> Pair:
    """Reads a subject's truth and prediction; see `read_pair`."""
    if isinstance(task, InputTarget):
        return _read_reconstruction(session, task, subject)
    return read_pair(session.config, task, subject)


def _read_reconstruction(session: Session, task: InputTarget, subject: Subject) -> Pair:
    """Reads what was made of the image itself, and what the network saw on its grid, with channels if there are any."""
    path = prediction_path(session.config, subject.subject_id, task.name)
    _refuse_missing(ImageFile(path), subject)
    predicted, grid = read_channels(path), session.preparation.grid(subject)
    shape = predicted.array.shape[:3]
    seen = np.moveaxis(np.asarray(session.preparation.image(subject)), -1, 0)
    truth = np.stack([resample_like(each, grid.affine, shape, predicted.affine, 1) for each in seen], axis=-1)
    valid = known_on(None, grid.shape, grid.affine, shape, predicted.affine)
    if truth.shape[-1] == 1:
        truth = truth[..., 0]
    result = task.read_result(predicted.array, predicted.affine)
    if result.shape != task.result_shape(truth.shape):
        raise DataError(
            f"{path}: has {predicted.array.shape} voxels and channels, its image {truth.shape}; run inference again"
        )
    return truth, result, valid, _spacing(predicted.affine)


def _refuse_missing(result: ImageRef, subject: Subject) -> None:
    if not result.is_there():
        raise DataError(
            f"{result}: no prediction of subject {subject.subject_id!r}; run inference first, with the same --dataset"
        )


def _spacing(affine: np.ndarray) -> tuple[float, ...]:
    return tuple(float(size) for size in np.linalg.norm(affine[:3, :3], axis=0))


def read_pair(config: Config, task: VolumeTask, subject: Subject) -> Pair:
    """Reads a subject's truth and prediction on the grid of the prediction.

    Returns:
        Truth, prediction, voxels that the truth knows something about (as in training: see `coverage`; all
        `(x, y, z)`), and the voxel size in mm.
    """
    inferred = config.tasks[task.name].inferred
    if inferred is None:
        result: ImageRef = ImageFile(prediction_path(config, subject.subject_id, task.name))
    elif inferred in subject.images:
        result = subject.images[inferred]
    else:
        raise DataError(
            f"subject {subject.subject_id!r} has no file in [{inferred}], the source of inferred; add it, or choose "
            "other subjects with --dataset"
        )
    _refuse_missing(result, subject)
    is_labels = task.target_kind == "labels"
    source = config.sources[task.source]
    predicted = result.read_labels() if is_labels else read_result(task, result)
    reference = subject.images[task.source]
    target = reference.read_labels() if is_labels else reference.read()
    shape, order = predicted.array.shape[:3], 0 if is_labels else 1
    outside = None if is_labels else outside_of(task, target.array, source)
    array, fill = put_air(target.array, outside, source), 0.0 if is_labels else fill_value(source)
    truth = resample_like(array, target.affine, shape, predicted.affine, order, fill)
    valid = known_on(outside, array.shape, target.affine, shape, predicted.affine)
    if task.has_directions:
        own = frame_directions(target.affine, file_axes(reference))
        truth = turned(truth, own, frame_directions(predicted.affine, file_axes(subject.images[config.image[0]])))
    spacing = _spacing(predicted.affine)
    return truth, predicted.array, valid, spacing


def read_result(task: VolumeTask, result: ImageRef) -> Image:
    """Reads a predicted volume of quantities: `(x, y, z)`, of vectors `(x, y, z, 3)`."""
    if task.has_directions and isinstance(result, ImageFile) and not result.is_photo:
        return read_channels(result.path)
    return result.read()


def _evaluate_values(session: Session, task: RowTask, subjects: Sequence[Subject]) -> list[dict[str, Any]]:
    path = session.config.inference.save_seg_dir / VALUES_FILE
    predicted = read_values(path, task.columns)
    missing = [subject.subject_id for subject in subjects if subject.subject_id not in predicted]
    if missing:
        raise DataError(
            f"{path}: has no result for subject {missing[0]!r} and {len(missing) - 1} more; run inference "
            "first, with the same --dataset"
        )
    truth = np.stack([_true_value(session, task, subject) for subject in subjects])
    results = np.stack([predicted[subject.subject_id] for subject in subjects]).reshape(truth.shape)
    pairs = [
        {"subject_id": subject.subject_id, **_named("truth", task, true), **_named("prediction", task, result)}
        for subject, true, result in zip(subjects, truth, results, strict=True)
    ]
    write_csv(session.config.evaluation.save_csv_dir / f"{task.name}_pairs.csv", pairs)
    rows = task.evaluate_values(truth, results, session.config.evaluation)
    if task.rows_per_subject:
        owners = np.repeat([subject.subject_id for subject in subjects], len(rows) // len(subjects)).tolist()
        rows = [{"subject_id": subject_id, **row} for subject_id, row in zip(owners, rows, strict=True)]
    return rows


def _true_value(session: Session, task: RowTask, subject: Subject) -> np.ndarray:
    """Returns the numbers of a subject's target, in the unit that results are written in."""
    if isinstance(task, PointTarget):
        return read_as_written(session.config, session.cohort, task, subject)
    return session.cohort.value(subject, task, task.read_value)


def _named(what: str, task: RowTask, numbers: np.ndarray) -> dict[str, float]:
    """Returns a subject's numbers by the names of their columns."""
    return dict(zip(pair_columns(what, task), np.atleast_1d(numbers).tolist(), strict=True))


def pair_columns(what: str, task: RowTask) -> list[str]:
    """Returns the columns of `<task>_pairs.csv` that hold the `truth` or the `prediction`."""
    return [f"{what}_{part}" for part in task.parts] or [what]


def read_values(path: Path, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Reads some columns of the table of values, `(columns,)` by subject."""
    if not path.is_file():
        raise DataError(f"{path}: no results; run inference first")
    rows = read_csv(path)
    missing = [name for name in columns if rows and name not in rows[0]]
    if missing:
        raise DataError(f"{path}: has no column {missing[0]!r}, only {', '.join(rows[0])}; run inference again")
    return {row["subject_id"]: np.array([float(row[name]) for name in columns]) for row in rows}


def _show(
    task: Task,
    rows: Sequence[dict[str, Any]],
    summary: Sequence[dict[str, Any]],
    groups: Sequence[str],
    reporter: Reporter,
) -> None:
    """Shows one line per group with mean and standard deviation of every measure, in its unit."""
    headings = {row["measure"]: with_unit(row["measure"], row["unit"]) for row in summary}
    lines: dict[str, dict[str, str]] = {}
    for row in summary:
        line = lines.setdefault(", ".join(str(row[name]) for name in groups) or "all subjects", {})
        line[row["measure"]] = summary_text(row)
    table = [[group, *(line.get(measure, "-") for measure in headings)] for group, line in lines.items()]
    reporter.table(f"{task.name} ({task.type_name})", [", ".join(groups), *headings.values()], table)
    for row in rows:
        if isinstance(matrix := row.get("confusion_matrix"), list):
            names = task.class_names if isinstance(task, LabelledTask) else []
            names = [*names, *(str(number) for number in range(len(names), len(matrix)))]
            columns = ["truth \\ predicted", *names]
            numbered = [[name, *counts] for name, counts in zip(names, matrix, strict=True)]
            reporter.table(f"{task.name}: confusion matrix", columns, numbered)
