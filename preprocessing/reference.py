"""The table of every step and setting, made from their fields, for docs/preprocessing.md."""

from typing import Any

from sfgkeras.preprocessing.table import ALIASES, STEPS
from sfgkeras.settings import described

BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"


def settings_reference() -> str:
    """Returns one Markdown section per step: names, and a table of its settings with their defaults."""
    parts = []
    for name, step in STEPS.items():
        aliases = [f"`{alias}`" for alias, target in ALIASES.items() if target == name]
        also = f" (also {', '.join(aliases)})" if aliases else ""
        lines = [f"### `{name}`{also}", "", f"{step.summary[0].upper()}{step.summary[1:]}.", ""]
        lines += ["| setting | default | meaning |", "|---|---|---|"]
        for each in described(step.settings).values():
            lines.append(f"| `{name}_{each.name}` | {_default(each.default)} | {each.description} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


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
