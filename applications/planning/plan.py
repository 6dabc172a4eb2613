"""`sfgkeras plan`: a commented INI file for a folder, with the reason and the numbers behind every line."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sfgkeras.applications.planning.contents import Content, measure
from sfgkeras.applications.planning.data_sections import add_preprocessing, add_sources, choose_spacing
from sfgkeras.applications.planning.described_sets import described_sources
from sfgkeras.applications.planning.facts import Facts
from sfgkeras.applications.planning.geometry import measure_geometry
from sfgkeras.applications.planning.lines import Lines, listed
from sfgkeras.applications.planning.machine import Machine, find_machine
from sfgkeras.applications.planning.memory_fit import fit_memory, read_lines
from sfgkeras.applications.planning.network_section import add_network, change_levels, choose_network, choose_window
from sfgkeras.applications.planning.places import Lists, place_sources
from sfgkeras.applications.planning.roles import Roles, add_values, assign, refuse_unknown
from sfgkeras.applications.planning.rows import (
    ValueTask,
    hdf5_sources,
    hdf5_values,
    is_values,
    photo_attributes,
    table_tasks,
)
from sfgkeras.applications.planning.run_sections import add_inference, add_system, add_training
from sfgkeras.applications.planning.sources import FoundSource, group_images, name_apart
from sfgkeras.applications.planning.survey import Survey, survey
from sfgkeras.applications.planning.task_lines import add_tasks
from sfgkeras.applications.planning.text import render
from sfgkeras.applications.records.files import write_text
from sfgkeras.data.image_folder import UTKFACE_ATTRIBUTES, parse_attributes
from sfgkeras.data.sources import TableRow
from sfgkeras.data.subjects import read_split
from sfgkeras.errors import DataError, counted
from sfgkeras.reporter import Reporter
from sfgkeras.values import format_value

SHOWN = 3
"""How many files that cannot be used are named."""


@dataclass(frozen=True)
class Plan:
    """A planned run.

    Attributes:
        lines: Its INI file, line by line, each with its reason.
        text: The same as text.
        facts: What it rests on.
        lists: CSV files that belong to it.
        doubts: What might be meant otherwise, or was passed over.
    """

    lines: Lines
    text: str
    facts: Facts
    lists: Lists
    doubts: tuple[str, ...]


def plan_folder(
    folder: Path,
    output: Path,
    reporter: Reporter,
    images: Sequence[str] = (),
    targets: Sequence[str] = (),
    machine: Machine | None = None,
) -> Plan:
    """Plans a run for a folder; writes nothing.

    Args:
        folder: The folder.
        output: What the INI file will be called.
        reporter: Hears how far it is.
        images: Names of sources that the network sees; empty to choose.
        targets: Names of sources or columns that are learned; empty to choose.
        machine: What it is planned for; None for this one.

    Raises:
        DataError: If there is nothing to learn from, or to learn; says what was found.
    """
    found = survey(folder, reporter)
    sources, values, notes = _group(found)
    contents = measure([source for source in sources if not is_values(source)], reporter)
    refuse_unknown((*images, *targets), contents, values)
    roles = assign(contents, images, targets)
    lists = place_sources([source for source in roles.used if "hdf5_file" not in source.keys], folder, output)
    add_values(roles, contents, values, targets)
    split = found.split if _fits(found.split, roles) else None
    facts = Facts(
        folder,
        Path("models") / (folder.resolve().name or "run"),
        roles,
        contents,
        measure_geometry(roles.images[0].images),
        machine or find_machine(),
        split,
        _phases_of(split, roles),
    )
    if not facts.teaching:
        raise DataError(
            f"{folder}: no subject has all of {', '.join(source.name for source in roles.used)}; choose fewer with "
            "--image and --target"
        )
    lines = _write_lines(facts, output)
    doubts = _doubts(found, facts, notes)
    return Plan(lines, render(lines, _title(facts, doubts)), facts, lists, doubts)


def write_plan(plan: Plan, output: Path, overwrite: bool = False) -> None:
    """Writes the INI file, and the lists that belong to it.

    Raises:
        DataError: If one of the files exists and may not be replaced, or cannot be written.
    """
    existing = [path for path in (output, *plan.lists.files) if path.exists()]
    if existing and not overwrite:
        raise DataError(f"{existing[0]}: exists; choose another --output, or add --overwrite to replace it")
    output.parent.mkdir(parents=True, exist_ok=True)
    for path, rows in plan.lists.files.items():
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)  # a name may have a comma
        write_text(path, text.getvalue())
    write_text(output, plan.text)


def _group(found: Survey) -> tuple[list[FoundSource], list[tuple[FoundSource, ValueTask]], list[str]]:
    """Returns the sources, what rows of values tell, and what is passed over."""
    values: list[tuple[FoundSource, ValueTask]] = []
    described = described_sources(found)
    if described is not None:
        sources, notes = described
    else:
        sources, notes = group_images(found)
        rows, problems = hdf5_sources(found.hdf5)
        sources, notes = [*sources, *rows], [*notes, *problems]
        name_apart(sources)
    for source in [source for source in sources if is_values(source)]:
        told = hdf5_values(source)
        if told is None:
            notes.append(f"{source.name}: its rows are neither classes, nor a quantity, nor a box, and are not learned")
        else:
            values.append((source, told))
    tables = [(path, *_table_source(path, table)) for path, table in found.tables.items()]
    for path, source, tasks, why in tables:
        notes += [f"{path}: {text}" for text in why]
        values += [(source, task) for task in tasks]
    name_apart([*sources, *(source for _, source, _, _ in tables)])
    for source in [source for source in sources if source.is_photo and photo_attributes(source.images)]:
        values += [(source, task) for task in _attributes(source)]
    return sources, values, notes


def _table_source(path: Path, table: dict[str, dict[str, str]]) -> tuple[FoundSource, list[ValueTask], list[str]]:
    tasks, notes = table_tasks(table)
    name = "".join(c if c.isalnum() else "_" for c in path.stem).upper()
    rows = {subject: TableRow(path, subject, row) for subject, row in table.items()}
    keys = {"loader": "table", "csv_file": format_value(path)}
    reason = f"columns {', '.join(next(iter(table.values())))} of {counted(len(table), 'subject')}"
    return FoundSource(f"TABLE_{name}", (), dict(rows), keys=keys, reason=reason), tasks, notes


def _attributes(source: FoundSource) -> list[ValueTask]:
    """Returns what the names of photos tell: `[age]_[gender]_[race]_[date].jpg`."""
    source.keys["filename_attributes"] = listed(UTKFACE_ATTRIBUTES)
    rows = {}
    for subject, image in source.images.items():
        rows[subject] = {key: str(value) for key, value in parse_attributes(image.path.name).items() if key != "date"}
    return table_tasks(rows)[0]


def _fits(split: Path | None, roles: Roles) -> bool:
    """Says whether a split names subjects that there are."""
    if split is None:
        return False
    named = {subject for subjects in read_split(split).values() for subject in subjects}
    return bool(named) and named <= set(roles.images[0].images)


def _phases_of(split: Path | None, roles: Roles) -> dict[str, str]:
    if split is not None:
        return {subject: phase for phase, subjects in read_split(split).items() for subject in subjects}
    return {subject: phase for subject, image in roles.images[0].images.items() if (phase := image.phase)}


def _write_lines(facts: Facts, output: Path) -> Lines:
    lines = Lines()
    spacing, why = choose_spacing(facts)
    add_sources(lines, facts, spacing, why)
    network = choose_network(facts)
    window = choose_window(facts, network[0], spacing)
    lines.add(facts.first.name, "spatial_window_size", listed(window.size), window.why)
    add_system(lines, facts)
    add_preprocessing(lines, facts)
    add_network(lines, facts, network, window)
    trial = Lines({name: list(section) for name, section in lines.sections.items()})
    add_tasks(lines, facts)
    trial.sections |= {name: list(section) for name, section in lines.sections.items()}
    window, batch = fit_memory(trial, facts, window, output)
    reason = next(line.why for line in trial.sections["NETWORK"] if line.key == "batch_size")
    lines.change("NETWORK", "batch_size", batch, reason)
    lines.change(facts.first.name, "spatial_window_size", listed(window.size), window.why)
    change_levels(lines, window)
    add_training(lines, facts, window, batch)
    add_inference(lines, facts)
    _in_order(lines)
    read_lines(lines, output)
    return lines


def _in_order(lines: Lines) -> None:
    """Puts the sections into the order of the shipped files: data, run, tasks."""
    last = [name for name in lines.sections if name == "MULTITASK" or name.startswith("TASK ")]
    for name in last:
        lines.sections[name] = lines.sections.pop(name)


def _doubts(found: Survey, facts: Facts, notes: Sequence[str]) -> tuple[str, ...]:
    """Returns what might be meant otherwise, and what was passed over."""
    used = {source.name for source in facts.roles.used}
    left_out = [f"{name} is left out: {why}" for name, why in facts.roles.left_out.items() if name not in used]
    broken = [f"left out: {why}" for why in list(found.broken.values())[:SHOWN]]
    if len(found.broken) > SHOWN:
        broken.append(f"{len(found.broken) - len(broken)} other files cannot be used either")
    tables = [f"{why} (not used)" for why in found.odd_tables.values()]
    bad = [
        why for source in facts.roles.used if source in facts.contents for why in facts.contents[source].broken.values()
    ]
    lacking = len(facts.subjects) - len(facts.complete)
    use = "they teach the other tasks" if facts.may_lack else "they are for inference only"
    few = [f"{lacking} of {len(facts.subjects)} subjects lack a target: {use}"] if lacking else []
    return (*facts.roles.doubts, *few, *left_out, *broken, *bad, *tables, *found.notes, *notes)


def _title(facts: Facts, doubts: Sequence[str]) -> list[str]:
    tasks = ", ".join(f"{task.name} ({task.type})" for task in facts.roles.tasks)
    seen = ", ".join(source.name for source in facts.roles.images)
    title = [
        f"{tasks} from {seen}: planned by sfgkeras plan for {facts.folder}, {counted(len(facts.subjects), 'subject')}.",
        "Every comment is the reason for the line below it. Paths start from the folder that commands are run in.",
    ]
    return [*title, *(f"NOTE {doubt}" for doubt in doubts)]


def sources_table(plan: Plan) -> list[list[object]]:
    """Returns a row for each source: files, content and use."""
    facts = plan.facts
    rows: list[list[object]] = []
    for source in [*facts.roles.used, *(each for each in facts.contents if each not in facts.roles.used)]:
        content = facts.contents.get(source, Content("values", "values of each subject"))
        uses = ["image"] if source in facts.roles.images else []
        uses += [task.name for task in facts.roles.tasks if task.source is source]
        uses += ["region"] if source is facts.roles.mask else []
        rows.append([source.name, len(source.images), content.kind, ", ".join(uses) or "-"])
    return rows
