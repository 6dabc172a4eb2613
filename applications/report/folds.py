"""One page over all folds of a cross-validation: how they trained, and what they say of subjects they have not seen."""

import base64
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from sfgkeras.analysis.figures import PRINT_DPI
from sfgkeras.analysis.fold_curves import draw_fold_curves
from sfgkeras.analysis.page import table_html
from sfgkeras.analysis.pictures import save_figure
from sfgkeras.analysis.tables import read_csv, summary_text, with_unit
from sfgkeras.applications.evaluation import groups_of, pair_columns, summary_of
from sfgkeras.applications.records.checkpoints import CheckpointFolder
from sfgkeras.applications.records.files import RunFolder, make_writable
from sfgkeras.applications.report.facts import best_iteration, read_progress
from sfgkeras.applications.report.sections import FIGURES, settings_section, subjects_section
from sfgkeras.applications.report.tables import curve_columns, evaluation_html, read_rows, run_facts
from sfgkeras.applications.report.volumes import RunData
from sfgkeras.applications.report.writing import PAGE, write_page
from sfgkeras.applications.subjects.cohort import find_cohort
from sfgkeras.applications.subjects.folds import fold_config, fold_folder, folds_file
from sfgkeras.applications.tasks.outputs import RowTask
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.applications.tasks.task import Task
from sfgkeras.config import Config
from sfgkeras.data.folds import read_folds
from sfgkeras.errors import ConfigError, DataError, counted
from sfgkeras.pages import elements
from sfgkeras.pages.elements import facts_html
from sfgkeras.pages.page import Section
from sfgkeras.reporter import Reporter

ALL = "all held out"
Command = Callable[[str], str]


def write_folds_page(config: Config, reporter: Reporter, output: Path, num_subjects: int) -> Path:
    """Writes the page over all folds; parts that are missing are named on it, with the command that makes them.

    Args:
        config: The configuration of all folds.
        reporter: Shows progress.
        output: Folder of the page and its figure.
        num_subjects: How many subjects have their volumes on the page, at most.

    Returns:
        The page.

    Raises:
        DataError: If no folds have been drawn.
    """
    if not folds_file(config).is_file():
        raise DataError(
            f"{folds_file(config)}: there are no folds to report on yet; train first: sfgkeras train -c "
            f"{shlex.quote(str(config.path))}"
        )
    run, folds = RunFolder(config.system.model_dir), read_folds(folds_file(config))
    runs = [fold_config(config, number) for number in range(1, config.training.folds + 1)]
    data, problem = _find_data(config, folds)

    def command(verb: str) -> str:
        path = run.configuration if run.configuration.is_file() else config.path
        held_out = " --dataset validation" if verb in ("inference", "evaluate") else ""
        return f"sfgkeras {verb} -c {shlex.quote(str(path))}{held_out}"

    make_writable(output)
    # First, because it shows its own progress.
    shown = subjects_section(data, problem, num_subjects, reporter, command)
    facts = _facts(config, folds, data)
    sections = [
        Section("run", "The cross-validation", facts_html(facts) + _folds_table(config, runs, folds, output, command)),
        _curves(config, runs, output, command),
        _held_out(config, folds, data, command),
        *_tested(config, folds, data),
        shown,
        _split(folds, data),
        settings_section(config, run),
    ]
    page = write_page(config, run, f"report of {config.training.folds} folds", sections, output)
    reporter.message(f"report: {page}")
    return page


def _find_data(config: Config, folds: Mapping[str, int]) -> tuple[RunData | None, str]:
    """Finds the subjects of all folds, for validation; where they are gone the page is made without them, and why."""
    try:
        cohort = find_cohort(config, needs_targets=False)
        split = {
            "training": [],
            "validation": sorted(set(folds) & set(cohort.subjects)),
            "inference": cohort.split.get("inference", ()),
        }
        return RunData(config, build_tasks(config), replace(cohort, split=split)), ""
    except (ConfigError, DataError) as error:
        return None, str(error)


def _facts(config: Config, folds: Mapping[str, int], data: RunData | None) -> dict[str, str]:
    run = RunFolder(config.system.model_dir)
    facts = {name: text for name, text in run_facts(config, run, {}).items() if name != "Iterations"}
    tested = len(data.cohort.split.get("inference", ())) if data else 0
    subjects = f"{len(folds)} in {config.training.folds} folds" + (f", {tested} for inference" if tested else "")
    return {**facts, "Subjects": subjects}


