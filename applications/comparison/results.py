"""What one run of a comparison came to: its scores, weights, epochs and costs, and the file that keeps them."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import sfgkeras
from sfgkeras.analysis.comparison import Score
from sfgkeras.analysis.measures import EVALUATIONS
from sfgkeras.analysis.tables import read_csv
from sfgkeras.applications.comparison.plan import PlannedRun
from sfgkeras.applications.evaluation import pair_columns
from sfgkeras.applications.inference.restored_network import hardens_exactly
from sfgkeras.applications.records.candidates_file import read_candidates
from sfgkeras.applications.records.files import RunFolder, digest, write_text
from sfgkeras.applications.records.logs import read_log
from sfgkeras.applications.records.training_record import read_training_record
from sfgkeras.applications.subjects.session import Session
from sfgkeras.applications.tasks.outputs import RowTask
from sfgkeras.config import Config
from sfgkeras.networks import build_plain_model, count_multiplies, count_parameters

CANDIDATE = "candidate that went on"
"""The column of the costs that says what a search for groups has come to."""

RESULT = "result.json"
WEIGHT = "weight_"


@dataclass(frozen=True)
class Result:
    """What one run came to.

    Attributes:
        scores: All measures of its evaluation.
        costs: Its size and speed.
        weights: Weight of each task's loss; of learned ones the last that was logged.
        epochs: How many it was trained for; NaN where it was not logged.
    """

    scores: list[Score]
    costs: dict[str, Any]
    weights: dict[str, float]
    epochs: float


def result_key(config: Config) -> str:
    """Returns a digest of what a result follows from."""
    return digest([sfgkeras.__version__, config.effective_text()])


def read_result(planned: PlannedRun) -> Result | None:
    """Returns the result of a run that is done; None where there is none, or it is of other settings, or damaged."""
    path = planned.config.system.model_dir / RESULT
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["made_by"] != result_key(planned.config):
            return None
        scores = [Score(**{**score, "network": planned.network}) for score in record["scores"]]
        return Result(scores, dict(record["costs"]), dict(record["weights"]), float(record["epochs"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the run is evaluated again, and trained where its checkpoints end


def write_result(planned: PlannedRun, result: Result) -> None:
    """Keeps the result of a run in its folder."""
    record = {"made_by": result_key(planned.config), **asdict(result)}
    write_text(planned.config.system.model_dir / RESULT, json.dumps(record, indent=1) + "\n")


def collect_result(planned: PlannedRun, session: Session, network: Any, seconds: float) -> Result:
    """Collects the result of a run that has been trained and evaluated.

    Args:
        planned: The run.
        session: The run as evaluation opened it.
        network: The trained network.
        seconds: How long its evaluation took.
    """
    costs = measure_costs(session, network) | {"evaluation s": round(seconds, 1)}
    log = read_log(RunFolder(planned.config.system.model_dir).logs / "training.csv")
    last = log[-1] if log else {}
    weights = {name: float(last.get(WEIGHT + name) or task.weight) for name, task in planned.config.tasks.items()}
    return Result(list(_read_scores(session, planned)), costs, weights, float(last.get("epoch") or "nan"))


def _read_scores(session: Session, planned: PlannedRun) -> Iterator[Score]:
    """Reads what the evaluation of a run wrote, a score per subject wherever a measure is a mean over subjects."""
    folder = session.config.evaluation.save_csv_dir
    for name, task in session.tasks.items():
        by_subject = _pair_scores(folder / f"{name}_pairs.csv", task) if isinstance(task, RowTask) else {}
        for row in read_csv(folder / f"{name}_subjects.csv"):
            if row.get("label") and row.get("region", "all") != "all":
                continue  # a label within a mask: its mean over labels would mix regions
            group = row.get("label") or row.get("region") or "all"
            for measure, text in row.items():
                if measure not in EVALUATIONS or measure == "confusion_matrix" or not text:
                    continue
                key = (planned.network, planned.seed, name, group, measure)
                unit = EVALUATIONS[measure].unit_for(task.unit)
                if group == "all" and measure in by_subject:
                    for subject_id, value in by_subject[measure].items():
                        yield Score(*key, value, subject_id, unit=unit)
                else:
                    yield Score(*key, float(text), row.get("subject_id") or "", unit=unit)


def _pair_scores(path: Path, task: RowTask) -> dict[str, dict[str, float]]:
    """Returns, for a task of values, the measures that are means over the subjects, by measure and subject."""
    rows = read_csv(path)
    truth, prediction = (
        np.array([[float(row[name]) for name in pair_columns(what, task)] for row in rows])
        for what in ("truth", "prediction")
    )
    if not task.parts:
        truth, prediction = truth[:, 0], prediction[:, 0]
    subjects = [row["subject_id"] for row in rows]
    scores = task.score_subjects(truth, prediction)
    return {name: dict(zip(subjects, values.tolist(), strict=True)) for name, values in scores.items()}


def measure_costs(session: Session, network: Any) -> dict[str, Any]:
    """Returns parameters, multiplies per window in training and at inference, and seconds per iteration.

    Of a run that has searched for its groups also which candidate went on.
    """
    config = session.config
    shape = (*window_shape(config), int(network.image_channels))
    training = count_multiplies(network, shape)
    is_exact = hardens_exactly(config, network)
    rows = read_log(RunFolder(config.system.model_dir).logs / "training.csv")
    seconds = [float(row["seconds_per_iteration"]) for row in rows if row["seconds_per_iteration"]]
    folder = RunFolder(config.system.model_dir)
    chosen = [each.name for each in read_candidates(folder.candidates) if each.chosen]
    record = read_training_record(folder.training_record)
    if chosen and record is not None:
        # The search is paid for by the run that it was made for.
        seconds = [record.seconds / int(rows[-1]["iteration"])]
    return {
        "parameters": count_parameters(network),
        "multiplies in training": training,
        "multiplies at inference": count_multiplies(build_plain_model(network), shape) if is_exact else training,
        "s / iteration": seconds[-1] if seconds else float("nan"),
        **({CANDIDATE: chosen[-1]} if chosen else {}),
    }


def window_shape(config: Config) -> tuple[int, ...]:
    """Returns the size of what the network sees in training, with its frame of zeros."""
    return tuple(size + 2 * config.multitask.loss_border for size in config.window_size if size != 1)
