"""The report's tables: what `evaluate` has written, what a run's state and logs say."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from sfgkeras.analysis.interactive import plot_values
from sfgkeras.analysis.page import chart_html, confusion_html, table_html
from sfgkeras.analysis.tables import read_csv, summary_text, with_unit
from sfgkeras.applications.evaluation import GROUPS
from sfgkeras.applications.records.checkpoints import CheckpointFolder, read_record
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.records.logs import EPOCH, WEIGHT, read_log, read_units
from sfgkeras.config import Config
from sfgkeras.config.task_sections import Task
from sfgkeras.errors import DataError
from sfgkeras.pages.elements import folded, heading
from sfgkeras.tables.tasks import TASK_TYPES


def evaluation_html(config: Config) -> tuple[Markup, list[str]]:
    """Returns the evaluation of every task as HTML, and the tasks that have none yet."""
    parts, missing = [], []
    for name, task in config.tasks.items():
        found = _task_html(config.evaluation.save_csv_dir, name, task)
        if found:
            parts.append(heading(f"{name} ({task.type})") + found)
        else:
            missing.append(name)
    return Markup("").join(parts), missing


def _task_html(folder: Path, name: str, task: Task) -> Markup:
    summary = read_rows(folder / f"{name}_summary.csv")
    if not summary:
        return Markup("")
    parts = [table_html(spread_summary(summary), f"{name}: mean ± standard deviation over the subjects")]
    rows = read_rows(folder / f"{name}_subjects.csv")
    pairs = read_rows(folder / f"{name}_pairs.csv")
    for row in rows:
        matrix = row.pop("confusion_matrix", None)
        if isinstance(matrix, str) and matrix:
            counts = json.loads(matrix)
            names = list(task.class_names) or [str(number) for number in range(len(counts))]
            parts.append(confusion_html(counts, names, name))
    if pairs and TASK_TYPES[task.type].has_scale:
        parts += [_values_html(pairs, column, name, task) for column in pairs[0] if column.startswith("truth")]
    if pairs:
        # Truth and prediction are in the unit of the target.
        shown = [
            {key if key == "subject_id" else with_unit(key, task.unit): pair[key] for key in pair} for pair in pairs
        ]
        parts.append(folded("Every subject", table_html(shown, f"{name}: every subject")))
    elif rows and "subject_id" in rows[0]:
        units = {entry["measure"]: entry.get("unit", "") for entry in summary}
        rows = [{with_unit(key, units.get(key, "")): value for key, value in row.items()} for row in rows]
        parts.append(folded("Every subject", table_html(rows, f"{name}: every subject")))
    return Markup("").join(parts)


def _values_html(pairs: Sequence[Mapping[str, Any]], column: str, name: str, task: Task) -> Markup:
    """Draws what was predicted of a number against the truth.

    Args:
        pairs: A row for each subject.
        column: `truth`, or `truth_yaw` of a task of several numbers; predictions are in `prediction_yaw` then.
        name: The task.
        task: Its settings.
    """
    part = column.removeprefix("truth").removeprefix("_")
    title = f"{name} {part}".rstrip()
    truth, prediction = (
        [float(pair[key]) for pair in pairs] for key in (column, column.replace("truth", "prediction", 1))
    )
    figure = plot_values(truth, prediction, [str(pair["subject_id"]) for pair in pairs], title, task.unit)
    return chart_html(figure, f"{title}: predicted and true values", "One dot per subject.")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Reads a CSV file, numbers as numbers; an absent one has no rows."""
    if not path.is_file():
        return []
    return [{name: _number(name, text) for name, text in row.items()} for row in read_csv(path)]


def _number(name: str, text: str) -> Any:
    """Returns a cell as a number where it is one; ids and names of groups stay text."""
    if name in ("subject_id", *GROUPS):
        return text
    try:
        return int(text)
    except (TypeError, ValueError):
        pass
    try:
        return float(text)
    except (TypeError, ValueError):
        return text


