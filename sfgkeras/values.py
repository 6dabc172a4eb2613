"""The values of INI files: text to Python and back, with messages that say what would be right.

One set of parsers for all sections, for the settings of what they choose, and for the steps of preprocessing.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfgkeras.classes import is_class_path
from sfgkeras.errors import Problem, closest
from sfgkeras.quoting import quoted, split_list, unquote

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BOUNDS = re.compile(r"([A-Za-z_]\w*)\s*[:=]\s*([^\s,:=]+?)\s*(?:,|\.\.)\s*([^\s,:=]+)", re.ASCII)
_TRUE = frozenset({"yes", "true", "1", "y", "t", "on"})
_FALSE = frozenset({"no", "false", "0", "n", "f", "off"})
_OPPOSITE_DIRECTIONS = ("LR", "PA", "IS")


class Reads:
    """How the INI text of a value is read; values that are not text pass through.

    Attributes:
        parse: Text to value; raises `Problem`, what is wrong and what to do, without a key.
    """

    def __init__(self, parse: Callable[[str], Any], form: str | Callable[[], str]) -> None:
        self.parse = parse
        self._form = form

    @property
    def form(self) -> str:
        """What the reference calls such a value."""
        return self._form if isinstance(self._form, str) else self._form()

    def __get_pydantic_core_schema__(self, source: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        """Puts `parse` before pydantic's own validation."""
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(self.read, handler(source))

    def read(self, value: Any) -> Any:
        """Returns the value of a text; what is no text as it is."""
        return self.parse(value) if isinstance(value, str) else value


class Choice(Reads):
    """How one of several words is read, whatever the case of its letters; what may be chosen is known from outside.

    Attributes:
        names: What may be chosen.
        aliases: Other spellings, lower case, each with the name.
        classes: Whether the path of a class, `my.module.Class`, may be chosen too.
    """

    def __init__(
        self, parse: Callable[[str], Any], names: Collection[str], aliases: Mapping[str, str], classes: bool
    ) -> None:
        super().__init__(parse, self._known)
        self.names, self.aliases, self.classes = names, aliases, classes

    def _known(self) -> str:
        known = " / ".join(f"`{name}`" for name in self.names)
        return f"{known} / `my.module.Class`" if self.classes else known


def parse_yes_no(text: str) -> bool:
    """Reads `yes`, `no`, `true`, `false`, `1`, `0` and NiftyNet's `y`, `n`, `t`, `f`."""
    word = unquote(text).lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise Problem("is neither yes nor no", "write yes or no")


def parse_whole(text: str) -> int:
    """Reads a whole number."""
    text = unquote(text)
    if _WHOLE.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text) and math.isfinite(float(text)) and float(text).is_integer():
        raise Problem("is not written as a whole number", f"write {int(float(text))}")
    raise Problem("is not a whole number", _if_empty(text))


def parse_number(text: str) -> float:
    """Reads a finite number, also a fraction such as `1/3`."""
    text = unquote(text)
    numerator, slash, denominator = (part.strip() for part in text.partition("/"))
    if slash and _NUMBER.fullmatch(numerator) and _NUMBER.fullmatch(denominator) and float(denominator):
        return float(numerator) / float(denominator)
    if not _NUMBER.fullmatch(text):
        has_comma = re.fullmatch(r"-?[0-9]+,[0-9]+", text)
        raise Problem("is not a number", f"write {text.replace(',', '.')}" if has_comma else _if_empty(text))
    if not math.isfinite(float(text)):
        raise Problem("is too large for a number", "write a finite one")
    return float(text)


def _if_empty(text: str) -> str:
    return "" if text else "give one, or remove the line for the default"


def parse_outside(text: str) -> str | float:
    """Reads what marks voxels outside the field of view: `auto`, `none` or a value."""
    word = unquote(text).lower()
    if word in ("auto", "none"):
        return word
    try:
        return parse_number(text)
    except ValueError as error:
        raise Problem("is neither auto, none nor a value", "write e.g. -3024") from error


def parse_text(text: str) -> str:
    """Reads text as it is, without enclosing quotes."""
    return unquote(text)


def parse_names(text: str) -> tuple[str, ...]:
    """Reads a list of words."""
    return tuple(split_list(text))


