"""Settings of what can be chosen: frozen dataclasses whose fields are typed, described and validated.

A loss, a network, a sharing mechanism or an optimiser says with one what can be set about it. The fields are read from
INI text by the same parsers as all other keys, checked in Python and in INI files alike, and written into the reference
of configuration files by themselves. Nothing here loads Keras.
"""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfgkeras import values
from sfgkeras.errors import ConfigError, Problem, did_you_mean
from sfgkeras.quoting import unquote
from sfgkeras.values import Reads, choice, choose

REQUIRED: Any = dataclasses.MISSING
"""The default of a setting that has to be given."""

_KEY = "setting"
_SIMPLE: Mapping[Any, Reads] = {
    bool: Reads(values.parse_yes_no, "yes / no"),
    int: Reads(values.parse_whole, "whole number"),
    float: Reads(values.parse_number, "number"),
    str: Reads(values.parse_text, "text"),
    Path: Reads(values.parse_path, "path"),
}
_LISTS: Mapping[Any, Reads] = {
    int: Reads(values.parse_wholes, "list of whole numbers"),
    float: Reads(values.parse_numbers, "list of numbers"),
    str: Reads(values.parse_names, "list of words"),
    Path: Reads(values.parse_paths, "list of paths"),
}
_BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


@dataclass(frozen=True)
class _Declaration:
    description: str
    ge: float | None
    gt: float | None
    le: float | None
    lt: float | None
    choices: Collection[str] | None
    reads: Reads | None


_UNDECLARED = _Declaration("", None, None, None, None, None, None)


def setting(
    default: Any,
    description: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Collection[str] | None = None,
    reads: Reads | None = None,
) -> Any:
    """Declares a field of a dataclass of settings.

    A field that is not declared so is for Python alone: no INI file can give it, but for classes that say
    `all_fields_are_settings = True`.

    Args:
        default: Its default; `REQUIRED` for none.
        description: What the reference says of it; one sentence or two, with the unit.
        ge: Smallest value; of a list, of every element.
        gt: What it must be above.
        le: Largest value.
        lt: What it must be below.
        choices: The words that it may be; where this is a table of their meanings, the reference has these too.
        reads: How its INI text is read, where the type of the field does not say it.
    """
    declaration = _Declaration(description, ge, gt, le, lt, choices, reads)
    return dataclasses.field(default=default, metadata={_KEY: declaration})


@dataclass(frozen=True)
class Settings:
    """Settings that are checked wherever they are made; subclasses are frozen dataclasses of `setting` fields."""

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class Described:
    """A setting as files and documentation know it.

    Attributes:
        name: Its field.
        description: What it means.
        reads: How its text is read.
        default: Its default; `REQUIRED` for none.
        bounds: Its bounds, e.g. `{"ge": 0}`.
        optional: Whether it may be None, which an empty text is.
    """

    name: str
    description: str
    reads: Reads
    default: Any
    bounds: Mapping[str, float]
    optional: bool

    @property
    def form(self) -> str:
        """What the reference calls such a value, with its bounds: `number, > 0`."""
        return ", ".join([self.reads.form, *(f"{_BOUNDS[name]} {bound:g}" for name, bound in self.bounds.items())])

    def parse(self, value: Any) -> Any:
        """Turns text into a value and checks its bounds; what is no text is taken as it is.

        Raises:
            Problem: If it cannot be.
        """
        if self.optional and (value is None or (isinstance(value, str) and unquote(value).lower() in ("", "none"))):
            return None
        value = self.reads.read(value)
        self.check(value)
        return value

    def is_default(self, text: str) -> bool:
        """Says whether a text is the default, written out."""
        try:
            return bool(self.parse(text) == self.default)
        except Problem:
            return False

    def check(self, value: Any) -> None:
        """Refuses a value outside the bounds.

        Raises:
            Problem: Says which bound.
        """
        for element in value if isinstance(value, tuple | list) else (value,):
            for bound, limit in self.bounds.items():
                if isinstance(element, int | float) and not _is_within(element, bound, limit):
                    which = f"has an element {element!r} that " if isinstance(value, tuple | list) else ""
                    raise Problem(f"{which}{_words(bound)} {limit:g}", key=self.name)


def _is_within(value: float, bound: str, limit: float) -> bool:
    return {"ge": value >= limit, "gt": value > limit, "le": value <= limit, "lt": value < limit}[bound]


def _words(bound: str) -> str:
    return {"ge": "must be at least", "gt": "must be above", "le": "must be at most", "lt": "must be below"}[bound]


def described(settings: type | None) -> dict[str, Described]:
    """Returns the settings of a class by name, in the order of their definition; none for None.

    Args:
        settings: A dataclass with `setting` fields.
    """
    if settings is None:
        return {}
    hints = typing.get_type_hints(settings)
    found = {}
    for field in dataclasses.fields(settings):
        declared: _Declaration | None = field.metadata.get(_KEY)
        if declared is None and getattr(settings, "all_fields_are_settings", False):
            declared = _UNDECLARED
        if declared is None or not field.init:
            continue
        kinds, optional = _without_none(hints[field.name])
        bounds = {name: getattr(declared, name) for name in _BOUNDS if getattr(declared, name) is not None}
        reads = declared.reads or _reader(kinds, declared.choices, f"{settings.__name__}.{field.name}")
        meaning = f"{declared.description}{_meanings(declared.choices)}"
        found[field.name] = Described(field.name, meaning, reads, field.default, bounds, optional)
    return found


