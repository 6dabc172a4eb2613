"""What every balancing rule is: its settings as plain values, and what weighs the losses of a step by them."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sfgkeras.errors import suggestion

if TYPE_CHECKING:
    from sfgkeras.balancing.balancer import Balancer


@dataclass(frozen=True)
class Balancing(ABC):
    """How the losses of the tasks become one; a subclass is one rule, and its fields are the settings of that rule.

    Settings are plain values, known without Keras; `build` loads what it needs.

    Attributes:
        name: What the rule is called in INI files and in `BALANCING`.
        summary: One line for lists and documentation.
        task_keys: Fields that hold a number for each task, by the key that gives it in the INI file's `[TASK name]`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    task_keys: ClassVar[Mapping[str, str]] = {}

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
