"""How a network learns to learn: what `[TRAINING] meta_learning` may choose."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sfgkeras.settings import Settings, setting
from sfgkeras.tables.entry import Entry

CURRICULA: dict[str, str] = {
    "teacher_student": "a teacher picks those whose loss changes most, up or down (Matiisen et al. 2017)",
    "uniform": "all are as probable",
}
"""What picks the tasks of a step."""


@dataclass(frozen=True)
class FirstOrderSettings(Settings):
    """Settings of `first_order`.

    Attributes:
        inner_steps: Steps of adaptation to a task.
        inner_lr: Their learning rate.
        tasks_per_step: Tasks that one step of meta-training adapts to.
        curriculum: What picks them.
        memory: Changes of a task's loss that the teacher remembers.
        random_share: How often the teacher picks a task at random.
    """

    inner_steps: int = setting(1, "Steps of plain gradient descent by which the network adapts to a task.", ge=1)
    inner_lr: float = setting(0.05, "Their learning rate.", gt=0)
    tasks_per_step: int = setting(2, "Tasks that the network adapts to in one iteration, one after the other.", ge=1)
    curriculum: str = setting("teacher_student", "What picks these tasks.", choices=CURRICULA)
    memory: int = setting(10, "Of the teacher: how many changes of each task's loss it remembers.", ge=1)
    random_share: float = setting(0.1, "Of the teacher: how often it picks any task at random.", ge=0, le=1)


@dataclass(frozen=True)
class MetaLearningEntry(Entry[Callable[..., Any]]):
    """A way to train: the class of the training step, which gets its settings and the seed first, if it has any."""


def _usual() -> Callable[..., Any]:
    from sfgkeras.applications.training.step import TrainingStep

    return TrainingStep


def _first_order() -> Callable[..., Any]:
    from sfgkeras.applications.training.meta_step import MetaTrainingStep

    return MetaTrainingStep


META_LEARNING: dict[str, MetaLearningEntry] = {
    "none": MetaLearningEntry(_usual, "every iteration trains all tasks"),
    "first_order": MetaLearningEntry(
        _first_order,
        "learns where to begin: from there a few steps on half of a batch shall fit the other half (MAML of first "
        "order, Finn et al. 2017; Maicas et al. 2018)",
        FirstOrderSettings,
    ),
}
