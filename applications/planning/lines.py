"""A file in the making: sections of lines, each line with the reason for its value."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Line:
    """One key.

    Attributes:
        key: The key.
        value: Its value as the file has it.
        why: The reason, with the numbers behind it; empty where the line before says it.
    """

    key: str
    value: str
    why: str = ""


@dataclass
class Lines:
    """The sections of a file in order.

    Attributes:
        sections: Lines by section.
        heads: What is said of a section before its lines.
    """

    sections: dict[str, list[Line]] = field(default_factory=dict)
    heads: dict[str, str] = field(default_factory=dict)

    def add(self, section: str, key: str, value: object, why: str = "") -> None:
        """Adds a line to a section."""
        text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
        self.sections.setdefault(section, []).append(Line(key, text, why))

    def head(self, section: str, text: str) -> None:
        """Says something of a section as a whole."""
        self.sections.setdefault(section, [])
        self.heads[section] = text

    def change(self, section: str, key: str, value: object, why: str) -> None:
        """Gives a line another value, with the reason for it."""
        lines = self.sections[section]
        lines[:] = [Line(key, str(value), why) if line.key == key else line for line in lines]

    def value(self, section: str, key: str) -> str:
        """Returns the value of a line; empty where there is none."""
        return next((line.value for line in self.sections.get(section, ()) if line.key == key), "")

    def rows(self) -> Iterable[tuple[str, str, str, str]]:
        """Yields section, key, value and reason of every line."""
        for section, lines in self.sections.items():
            for line in lines:
                yield section, line.key, line.value, line.why


def listed(numbers: Iterable[object]) -> str:
    """Returns a list as INI files have it."""
    return ", ".join(f"{number:g}" if isinstance(number, float) else str(number) for number in numbers)
