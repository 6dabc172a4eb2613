"""What a shell offers at the tabulator key: verbs, options, INI files, and the settings of the INI file with values."""

import re
from collections.abc import Iterator
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

SHELLS = ("bash", "zsh", "fish")
FEWEST_LETTERS = 3
"""Of a setting, with its two hyphens, from which on settings are offered: there are hundreds."""


def completion_script(shell: str, commands: click.Group) -> str:
    """Returns what a shell has to run once, that it may ask `sfgkeras` from then on.

    Args:
        shell: One of `SHELLS`.
        commands: The group of verbs.
    """
    found = get_completion_class(shell)
    assert found is not None
    return found(commands, {}, "sfgkeras", "_SFGKERAS_COMPLETE").source()


def complete_config(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers the shipped INI files by name, and lets the shell offer files."""
    from sfgkeras.config import list_configs

    shipped = list_configs()
    found = [CompletionItem(name, help=shipped[name]) for name in shipped if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


def complete_setting(context: click.Context, incomplete: str) -> list[CompletionItem]:
    """Offers settings of the INI file, `--TRAINING.lr`, or the values of the one before, where they are few."""
    last = str(context.args[-1]) if context.args else ""
    if not incomplete.startswith("--") and last.startswith("--") and "=" not in last:
        return [CompletionItem(value) for value in _values(last) if value.startswith(incomplete)]
    if not incomplete.startswith("--") or len(incomplete) < FEWEST_LETTERS:
        return []
    wanted = incomplete.casefold()
    return [item for item in _settings(context) if item.value.casefold().startswith(wanted)]


def _settings(context: click.Context) -> Iterator[CompletionItem]:
    names = _names_of_file(context)
    for section, schema in _sections().items():
        for name in names.get(section, [section]):
            for key, described in schema.items():
                yield CompletionItem(f"--{name}.{key}", help=described.get("description", "").partition(". ")[0])


def _sections() -> dict[str, dict[str, Any]]:
    """Returns the keys of all sections; those of a task and of an input source under `TASK` and under nothing."""
    from sfgkeras.config.schema import build_schema

    schema = build_schema()
    found = {name: _keys(section) for name, section in schema["properties"].items()}
    return found | {"TASK": _keys(schema["$defs"]["task"]), "": _keys(schema["$defs"]["input_source"])}


def _keys(section: dict[str, Any]) -> dict[str, Any]:
    """Returns the keys of a section; of `[SHARING]` the schema has their names alone."""
    names = section.get("propertyNames", {}).get("enum", ())
    return dict.fromkeys(names, {}) | section.get("properties", {})


def _names_of_file(context: click.Context) -> dict[str, list[str]]:
    """Returns how the INI file of the command calls its tasks and input sources; none without a file."""
    from sfgkeras.config import find_config
    from sfgkeras.errors import ConfigError

    found: dict[str, list[str]] = {"TASK": [], "": []}
    given = context.params.get("config_name") or context.params.get("run_name")
    try:
        lines = find_config(given).read_text(encoding="utf-8").splitlines() if isinstance(given, str) else []
    except (ConfigError, OSError, ValueError):
        return found
    known = _sections()
    for line in lines:
        if header := re.fullmatch(r"\s*\[([^\]]+)\].*", line):
            name = header[1].strip()
            if name.upper().startswith("TASK "):
                found["TASK"].append(f"TASK.{name[5:].strip()}")
            elif name.upper() not in known:
                found[""].append(name)
    return found


def _values(option: str) -> list[str]:
    """Returns the values that a setting chooses from; none where it is a number, or free text."""
    section, _, key = option.removeprefix("--").rpartition(".")
    sections = _sections()
    name = "TASK" if section.upper().startswith("TASK.") else section.upper()
    described = sections.get(name, sections[""]).get(key.lower(), {})
    for part in (described, *described.get("anyOf", ())):
        if "enum" in part:
            return [str(value) for value in part["enum"]]
    return []
