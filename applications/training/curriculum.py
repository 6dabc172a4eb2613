"""Which tasks a step of meta-training adapts to: a teacher watches how the student gets on with each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class StudentRecord:
    """What the teacher has seen of each task; it survives a restart.

    Attributes:
        rewards: The last changes of each task's loss after adaptation, the newest last; positive where it fell.
        last: That loss when it was last measured.
        picked: How often each task was picked.
    """

    rewards: dict[str, list[float]] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    picked: dict[str, int] = field(default_factory=dict)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "StudentRecord":
        """Takes back what `vars` gave; nothing for a run that has not begun."""
        return cls(**{name: dict(value) for name, value in values.items()})

    def note(self, task: str, loss: float, memory: int) -> None:
        """Takes the loss of a task after adaptation."""
        if task in self.last:
            self.rewards[task] = [*self.rewards.get(task, []), self.last[task] - loss][-memory:]
        self.last[task] = loss
        self.picked[task] = self.picked.get(task, 0) + 1


def pick_tasks(
    tasks: Sequence[str],
    record: StudentRecord,
    count: int,
    rng: np.random.Generator,
    curriculum: str = "teacher_student",
    random_share: float = 0.1,
) -> list[str]:
    """Picks different tasks, as many as asked for or there are.

    The teacher draws one of the remembered changes of every task and takes the task whose change is largest, up or
    down: those that the student learns fast, and those that it forgets (Matiisen et al. 2017, sampling algorithm;
    Maicas et al. 2018). A task of which it remembers nothing comes first, the one that was picked least.

    Args:
        tasks: Those that may be picked.
        record: What was seen of them.
        count: How many.
        rng: Where randomness comes from.
        curriculum: `teacher_student` or `uniform`.
        random_share: How often the teacher takes any task.
    """
    left, picked = list(tasks), list[str]()
    while left and len(picked) < count:
        if curriculum == "uniform" or rng.random() < random_share:
            task = left[int(rng.integers(len(left)))]
        elif unknown := [name for name in left if not record.rewards.get(name)]:
            task = min(unknown, key=lambda name: record.picked.get(name, 0))
        else:
            changes = [abs(record.rewards[name][int(rng.integers(len(record.rewards[name])))]) for name in left]
            task = left[int(np.argmax(changes))]
        picked.append(task)
        left.remove(task)
    return picked
