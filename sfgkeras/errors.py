"""The errors that users meet, and what words them: table lookup, suggestions, numbers with their nouns."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

Value = TypeVar("Value")


class ConfigError(ValueError):
    """A setting that cannot be used: the message names file, line, section, key, value and remedy."""


class Problem(ConfigError):
    """One setting that cannot be used, told by its parts; `worded` makes the sentence of them.

    Attributes:
        what: What is wrong, the second half of a sentence: `is not a number`.
        remedy: What to do about it: `write 0.001`; empty where `what` says it.
        key: The setting's name where it stands.
        value: What it has, as written; None where there is no value to be quoted.
        section: The section of an INI file, as its header spells it.
        file: How the file is called.
        line: Line number from 1.
        option: The command-line option that set the key.
        names_key: Whether the sentence begins with the key; False where `what` has its name.
    """

    def __init__(
        self,
        what: str,
        remedy: str = "",
        *,
        key: str = "",
        value: Any = None,
        section: str = "",
        file: str = "",
        line: int | None = None,
        option: str = "",
        names_key: bool = True,
    ) -> None:
        self.what = what
        self.remedy = remedy
        self.key = key
        self.value = value
        self.section = section
        self.file = file
        self.line = line
        self.option = option
        self.names_key = names_key
        super().__init__(worded(self))

    def at(self, **parts: Any) -> "Problem":
        """Returns the same problem with other parts: where it stands, how the key and value are written."""
        names = ("key", "value", "section", "file", "line", "option", "names_key")
        known = {name: getattr(self, name) for name in names}
        what, remedy = parts.pop("what", self.what), parts.pop("remedy", self.remedy)
        return Problem(what, remedy, **{**known, **parts})


class Problems(ConfigError):
    """Every setting that cannot be used, at once; the message has a line for each.

    Attributes:
        problems: One by one.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def worded(problem: Problem) -> str:
    """Returns the sentence of a problem: file and line, section, key, value, what is wrong, and what to do.

    >>> worded(Problem("is not a number", "write 0.1", key="lr", value="0,1", section="TRAINING", file="a.ini", line=3))
    "a.ini:3: [TRAINING] lr = '0,1' is not a number; write 0.1"
    """
    place = problem.option or (problem.file if problem.line is None else f"{problem.file}:{problem.line}")
    section = f"[{problem.section}]" if problem.section else ""
    key = "" if not problem.names_key else problem.key
    value = f"= {problem.value!r}" if key and problem.value is not None else ""
    sentence = " ".join(part for part in (section, key, value, problem.what) if part)
    if problem.remedy:
        sentence += f"{',' if problem.remedy.startswith('did you mean') else ';'} {problem.remedy}"
    return f"{place}: {sentence}" if place else sentence


class DataError(ValueError):
    """A file or folder that cannot be used: the message names the file and what to do about it."""


@contextmanager
def naming(what: object) -> Iterator[None]:
    """Puts a file, or a step, before what is said of its content by functions of arrays, which know no name.

    Raises:
        DataError: With the name before it.
    """
    try:
        yield
    except DataError as error:
        raise DataError(f"{what}: {error}") from error


class WorkerLost(RuntimeError):
    """Another worker of a training is gone: nothing can be done here but to end, at once, and to be started again."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Returns `1 error` or `2 errors`."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def closest(name: str, known: Iterable[str]) -> str | None:
    """Returns the known name that is closest to `name`, whatever the case of the letters; None if none is close."""
    by_lower_case = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    return by_lower_case[close[0]] if close else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Returns the remedy `did you mean 'x'?` for the known name closest to `name`, or another one where none is."""
    found = closest(name, known)
    return otherwise if found is None else f"did you mean {found!r}?"


def suggestion(name: str, known: Sequence[str]) -> str:
    """Returns `, did you mean 'x'?` for the known name closest to `name`, or an empty string."""
    found = did_you_mean(name, known)
    return f", {found}" if found else ""


def lookup(table: Mapping[str, Value], name: str, what: str) -> Value:
    """Returns `table[name]`, whatever the case of the letters.

    Args:
        table: Objects by name.
        name: The name asked for.
        what: The kind of object, for the message, e.g. `"loss"`.

    Raises:
        ConfigError: If the table has no such name; names the closest one or lists all.
    """
    by_lower_case = {key.lower(): value for key, value in table.items()}
    try:
        return by_lower_case[name.lower()]
    except KeyError:
        hint = suggestion(name, list(table)) or f"; known are {', '.join(sorted(table))}"
        raise ConfigError(f"unknown {what} {name!r}{hint}") from None
