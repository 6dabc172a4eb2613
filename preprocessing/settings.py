"""Settings of steps: frozen dataclasses, filled from text; mistakes name key, value and remedy."""

import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from sfgkeras.errors import ConfigError, suggestion

_TRUE = {"yes", "true", "1", "on"}
_FALSE = {"no", "false", "0", "off"}
_NONE = {"", "none"}


class SettingProblems(ConfigError):
    """Every mistake in a set of settings.

    Attributes:
        problems: The mistakes: key as written, and what is wrong with it.
    """

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("\n".join(text for _, text in problems))
        self.problems = tuple(problems)


def build_settings(settings_type: type, options: Mapping[str, tuple[str, Any]]) -> tuple[Any, list[tuple[str, str]]]:
    """Fills a settings dataclass from texts or values.

    Args:
        settings_type: A frozen dataclass whose fields have defaults.
        options: Key as written and value, by name of the field.

    Returns:
        The settings, None if there are mistakes; and the mistakes as pairs of key and sentence.
    """
    types_of_fields = typing.get_type_hints(settings_type)
    problems: list[tuple[str, str]] = []
    values: dict[str, Any] = {}
    for name, (key, value) in options.items():
        if name not in types_of_fields:
            hint = suggestion(name, list(types_of_fields)) or f"; known are {', '.join(types_of_fields) or 'none'}"
            problems.append((key, f"unknown setting {key!r}{hint}"))
            continue
        try:
            values[name] = parse_value(value, types_of_fields[name])
        except ValueError as error:
            problems.append((key, f"{key} = {value!r} {error}"))
    if problems:
        return None, problems
    try:
        return settings_type(**values), []
    except ConfigError as error:
        return None, [_attributed(str(error), settings_type, values, options)]


def _attributed(
    text: str, settings_type: type, values: Mapping[str, Any], options: Mapping[str, tuple[str, Any]]
) -> tuple[str, str]:
    """Finds the key that a settings class complained about, and words the complaint with it."""
    for name, (key, value) in options.items():
        # A settings class names its own field and what it made of the value; the user wrote both in another way.
        for shown in (f"{name} = {values[name]} ", f"{name} = {value} "):
            if text.startswith(shown):
                return key, f"{key} = {value!r} {text[len(shown) :]}"
        if text.startswith(f"{name} ="):
            return key, key + text[len(name) :]
        try:
            settings_type(**{name: values[name]})
        except ConfigError as error:
            if str(error) == text:
                return key, f"{key} = {value!r}: {text}"
    return "", text


def parse_value(value: Any, wanted: Any) -> Any:
    """Turns text into a value of a field's type; values that are not text are checked and passed.

    Args:
        value: Text as in an INI file, or a Python value.
        wanted: `bool`, `int`, `float`, `str`, `Path`, `tuple[T, ...]`, `tuple[T, T]`, or one of them or None.

    Raises:
        ValueError: With the second half of a sentence (`is not a number; ...`).
    """
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (types.UnionType, typing.Union):
        if value is None or (isinstance(value, str) and value.strip().lower() in _NONE):
            return None
        return parse_value(value, next(argument for argument in arguments if argument is not type(None)))
    if origin is tuple:
        return _parse_tuple(value, arguments)
    if wanted is bool:
        return _parse_bool(value)
    if wanted in (int, float):
        return _parse_number(value, wanted)
    if isinstance(value, str) and not value.strip():
        raise ValueError("is empty")
    parsed = wanted(value.strip() if isinstance(value, str) else value)
    return parsed.expanduser() if isinstance(parsed, Path) else parsed


def _parse_tuple(value: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if isinstance(value, str):
        parts: list[Any] = [part for part in value.strip().strip("()[]").replace(";", ",").split(",") if part.strip()]
    elif isinstance(value, Sequence):
        parts = list(value)
    else:
        parts = [value]
    is_open = len(arguments) == 2 and arguments[1] is Ellipsis
    if not is_open and len(parts) != len(arguments):
        raise ValueError(f"has {len(parts)} values where {len(arguments)} belong; separate them by commas")
    if not parts:
        raise ValueError("is empty")
    return tuple(parse_value(part, arguments[0]) for part in parts)


def _parse_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("is neither yes nor no; write yes or no")
    return word in _TRUE


def _parse_number(value: Any, wanted: type) -> Any:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError("is not a number") from None
    if not math.isfinite(number):
        raise ValueError("is not a finite number")
    if wanted is int:
        if not number.is_integer():
            raise ValueError("is not a whole number")
        return int(number)
    return number


def require(condition: bool, name: str, value: object, remedy: str) -> None:
    """Raises ConfigError `name = value remedy` unless the condition holds."""
    if not condition:
        raise ConfigError(f"{name} = {value} {remedy}")


def describe(settings: Any) -> dict[str, Any]:
    """Returns settings as values that JSON can hold."""
    described = {}
    for each in fields(settings):
        value = getattr(settings, each.name)
        if isinstance(value, Path):
            value = str(value)
        described[each.name] = list(value) if isinstance(value, tuple) else value
    return described
