"""Bias-free T1 and tissues of real brain slabs: our networks beside MONAI's HighResNet, on the same windows.

    python benchmarks/brain_slabs.py --output /tmp/brain_slabs [--seeds 3] [--quick] [--networks hard_sharing,sfg]
    python benchmarks/brain_slabs.py --output /tmp/brain_slabs --subjects all --networks monai,sfg_auto,hard_sharing

Input: T1 slabs times a smooth bias field plus noise (`brain_slabs_cohort.py`). Tasks: the clean T1 (regression) and
five tissue classes. Five subjects train, one validates, one tests: one of them, or with `--subjects all` each of the
seven in turn. Ours runs from an INI file through train, inference and evaluate; MONAI's network sees the same windows
in the same order, with the same losses, optimiser and number of iterations, and its results are written and measured
by the same code (`brain_slabs_peer.py`). Goes on where it was stopped. Needs the extra `benchmark`.
"""

import argparse
import gc
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from brain_slabs_cohort import SUBJECTS, TISSUES, write_cohort, write_ini
from own_run import describe_machine, train_and_infer
from paired_tests import holm
from scipy.stats import ttest_rel

from sfgkeras.analysis.tables import summarise
from sfgkeras.applications import run
from sfgkeras.config import Config, read_config
from sfgkeras.console import build_reporter
from sfgkeras.data.nifti import read_image
from sfgkeras.reporter import Reporter

