"""What filter groups learn to share: related, unrelated and equal tasks on the same images, over seeds.

    python benchmarks/what_is_shared.py --output /tmp/what_is_shared [--seeds 5] [--iterations 1000] [--quick]
    python benchmarks/what_is_shared.py --width 0.125                      the same with little room
    python benchmarks/what_is_shared.py --mechanisms --iterations 400      all sharing mechanisms on one pair of tasks

Images are handwritten digits of scikit-learn (8 x 8, placed at random in 20 x 20) on a smooth random background, plus
noise. Three pairs of tasks on them:

- related: the clean digit (regression) and which pixels belong to it (segmentation);
- unrelated: the clean digit and the background, which says nothing about the digit;
- duplicate: the clean digit twice, as in the supplement's section 5.

What the paper leads one to expect is printed beside what was found: unrelated tasks should take more specialist
filters than related ones; the first layer should share more than the last; equal tasks should take equal parts.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from scipy.stats import ttest_1samp
from sklearn.datasets import load_digits

from sfgkeras.analysis.comparison import Score, compare_scores, main_table, markdown_table
from sfgkeras.applications.training.optimizers import Optimizers, build_optimizer
from sfgkeras.applications.training.step import TrainingStep
from sfgkeras.callbacks import GroupingHistory
from sfgkeras.console import build_reporter
from sfgkeras.losses import DiceCrossEntropy, RootMeanSquaredError
from sfgkeras.networks import SHARING, HighResNet, count_multiplies, count_parameters

SIZE, BATCH = 20, 16
SCALE = 4.0
"""Factor on what is learned, so that targets have about unit variance."""
PAIRS = {
    "related": ("digit", "pixels"),
    "unrelated": ("digit", "background"),
    "duplicate": ("digit", "digit again"),
}
OUTPUTS = {"digit": 1, "digit again": 1, "background": 1, "pixels": 2}
TEST_FROM = 1400
"""Digits from this number on are for testing only."""


@dataclass(frozen=True)
class Grouping:
    """How grouping probabilities start and move.

    Attributes:
        start: p of every filter at the start: task 1, task 2, shared.
        learning_rate: Learning rate of the grouping logits.
        exponent: The temperature falls as `exp(-exponent * step / iterations)`, not below 0.1.
    """

    start: tuple[float, float, float] = (0.2, 0.2, 0.6)
    learning_rate: float = 0.01
    exponent: float = 2.3


MECHANISMS = {name: (name, Grouping()) for name in SHARING} | {
    "sfg, for short runs": ("sfg", Grouping((0.05, 0.05, 0.9), 0.05, 5.0)),
}
"""Rows of the table of mechanisms. The settings of the last were found on other data, with brain_slabs.py."""


def draw_images(random_generator: np.random.Generator, digits: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Draws images and all their targets.

    Args:
        random_generator: Draws digits, places, backgrounds and noise.
        digits: `(digits, 8, 8)`, from 0 to 1.
        count: Number of images.

    Returns:
        `image`, `digit`, `digit again` and `background`, `(count, size, size, 1)` float32, and `pixels`,
        `(count, size, size)` int32.
    """
    clean = np.zeros((count, SIZE, SIZE), np.float32)
    for canvas, chosen in zip(clean, random_generator.integers(len(digits), size=count), strict=True):
        x, y = random_generator.integers(0, SIZE - 8, size=2, endpoint=True)
        canvas[x : x + 8, y : y + 8] = digits[chosen]
    # Waves of at most two periods over the image: smooth, and independent of the digit.
    grid = np.linspace(0, 2 * np.pi, SIZE, endpoint=False)
    phases = random_generator.uniform(0, 2 * np.pi, (2, count, 1))
    frequencies = random_generator.uniform(0.5, 2.0, (2, count, 1))
    waves = np.sin(frequencies * grid + phases)
    background = (0.5 * waves[0][:, :, None] * waves[1][:, None, :]).astype(np.float32)
    noise = random_generator.normal(0, 0.15, clean.shape)
    image = (clean + background + noise).astype(np.float32)
    scaled = SCALE * clean[..., None]
    return {
        "image": image[..., None],
        "digit": scaled,
        "digit again": scaled,
        "background": SCALE * background[..., None],
        "pixels": (clean > 0.25).astype(np.int32),
    }


