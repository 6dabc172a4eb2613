"""Settings of what a key chooses: `huber_delta` beside `loss = huber`, as `<entry>_<setting>`.

The entries of the tables (`sfgkeras.tables`) say which settings there are. A key of an entry that was not chosen is
refused by name; nothing is read in vain.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sfgkeras.classes import is_class_path
from sfgkeras.config.sections import Network, Section, Training
from sfgkeras.config.task_sections import Classification, InputSource, Regression, Segmentation, Task
from sfgkeras.config.text import Entry as IniEntry
from sfgkeras.config.text import IniSection, IniText, section_id
from sfgkeras.errors import Problem, did_you_mean
from sfgkeras.quoting import unquote
from sfgkeras.settings import build_settings, described, key_of
from sfgkeras.tables.balancing import BALANCING
from sfgkeras.tables.entry import Entry
from sfgkeras.tables.grouping_schedules import GROUPING_SCHEDULES
from sfgkeras.tables.loaders import LOADERS
from sfgkeras.tables.losses import LOSSES, find_loss
from sfgkeras.tables.meta_learning import META_LEARNING
from sfgkeras.tables.networks import NETWORKS, find_network
from sfgkeras.tables.optimisers import OPTIMISERS
from sfgkeras.tables.refinements import REFINEMENTS
from sfgkeras.tables.samplers import SAMPLERS
from sfgkeras.tables.schedules import SCHEDULES
from sfgkeras.tables.stopping import STOPPING
from sfgkeras.tables.tasks import TASK_TYPES, for_type

Table = Mapping[str, Entry[Any]]
SectionType = TypeVar("SectionType", bound=Section)


@dataclass(frozen=True)
class Choosing:
    """A key that chooses an entry of a table.

    Attributes:
        key: The key.
        tables: The tables that it may choose from, by the type of the task; by an empty string where there is one.
        find: Finds an entry by its name, the task's type and what names it, classes of the user's own among them;
            None where there are no such classes.
    """

    key: str
    tables: Mapping[str, Table]
    find: Callable[[str, str, str], Entry[Any]] | None = None

    def entry(self, name: str, task_type: str, what: str) -> Entry[Any] | None:
        """Returns the entry that was chosen; None if there is none of that name."""
        table = for_type(self.tables, task_type)
        if self.find is not None and is_class_path(name):
            return self.find(name, task_type, what)
        return table.get(name)


CHOOSING: Mapping[type[Section], tuple[Choosing, ...]] = {
    InputSource: (Choosing("loader", {"": LOADERS}),),
    Network: (
        Choosing("name", {"": NETWORKS}, lambda name, _, what: find_network(name, what)),
        Choosing("window_sampling", {"": SAMPLERS}),
    ),
    Training: (
        Choosing("optimiser", {"": OPTIMISERS}),
        Choosing("balancing", {"": BALANCING}),
        Choosing("schedule", {"": GROUPING_SCHEDULES}),
        Choosing("lr_schedule", {"": SCHEDULES}),
        Choosing("meta_learning", {"": META_LEARNING}),
        Choosing("early_stopping_mode", {"": STOPPING}),
    ),
    Task: (
        Choosing("type", {"": TASK_TYPES}),
        Choosing("loss", LOSSES, find_loss),
        Choosing("refinement", {"": REFINEMENTS}),
    ),
}
"""The keys whose choice has settings, by section."""

# Of a task that a section of one task stands for loss_type in [TRAINING] chooses; the settings are the section's.
ONE_TASK: Mapping[type[Section], str] = {
    Segmentation: "segmentation",
    Regression: "regression",
    Classification: "classification",
}


def choosing_keys(model: type[Section]) -> tuple[Choosing, ...]:
    """Returns the keys whose choice has its settings in a section: of a section of one task, those of that task."""
    if model not in ONE_TASK:
        return CHOOSING.get(model, ())
    task_type = ONE_TASK[model]
    of_type: dict[str, Table] = {"type": {task_type: TASK_TYPES[task_type]}, "loss": LOSSES[task_type]}
    return tuple(replace(each, tables={"": of_type[each.key]}) for each in CHOOSING[Task] if each.key in of_type)


def setting_keys(model: type[Section]) -> list[str]:
    """Returns every `<entry>_<setting>` that a section may have, whatever it chooses."""
    return [key for choosing in choosing_keys(model) for key in _owners(choosing)]


def _owners(choosing: Choosing) -> dict[str, tuple[str, str]]:
    """Returns entry and setting of every `<entry>_<setting>`; an entry may be called by its aliases."""
    return {
        key_of(called, setting): (name, setting)
        for table in choosing.tables.values()
        for name, entry in table.items()
        for setting in described(entry.settings_class())
        for called in (name, *entry.aliases)
    }


def is_of_own_class(ini: IniText, section: IniSection, model: type[Section], key: str) -> bool:
    """Says whether a key begins like a class of the user's own that the section chooses: a setting of its own."""
    for choosing in choosing_keys(model):
        holder, chooser = (ini.sections.get("TRAINING"), "loss_type") if model in ONE_TASK else (section, choosing.key)
        entry = holder.entries.get(chooser) if holder is not None else None
        path = unquote(entry.value) if entry is not None else ""
        if choosing.find is not None and is_class_path(path) and key.startswith(key_of(path, "")):
            return True
    return False