DATA = Path(os.environ.get("SFGKERAS_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
PEERS = {"monai": False, "monai_linear": True}
"""Peers by name, and whether their outputs are linear; see `PeerNetwork`."""
AUTO = "sfg_auto"
"""Filter groups as they are found by default, by `schedule = auto`; `sfg` follows the paper's in a short run."""
OURS = ("hard_sharing", AUTO, "sfg", "single_task", "constant_mask", "constant_p", "cross_stitch", "soft_sharing")
DATASETS = ("validation", "inference")
SIGNS = {"mean Dice": 1, "MAE": -1}
"""What networks are compared by, and whether more is better."""
LEAST_SUBJECTS = 3
"""Fewer are not tested."""
SIGNIFICANT = 0.05
GOAL = 0.01
"""Mean Dice that ours may lack compared with the better peer."""
NAMES = {
    "monai": "MONAI HighResNet as it comes",
    "monai_linear": "MONAI HighResNet, linear outputs",
    **{name: f"sfgkeras, {name}" for name in OURS},
}


@dataclass(frozen=True)
class Settings:
    """What all networks of a comparison have in common, and the settings of the filter groups.

    Attributes:
        iterations: Optimiser steps.
        window: Side of the square windows, in voxels.
        batch_size: Windows per step.
        width: Factor on the number of filters.
        learning_rate: Adam's, constant.
        grouping_rate: Adam's learning rate for the grouping logits.
        initial_probabilities: Of the groups t1, tissue, shared.
        final_exponent: The temperature falls as `exp(-final_exponent * step / iterations)`, not below 0.1.
        entropy_decay: Weight of the entropy of the grouping probabilities.
        output_activation: Of our head of T1.
        threads: Of all networks. One is steadier beside other work: threads that share a step wait for each other.
        whitening: Whether images get zero mean and unit variance. T1 is restored in the units of the image, which
            whitening takes away.
        ema_decay: Of the averages of the weights that every network, peers too, is tested with; 0 for the last weights.
    """

    iterations: int = 1000
    window: int = 96
    batch_size: int = 8
    width: float = 0.5
    learning_rate: float = 2e-3
    grouping_rate: float = 0.05
    initial_probabilities: str = "0.05, 0.05, 0.9"
    final_exponent: float = 5.0
    entropy_decay: float = 1e-5
    output_activation: str = "range"
    threads: int = 2
    whitening: str = "yes"
    ema_decay: float = 0.0


QUICK = Settings(iterations=30, window=48, batch_size=4, width=0.25)


def write_config(settings: Settings, data: Path, output: Path, name: str, test_subject: str, seed: int) -> Config:
    """Writes the INI file of one run and reads it; a peer's is that of hard sharing."""
    folder = output / f"{name}_{test_subject}_{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.ini"
    values = asdict(settings) | {
        "cohort": output / "cohort",
        "source": data,
        "model_dir": folder / "model",
        "test_subject": test_subject,
        "seed": seed,
        "sharing": "hard_sharing" if name in PEERS else "sfg" if name == AUTO else name,
        "anneal_rate": settings.final_exponent / settings.iterations,
        "validate_every": max(settings.iterations // 4, 1),
        "averages": f"ema_decay = {settings.ema_decay}" if settings.ema_decay else "",
    }
    write_ini(path, follows_paper=name != AUTO, **values)
    return read_config(path)


def run_ours(config: Config, reporter: Reporter) -> dict[str, Any]:
    """Trains one of our networks and infers; returns what it cost."""
    network, found = train_and_infer(config, DATASETS, reporter)
    groups = network.grouping_probabilities()
    shares = {layer: np.bincount(np.argmax(p, axis=1), minlength=p.shape[1]).tolist() for layer, p in groups.items()}
    certainty = float(np.mean(np.concatenate([np.max(p, axis=1) for p in groups.values()])))
    return found | {"filters_per_group": shares, "mean_largest_probability": certainty}


def run_highresnet(config: Config, linear_outputs: bool, reporter: Reporter) -> dict[str, Any]:
    """Trains MONAI's network by the same INI file and infers; returns what it cost."""
    from brain_slabs_peer import build_peer
    from peer_run import run_peer

    return run_peer(build_peer(config, linear_outputs, reporter), config, DATASETS, reporter)


def measure(config: Config, reporter: Reporter, dataset: str) -> dict[str, float]:
    """Evaluates the predictions of a run; returns Dice by tissue, their mean, and the errors of T1."""
    summary = run.evaluate(config, reporter, dataset)
    dice = {row["label"]: row["mean"] for row in summary["tissue"] if row["measure"] == "dice"}
    errors = {row["measure"]: row["mean"] for row in summary["t1"] if row["region"] == "all"}
    return {**dice, "mean Dice": float(np.mean(list(dice.values()))), "MAE": errors["mae"], "RMSE": errors["rmse"]}


def untouched_error(data: Path, cohort: Path, subjects: Sequence[str]) -> float:
    """Mean absolute error of the noisy input itself as an estimate of the clean T1, over the test subjects."""
    noisy = [read_image(cohort / f"slab{subject_id}_noisy.nii.gz").array for subject_id in subjects]
    clean = [read_image(data / f"ilist{subject_id}_T1.nii.gz").array for subject_id in subjects]
    return float(np.mean([np.abs(a - b).mean() for a, b in zip(noisy, clean, strict=True)]))


def compare(
    names: Sequence[str],
    subjects: Sequence[str],
    seeds: int,
    settings: Settings,
    data: Path,
    output: Path,
    reporter: Reporter,
) -> list[dict[str, Any]]:
    """Runs every network with every seed, each test subject left out in turn; results are written after each run.

    Runs with the same settings that are in `results.json` already are not made again.

    Returns:
        One row per network, test subject and seed.
    """
    rows = earlier_rows(settings, output)
    done = {(row["network"], row["subject"], row["seed"]) for row in rows}
    for seed, subject, name in itertools.product(range(seeds), subjects, names):
        if (name, subject, seed) in done:
            continue
        reporter.message(f"\n== {NAMES[name]}, test subject {subject}, seed {seed}, load {os.getloadavg()[0]:.1f}")
        config = write_config(settings, data, output, name, subject, seed)
        began = time.perf_counter()
        cost = run_highresnet(config, PEERS[name], reporter) if name in PEERS else run_ours(config, reporter)
        cost["whole_seconds"] = time.perf_counter() - began
        scores = {dataset: measure(config, reporter, dataset) for dataset in DATASETS}
        found = {"network": name, "subject": subject, "seed": seed, **scores["inference"], **cost}
        rows.append({**found, "validation": scores["validation"]})
        write_results(rows, settings, data, output)
        keras.backend.clear_session()
        gc.collect()
    return rows


def earlier_rows(settings: Settings, output: Path) -> list[dict[str, Any]]:
    """Returns the rows of an earlier call with this output.

    Raises:
        SystemExit: If they are of other settings, which a new table would replace.
    """
    path = output / "results.json"
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    wanted = asdict(settings)
    if differing := [name for name in wanted if wanted[name] != found["settings"].get(name)]:
        name = differing[0]
        raise SystemExit(
            f"{path} holds runs with {name} = {found['settings'].get(name)}, not {wanted[name]}: give another --output"
        )
    return list(found["runs"])


def write_results(rows: Sequence[dict[str, Any]], settings: Settings, data: Path, output: Path) -> str:
    """Writes `results.json` and `results.md`; returns the latter."""
    untouched = untouched_error(data, output / "cohort", sorted({row["subject"] for row in rows}))
    text = markdown(rows, settings, untouched)
    result = {"settings": asdict(settings), "machine": describe_machine(), "input_mae": untouched, "runs": list(rows)}
    (output / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    (output / "results.md").write_text(text)
    return text


def markdown(rows: Sequence[dict[str, Any]], settings: Settings, untouched: float) -> str:
    """Returns the table of means over test subjects and seeds, and how ours stands to the others."""
    columns = [*TISSUES[1:], "mean Dice", "MAE", "RMSE", "seconds"]
    means: dict[str, dict[str, dict[str, Any]]] = {}
    for row in summarise(rows, ["network"], columns):
        means.setdefault(row["network"], {})[row["measure"]] = row
    parameters = {row["network"]: row["parameters"] for row in rows}
    lines = [
        f"| network | {' | '.join([*columns[:-1], 's / iteration'])} | parameters |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for name, found in means.items():
        cells = [_cell(found[column]) for column in columns]
        lines.append(f"| {NAMES[name]} | {' | '.join(cells)} | {parameters[name]:,} |")
    lines.append(f"| the noisy input itself |{' - |' * (len(columns) - 4)} {untouched:.4f} | - | - | - |")
    subjects, seeds = ({row[key] for row in rows} for key in ("subject", "seed"))
    several = len(subjects) * len(seeds) > 1
    s = settings
    whitened = {"yes": "whitened images", "no": "images in their own units"}[s.whitening]
    weights = f"averages of weights ({s.ema_decay})" if s.ema_decay else "last weights"
    lines += [
        "",
        f"Test subject{'s' * (len(subjects) > 1)} {', '.join(sorted(subjects))}; {s.iterations} iterations of "
        f"{s.batch_size} windows of {s.window} x {s.window}, width {s.width}, Adam {s.learning_rate}; "
        f"{whitened}; {weights}; seeds: {len(seeds)}{' (mean ± standard deviation over runs)' * several}.",
        *verdicts({name: found["mean Dice"]["mean"] for name, found in means.items()}),
        *paired_table(rows),
    ]
    return "\n".join(lines) + "\n"


def paired_table(rows: Sequence[dict[str, Any]], candidate: str = AUTO) -> list[str]:
    """Compares a network with each other one, paired over the test subjects, as lines of Markdown.

    Differences are signed so that more is better. p: paired t-tests over subjects, each the mean of its seeds, and
    corrected by Holm's method for all of the table. None for fewer than three subjects.
    """
    by_subject: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row, column in itertools.product(rows, SIGNS):
        of_network = by_subject.setdefault((row["network"], column), {})
        of_network.setdefault(row["subject"], []).append(SIGNS[column] * row[column])
    cases = []
    for name, column in by_subject:
        ours, theirs = by_subject.get((candidate, column), {}), by_subject[name, column]
        common = sorted(ours.keys() & theirs.keys())
        if name == candidate or len(common) < LEAST_SUBJECTS:
            continue
        first, second = ([float(np.mean(found[subject])) for subject in common] for found in (ours, theirs))
        difference = float(np.mean(first) - np.mean(second))
        cases.append((column, name, len(common), difference, float(ttest_rel(first, second).pvalue)))
    if not cases:
        return []
    lines = ["", f"| measure | {candidate} against | subjects | better by | p | p (Holm) | |", "|---" * 7 + "|"]
    for (column, name, count, difference, p), corrected in zip(cases, holm([case[-1] for case in cases]), strict=True):
        verdict = "level" if corrected >= SIGNIFICANT else "better" if difference > 0 else "worse"
        lines.append(f"| {column} | {name} | {count} | {difference:+.4f} | {p:.2g} | {corrected:.2g} | {verdict} |")
    return lines


def _cell(row: dict[str, Any]) -> str:
    return f"{row['mean']:.4f}" + (f" ± {row['std']:.4f}" if row["n"] > 1 else "")


def verdicts(dice: dict[str, float]) -> list[str]:
    """Returns a sentence for each of our networks: how far its mean Dice is from the better peer's."""
    peers = [dice[name] for name in PEERS if name in dice]
    if not peers:
        return []
    return [
        f"{NAMES[name]}: mean Dice {value - max(peers):+.4f} against the better peer; goal: no less than -{GOAL}: "
        f"{'met' if value - max(peers) >= -GOAL else 'MISSED'}."
        for name, value in dice.items()
        if name not in PEERS
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the comparison; returns 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA / "mr_brain_multi", help="folder of the slabs")
    parser.add_argument("--output", type=Path, help="folder of all that is written; default: a temporary one")
    parser.add_argument("--networks", default="monai,monai_linear,hard_sharing,sfg", help=", ".join((*PEERS, *OURS)))
    parser.add_argument("--subjects", default=SUBJECTS[-1], help="test subjects, each in turn: ids, or all")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds of windows and weights")
    parser.add_argument("--iterations", type=int, help="optimiser steps")
    parser.add_argument("--window", type=int, help="side of the square windows, in voxels")
    parser.add_argument("--width", type=float, help="factor on the number of filters")
    parser.add_argument("--threads", type=int, help="of each network; 1 beside other work")
    parser.add_argument("--output_activation", default="range", help="of our head of T1: linear, relu, range")
    parser.add_argument("--whitening", default="yes", choices=("yes", "no"), help="whether images are whitened")
    parser.add_argument("--ema_decay", type=float, default=0.0, help="of averages of the weights; 0: the last ones")
    parser.add_argument("--quick", action="store_true", help="a minute: shows that all works, nothing about quality")
    options = parser.parse_args(arguments)
    names = options.networks.split(",")
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"unknown network {unknown[0]!r}; known: {', '.join(NAMES)}")
    subjects = list(SUBJECTS) if options.subjects == "all" else options.subjects.split(",")
    if unknown := [subject for subject in subjects if subject not in SUBJECTS]:
        parser.error(f"unknown subject {unknown[0]!r}; known: {', '.join(SUBJECTS)}")
    settings = QUICK if options.quick else Settings()
    asked = {field.name: getattr(options, field.name, None) for field in fields(Settings)}
    settings = replace(settings, **{name: value for name, value in asked.items() if value is not None})
    output = options.output or Path(tempfile.mkdtemp(prefix="brain_slabs_"))
    write_cohort(options.data, output / "cohort")
    rows = compare(names, subjects, options.seeds, settings, options.data, output, build_reporter())
    text = write_results(rows, settings, options.data, output)
    print(f"\n{text}\nwritten to {output}")
    return 0 if options.quick or "MISSED" not in text else 1


if __name__ == "__main__":
    sys.exit(main())