def _folds_table(
    config: Config, runs: Sequence[Config], folds: Mapping[str, int], output: Path, command: Command
) -> Markup:
    """Returns a line for every fold: how far it has come, its best validation, and its own page."""
    rows, links, unwritten = [], dict[str, str](), []
    for number, own in enumerate(runs, start=1):
        run = RunFolder(own.system.model_dir)
        held_out = sum(fold == number for fold in folds.values())
        iterations, progress = CheckpointFolder(run.checkpoints).iterations(), read_progress(run)
        best, score = best_iteration(run), progress.get("best_score")
        row: dict[str, Any] = {
            "fold": str(number),
            "trained on": str(len(folds) - held_out),
            "held out": str(held_out),
            "iterations": f"{iterations[-1]:,}" if iterations else "none yet",
        }
        if score is not None:
            row[f"best {own.training.best_metric or 'validation loss'}"] = f"{score:.4g} at {best:,}" if best else "-"
        if progress.get("stopped"):
            row["stopped because"] = str(progress["stopped"])
        rows.append(row)
        page = run.report / PAGE
        if page.is_file() and fold_folder(config.system.model_dir, number) == run.path:
            links[f"fold {number}"] = Path(*_from(output, page)).as_posix()
        else:
            unwritten.append(number)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = table_html([{name: row.get(name, "-") for name in columns} for row in rows], "Every fold", columns)
    if links:
        table += elements.paragraph("Pages of single folds, with groups of filters, sharing and validations: ")
        table += elements.links_html(links)
    if unwritten:
        text = f"Not written yet: the page of fold {', '.join(map(str, unwritten))}."
        table += elements.notice(text, f"{command('report')} --fold {unwritten[0]}")
    return table


def _from(folder: Path, page: Path) -> tuple[str, ...]:
    """Returns the parts of the way from a folder to a page."""
    return Path(os.path.relpath(page.resolve(), folder.resolve())).parts


def _curves(config: Config, runs: Sequence[Config], output: Path, command: Command) -> Section:
    """The curves of all folds together."""
    by_epoch = config.training.max_epochs is not None
    found = {
        f"fold {number}": columns
        for number, own in enumerate(runs, start=1)
        if (columns := curve_columns(RunFolder(own.system.model_dir), by_epoch))
    }
    title = "Training and validation of all folds"
    if not found:
        return Section("curves", title, elements.notice("Nothing has been trained yet.", command("train")))
    x = "epoch" if all("epoch" in columns for columns in found.values()) else "iteration"
    figure = draw_fold_curves(found, x)
    paths = [output / FIGURES / f"folds.{ending}" for ending in ("png", "pdf")]
    for path in paths:
        save_figure(figure, path, PRINT_DPI)
    source = f"data:image/png;base64,{base64.b64encode(paths[0].read_bytes()).decode()}"
    caption = (
        "A colour per fold: thin lines are of training, lines with dots of the validation on the subjects that the "
        "fold holds out. Black is the mean over the folds."
    )
    note = Markup("Files beside this page: {}").format(
        elements.links_html({path.suffix[1:].upper(): path.relative_to(output).as_posix() for path in paths})
    )
    missing = [name for name in (f"fold {number}" for number in range(1, len(runs) + 1)) if name not in found]
    body = elements.picture_html(source, "Losses and scores of all folds", caption, 1000, note)
    if missing:
        body += elements.notice(f"Not trained yet: {', '.join(missing)}.", command("train"))
    return Section("curves", title, body)


def _held_out(config: Config, folds: Mapping[str, int], data: RunData | None, command: Command) -> Section:
    """What was measured of every subject by the network that has not learned from it, by fold and over all of them."""
    parts, missing = list[Markup](), list[str]()
    for name in config.tasks:
        rows = None if data is None else _measured(config, data.tasks[name], folds)
        if not rows:
            missing.append(name)
            continue
        parts += [elements.heading(f"{name} ({config.tasks[name].type})"), _task_tables(name, rows)]
    if parts:
        text = "Every subject is measured by the network that has not learned from it."
        parts.insert(0, elements.paragraph(f"{text} Mean ± standard deviation over the subjects."))
    if missing:
        what = f"There are no measures of held-out subjects yet of {', '.join(missing)}; predict them, then:"
        parts.append(elements.notice(what, f"{command('inference')} && {command('evaluate')}"))
    return Section("held_out", "Held-out subjects", Markup("").join(parts))


Summaries = dict[str, list[dict[str, Any]]]


