"""Bias-free T1 and tissues of real brain slabs: our networks beside MONAI's HighResNet, on the same windows.

    python benchmarks/brain_slabs.py --output /tmp/brain_slabs [--seeds 3] [--quick] [--networks hard_sharing,sfg]

Input: T1 slabs times a smooth bias field plus noise (`brain_slabs_cohort.py`). Tasks: the clean T1 (regression) and
five tissue classes. Five subjects train, one validates, one tests. Ours runs from an INI file through train, inference
and evaluate; MONAI's network sees the same windows in the same order, with the same losses, optimiser and number of
iterations, and its results are written and measured by the same code (`brain_slabs_peer.py`). Needs the extra
`benchmark`.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from brain_slabs_cohort import INI, SPLIT, TISSUES, write_cohort
from own_run import describe_machine, train_and_infer

from sfgkeras.analysis.tables import summarise
from sfgkeras.applications import run
from sfgkeras.config import Config, read_config
from sfgkeras.console import build_reporter
from sfgkeras.data.nifti import read_image
from sfgkeras.reporter import Reporter

DATA = Path(os.environ.get("SFGKERAS_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
PEERS = {"monai": False, "monai_linear": True}
"""Peers by name, and whether their outputs are linear; see `PeerNetwork`."""
OURS = ("hard_sharing", "sfg", "single_task", "constant_mask", "constant_p")
DATASETS = ("validation", "inference")
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


QUICK = Settings(iterations=30, window=48, batch_size=4, width=0.25)


def write_config(settings: Settings, data: Path, output: Path, sharing: str, name: str, seed: int) -> Config:
    """Writes the INI file of one run and reads it."""
    folder = output / f"{name}_{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.ini"
    values = asdict(settings) | {
        "cohort": output / "cohort",
        "source": data,
        "model_dir": folder / "model",
        "seed": seed,
        "sharing": sharing,
        "anneal_rate": settings.final_exponent / settings.iterations,
        "validate_every": max(settings.iterations // 4, 1),
    }
    path.write_text(INI.format(**values))
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


def untouched_error(data: Path, cohort: Path) -> float:
    """Mean absolute error of the noisy input itself as an estimate of the clean T1, on the test subject."""
    subject_id = SPLIT["inference"][0]
    noisy = read_image(cohort / f"slab{subject_id}_noisy.nii.gz").array
    return float(np.abs(noisy - read_image(data / f"ilist{subject_id}_T1.nii.gz").array).mean())


def compare(
    names: Sequence[str], seeds: int, settings: Settings, data: Path, output: Path, reporter: Reporter
) -> list[dict[str, Any]]:
    """Runs every network with every seed; results are written after each, so that nothing is lost.

    Returns:
        One row per network and seed.
    """
    rows: list[dict[str, Any]] = []
    for seed in range(seeds):
        for name in names:
            reporter.message(f"\n== {NAMES[name]}, seed {seed}, load {os.getloadavg()[0]:.1f}")
            is_peer = name in PEERS
            config = write_config(settings, data, output, "hard_sharing" if is_peer else name, name, seed)
            cost = run_highresnet(config, PEERS[name], reporter) if is_peer else run_ours(config, reporter)
            scores = {dataset: measure(config, reporter, dataset) for dataset in DATASETS}
            rows.append(
                {"network": name, "seed": seed, **scores["inference"], **cost, "validation": scores["validation"]}
            )
            write_results(rows, settings, data, output)
    return rows


def write_results(rows: Sequence[dict[str, Any]], settings: Settings, data: Path, output: Path) -> str:
    """Writes `results.json` and `results.md`; returns the latter."""
    untouched = untouched_error(data, output / "cohort")
    text = markdown(rows, settings, untouched)
    result = {"settings": asdict(settings), "machine": describe_machine(), "input_mae": untouched, "runs": list(rows)}
    (output / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    (output / "results.md").write_text(text)
    return text


def markdown(rows: Sequence[dict[str, Any]], settings: Settings, untouched: float) -> str:
    """Returns the table of means over the seeds, and how ours stands to the better peer."""
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
    seeds = len({row["seed"] for row in rows})
    s = settings
    lines += [
        "",
        f"Test subject {SPLIT['inference'][0]}; {s.iterations} iterations of {s.batch_size} windows of {s.window} x "
        f"{s.window}, width {s.width}, Adam {s.learning_rate}; "
        f"seeds: {seeds}{' (mean ± standard deviation)' * (seeds > 1)}.",
        *verdicts({name: found["mean Dice"]["mean"] for name, found in means.items()}),
    ]
    return "\n".join(lines) + "\n"


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
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds of windows and weights")
    parser.add_argument("--iterations", type=int, help="optimiser steps")
    parser.add_argument("--output_activation", default="range", help="of our head of T1: linear, relu, range")
    parser.add_argument("--quick", action="store_true", help="a minute: shows that all works, nothing about quality")
    options = parser.parse_args(arguments)
    names = options.networks.split(",")
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"unknown network {unknown[0]!r}; known: {', '.join(NAMES)}")
    settings = QUICK if options.quick else Settings()
    if options.iterations:
        settings = replace(settings, iterations=options.iterations)
    settings = replace(settings, output_activation=options.output_activation)
    output = options.output or Path(tempfile.mkdtemp(prefix="brain_slabs_"))
    write_cohort(options.data, output / "cohort")
    rows = compare(names, options.seeds, settings, options.data, output, build_reporter())
    text = write_results(rows, settings, options.data, output)
    print(f"\n{text}\nwritten to {output}")
    return 0 if options.quick or "MISSED" not in text else 1


if __name__ == "__main__":
    sys.exit(main())
