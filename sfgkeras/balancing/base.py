"""What every balancing rule is: its settings as plain values, and what weighs the losses of a step by them."""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sfgkeras.errors import suggestion
from sfgkeras.settings import Settings

if TYPE_CHECKING:
    from sfgkeras.balancing.balancer import Balancer


@dataclass(frozen=True)
class Balancing(Settings, ABC):
    """How the losses of the tasks become one; a subclass is one rule, and its fields are the settings of that rule.

    Settings are plain values, known without Keras; `build` loads what it needs. Those declared by `setting` are keys of
    INI files; others are for Python alone.

    Attributes:
        name: What the rule is called in INI files and in `BALANCING`.
        summary: One line for lists and documentation.
        task_keys: Fields that hold a number for each task, by the key that gives it in the INI file's `[TASK name]`.
        compares: What it compares of the tasks: `losses`, or `gradients` of variables that tasks share; empty for
            nothing. Without anything to compare, it does nothing.
        needs_shared: Whether it cannot work where tasks share no variable.
        needs_positive_weights: Whether a weight of 0 is none for it.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    task_keys: ClassVar[Mapping[str, str]] = {}
    compares: ClassVar[str] = ""
    needs_shared: ClassVar[bool] = False
    needs_positive_weights: ClassVar[bool] = False

    @abstractmethod
    def build(self, tasks: Sequence[str]) -> "Balancer":
        """Builds what weighs the losses of these tasks, with its variables.

        Raises:
            ValueError: If a setting names no task, or has a value that it cannot have.
        """

    @classmethod
    def instead_of(cls, key: str, value: float, likelihood: str) -> str:
        """Returns what a task has to say with this rule for the same beginning as with another rule's key.

        Args:
            key: Another rule's key of `[TASK name]`.
            value: Its value.
            likelihood: That of the task's loss, `categorical` or `gaussian`.

        Returns:
            E.g. `log_sigma = 0.5, which begins with that weight`; empty where there is nothing of the kind.
        """
        return ""

    def values(self) -> dict[str, Any]:
        """Returns the settings as plain values by name; the constructor takes them back."""
        found = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.init}
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in found.items()}

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "Balancing":
        """Builds a rule from settings by name.

        Raises:
            TypeError: If the rule has no such setting; names the closest one, or lists all.
        """
        known = [field.name for field in dataclasses.fields(cls) if field.init]
        for name in values:
            if name not in known:
                hint = suggestion(name, known) or (f"; it has {', '.join(known)}" if known else "; it has none")
                raise TypeError(f"balancing = {cls.name} has no setting {name!r}{hint}")
        return cls(**values)


def by_task(what: str, values: Mapping[str, Any], tasks: Sequence[str], default: Any) -> dict[str, Any]:
    """Returns a value for each task.

    Args:
        what: The setting, for the message.
        values: Values by task; those that are not named take the default.
        tasks: Names of all tasks.
        default: The value of the others.

    Raises:
        ValueError: If a name is no task's.
    """
    for name in values:
        if name not in tasks:
            hint = suggestion(str(name), list(tasks))
            raise ValueError(f"{what}: there is no task {name!r}{hint}; the tasks are {', '.join(tasks)}")
    return {name: values.get(name, default) for name in tasks}


def given_weights(weights: Mapping[str, float], tasks: Sequence[str]) -> dict[str, float]:
    """Returns the weight of each task; 1 for those that are not named.

    Raises:
        ValueError: If a name is no task's, or a weight is below 0.
    """
    found = by_task("weights", weights, tasks, 1.0)
    for task, weight in found.items():
        if not 0 <= weight < math.inf:
            raise ValueError(f"weights: {weight!r} of task {task!r} must be a number from 0 up")
    return found
