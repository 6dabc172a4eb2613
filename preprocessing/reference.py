"""The table of every step and setting, made from the settings classes, for docs/preprocessing.md."""

import re
from dataclasses import fields
from typing import Any

from sfgkeras.preprocessing.table import ALIASES, STEPS

BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"


def settings_reference() -> str:
    """Returns one Markdown section per step: names, and a table of its settings with their defaults."""
    parts = []
    for name, step in STEPS.items():
        aliases = [f"`{alias}`" for alias, target in ALIASES.items() if target == name]
        also = f" (also {', '.join(aliases)})" if aliases else ""
        lines = [f"### `{name}`{also}", "", f"{step.summary[0].upper()}{step.summary[1:]}.", ""]
        lines += ["| setting | default | meaning |", "|---|---|---|"]
        meanings = setting_meanings(step.settings)
        for each in fields(step.settings):
            lines.append(f"| `{name}_{each.name}` | {_default(each.default)} | {meanings[each.name]} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def setting_meanings(settings: type) -> dict[str, str]:
    """Reads what every setting means from the `Attributes` of its class."""
    text = (settings.__doc__ or "").split("Attributes:")[1]
    found = re.findall(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", text, flags=re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in found}


def with_reference(page: str) -> str:
    """Returns a page with what lies between its two markers replaced by the reference of now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{settings_reference()}\n\n{END}{after}"


def _default(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(_default(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
