"""How many subjects have a target of each task: what data sets with different labels teach which head."""

from collections.abc import Mapping, Sequence

from sfgkeras.applications.subjects.cohort import PHASES, Cohort
from sfgkeras.applications.tasks.task import Task
from sfgkeras.config import Config
from sfgkeras.data.subjects import Subject


def teaching(config: Config, cohort: Cohort, task: Task, *phases: str) -> list[Subject]:
    """Returns the subjects of some phases that a task has something to learn from, or must have."""
    subjects = cohort.phase(*phases)
    if config.multitask.missing_targets == "refuse":
        return subjects
    return [subject for subject in subjects if cohort.has_target_of(subject, task)]


def count_labels(cohort: Cohort, tasks: Mapping[str, Task]) -> dict[str, dict[str, int]]:
    """Returns how many subjects of each phase have a target, by task and phase."""
    return {
        name: {phase: sum(cohort.has_target_of(subject, task) for subject in cohort.phase(phase)) for phase in PHASES}
        for name, task in tasks.items()
    }


def describe_labels(cohort: Cohort, tasks: Mapping[str, Task], phases: Sequence[str]) -> str:
    """Says of how many subjects each task has a target: `organs 4 of 8 training, 1 of 2 validation; ct ...`."""
    counts = count_labels(cohort, tasks)
    return "; ".join(
        f"{name} " + ", ".join(f"{found[phase]} of {len(cohort.phase(phase))} {phase}" for phase in phases)
        for name, found in counts.items()
    )


def label_rows(cohort: Cohort, tasks: Mapping[str, Task]) -> list[dict[str, object]]:
    """Returns a line for each task: how many subjects of each phase have its target."""
    return [
        {"task": name, **{phase: f"{found[phase]} of {len(cohort.phase(phase))}" for phase in PHASES}}
        for name, found in count_labels(cohort, tasks).items()
    ]
