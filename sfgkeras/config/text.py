"""INI text to sections and keys that remember their lines; every mistake is collected, none is raised."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sfgkeras.errors import Problem
from sfgkeras.quoting import end_of_quotes, unquote

_LINE_END = re.compile(r"\r\n|\r|\n")
_HEADER = re.compile(r"\[(?P<name>[^\]]*)\]\s*(?P<rest>.*)")
_ASSIGNMENT = re.compile(r"(?P<key>[^=:]*?)\s*[=:](?P<value>.*)")
_LOOKS_LIKE_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\s*=")
_INTERPOLATION = re.compile(r"(?<!%)(?:%%)*%\([^)]*\)s")


@dataclass(frozen=True)
class Entry:
    """One `key = value`.

    Attributes:
        key: Lower case.
        value: As written, without inline comment.
        line: Line number from 1; None when it comes from the command line.
        option: The command-line option that set it, e.g. `--TRAINING.lr`.
        overrides: Whether the command line, or a row of a study, puts it over what the file says.
    """

    key: str
    value: str
    line: int | None = None
    option: str | None = None
    overrides: bool = False


@dataclass
class IniSection:
    """One section.

    Attributes:
        name: As written in its header.
        line: Line of the header; None when only the command line mentions it.
        entries: Its entries by key.
    """

    name: str
    line: int | None = None
    entries: dict[str, Entry] = field(default_factory=dict)

    def put(self, key: str, value: str, line: int | None, option: str | None) -> None:
        """Gives a key a value, in place of one that it has."""
        self.entries[key.lower()] = Entry(key.lower(), value.strip(), line, option, overrides=True)


def section_id(name: str) -> str:
    """Returns a section's name as it is compared: upper case, single spaces."""
    return " ".join(name.split()).upper()


