"""`[COMPARE]`: the rows of a study, each a name and what it changes in the file."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sfgkeras.config.text import IniSection, IniText, section_id
from sfgkeras.errors import Problem, did_you_mean
from sfgkeras.quoting import end_of_quotes, split_list

SECTION = "COMPARE"
_NAME = re.compile(r"[a-z0-9][a-z0-9_.+-]*")
_OF_TRAINING: Mapping[str, str] = {"freeze": "TRAINING.vars_to_freeze", "restore": "TRAINING.vars_to_restore"}
_START, _RESTORE_FROM = "from", "TRAINING.RESTORE_FROM"
_SHORT = ("tasks", "weights", _START, *_OF_TRAINING)
# What `sfgkeras compare` sets, so that all rows have the same subjects and each a folder of its own.
_SET_BY_COMPARE: Mapping[str, str] = {
    "SYSTEM.MODEL_DIR": "every run has a folder below that of the comparison",
    "SYSTEM.SEED": "every row is trained with each of --seeds",
    "SYSTEM.DATASET_SPLIT_FILE": "all rows have the same subjects",
    "SYSTEM.CACHE_DIR": "all rows share one",
    "NETWORK.HISTOGRAM_REF_FILE": "all rows share one",
    "PREPROCESSING.OUTPUT": "all rows share one",
}


@dataclass(frozen=True)
class Row:
    """One row of a study.

    Attributes:
        name: What it is called in tables and folders.
        changes: What it changes, `("SECTION.KEY", "VALUE")`.
        file: What messages call the file.
        line: Its line in the file; None where it comes from the command line.
        option: The command-line option that has it, `--COMPARE.base`; empty where the file has it.
        text: As written, behind the `=`.
        start: The row whose trained variables it starts from; empty for none.
    """

    name: str
    changes: tuple[tuple[str, str], ...]
    file: str
    line: int | None
    option: str
    text: str
    start: str = ""

    def problem(self, problem: Problem) -> Problem:
        """Returns a mistake of the settings as one of the row, which is the reason for it."""
        is_here = (problem.line, problem.option) == (self.line, self.option)
        said = problem.at(file="", line=None, option="") if is_here else problem
        place: dict[str, Any] = {"file": self.file, "line": self.line, "option": self.option}
        return Problem(f"cannot be used: {said}", key=self.name, value=self.text, section=SECTION, **place)


def take_rows(ini: IniText) -> dict[str, Row]:
    """Takes `[COMPARE]` out of a file and returns its rows by name; mistakes in their form are collected."""
    section = ini.sections.get(SECTION)
    if section is None:
        return {}
    rows = {}
    for key, entry in section.entries.items():
        if not _NAME.fullmatch(key):
            ini.add(SECTION, key, "is no row: a row's name has letters, digits and - _ + . only", "write e.g. mtl-rec")
            continue
        if key.endswith("."):
            what = "is no row: its folder would end in a dot, which some file systems leave out"
            ini.add(SECTION, key, what, f"write {key.rstrip('.')}")
            continue
        try:
            changes, start = tuple(_changes(ini, entry.value)), _start(entry.value)
        except Problem as problem:
            ini.add(SECTION, key, problem.what, problem.remedy)
        else:
            rows[key] = Row(key, changes, ini.file, entry.line, entry.option or "", entry.value, start)
    _check_starts(ini, rows, list(section.entries))
    if not section.entries:
        ini.add(SECTION, None, "has no row", "write one on a line, e.g. base = tasks: mask, or remove the section")
    del ini.sections[SECTION]
    return rows


def _start(text: str) -> str:
    """Returns the row that a row starts from; empty for none."""
    parts = dict(_parted(part) for part in _split(text) if part.strip())
    return next((value.lower() for key, value in parts.items() if key.lower() == _START), "")


def _check_starts(ini: IniText, rows: Mapping[str, Row], names: Sequence[str]) -> None:
    """Collects rows that start from a row that there is not, or from themselves."""
    for row in rows.values():
        if row.start and row.start not in names:
            remedy = did_you_mean(row.start, names, f"the rows are {', '.join(names)}")
            ini.add(SECTION, row.name, f"starts from {row.start!r}, which is no row", remedy)
            continue
        before = [row.name]
        while before[-1] in rows and (start := rows[before[-1]].start) and start not in before:
            before.append(start)
        if before[-1] in rows and rows[before[-1]].start == row.name:
            ini.add(SECTION, row.name, "starts from itself", f"leave out one of {', '.join(before)}'s from")


def _changes(ini: IniText, text: str) -> Iterator[tuple[str, str]]:
    """Yields what a row changes.

    Raises:
        Problem: Goes on after `[COMPARE] name = 'text'`.
    """
    parts = [_parted(part) for part in _split(text) if part.strip()]
    keys = [key.upper() for key, _ in parts]
    for key, value in parts:
        if keys.count(key.upper()) > 1:
            raise Problem(f"sets {key} twice", "keep one of them")
        if not value:
            raise Problem(f"gives {key} no value", f"write {key}: VALUE, or leave it out")
        if "." not in key and key.lower() not in _SHORT:
            remedy = did_you_mean(key, _SHORT, "write SECTION.KEY: VALUE, e.g. training.lr: 1e-4")
            raise Problem(f"sets {key!r}, which names no section", remedy)
        long = _OF_TRAINING.get(key.lower(), _RESTORE_FROM if key.lower() == _START else "")
        if long and long.upper() in map(str.upper, keys):
            raise Problem(f"sets {key} and {long}, which are the same", "keep one of them")
        if reason := _SET_BY_COMPARE.get(key.upper()):
            raise Problem(f"sets {key}, which sfgkeras compare sets ({reason})", "leave it out")
    own = {key.lower(): value for key, value in parts}
    for key, value in parts:
        if key.lower() == "tasks":
            yield "MULTITASK.tasks", _needing_tasks(ini, key, value)
        elif key.lower() in _OF_TRAINING:
            yield _OF_TRAINING[key.lower()], value
        elif key.lower() == _START:
            continue  # where that run lies is for the comparison to say
        elif key.lower() == "weights":
            weights = _weights(_tasks(ini, own.get("tasks")), _needing_tasks(ini, key, value))
            # That a task does not exist is said of `tasks`.
            yield from (
                (f"TASK {task}.weight", weight) for task, weight in weights if f"TASK {task.upper()}" in ini.sections
            )
        else:
            yield key, value


def _needing_tasks(ini: IniText, key: str, value: str) -> str:
    if "MULTITASK" not in ini.sections:
        raise Problem(f"sets {key}, and the file has one task", "write training.KEY: VALUE and the like")
    return value


def _tasks(ini: IniText, own: str | None) -> list[str]:
    """Returns the tasks of a row: its own, else those of the file."""
    if own is None and ini.has("MULTITASK", "tasks"):
        own = ini.sections["MULTITASK"].entries["tasks"].value
    if own is not None:
        return split_list(own)
    return [section.name.split(maxsplit=1)[1] for key, section in ini.sections.items() if key.startswith("TASK ")]


def _weights(tasks: Sequence[str], value: str) -> list[tuple[str, str]]:
    numbers = split_list(value)
    if len(numbers) != len(tasks):
        raise Problem(f"has {len(numbers)} weights for {len(tasks)} tasks ({', '.join(tasks)})", "give one for each")
    return list(zip(tasks, numbers, strict=True))


def _split(text: str) -> list[str]:
    """Splits text at its semicolons, outside quotes."""
    parts, start, position = [], 0, 0
    while position < len(text):
        if text[position] in "\"'" and text[:position].rstrip()[-1:] in ("", ",", ":", ";", "(", "["):
            position = end_of_quotes(text, position) or position
        elif text[position] == ";":
            parts.append(text[start:position])
            start = position + 1
        position += 1
    return [*parts, text[start:]]


def _parted(part: str) -> tuple[str, str]:
    key, colon, value = part.partition(":")
    if not colon or not key.strip():
        raise Problem(
            f"holds {part.strip()!r}, which sets nothing",
            "write KEY: VALUE; KEY: VALUE, where KEY is tasks, weights or SECTION.KEY",
        )
    return " ".join(key.split()), value.strip()


def apply_row(ini: IniText, row: Row) -> None:
    """Puts what a row changes over the values of the file, but not over those of the command line."""
    for name, value in row.changes:
        section_name, _, key = (part.strip() for part in name.rpartition("."))
        prefix, _, rest = section_name.partition(".")
        section_name = f"{prefix} {rest}" if prefix.upper() == "TASK" and rest else section_name
        section = ini.sections.setdefault(section_id(section_name), IniSection(section_name, row.line))
        given = section.entries.get(key.lower())
        if given is None or given.option is None:
            section.put(key, value, row.line, row.option or None)