def train(
    pair: str, seed: int, iterations: int, folder: Path, reporter: Any, row: str = "sfg", width: float = 0.5
) -> dict[str, Any]:
    """Trains one network on a pair of tasks; returns p of every layer, test losses, and scores of every test image."""
    sharing, grouping = MECHANISMS[row]
    names = PAIRS[pair]
    tasks = {name: OUTPUTS[name] for name in names}
    digits = (load_digits().images / 16).astype(np.float32)
    settings: dict[str, Any] = {}
    if sharing in ("sfg", "constant_p"):
        settings["temperature"] = (1.0, grouping.exponent / iterations, 0.1)
    if sharing == "sfg":
        settings["initial_probabilities"] = grouping.start
    network = HighResNet(tasks, sharing, width=width, seed=seed, **settings)
    network.build((None, SIZE, SIZE, 1))
    losses = {name: DiceCrossEntropy() if name == "pixels" else RootMeanSquaredError() for name in names}
    own = build_optimizer("adam", grouping.learning_rate) if sharing == "sfg" else None
    optimizers = Optimizers(build_optimizer("adam", 2e-3), own).build(network)
    step = TrainingStep(network, optimizers, losses, network.balancer, tf.distribute.get_strategy(), BATCH)
    history = GroupingHistory(folder / f"{row}_{pair}_{seed}.npz", max(iterations // 50, 1))
    history.start(0, network)
    random_generator = np.random.default_rng([seed, 0])
    voxels = np.ones((BATCH, SIZE, SIZE), np.float32)
    with reporter.stage(f"{row}, {pair} tasks, seed {seed}", iterations) as stage:
        for iteration in range(1, iterations + 1):
            drawn = draw_images(random_generator, digits[:TEST_FROM], BATCH)
            parts = step((drawn["image"], {n: drawn[n] for n in names}, dict.fromkeys(names, voxels)))
            history.observe(iteration, network)
            note = f"loss {float(parts['loss']):.3g}" if iteration % 20 == 0 else ""
            stage.advance(1, note)
    history.write()
    test = draw_images(np.random.default_rng([seed, 1]), digits[TEST_FROM:], 64)
    network.batch_norm, network.masks = "batch", "mode"
    outputs = network(test["image"], training=False)
    test_losses = {name: float(tf.reduce_mean(losses[name].per_sample(test[name], outputs[name]))) for name in names}
    return {
        "pair": pair,
        "seed": seed,
        "sharing": row,
        "probabilities": {name: p.tolist() for name, p in network.grouping_probabilities().items()},
        "test_losses": test_losses,
        "scores": {name: image_scores(name, test[name], np.asarray(outputs[name])) for name in names},
        "parameters": count_parameters(network),
        "multiplies": count_multiplies(network, (SIZE, SIZE, 1)),
    }


def image_scores(task: str, truth: np.ndarray, outputs: np.ndarray) -> list[float]:
    """Returns a score of every test image: Dice of the pixels, else the mean absolute error in units of intensity."""
    axes = (1, 2)
    if task == "pixels":
        found = outputs.argmax(axis=-1) == 1
        overlap = 2 * (found & (truth == 1)).sum(axis=axes)
        return (overlap / (found.sum(axis=axes) + (truth == 1).sum(axis=axes))).tolist()
    return (np.abs(outputs - truth)[..., 0].mean(axis=axes) / SCALE).tolist()


def mechanisms_table(runs: Sequence[dict[str, Any]]) -> str:
    """Returns a table of all mechanisms with tests over seeds and test images, as Markdown."""
    scores = [
        Score(run["sharing"], run["seed"], task, "all", "dice" if task == "pixels" else "mae", value, str(image))
        for run in runs
        for task, values in run["scores"].items()
        for image, value in enumerate(values)
    ]
    costs = {run["sharing"]: {name: run[name] for name in ("parameters", "multiplies")} for run in runs}
    return markdown_table(main_table(compare_scores(scores), costs))


def shares(run: dict[str, Any]) -> np.ndarray:
    """Returns the mean p of every layer of a run, `(layers, groups)`, shared last."""
    return np.array([np.mean(p, axis=0) for p in run["probabilities"].values()])


def num_specialists(run: dict[str, Any]) -> int:
    """Returns the number of filters whose most probable group is a task's."""
    return sum(int(np.argmax(row) < len(row) - 1) for p in run["probabilities"].values() for row in p)


def task_gap(run: dict[str, Any]) -> float:
    """Returns the mean of |p_1 - p_2| over all filters."""
    p = np.concatenate([np.asarray(rows) for rows in run["probabilities"].values()])
    return float(np.abs(p[:, 0] - p[:, 1]).mean())


def findings(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Holds what was found against what the paper leads one to expect; one row per expectation.

    Returns:
        Rows of `expectation`, `value` (mean over seeds), `std`, `p` (t-test over seeds, one value per seed), `holds`
        (the mean has the right sign, or is small enough).
    """
    by_pair: dict[str, dict[int, np.ndarray]] = {}
    for run in runs:
        by_pair.setdefault(run["pair"], {})[run["seed"]] = shares(run)
    seeds = sorted(set.intersection(*(set(found) for found in by_pair.values())))

    def each(measure: Any) -> np.ndarray:
        return np.array([measure(seed) for seed in seeds])

    def specialist(pair: str, seed: int, layer: int | None = None) -> float:
        found = 1 - by_pair[pair][seed][:, -1]
        return float(found.mean() if layer is None else found[layer])

    whole = {(run["pair"], run["seed"]): run for run in runs}
    rows = [
        _row(
            "filters that end with a task, unrelated less related tasks: above 0",
            each(lambda s: num_specialists(whole["unrelated", s]) - num_specialists(whole["related", s])),
        )
    ]
    rows += [
        _row(
            f"specialist share {where}, unrelated less related tasks: above 0",
            each(lambda seed, layer=layer: specialist("unrelated", seed, layer) - specialist("related", seed, layer)),
        )
        for where, layer in (("of all layers", None), ("of the last layer", -1))
    ]
    rows += [
        _row(
            f"shared share, first less last layer, {pair} tasks: above 0",
            each(lambda seed, pair=pair: by_pair[pair][seed][0, -1] - by_pair[pair][seed][-1, -1]),
        )
        for pair in by_pair
    ]
    gaps = each(lambda seed: task_gap(whole["duplicate", seed]))
    rows.append(_row("duplicate tasks, mean |p_1 - p_2|: below 0.05", gaps) | {"holds": bool(gaps.mean() < 0.05)})
    return rows


def _row(expectation: str, values: np.ndarray) -> dict[str, Any]:
    several = len(values) > 1
    return {
        "expectation": expectation,
        "value": float(values.mean()),
        "std": float(values.std(ddof=1)) if several else float("nan"),
        "p": float(ttest_1samp(values, 0.0).pvalue) if several else float("nan"),
        "holds": bool(values.mean() > 0),
        "values": values.tolist(),
    }


def markdown(runs: Sequence[dict[str, Any]]) -> str:
    """Returns the findings, and mean p of every layer by pair of tasks, as Markdown."""
    lines = ["| expectation | found, mean ± std over seeds | p | holds |", "|---|---|---|---|"]
    for row in findings(runs):
        found = f"{row['value']:+.3f} ± {row['std']:.3f}"
        lines.append(f"| {row['expectation']} | {found} | {row['p']:.3g} | {'yes' if row['holds'] else 'no'} |")
    for pair, names in PAIRS.items():
        mean = np.mean([shares(run) for run in runs if run["pair"] == pair], axis=0)
        lines += ["", f"Mean p, {pair} tasks:", "", f"| layer | {' | '.join((*names, 'shared'))} |", "|---" * 4 + "|"]
        lines += [f"| {layer + 1} | {' | '.join(f'{value:.3f}' for value in row)} |" for layer, row in enumerate(mean)]
    return "\n".join(lines) + "\n"


def draw(runs: Sequence[dict[str, Any]], path: Path) -> None:
    """Draws mean p of every group by layer, a panel per pair of tasks, thin lines for single seeds."""
    from matplotlib.figure import Figure

    from sfgkeras.analysis.style import group_colours

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    panels = figure.subplots(1, len(PAIRS), sharey=True)
    for axes, (pair, names) in zip(panels, PAIRS.items(), strict=True):
        found = np.array([shares(run) for run in runs if run["pair"] == pair])
        layers = np.arange(1, found.shape[1] + 1)
        for group, (name, colour) in enumerate(zip((*names, "shared"), group_colours(3), strict=True)):
            axes.plot(layers, found[:, :, group].T, color=colour, linewidth=0.6, alpha=0.6)
            axes.plot(layers, found[:, :, group].mean(axis=0), color=colour, linewidth=2.2, marker="o", label=name)
        axes.set_title(f"{pair} tasks", fontsize=10)
        axes.set_xticks(layers)
        axes.set_xlabel("SFG layer, from image to output")
        axes.set_ylim(0, 1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9)
    panels[0].set_ylabel("mean grouping probability")
    figure.savefig(path, dpi=130)


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains what is not trained yet and prints the findings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="folder of all that is written; default: a temporary one")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--width", type=float, default=0.5, help="factor on the paper's numbers of filters")
    parser.add_argument("--mechanisms", action="store_true", help="compare all mechanisms on the related tasks")
    parser.add_argument("--quick", action="store_true", help="shows that all works, nothing about what is learned")
    options = parser.parse_args(arguments)
    iterations, seeds = (20, 1) if options.quick else (options.iterations, options.seeds)
    output = options.output or Path(tempfile.mkdtemp(prefix="what_is_shared_"))
    output.mkdir(parents=True, exist_ok=True)
    runs, reporter = [], build_reporter()
    wanted = [("related", name) for name in MECHANISMS] if options.mechanisms else [(pair, "sfg") for pair in PAIRS]
    for seed in range(seeds):
        for pair, row in wanted:
            path = output / f"{row}_{pair}_{seed}_{iterations}_{options.width:g}.json"
            if not path.is_file():
                path.write_text(json.dumps(train(pair, seed, iterations, output, reporter, row, options.width)))
            runs.append(json.loads(path.read_text()))
    text = mechanisms_table(runs) if options.mechanisms else markdown(runs)
    name = "mechanisms" if options.mechanisms else "what_is_shared"
    (output / f"{name}.md").write_text(text)
    if not options.mechanisms:
        draw(runs, output / f"{name}.png")
    print(f"\n{text}\nwritten to {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
