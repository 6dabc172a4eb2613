"""Trains mechanisms of sharing, or several INI files, over seeds on the same data, and tabulates what they reach."""

import base64
import csv
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import sfgkeras
from sfgkeras.analysis import comparison
from sfgkeras.analysis.comparison import Score
from sfgkeras.analysis.measures import EVALUATIONS
from sfgkeras.analysis.page import table_html
from sfgkeras.analysis.tables import write_csv
from sfgkeras.applications import run
from sfgkeras.applications.comparison.plan import PlannedRun
from sfgkeras.applications.evaluation import pair_columns
from sfgkeras.applications.records.files import RunFolder, digest, make_writable, write_text
from sfgkeras.applications.records.lock import holding
from sfgkeras.applications.records.logs import read_log
from sfgkeras.applications.report.facts import page_facts
from sfgkeras.applications.subjects.session import Session, open_session
from sfgkeras.applications.tasks.targets import ImageTarget
from sfgkeras.applications.training.network import build_network
from sfgkeras.config import Config
from sfgkeras.errors import ConfigError, counted
from sfgkeras.files import replacing
from sfgkeras.networks import build_plain_model, count_multiplies, count_parameters
from sfgkeras.pages.elements import paragraph, picture_html
from sfgkeras.pages.page import Header, Section, page_html
from sfgkeras.reporter import Reporter, SilentReporter

RESULT = "result.json"


@dataclass(frozen=True)
class Result:
    """What one run came to.

    Attributes:
        scores: All measures of its evaluation.
        costs: Its size and speed.
    """

    scores: list[Score]
    costs: dict[str, Any]


def compare(plan: Sequence[PlannedRun], output: Path, reporter: Reporter | None = None) -> list[dict[str, Any]]:
    """Trains, infers and evaluates every planned run that is not done yet; writes all tables after each.

    Files in `output`: `comparison.csv` (every quantity with its tests), `runs.csv` (every run), `comparison.md`,
    `comparison.png`, `comparison.html`.

    Args:
        plan: The runs; see `plan_sharing` and `plan_files`.
        output: Folder of the tables.
        reporter: Shows progress.

    Returns:
        The rows of `comparison.csv`.

    Raises:
        ConfigError: If settings do not fit.
        DataError: If files cannot be used.
    """
    reporter = reporter or SilentReporter()
    spread = next((planned.config for planned in plan if planned.config.system.strategy == "multi_worker"), None)
    if spread is not None:
        raise ConfigError(
            f"{spread.path}: [SYSTEM] strategy = 'multi_worker' trains one network per process, and a comparison "
            "several in one; use auto, or train, infer and evaluate each INI file on its own"
        )
    make_writable(output)
    with holding(output, "compare", reporter):
        return _compare(plan, output, reporter)


def _compare(plan: Sequence[PlannedRun], output: Path, reporter: Reporter) -> list[dict[str, Any]]:
    _show_sizes(plan, reporter)
    results: dict[tuple[str, int], Result] = {}
    rows: list[dict[str, Any]] = []
    for number, planned in enumerate(plan, start=1):
        reporter.message(f"run {number} of {len(plan)}: {planned.network}, seed {planned.seed}")
        results[planned.network, planned.seed] = run_once(planned, reporter)
        rows = write_comparison(results, output)
    costs = mean_costs(results)
    lines = comparison.main_table(rows, costs)
    columns = list(lines[0])
    reporter.table("comparison", columns, [[str(line.get(name, "-")) for name in columns] for line in lines])
    reporter.message(f"wrote {output / 'comparison.html'}")
    return rows


def run_once(planned: PlannedRun, reporter: Reporter) -> Result:
    """Returns the result of a run, which is made only where it does not exist; a killed one goes on."""
    config = planned.config
    path = config.system.model_dir / RESULT
    made_by = digest([sfgkeras.__version__, config.effective_text()])
    known = _read_result(path, made_by, planned)
    if known is not None:
        reporter.message(f"{path} was done")
        return known
    network = run.train(config, reporter)
    run.infer(config, reporter, overwrite=True)
    began = time.perf_counter()
    run.evaluate(config, reporter)
    session = open_session(config, SilentReporter(), training=False)
    costs = measure_costs(session, network) | {"evaluation s": round(time.perf_counter() - began, 1)}
    result = Result(list(_read_scores(session, planned)), costs)
    record = {"made_by": made_by, "costs": costs, "scores": [asdict(score) for score in result.scores]}
    write_text(path, json.dumps(record, indent=1) + "\n")
    return result