def spread_summary(summary: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns one row per group with a column per measure in its unit, `mean ± std (n missed, n undefined)`."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in summary:
        group = {name: entry[name] for name in GROUPS if name in entry}
        row = rows.setdefault(tuple(group.values()), dict(group))
        if not group:
            row.setdefault("", "all subjects")
        row[with_unit(entry["measure"], entry.get("unit", ""))] = summary_text(entry)
    return list(rows.values())


def run_facts(config: Config, folder: RunFolder, split: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Returns what a run is and how far it has come, in words."""
    facts = {
        "Tasks": ", ".join(f"{name} ({task.type})" for name, task in config.tasks.items()),
        "Network": config.network.name,
        "Sharing": config.network.sharing,
    }
    size = read_json(folder.network_size)
    if size:
        facts["Parameters"] = f"{size['parameters']:,}"
        facts["Multiplies per window"] = f"{size['multiplies']:,}"
        facts["Window seen by the network"] = " × ".join(map(str, size["window"]))
    if split:
        facts["Subjects"] = ", ".join(f"{len(ids)} {phase}" for phase, ids in split.items() if ids)
    return facts | _progress_facts(config, folder)


def _progress_facts(config: Config, folder: RunFolder) -> dict[str, str]:
    checkpoints = CheckpointFolder(folder.checkpoints)
    iterations = checkpoints.iterations()
    of = "" if config.training.max_iter is None else f" of {config.training.max_iter:,}"
    if not iterations:
        return {"Iterations": f"none{of}"}
    facts = {"Iterations": f"{iterations[-1]:,}{of}"}
    try:
        progress = read_record(checkpoints.path(iterations[-1]))["progress"]
    except (DataError, KeyError):
        return facts
    if progress.get("stopped"):
        facts["Stopped because"] = progress["stopped"]
    if progress.get("stopped_at"):
        since = [f"{name} at {iteration:,}" for name, iteration in progress["stopped_at"].items()]
        facts["Tasks that stopped early"] = ", ".join(since)
    if progress.get("best_score") is not None:
        watched = config.training.best_metric or "validation loss"
        score = f"{progress['best_score']:.4g} {read_units(folder.logs).get(watched, '')}".rstrip()
        facts["Best in validation"] = f"{watched} {score} at {progress['best_iteration']:,}"
    log = read_log(folder.logs / "training.csv")
    if log and log[-1].get(EPOCH):
        of = f" of {config.training.max_epochs:,}" if config.training.max_epochs else ""
        facts["Epochs"] = f"{float(log[-1][EPOCH]):.4g}{of}"
    weights = {name: log[-1].get(f"{WEIGHT}{name}") for name in config.tasks} if log else {}
    if any(weights.values()):
        facts["Task weights"] = ", ".join(f"{name} {float(value):.3g}" for name, value in weights.items() if value)
    if log and log[-1].get("seconds_per_iteration"):
        facts["Time per iteration"] = f"{float(log[-1]['seconds_per_iteration']):.3g} s"
    return facts


def read_json(path: Path) -> dict[str, Any]:
    """Reads a small JSON file; an absent or damaged one is empty."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def curve_columns(folder: RunFolder, by_epoch: bool = False) -> dict[str, np.ndarray]:
    """Joins the training and the validation log by iteration, for `curves.write_curves`.

    The first column is `iteration`, or `epoch` where that is asked for and every line of the logs tells it.

    The validation's `loss` and `<task>_loss` share the names of the training's columns, behind `validation_`; scores
    have their unit behind their name.
    """
    units = read_units(folder.logs)
    logs = {"": read_log(folder.logs / "training.csv"), "validation_": read_log(folder.logs / "validation.csv")}
    iterations = sorted({int(row["iteration"]) for rows in logs.values() for row in rows})
    place = {iteration: index for index, iteration in enumerate(iterations)}
    training = set(logs[""][0]) if logs[""] else set()
    columns: dict[str, np.ndarray] = {}
    for prefix, rows in logs.items():
        for name in rows[0] if rows else ():
            if name in ("iteration", EPOCH, "seconds_per_iteration"):
                continue
            task = name.removesuffix("_loss")
            column = columns.setdefault(
                with_unit(f"{prefix}{task if task in training else name}", units.get(name, "")),
                np.full(len(iterations), np.nan),
            )
            for row in rows:
                if row[name]:
                    column[place[int(row["iteration"])]] = float(row[name])
    epochs = {int(row["iteration"]): row.get(EPOCH) for rows in logs.values() for row in rows}
    if by_epoch and all(epochs.values()):
        return {EPOCH: np.asarray([float(epochs[each] or 0) for each in iterations]), **columns} if columns else {}
    return {"iteration": np.asarray(iterations), **columns} if columns else {}
