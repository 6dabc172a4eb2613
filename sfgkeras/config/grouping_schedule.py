"""`[TRAINING] schedule`: what it is where a file does not say it, and which keys have no place beside `auto`."""

from collections.abc import Iterator, Mapping
from typing import Any

from sfgkeras.config.section import Section
from sfgkeras.config.text import IniText, section_id
from sfgkeras.quoting import unquote
from sfgkeras.settings import described, key_of
from sfgkeras.tables.grouping_schedules import GROUPING_SCHEDULES, Auto, Paper
from sfgkeras.tables.sharing import SHARING

OF_DRAWN_MASKS = (
    ("MULTITASK", ("tau", "use_tau_annealing", "gs_anneal_r", "min_temp", "use_hardcat", "batch_sampling")),
    ("SHARING", ("temperature", "assignment", "per_sample")),
    ("TRAINING", ("stop_when_grouping_converges", "restore_from", "vars_to_freeze")),
    ("INFERENCE", ("monte_carlo",)),
)
"""Keys that say how masks are drawn, or that need one network from the first iteration to the last."""

_OF_MASKS = ("MULTITASK", "SHARING")
_ONE_NETWORK = "needs one network from the first iteration to the last, and schedule = auto tries several"
_WHY = {
    "restore_from": _ONE_NETWORK,
    "vars_to_freeze": _ONE_NETWORK,
    "stop_when_grouping_converges": "never happens with schedule = auto, which fixes the groups itself",
    "monte_carlo": "repeats equal passes: with [TRAINING] schedule = auto no masks are drawn",
}


def leave_behind(ini: IniText) -> None:
    """Takes keys of drawn masks out of a file for which a command line, or a row of a study, chooses `auto`."""
    schedule = ini.entry("TRAINING", "schedule")
    if schedule is None or not schedule.overrides or unquote(schedule.value).lower() != "auto":
        return
    for section, key in _given(ini):
        entry = ini.entry(section, key)
        if section in _OF_MASKS and entry is not None and not entry.overrides:
            del ini.sections[section_id(section)].entries[key]
            ini.warnings.append(f"[{section}] {key} has no effect with [TRAINING] schedule = auto")


def settle_schedule(ini: IniText, sections: Mapping[str, Section | None], sharing: str) -> Any:
    """Returns `[TRAINING]`, with `schedule = paper` where a file says how masks are drawn, and not the schedule.

    Args:
        ini: The file.
        sections: Models of the sections by upper-case name.
        sharing: The mechanism.
    """
    training: Any = sections["TRAINING"]
    asks = any(
        section in _OF_MASKS or not _is_usual(ini, sections, sharing, section, key) for section, key in _given(ini)
    )
    if _is_said(ini) or not asks:
        return training
    return training.model_copy(update={"schedule": "paper"}).with_settings("schedule", Paper())


def check_schedule(ini: IniText, sections: Mapping[str, Section | None], sharing: str) -> None:
    """Collects keys that have no effect, or no place, beside `schedule = auto`; arguments as `settle_schedule`."""
    training: Any = sections["TRAINING"]
    if training.schedule != "auto":
        return
    if not SHARING[sharing].learned:
        if training.chosen_settings("schedule") != Auto():
            ini.warnings.append(f"[TRAINING] auto_... has no effect with [NETWORK] sharing = {sharing}; use sfg")
        return
    for section, key in _given(ini):
        if ini.is_wrong(section, key) or _is_usual(ini, sections, sharing, section, key):
            continue
        what = _WHY.get(key, "has no effect with [TRAINING] schedule = auto, which draws no masks")
        ini.add(section, key, what, "write schedule = paper, or remove the line")


def _is_said(ini: IniText) -> bool:
    """Says whether the file gives the schedule, or a setting of one."""
    settings = [
        key_of(name, key) for name, entry in GROUPING_SCHEDULES.items() for key in described(entry.settings_class())
    ]
    return any(ini.has("TRAINING", key) for key in ("schedule", *settings))


def _given(ini: IniText) -> Iterator[tuple[str, str]]:
    """Yields section and key of what the file has of `OF_DRAWN_MASKS`."""
    return ((section, key) for section, keys in OF_DRAWN_MASKS for key in keys if ini.has(section, key))


def _is_usual(ini: IniText, sections: Mapping[str, Section | None], sharing: str, section: str, key: str) -> bool:
    """Says whether a key that is given has its default."""
    model = sections.get(section)
    if model is not None:
        return bool(getattr(model, key) == type(model).model_fields[key].default)
    entry, known = ini.entry("SHARING", key), described(SHARING[sharing].settings_class()).get(key)
    return entry is None or known is None or known.is_default(entry.value)