def _read_result(path: Path, made_by: str, planned: PlannedRun) -> Result | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["made_by"] != made_by:
            return None
        scores = [Score(**{**score, "network": planned.network}) for score in record["scores"]]
        return Result(scores, dict(record["costs"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # none yet, or damaged: the run is evaluated again, and trained where its checkpoints end


def _read_scores(session: Session, planned: PlannedRun) -> Iterator[Score]:
    """Reads what the evaluation of a run wrote, a score per subject wherever a measure is a mean over subjects."""
    folder = session.config.evaluation.save_csv_dir
    for name, task in session.tasks.items():
        by_subject = _pair_scores(folder / f"{name}_pairs.csv", task) if isinstance(task, ImageTarget) else {}
        for row in _read_csv(folder / f"{name}_subjects.csv"):
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


def _pair_scores(path: Path, task: ImageTarget) -> dict[str, dict[str, float]]:
    """Returns, for a task of values, the measures that are means over the subjects, by measure and subject."""
    rows = _read_csv(path)
    truth, prediction = (
        np.array([[float(row[name]) for name in pair_columns(what, task)] for row in rows])
        for what in ("truth", "prediction")
    )
    if not task.parts:
        truth, prediction = truth[:, 0], prediction[:, 0]
    subjects = [row["subject_id"] for row in rows]
    scores = task.score_subjects(truth, prediction)
    return {name: dict(zip(subjects, values.tolist(), strict=True)) for name, values in scores.items()}


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def measure_costs(session: Session, network: Any) -> dict[str, Any]:
    """Returns parameters, multiplies per window in training and at inference, and seconds per iteration."""
    config = session.config
    shape = (*window_shape(config), int(network.image_channels))
    training = count_multiplies(network, shape)
    is_exact = network.settled_masks == "mode" and config.network.mask_residual
    rows = read_log(RunFolder(config.system.model_dir).logs / "training.csv")
    seconds = [float(row["seconds_per_iteration"]) for row in rows if row["seconds_per_iteration"]]
    return {
        "parameters": count_parameters(network),
        "multiplies in training": training,
        "multiplies at inference": count_multiplies(build_plain_model(network), shape) if is_exact else training,
        "s / iteration": seconds[-1] if seconds else float("nan"),
    }


def window_shape(config: Config) -> tuple[int, ...]:
    """Returns the size of what the network sees in training, with its frame of zeros."""
    return tuple(size + 2 * config.multitask.loss_border for size in config.window_size if size != 1)


def _show_sizes(plan: Sequence[PlannedRun], reporter: Reporter) -> None:
    """Shows what every network costs before any is trained; this also finds most mistakes."""
    lines = []
    sessions: dict[tuple[Path, tuple[str, ...]], tuple[Session, int]] = {}
    for planned in {planned.network: planned for planned in reversed(plan)}.values():
        config = planned.config
        place = config.system.dataset_split_file, tuple(config.tasks)
        if place not in sessions:
            session = open_session(config, SilentReporter(), training=True)
            subject = session.cohort.phase("training")[0]
            session.preprocess([subject], SilentReporter())
            sessions[place] = session, session.preparation.image(subject).shape[-1]
        session, channels = sessions[place]
        network = build_network(config, session.tasks, channels)
        multiplies = count_multiplies(network, (*window_shape(config), channels))
        lines.append([planned.network, f"{count_parameters(network):,}", f"{multiplies:,}"])
    reporter.table("networks", ["network", "parameters", "multiplies per window"], lines[::-1])


def mean_costs(results: Mapping[tuple[str, int], Result]) -> dict[str, dict[str, Any]]:
    """Returns the costs of each network; times are medians over the seeds."""
    by_network: dict[str, list[dict[str, Any]]] = {}
    for (network, _), result in results.items():
        by_network.setdefault(network, []).append(result.costs)
    found = {}
    for network, costs in by_network.items():
        median = float(np.median([cost["s / iteration"] for cost in costs]))
        shown = {name: costs[0][name] for name in ("parameters", "multiplies in training")}
        # The allocation, and with it the cost of a hardened network, differs from seed to seed.
        shown["multiplies at inference"] = int(np.median([cost["multiplies at inference"] for cost in costs]))
        found[network] = shown | {"s / iteration": float(f"{median:.3g}")}
    return found


def write_comparison(results: Mapping[tuple[str, int], Result], output: Path) -> list[dict[str, Any]]:
    """Writes all tables and the figure of the runs that are done; returns the rows of `comparison.csv`."""
    scores = comparison.add_label_means(score for result in results.values() for score in result.scores)
    rows = comparison.compare_scores(scores)
    costs = mean_costs(results)
    lines = comparison.main_table(rows, costs)
    write_csv(output / "comparison.csv", rows)
    write_csv(output / "runs.csv", [asdict(score) for score in scores])
    seeds = sorted({seed for _, seed in results})
    note = (
        f"Mean ± standard deviation over {counted(len(seeds), 'seed')}. Against the best baseline: * p < 0.05 over "
        "seeds (paired t-test, from 3 seeds), + p < 0.05 over subjects (Wilcoxon signed-rank test, from 6 subjects); "
        "not corrected for the number of comparisons. All networks are compared on the subjects for which each of them "
        "has a value; (n missed) counts the values that a network should have and has not, such as the distance to an "
        "organ that it did not find, and none of those that missed more than others is the best."
    )
    write_text(output / "comparison.md", f"{comparison.markdown_table(lines)}\n{note}\n")
    picture = output / "comparison.png"
    figure = comparison.comparison_figure(scores, "One point per seed, the bar is their mean")
    with replacing(picture) as stream:
        figure.savefig(stream, format="png", dpi=150)
    write_text(output / "comparison.html", _page(lines, rows, output, note, results))
    return rows


def _page(
    lines: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    output: Path,
    note: str,
    results: Mapping[tuple[str, int], Result],
) -> str:
    picture = (output / "comparison.png").read_bytes()
    source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    shown = [
        {name: f"{value:,}" if isinstance(value, int) else value for name, value in line.items()} for line in lines
    ]
    sections = [
        Section(
            "summary",
            "Summary",
            paragraph(note) + table_html(shown, "Headline measures and costs, one line per network"),
        ),
        Section("runs", "Every run", picture_html(source, "Scores of every run", "Arrows show what is better.", 900)),
        Section(
            "details",
            "Every quantity",
            paragraph("Tests are against the best baseline of each quantity; - where there are too few pairs.")
            + table_html([{k: v for k, v in row.items() if k != "is_best"} for row in rows], "All measures"),
        ),
    ]
    seeds = sorted({seed for _, seed in results})
    networks = len({line["network"] for line in lines})
    subtitle = f"{counted(networks, 'network')}, {counted(len(results), 'run')}, seeds {', '.join(map(str, seeds))}"
    header = Header("Comparison", subtitle, page_facts(), str(output.resolve()))
    return page_html(header, sections, f"Written by sfgkeras {sfgkeras.__version__}.")
