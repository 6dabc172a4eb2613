"""Settings of steps as text, values and JSON; what they are, and how they are read, is `sfgkeras.settings`'s."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.errors import Problem
from sfgkeras.settings import build_settings
from sfgkeras.values import format_value


def fill_settings(
    settings_type: type, options: Mapping[str, tuple[str, Any]], prefix: str
) -> tuple[Any, list[Problem]]:
    """Fills the settings of a step from texts or values.

    Args:
        settings_type: A frozen dataclass of `setting` fields, or a step of the user's own.
        options: Key as written and value, by name of the field.
        prefix: What keys of the step begin with, for settings that nobody wrote.

    Returns:
        The settings, None if there are mistakes; and the mistakes, each with the key and value that were written.
    """
    texts = {name: _as_text(value) for name, (_, value) in options.items()}
    settings, problems = build_settings(settings_type, texts)
    placed = []
    for problem in problems:
        if problem.key in options:
            key, value = options[problem.key]
            placed.append(problem.at(key=key, value=value))
        else:
            placed.append(problem.at(key=f"{prefix}_{problem.key}" if problem.key else ""))
    return settings, placed


def _as_text(value: Any) -> str:
    """Writes a Python value as an INI file has it, so that both are read and checked alike."""
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return format_value(tuple(value) if isinstance(value, list) else value)


def require(condition: bool, name: str, value: object, what: str, remedy: str = "") -> None:
    """Refuses the value of a setting unless the condition holds.

    Raises:
        Problem: `name = value what; remedy`.
    """
    if not condition:
        raise Problem(what, remedy, key=name, value=value)


def describe(settings: Any) -> dict[str, Any]:
    """Returns settings as values that JSON can hold."""
    described = {}
    for each in fields(settings):
        value = getattr(settings, each.name)
        if isinstance(value, Path):
            value = str(value)
        described[each.name] = list(value) if isinstance(value, tuple) else value
    return described
