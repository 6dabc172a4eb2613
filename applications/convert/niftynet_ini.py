"""NiftyNet's INI files in our words, each changed line kept as a comment with the reason."""

import re
from pathlib import Path

from sfgkeras.applications.subjects.preprocessing_settings import read_run
from sfgkeras.config import choices
from sfgkeras.config.known import NOT_BUILT_SECTIONS
from sfgkeras.config.niftynet import Change, adapt
from sfgkeras.config.reader import read_text
from sfgkeras.config.text import IniText, parse_ini, section_id
from sfgkeras.errors import ConfigError, Problem
from sfgkeras.files import replacing
from sfgkeras.quoting import unquote
from sfgkeras.reporter import Reporter
from sfgkeras.tables.networks import NETWORKS

_ROUNDS = 5
# What a line is left out for: a key that does not exist here. Other mistakes are left to the user.
_LEAVES_OUT = re.compile(r"has no option|is not supported|has no effect")


def convert_ini(old: Path, new: Path, reporter: Reporter) -> None:
    """Writes NiftyNet's INI file in our words: a line that is changed or left out stays as a comment with the reason.

    Raises:
        ConfigError: If the file is of an application that does not exist here, or is no INI file.
    """
    text = read_text(old)
    ini = parse_ini(text, str(old))
    refused = [section.name for key, section in ini.sections.items() if key in NOT_BUILT_SECTIONS]
    if refused:
        raise Problem(
            "does not exist in this version, and nothing stands for it",
            NOT_BUILT_SECTIONS[section_id(refused[0])],
            section=refused[0],
            file=str(old),
        )
    lines = _Lines(text)
    for change in adapt(ini):
        lines.apply(change)
    lines.replace_networks(ini)
    converted, left = _without_refused(lines, new)
    new.parent.mkdir(parents=True, exist_ok=True)
    with replacing(new) as stream:
        stream.write(converted.encode())
    reporter.message(f"wrote {new}: {lines.count} lines of {old} changed or left out, each a comment with its reason")
    if left:
        reporter.warning(f"{new} has to be completed:\n{left}")
    else:
        reporter.message(f"next: sfgkeras check -c {new}")


class _Lines:
    """The lines of a file, with what is to be said of them."""

    def __init__(self, text: str) -> None:
        self.text = text.splitlines()
        self.comments: dict[int, str] = {}
        self.added: dict[str, dict[str, str]] = {}

    @property
    def count(self) -> int:
        """How many lines were changed or left out."""
        return len(self.comments)

    def apply(self, change: Change) -> None:
        """Comments a line out and notes what stands for it."""
        if change.entry.line is None:
            return
        moved = next((section for section, key, _ in change.now if section != change.section), None)
        is_moved = moved is not None and change.now[0][1] == change.entry.key
        self.leave_out(change.entry.line, f"now in [{moved}]" if is_moved else change.what)
        for section, key, value in change.now:
            self.added.setdefault(section_id(section), {})[key] = value

    def leave_out(self, line: int, why: str) -> None:
        """Turns a line, with the lines that continue it, into a comment."""
        self.comments.setdefault(line, why)

    def replace_networks(self, ini: IniText) -> None:
        """Puts one of our networks in the place of one that does not exist here, where there is one for it."""
        section = ini.sections.get("NETWORK")
        entry = section.entries.get("name") if section else None
        remedy = choices.NOT_BUILT_NETWORKS.get(unquote(entry.value).lower(), "") if entry else ""
        stands_for = next((name for name in NETWORKS if remedy == f"use {name}"), None)
        if entry is not None and entry.line is not None and stands_for is not None:
            self.leave_out(entry.line, f"does not exist here; {stands_for} stands for it")
            self.added.setdefault("NETWORK", {})["name"] = stands_for

    def render(self) -> tuple[str, list[int]]:
        """Returns the new text, and the old line that each of its lines comes from (0: none)."""
        found: list[str] = []
        origins: list[int] = []

        def put(line: str, origin: int) -> None:
            found.append(line)
            origins.append(origin)

        missing = dict(self.added)
        is_left_out = False
        for number, line in enumerate(self.text, start=1):
            continues = is_left_out and line[:1].isspace() and bool(line.strip()) and "=" not in line
            is_left_out = number in self.comments or continues
            if number in self.comments:
                put(f"# {self.comments[number]}:", 0)
            put(f"# {line}" if is_left_out else line, number)
            header = re.match(r"\s*\[([^\]]*)\]", line)
            for key, value in (missing.pop(section_id(header[1]), {}) if header else {}).items():
                put(f"{key} = {value}", 0)
        for section, entries in missing.items():
            put("", 0)
            put(f"[{section}]", 0)
            for key, value in entries.items():
                put(f"{key} = {value}", 0)
        return "\n".join(found) + "\n", origins


def _without_refused(lines: _Lines, new: Path) -> tuple[str, str]:
    """Leaves out the keys that do not exist here; returns the text and the mistakes that stay."""
    left = ""
    for _ in range(_ROUNDS):
        text, origins = lines.render()
        left = _mistakes(text, new)
        is_changed = False
        for message in left.splitlines():
            place = re.match(rf"{re.escape(str(new))}:(\d+): (.*)", message)
            origin = origins[int(place[1]) - 1] if place else 0
            if place and origin and _LEAVES_OUT.search(place[2]):
                lines.leave_out(origin, place[2].partition("] ")[2])
                is_changed = True
        if not is_changed:
            return text, left
    return lines.render()[0], left


def _mistakes(text: str, new: Path) -> str:
    """Returns the mistakes of a text as `new` would have them."""
    scratch = new.with_name(f".{new.name}.trial")
    scratch.parent.mkdir(parents=True, exist_ok=True)
    try:
        scratch.write_text(text, encoding="utf-8")
        read_run(scratch)
    except ConfigError as error:
        return str(error).replace(str(scratch), str(new))
    finally:
        scratch.unlink(missing_ok=True)
    return ""