def _meanings(choices: Collection[str] | None) -> str:
    """Returns what each word means, where a table says it."""
    if not isinstance(choices, Mapping) or not all(isinstance(meaning, str) for meaning in choices.values()):
        return ""
    return " " + "; ".join(f"`{name}`: {meaning}" for name, meaning in choices.items()) + "."


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return hint, False
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 else None, len(kinds) < len(typing.get_args(hint))


def _reader(kind: Any, choices: Collection[str] | None, name: str) -> Reads:
    if choices is not None:
        return choice(choices)
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is not tuple or not arguments or arguments[0] not in _LISTS:
        raise TypeError(f"{name} has a type that text cannot be read as; say how with setting(..., reads=...)")
    of_any_length = _LISTS[arguments[0]]
    if arguments[-1] is Ellipsis:
        return of_any_length
    count = len(arguments)

    def parse(text: str) -> Any:
        elements = of_any_length.parse(text)
        if len(elements) != count:
            raise Problem(f"has {len(elements)} values where {count} belong", "separate them by commas")
        return elements

    return Reads(parse, f"{count} {of_any_length.form.removeprefix('list of ')}")


def check_settings(settings: Any) -> None:
    """Refuses settings outside their bounds or choices.

    Raises:
        Problem: Names the field and its value.
    """
    hints = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        declared: _Declaration | None = field.metadata.get(_KEY)
        value = getattr(settings, field.name)
        if declared is None or (value is None and _without_none(hints[field.name])[1]):
            continue
        if declared.choices is not None and value not in declared.choices:
            raise Problem("is not known", choose(str(value), declared.choices), key=field.name, value=value)
        try:
            described(type(settings))[field.name].check(value)
        except Problem as problem:
            raise problem.at(value=value) from None


def build_settings(settings: type | None, given: Mapping[str, Any]) -> tuple[Any, list[Problem]]:
    """Builds settings from texts or values by name.

    Args:
        settings: A frozen dataclass of `setting` fields; None: nothing can be set.
        given: Texts as in an INI file, or values.

    Returns:
        The settings, None if anything is wrong; and what is wrong: each problem has the field for its key and the
        value as given.
    """
    known = described(settings)
    problems, parsed = [], {}
    for name, value in given.items():
        if name not in known:
            problems.append(Problem("is not known", _no_such(name, known), key=name, value=value))
            continue
        try:
            parsed[name] = known[name].parse(value)
        except Problem as problem:
            problems.append(problem.at(key=name, value=value))
    missing = [name for name, each in known.items() if each.default is REQUIRED and name not in given]
    problems += [Problem("is missing", _asked_for(known[name]), key=name) for name in missing]
    if problems or settings is None:
        return None, problems
    try:
        return settings(**parsed), []
    except Problem as problem:
        return None, [problem.at(value=given.get(problem.key, problem.value))]
    except ConfigError as error:
        return None, [Problem(f"cannot be used: {error}")]


def _no_such(name: str, known: Collection[str]) -> str:
    return did_you_mean(name, known, f"known are {', '.join(known) or 'none'}")


def _asked_for(missing: Described) -> str:
    return f"give {missing.description[0].lower()}{missing.description[1:].rstrip('.')}"


def setting_values(settings: Any) -> dict[str, Any]:
    """Returns what settings hold by the name of the field, without fields for Python alone; none for None."""
    return {} if settings is None else {name: getattr(settings, name) for name in described(type(settings))}


@functools.cache
def own_settings(own: Any, base: Any) -> type | None:
    """Returns the settings of a user's class: its `Settings`, or else the arguments that it adds to its base.

    An argument is a setting where it has a default and a type that text can be read as. What it means is told by the
    class's own documentation.

    Args:
        own: The class.
        base: What it is a subclass of; arguments that this has are given by others.

    Returns:
        A dataclass, the same one whenever it is asked for; None if nothing can be set.
    """
    if isinstance(stated := getattr(own, "Settings", None), type) and dataclasses.is_dataclass(stated):
        return stated
    taken = {"self", *inspect.signature(base.__init__).parameters}
    hints = _hints(own.__init__)
    fields: list[tuple[str, Any, Any]] = []
    for name, parameter in inspect.signature(own.__init__).parameters.items():
        kind = hints.get(name, type(parameter.default))
        if name in taken or parameter.default is inspect.Parameter.empty or not _can_be_read(kind):
            continue
        fields.append((name, kind, setting(parameter.default, f"An argument of {own.__name__}.")))
    return dataclasses.make_dataclass(f"{own.__name__}Settings", fields, frozen=True) if fields else None


def _hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        return {}


def _can_be_read(kind: Any) -> bool:
    try:
        _reader(_without_none(kind)[0], None, "")
    except TypeError:
        return False
    return True


def key_of(chosen: str, name: str) -> str:
    """Returns the INI key of a setting of what was chosen: `huber_delta`; a user's class goes by its own name."""
    return f"{chosen.rpartition('.')[2].lower()}_{name}"