def _measured(config: Config, task: Task, folds: Mapping[str, int]) -> Summaries:
    """Returns the summary of every fold and of all of them together, `ALL`; empty where there is no evaluation."""
    folder = config.evaluation.save_csv_dir
    rows = [_row(row) for row in read_rows(folder / f"{task.name}_subjects.csv")]
    pairs = read_csv(folder / f"{task.name}_pairs.csv") if (folder / f"{task.name}_pairs.csv").is_file() else []
    found: Summaries = {}
    names = {f"fold {number}": {number} for number in sorted(set(folds.values()))}
    for name, numbers in {**names, ALL: set(folds.values())}.items():
        if rows and "subject_id" in rows[0]:
            own = [row for row in rows if folds.get(str(row["subject_id"])) in numbers]
        elif isinstance(task, RowTask) and pairs:
            own = _of_pairs(config, task, [row for row in pairs if folds.get(row["subject_id"]) in numbers])
        else:
            own = []
        if own:
            found[name] = summary_of(own, task.unit)
    return found


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a line of a CSV file as it was measured: an empty cell is nothing."""
    return {name: float("nan") if value == "" else value for name, value in row.items() if name != "confusion_matrix"}


def _of_pairs(config: Config, task: RowTask, pairs: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Measures subjects anew by their true and predicted values, where measures are over several subjects."""
    if not pairs:
        return []
    truth, prediction = (
        np.array([[float(row[name]) for name in pair_columns(what, task)] for row in pairs])
        for what in ("truth", "prediction")
    )
    if truth.shape[1] == 1 and not task.parts:
        truth, prediction = truth[:, 0], prediction[:, 0]
    return [dict(row) for row in task.evaluate_values(truth, prediction, config.evaluation)]


def _task_tables(name: str, summaries: Summaries) -> Markup:
    """Returns a table of a line per fold; of labels and regions those of all subjects first, folds behind a fold."""
    some = summaries[ALL]
    # A single group, such as the whole body, needs no name.
    groups = [group for group in groups_of(some) if len({entry[group] for entry in some}) > 1]
    rows = [row for place, summary in summaries.items() for row in _lines(place, summary, groups)]
    if not groups:
        marked = [number for number, row in enumerate(rows) if row["subjects"] == ALL]
        return table_html(rows, f"{name}: by fold, and over all held-out subjects", marked=marked)
    whole = [{key: value for key, value in row.items() if key != "subjects"} for row in rows if row["subjects"] == ALL]
    order = {tuple(row[group] for group in groups): place for place, row in enumerate(whole)}
    rows.sort(key=lambda row: order.get(tuple(row[group] for group in groups), len(order)))
    rows = [{**{group: row[group] for group in groups}, **row} for row in rows]
    marked = [number for number, row in enumerate(rows) if row["subjects"] == ALL]
    return table_html(whole, f"{name}: over all held-out subjects") + elements.folded(
        "By fold", table_html(rows, f"{name}: by fold", marked=marked)
    )


def _lines(place: str, summary: Sequence[dict[str, Any]], groups: Sequence[str]) -> list[dict[str, Any]]:
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in summary:
        group = {name: entry[name] for name in groups}
        row = rows.setdefault(tuple(group.values()), {"subjects": place, **group})
        row[with_unit(entry["measure"], entry.get("unit", ""))] = summary_text(entry)
    return list(rows.values())


def _tested(config: Config, folds: Mapping[str, int], data: RunData | None) -> list[Section]:
    """The evaluation of subjects of no fold, whose results are the mean of all networks; none where there is none."""
    if data is None:
        return []
    names = [f"{name}_{kind}.csv" for name in config.tasks for kind in ("subjects", "pairs")]
    tables = [read_rows(config.evaluation.save_csv_dir / name) for name in names]
    ids = {str(row["subject_id"]) for rows in tables for row in rows if "subject_id" in row}
    if not ids or ids & set(folds):
        return []
    body, _ = evaluation_html(config)
    text = f"{counted(len(ids), 'subject')} of no fold, by the mean of all {config.training.folds} networks."
    return [Section("tested", "Subjects for inference", elements.paragraph(text) + body)]


def _split(folds: Mapping[str, int], data: RunData | None) -> Section:
    """Who is held out by which fold."""
    rows: list[dict[str, Any]] = [
        {"fold": str(number), "held out": ", ".join(sorted(name for name, own in folds.items() if own == number))}
        for number in sorted(set(folds.values()))
    ]
    tested = sorted(data.cohort.split.get("inference", ())) if data else []
    if tested:
        rows.append({"fold": "none: for inference", "held out": ", ".join(tested)})
    return Section("split", "Who is in which fold", table_html(rows, "Subjects by fold"))