class IniText:
    """The sections of one INI file by `section_id`, and the mistakes found in it.

    Attributes:
        file: How messages call the file.
        sections: In the order of the file.
        strays: Lines and keys that stand before the first section.
        warnings: What looks wrong but can be used.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.sections: dict[str, IniSection] = {}
        self.strays: list[tuple[int, str]] = []
        self.warnings: list[str] = []
        self._problems: list[Problem] = []
        self._reported: set[tuple[str, str]] = set()

    def add_at_line(self, line: int | None, what: str, remedy: str = "") -> None:
        """Collects a mistake that belongs to a line rather than a key."""
        self._problems.append(Problem(what, remedy, file=self.file, line=line))

    def add(self, section: str, key: str | None, what: str, remedy: str = "") -> None:
        """Collects a mistake of a key, or of a whole section where `key` is None.

        The first mistake of a key counts, so that later checks need not know what earlier ones found.

        Args:
            section: The section.
            key: The key.
            what: What is wrong, the second half of a sentence.
            remedy: What to do about it, where `what` does not say it.
        """
        if key is not None and not self._is_first(section, key):
            return
        found = self.sections.get(section_id(section))
        entry = found.entries.get(key) if found and key else None
        if entry is not None:
            self._problems.append(Problem(what, remedy, **self._place(section, entry), value=entry.value))
            return
        overriding = None
        if found and found.line is None:
            overriding = next(iter(found.entries.values()), None)
        place = self._place(section, overriding)
        self._problems.append(Problem(what, remedy, **{**place, "key": "" if overriding else key or ""}))

    def add_unknown_key(self, section: str, key: str, remedy: str) -> None:
        """Collects a key that a section does not have."""
        entry = self.sections[section_id(section)].entries[key]
        place = self._place(section, entry)
        self._problems.append(Problem(f"has no option {key!r}", remedy, **place, names_key=False))

    def need(self, section: str, key: str, why: str, remedy: str = "") -> None:
        """Collects that a key is missing; `why` goes on after `needs KEY`."""
        if self._is_first(section, key):
            place = {**self._place(section, None), "key": key}
            self._problems.append(Problem(f"needs {key}{why}", remedy, **place, names_key=False))

    def _place(self, section: str, entry: Entry | None) -> dict[str, Any]:
        """Returns where a section stands, or an entry of it, as fields of a problem."""
        found = self.sections.get(section_id(section))
        name = found.name if found else section
        if entry is None:
            return {"file": self.file, "line": found.line if found else None, "section": name}
        return {
            "file": self.file, "line": entry.line, "section": name, "key": entry.key, "option": entry.option or "",
        }  # fmt: skip

    def entry(self, section: str, key: str) -> Entry | None:
        """Returns the entry of a key; None where it is not given."""
        found = self.sections.get(section_id(section))
        return found.entries.get(key) if found is not None else None

    def ignore(self, section: str, key: str) -> None:
        """Keeps later messages about a key out, because what is wrong with it has been said."""
        self._reported.add((section_id(section), key))

    def is_wrong(self, section: str, key: str) -> bool:
        """Says whether a mistake of a key has been found."""
        return (section_id(section), key) in self._reported

    def _is_first(self, section: str, key: str) -> bool:
        fresh = not self.is_wrong(section, key)
        self.ignore(section, key)
        return fresh

    def has(self, section: str, key: str) -> bool:
        """Says whether a section gives a key a value that is not empty."""
        found = self.sections.get(section_id(section))
        return found is not None and key in found.entries and unquote(found.entries[key].value) != ""

    def problems(self) -> list[Problem]:
        """Returns all mistakes, in the order of the file, those of the command line last."""
        return sorted(self._problems, key=lambda one: float("inf") if one.option else one.line or 0)


def parse_ini(text: str, file: str) -> IniText:
    """Parses INI text: sections, keys, comments with # or ;, values continued on indented lines.

    Section names and keys are compared without regard to case. There is no interpolation: `%%` and `%` are a
    percent sign, and `%(name)s` is a mistake.

    Args:
        text: The file's text.
        file: How messages call it.
    """
    return _Parser(text, file).parse()


class _Parser:
    def __init__(self, text: str, file: str) -> None:
        self._lines = _LINE_END.split(text.removeprefix("\ufeff"))
        self._ini = IniText(file)
        self._section: IniSection | None = None
        self._last_key: str | None = None
        self._indent = 0

    def parse(self) -> IniText:
        for number, raw in enumerate(self._lines, start=1):
            line = raw.strip()
            if not line or line[0] in "#;":
                continue
            if line[0] == "[":
                self._header(number, line)
            else:
                self._content(number, line, len(raw) - len(raw.lstrip()))
        return self._ini

    def _header(self, number: int, line: str) -> None:
        match = _HEADER.fullmatch(line)
        self._last_key = None
        name = " ".join(match["name"].split()) if match else ""
        if match is None or not name or (match["rest"] and match["rest"][0] not in "#;"):
            self._ini.add_at_line(number, f"{line!r} is not a section", "write [NAME] on a line of its own")
            # Its keys must not fall to the section above.
            self._section = IniSection(name, number)
            return
        known = self._ini.sections.get(section_id(name))
        self._section = IniSection(name, number)
        if known is not None:
            self._ini.add_at_line(
                number, f"[{name}] is there a second time, first in line {known.line}", "join the two sections"
            )
        else:
            self._ini.sections[section_id(name)] = self._section

    def _content(self, number: int, line: str, indent: int) -> None:
        section = self._section
        if section is not None and self._last_key and indent > self._indent and not _LOOKS_LIKE_ASSIGNMENT.match(line):
            entry = section.entries[self._last_key]
            value = f"{entry.value} {self._value(number, section, entry.key, line)}".strip()
            section.entries[self._last_key] = Entry(entry.key, value, entry.line)
            return
        self._last_key = None
        match = _ASSIGNMENT.fullmatch(_without_comment(line, _marks(section)))
        if match is None or not match["key"]:
            where = f"[{section.name}] " if section else ""
            self._ini.add_at_line(number, f"{where}{line!r} has no value", "write KEY = VALUE, or # before a comment")
            return
        key = match["key"].lower()
        if section is None:
            self._ini.strays.append((number, key))
        elif key in section.entries:
            first = section.entries[key].line
            self._ini.add_at_line(
                number,
                f"[{section.name}] {key} is there a second time, first in line {first}",
                "remove one of them",
            )
        else:
            value = self._value(number, section, key, match["value"].strip())
            section.entries[key] = Entry(key, value, number)
            self._last_key, self._indent = key, indent

    def _value(self, number: int, section: IniSection, key: str, value: str) -> str:
        value = _without_comment(value, _marks(section))
        if _INTERPOLATION.search(value):
            message = "refers to another key with %(...)s, which is not supported; write the value out"
            self._ini.add_at_line(number, f"[{section.name}] {key} = {value!r} {message}")
            self._ini.ignore(section.name, key)
        return value.replace("%%", "%")


def _marks(section: IniSection | None) -> str:
    """Returns what begins a comment within a line: in rows of a study ; parts one setting from the next."""
    return "#" if section is not None and section_id(section.name) == "COMPARE" else "#;"


def _without_comment(text: str, marks: str) -> str:
    """Cuts an inline comment, a mark after white space, outside quotes."""
    position, starts_element = 0, True
    while position < len(text):
        character = text[position]
        if character in "\"'" and starts_element:
            position = end_of_quotes(text, position) or position
        elif character in marks and position and text[position - 1].isspace():
            return text[:position].rstrip()
        if not character.isspace():
            starts_element = character in ",([=:"
        position += 1
    return text.strip()


def apply_overrides(ini: IniText, overrides: Sequence[tuple[str, str]]) -> None:
    """Puts command-line values over those of the file; a later one of the same key wins.

    Args:
        ini: Changed in place.
        overrides: `("SECTION.KEY", "VALUE")`; the section may be one that the file lacks.
    """
    for name, value in overrides:
        name = name.removeprefix("--")
        section_name, dot, key = (part.strip() for part in name.rpartition("."))
        if not dot or not section_name or not key:
            ini.add_at_line(None, f"--{name} names no section and key", "write --SECTION.KEY VALUE")
            continue
        if problem := _unusable(value):
            ini.add_at_line(None, f"--{name} = {value!r} has {problem}")
            continue
        # --TASK.ct.weight needs no quotes in a shell, --"TASK ct.weight" does.
        prefix, _, rest = section_name.partition(".")
        section_name = f"{prefix} {rest}" if prefix.upper() == "TASK" and rest else section_name
        section = ini.sections.setdefault(section_id(section_name), IniSection(section_name))
        section.put(key, value, None, f"--{name}")


def _unusable(value: str) -> str:
    """Says what of a command-line value could stand in no INI file."""
    if "\n" in value:
        return "more than one line; write it in one"
    if "\0" in value:
        return "a zero byte; remove it"
    if any("\ud800" <= character <= "\udfff" for character in value):
        return "bytes that are not UTF-8; rename the file, e.g. with convmv, or set the terminal to UTF-8"
    return ""
