"""Finds the labels of the training subjects that `label_normalisation` numbers from 0, and keeps them."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np

from sfgkeras.applications.records.files import write_text
from sfgkeras.applications.subjects.cohort import Cohort
from sfgkeras.applications.subjects.label_counts import teaching
from sfgkeras.applications.tasks.label_mapping import mapping_file, read_entries
from sfgkeras.applications.tasks.labelled import LabelledTask
from sfgkeras.applications.tasks.outputs import RowTask
from sfgkeras.applications.tasks.task import Task
from sfgkeras.config import Config
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError
from sfgkeras.reporter import Reporter


def fit_missing_mappings(
    config: Config, tasks: Mapping[str, Task], cohort: Cohort, reporter: Reporter
) -> dict[str, tuple[int, ...]]:
    """Reads the labels of earlier training, or finds them in the label maps of the training subjects and writes them.

    Returns:
        The labels by task, in order.

    Raises:
        DataError: If the file belongs to other label maps, or there are more labels than classes.
    """
    wanted = labels_to_find(tasks)
    path = mapping_file(config)
    known = read_entries(path)
    for name, task in wanted.items():
        subjects = teaching(config, cohort, task, "training")
        fitted_on = _identity(cohort, task, subjects)
        if name in known and known[name]["fitted_on"] != fitted_on:
            raise DataError(
                f"{path}: the labels of task {name!r} were found in other training subjects or files; restore them, "
                "choose another model_dir, or remove the file and train with --restart"
            )
        if name not in known:
            labels = find_labels(task, cohort, subjects, reporter)
            refuse_too_many(task, labels)
            known[name] = {"labels": labels, "fitted_on": fitted_on}
            write_text(path, json.dumps(known, indent=1) + "\n")
            reporter.message(f"{name}: {describe_labels(task, labels)}: {path}")
    return {name: tuple(known[name]["labels"]) for name in wanted}


def labels_to_find(tasks: Mapping[str, Task]) -> dict[str, LabelledTask]:
    """Returns the tasks whose labels are numbered as training finds them."""
    return {
        name: task
        for name, task in tasks.items()
        if isinstance(task, LabelledTask) and task.settings.label_normalisation
    }


def find_labels(task: LabelledTask, cohort: Cohort, subjects: Sequence[Subject], reporter: Reporter) -> list[int]:
    """Returns all labels of a task's reference in some subjects, in order.

    Raises:
        DataError: If a label map or value cannot be read.
    """
    labels: set[int] = set()
    with reporter.stage(f"finding the labels of {task.name}", len(subjects)) as stage:
        for subject in subjects:
            if isinstance(task, RowTask):
                labels.add(cohort.value(subject, task, task.parse_label))
            elif task.source in subject.images:
                labels |= set(np.unique(subject.images[task.source].read_labels().array).tolist())
            stage.advance(1, subject.subject_id)
    return sorted(int(label) for label in labels)


def refuse_too_many(task: LabelledTask, labels: Sequence[int]) -> None:
    """Refuses more labels than classes.

    Raises:
        DataError: Names the labels.
    """
    if len(labels) > task.num_classes:
        shown = ", ".join(map(str, labels[:10])) + (", ..." if len(labels) > 10 else "")
        raise DataError(
            f"[{task.source}] has {len(labels)} labels in the training subjects ({shown}), and task {task.name!r} has "
            f"num_classes = {task.num_classes}; write num_classes = {len(labels)}"
        )


def describe_labels(task: LabelledTask, labels: Sequence[int]) -> str:
    """Says which labels become which classes."""
    shown = ", ".join(map(str, labels[:10])) + (", ..." if len(labels) > 10 else "")
    unused = task.num_classes - len(labels)
    rest = f" ({unused} of num_classes = {task.num_classes} are never seen)" if unused else ""
    return f"labels {shown} are learned as 0 to {len(labels) - 1}{rest}"


def _identity(cohort: Cohort, task: Task, subjects: Sequence[Subject]) -> str:
    """Returns what the labels were found in, by content."""
    parts = []
    for subject in subjects:
        if task.source in subject.images:
            parts.append(f"{subject.subject_id}@{subject.images[task.source].fingerprint()}")
        elif isinstance(task, RowTask):
            parts.append(f"{subject.subject_id}={cohort.value(subject, task, task.parse_label)}")
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]
