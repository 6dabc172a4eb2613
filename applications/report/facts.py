"""What the report says of a run in words: how it was trained, which checkpoint is best, and which one predicted."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sfgkeras.analysis.tables import with_unit
from sfgkeras.applications.records.checkpoints import CheckpointFolder, read_record
from sfgkeras.applications.records.files import VALUES_FILE, Provenance, RunFolder, digest, prediction_path
from sfgkeras.applications.records.logs import EPOCH, read_log, read_units
from sfgkeras.applications.records.training_record import (
    command_line,
    duration_text,
    read_training_record,
    software_versions,
    time_text,
)
from sfgkeras.applications.tasks.task import Task
from sfgkeras.applications.training.fingerprint import same_settings
from sfgkeras.config import Config
from sfgkeras.errors import DataError

BEST = "best"


def now() -> datetime:
    """Returns the moment that the page is made; tests hold it."""
    return datetime.now(UTC)


def page_facts() -> dict[str, str]:
    """Returns when, how and with which versions the page is made."""
    versions = ", ".join(f"{name} {number}" for name, number in software_versions().items())
    return {"Written": time_text(now()), "Command": command_line(), "Versions": versions}


def training_facts(config: Config, run: RunFolder) -> dict[str, str]:
    """Returns the seed, and how the run was trained where it has written that down."""
    facts = {"Seed": str(config.system.seed)}
    record = read_training_record(run.training_record)
    if record is None:
        return facts
    facts["Trained"] = f"{record.began} to {record.ended}"
    starts = f", in {record.starts} starts" if record.starts > 1 else ""
    facts["Duration of training"] = f"{duration_text(record.seconds)}{starts}"
    facts["Machine"] = record.machine
    facts["Trained with"] = ", ".join(f"{name} {number}" for name, number in record.versions.items())
    facts["Trained by"] = record.command
    return facts


def read_progress(run: RunFolder) -> dict[str, Any]:
    """Returns the progress that the newest checkpoint tells of; empty where there is none that can be read."""
    checkpoints = CheckpointFolder(run.checkpoints)
    iterations = checkpoints.iterations()
    try:
        return dict(read_record(checkpoints.path(iterations[-1]))["progress"]) if iterations else {}
    except (DataError, KeyError):
        return {}


def epoch_of(run: RunFolder, iteration: int | None) -> float | None:
    """Returns the epoch of a validated iteration; None where the log does not tell it."""
    rows = [row for row in read_log(run.logs / "validation.csv") if int(row["iteration"]) == iteration]
    return float(rows[0][EPOCH]) if rows and rows[0].get(EPOCH) else None


def best_iteration(run: RunFolder) -> int | None:
    """Returns the iteration of the best validation score; None where nothing was validated."""
    progress = read_progress(run)
    return None if progress.get("best_score") is None else int(progress["best_iteration"])


def predicting_checkpoint(config: Config, run: RunFolder, tasks: Mapping[str, Task], subjects: Sequence[str]) -> str:
    """Returns which checkpoint the predictions come from, in words; empty where there are none.

    Inference notes a digest of checkpoint and settings beside its results, so that this can be told for certain.
    """
    paths = [
        path
        for name, task in tasks.items()
        for path in (prediction_path(config, subject, name) for subject in subjects)
        if task.writes == "volume" and path.is_file()
    ]
    paths += [config.inference.save_seg_dir / VALUES_FILE] if any(t.writes == "row" for t in tasks.values()) else []
    found = _settings_of(config.inference.save_seg_dir, paths)
    if not found:
        return ""
    if len(found) > 1:
        return f"by {len(found)} different checkpoints or settings: infer again with --overwrite"
    checkpoints, best = CheckpointFolder(run.checkpoints), best_iteration(run)
    names: list[int | str] = [*reversed(checkpoints.iterations()), BEST]
    for name in names:
        try:
            record = read_record(checkpoints.path(name))
        except DataError:
            continue
        if digest(same_settings(config, record)) in found:
            iteration = int(record["iteration"])
            return f"by iteration {iteration:,}{', the best in validation' if iteration == best else ''}"
    return "by a checkpoint that is gone, or with other settings than these"


def _settings_of(folder: Path, paths: Sequence[Path]) -> set[str]:
    provenance = Provenance(folder, "")
    return {settings for path in paths if (settings := provenance.settings_of(path))}


def validation_rows(run: RunFolder, best: int | None) -> tuple[list[dict[str, Any]], list[int]]:
    """Returns the validation log as rows of a table, and which of them is the best."""
    rows: list[dict[str, Any]] = []
    marked: list[int] = []
    units = read_units(run.logs)
    for entry in read_log(run.logs / "validation.csv"):
        iteration = int(entry["iteration"])
        if iteration == best:
            marked.append(len(rows))
        scores = {name: float(text) for name, text in entry.items() if name != "iteration" and text}
        row: dict[str, Any] = {"iteration": f"{iteration:,}{' (best)' if iteration == best else ''}"}
        rows.append(row | {with_unit(name, units.get(name, "")): score for name, score in scores.items()})
    return rows, marked