def read_settings(
    ini: IniText,
    header: str,
    filled: SectionType,
    task_type: str = "",
    choosers: Mapping[str, tuple[str, str]] | None = None,
) -> SectionType:
    """Reads the settings of all that a section chooses; mistakes are collected.

    Args:
        ini: The file.
        header: The section where the settings stand.
        filled: The section, its choices settled.
        task_type: The type of a task.
        choosers: Section and key that choose, by the field, where they are others than header and field: `loss_type`.

    Returns:
        The section with all settings of what it chooses.
    """
    for choosing in CHOOSING.get(type(filled), ()):
        chosen = getattr(filled, choosing.key)
        if isinstance(chosen, str) and chosen:
            place = (choosers or {}).get(choosing.key, (header, choosing.key))
            filled = _Reading(ini, header, choosing, chosen, task_type, place).read(filled)
    return filled


@dataclass(frozen=True)
class _Reading:
    """The settings of one choice.

    Attributes:
        ini: The file.
        header: The section where they stand.
        choosing: The key that chooses.
        chosen: What it chooses.
        task_type: The type of a task.
        place: Section and key that choose.
    """

    ini: IniText
    header: str
    choosing: Choosing
    chosen: str
    task_type: str
    place: tuple[str, str]

    def read(self, filled: SectionType) -> SectionType:
        section = self.ini.sections.get(section_id(self.header))
        entries = dict(section.entries) if section is not None else {}
        try:
            entry = self._entry(entries)
        except Problem as problem:
            self.ini.add(*self.place, problem.what, problem.remedy)
            return filled
        if entry is None:
            return filled
        given: dict[str, tuple[str, Any]] = {}
        left_behind: list[str] = []
        own = {key_of(self.chosen, name): (self.chosen, name) for name in described(entry.settings_class())}
        for key, (owner, setting) in {**_owners(self.choosing), **own}.items():
            if key not in entries or (owner != self.chosen and not unquote(entries[key].value)):
                # Empty, it asks for nothing: earlier versions wrote `wgdl_distances =` whatever the loss.
                continue
            if owner != self.chosen and self._is_left_behind(entries[key]):
                known = described(self._table()[owner].settings_class()) if owner in self._table() else {}
                is_usual = setting in known and known[setting].is_default(entries[key].value)
                left_behind += [] if is_usual else [key]
            elif owner != self.chosen:
                self._refuse(key, owner)
            elif setting in given:
                self.ini.add(self.header, key, f"repeats {given[setting][0]}", "remove one of them")
            else:
                given[setting] = (key, entries[key].value)
        if left_behind:
            verb = "has" if len(left_behind) == 1 else "have"
            self.ini.warnings.append(
                f"[{self.header}] {', '.join(left_behind)} {verb} no effect with {self.place[1]} = {self.chosen}"
            )
        self._refuse_unknown_of_own(entries, own)
        settings, problems = build_settings(entry.settings_class(), {name: value for name, (_, value) in given.items()})
        for each in problems:
            self._add(each, given)
        return filled.with_settings(self.choosing.key, settings)

    def _entry(self, entries: Mapping[str, IniEntry]) -> Entry[Any] | None:
        """Returns the entry; a class of the user's own is loaded only where settings of its own are given."""
        is_own = is_class_path(self.chosen)
        if is_own and not any(key.startswith(key_of(self.chosen, "")) for key in entries):
            return None
        what = f"[{self.place[0]}] {self.place[1]}"
        return self.choosing.entry(self.chosen, self.task_type, what)

    def _table(self) -> Table:
        return for_type(self.choosing.tables, self.task_type)

    def _is_left_behind(self, entry: IniEntry) -> bool:
        """Says whether the file has a setting, and the command line or a row of a study chooses something else."""
        chooser = self.ini.entry(*self.place)
        return chooser is not None and chooser.overrides and not entry.overrides

    def _refuse(self, key: str, owner: str) -> None:
        section, chooser = self.place
        where = chooser if section_id(section) == section_id(self.header) else f"[{section}] {chooser}"
        remedy = f"write {where} = {owner}, or remove the line" if owner in self._table() else "remove the line"
        self.ini.add(self.header, key, f"is a setting of {owner}, and {where} = {self.chosen}", remedy)

    def _refuse_unknown_of_own(self, entries: Mapping[str, IniEntry], own: Mapping[str, object]) -> None:
        if not is_class_path(self.chosen):
            return
        for key in entries:
            if key.startswith(key_of(self.chosen, "")) and key not in own:
                known = f"{self.chosen} can be set {', '.join(own)}" if own else f"{self.chosen} has no settings"
                self.ini.add_unknown_key(self.header, key, did_you_mean(key, own, known))

    def _add(self, problem: Problem, given: Mapping[str, tuple[str, Any]]) -> None:
        if problem.key in given:
            self.ini.add(self.header, given[problem.key][0], problem.what, problem.remedy)
        elif problem.key:
            key = key_of(self.chosen, problem.key)
            self.ini.need(self.header, key, f" for {self.choosing.key} = {self.chosen}", problem.remedy)
        else:
            self.ini.add(*self.place, problem.what, problem.remedy)