def parse_pattern(text: str) -> str:
    """Reads a regular expression."""
    text = unquote(text)
    try:
        re.compile(text)
    except re.error as error:
        raise Problem(f"is not a regular expression ({error})", "put a backslash before special characters") from error
    return text


def parse_path(text: str) -> Path:
    """Reads a path; `~` becomes the home folder."""
    text = unquote(text)
    if not text:
        raise Problem("is empty", "give a path, or remove the line for the default")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise Problem("names a home folder that cannot be found", "write the whole path") from error


def parse_paths(text: str) -> tuple[Path, ...]:
    """Reads a list of paths."""
    return tuple(parse_path(part) for part in split_list(text))


def _each(parse: Callable[[str], Any], parts: Iterable[str]) -> tuple[Any, ...]:
    values = []
    for part in parts:
        try:
            values.append(parse(part))
        except Problem as problem:
            raise Problem(f"has an element {part!r} that {problem.what}", problem.remedy) from problem
    return tuple(values)


def parse_wholes(text: str) -> tuple[int, ...]:
    """Reads a list of whole numbers."""
    return _each(parse_whole, split_list(unquote(text)))


def parse_numbers(text: str) -> tuple[float, ...]:
    """Reads a list of numbers."""
    return _each(parse_number, split_list(unquote(text)))


def parse_widths(text: str) -> tuple[int, ...]:
    """Reads the numbers of outputs of some layers."""
    widths = parse_wholes(text)
    if any(width < 1 for width in widths):
        raise Problem("has a layer without outputs", "write e.g. 128, 64, or nothing for no layer")
    return widths


def parse_axes(text: str) -> tuple[int, ...]:
    """Reads axes `0, 1, 2`; NiftyNet's `-1` stands for none."""
    axes = parse_wholes(text)
    if axes == (-1,):
        return ()
    if not set(axes) <= {0, 1, 2} or len(set(axes)) < len(axes):
        raise Problem("is not a choice of the axes 0, 1 and 2", "write e.g. 0, 1")
    return axes


def parse_window(text: str) -> tuple[int, ...]:
    """Reads a window size; two numbers get a third axis of one voxel, as in NiftyNet."""
    size = parse_wholes(text)
    if len(size) == 2:
        size = (*size, 1)
    if len(size) != 3:
        raise Problem(f"has {len(size)} of the three sizes", "write e.g. 128, 128, 1")
    if min(size) < 1:
        raise Problem("has a size below 1", "give every axis its number of voxels")
    return size


def parse_inference_window(text: str) -> tuple[int, ...]:
    """Reads a window size whose 0, or NiftyNet's -1, is the volume's whole extent along that axis, here 0."""
    sizes = parse_wholes(text)
    if sizes and min(sizes) < -1:
        raise Problem("has a size below -1", "write 0 for the whole axis")
    whole = [size < 1 for size in sizes]
    known = parse_window(", ".join("2" if is_whole else str(size) for is_whole, size in zip(whole, sizes, strict=True)))
    return tuple(0 if axis < len(whole) and whole[axis] else size for axis, size in enumerate(known))


def parse_border(text: str) -> tuple[int, ...]:
    """Reads voxels along three axes; fewer numbers are continued with the last one, as in NiftyNet."""
    sizes = parse_wholes(text)
    if not 1 <= len(sizes) <= 3 or min(sizes) < 0:
        raise Problem("is not one to three whole numbers from 0 up", "write e.g. 8, 8, 0")
    return (*sizes, *[sizes[-1]] * (3 - len(sizes)))


def parse_spacing(text: str) -> tuple[float, ...]:
    """Reads a voxel size in mm, three positive numbers."""
    spacing = parse_numbers(text)
    if len(spacing) != 3 or min(spacing) <= 0:
        raise Problem("is not three positive lengths in mm", "write e.g. 1.46, 1.46, 1.46")
    return spacing


def parse_range(text: str) -> tuple[float, ...]:
    """Reads `low, high`."""
    ends = parse_numbers(text)
    if len(ends) != 2:
        raise Problem(f"has {len(ends)} of the two ends of a range", "write e.g. -10, 10")
    if ends[0] > ends[1]:
        raise Problem("has its low end above its high end", f"write {ends[1]:g}, {ends[0]:g}")
    return ends


