"""The errors that users meet, and what words them: table lookup, suggestions, numbers with their nouns."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")


class ConfigError(ValueError):
    """A setting that cannot be used: the message names file, line, section, key, value and remedy."""


class DataError(ValueError):
    """A file or folder that cannot be used: the message names the file and what to do about it."""


class WorkerLost(RuntimeError):
    """Another worker of a training is gone: nothing can be done here but to end, at once, and to be started again."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Returns `1 error` or `2 errors`."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def suggestion(name: str, known: list[str]) -> str:
    """Returns `, did you mean 'x'?` for the known name closest to `name`, or an empty string."""
    by_lower_case = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    return f", did you mean {by_lower_case[close[0]]!r}?" if close else ""


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