def parse_cutoff(text: str) -> tuple[float, ...]:
    """Reads two fractions `low, high` with 0 <= low < high <= 1."""
    low, high = parse_range(text)
    if not 0 <= low <= high <= 1:
        percent = f": 1 % is 0.01, so write {low / 100:g}, {high / 100:g}" if 0 <= low < high <= 100 else ""
        raise Problem("lies outside [0, 1]", f"cutoffs are fractions{percent}")
    if low == high:
        raise Problem("leaves nothing between its ends", "write e.g. 0.01, 0.99")
    return low, high


def parse_axcodes(text: str) -> tuple[str, ...]:
    """Reads an orientation, `R, A, S` or `RAS`: the direction towards which each axis grows."""
    letters = [part.upper() for part in split_list(text)]
    letters = list(letters[0]) if len(letters) == 1 else letters
    if [sum(letters.count(c) for c in pair) for pair in _OPPOSITE_DIRECTIONS] != [1, 1, 1] or len(letters) != 3:
        raise Problem("is not one each of L/R, P/A and I/S", "write e.g. R, A, S")
    return tuple(letters)


def parse_devices(text: str) -> str:
    """Reads GPU numbers `0, 2`."""
    numbers = parse_wholes(text)
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise Problem("is not a list of different GPU numbers from 0 up", "for the CPU write num_gpus = 0")
    return ",".join(str(number) for number in numbers)


def parse_iteration(text: str) -> int | str:
    """Reads `best` or an iteration from -1 (the newest) up."""
    if unquote(text).lower() == "best":
        return "best"
    try:
        iteration = parse_whole(text)
    except ValueError:
        raise Problem("is neither an iteration nor 'best'", "write -1 for the newest") from None
    if iteration < -1:
        raise Problem("is below -1", "write -1 for the newest")
    return iteration


def parse_bounds(text: str) -> dict[str, tuple[float, float]]:
    """Reads `name: low, high`, also several, one after the other: `bone: 200, 3000, soft: -200, 200`."""
    text = text.strip()
    bounds: dict[str, tuple[float, float]] = {}
    position = 0
    while position < len(text):
        match = _BOUNDS.match(text, position)
        if not match:
            raise Problem("is not a list of NAME: LOW, HIGH", "write e.g. bone: 200, 3000")
        name = match[1].lower()
        if name in bounds:
            raise Problem(f"gives {name!r} twice", "remove one of them")
        low, high = parse_range(f"{match[2]}, {match[3]}")
        bounds[name] = (low, high)
        separator = re.compile(r"\s*,?\s*").match(text, match.end())
        position = separator.end() if separator else match.end()
    return bounds


def choice(
    names: Collection[str],
    aliases: Mapping[str, str] | None = None,
    not_built: Mapping[str, str] | None = None,
    classes: bool = False,
) -> Choice:
    """Makes the reader of a choice, whatever the case of its letters.

    Args:
        names: What may be chosen, as the result spells it; a table is looked at whenever a text is read.
        aliases: Other spellings, lower case.
        not_built: Names that are known but do not exist yet, lower case, each with what to use instead.
        classes: Whether the path of a class, `my.module.Class`, may be chosen too.
    """

    def parse(text: str) -> str:
        word = unquote(text).lower()
        table = {name.lower(): name for name in names} | dict(aliases or {})
        if word in table:
            return table[word]
        if classes and is_class_path(unquote(text)):
            return unquote(text)
        if word in (not_built or {}):
            raise Problem("does not exist in this version", (not_built or {})[word])
        if not word:
            raise Problem("is empty", f"choose one of {', '.join(names)}, or remove the line for the default")
        raise Problem("is not known", choose(word, names))

    return Choice(parse, names, aliases or {}, classes)


def choose(word: str, names: Collection[str]) -> str:
    """Returns the remedy for a word that is none of the names: the closest one, and all of them."""
    close = closest(word, names)
    everything = f"choose one of {', '.join(names)}"
    return everything if close is None else f"did you mean {close!r}? {everything}"


def format_value(value: Any) -> str:
    """Writes a value so that its field reads it back; None and empty lists become empty."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {low!r}, {high!r}" for name, (low, high) in value.items())
    if isinstance(value, tuple):
        return ", ".join(quoted(str(v), ",") if isinstance(v, str | Path) else format_value(v) for v in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return quoted(str(value)) if isinstance(value, str | Path) else repr(value)
