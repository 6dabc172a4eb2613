"""Where tasks conflict and where they help each other: all sharing mechanisms on two families of tasks, over seeds.

    python benchmarks/transfer.py --output transfer [--seeds 10] [--steps 600] [--mechanisms sfg hard_sharing ...]
    python benchmarks/transfer.py --quick

Images are handwritten digits of scikit-learn (8 x 8, placed at random in 12 x 12, plus noise), 1000 for training, drawn
once per seed; a network of three small convolutions, average pooling, a dense head per task; batches of 32.

- conflict: which digit it is, and where it lies. The places are given with noise (two pixels), and their squared error
  has a weight of ten, so that kernels that serve both tasks mostly learn the noise of one: independent networks win.
- help: which digit it is, known for one image in ten, and a second reading of the same digit, wrong in 36 of 100.
  Neither task can learn much alone, both need the same features: hard sharing wins.

The first table says whether that is so, by paired t-tests over seeds. The others show what each mechanism does about
it; p values against several baselines are corrected by Holm's method.
"""

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from paired_tests import holm
from scipy.stats import rankdata, ttest_rel
from sklearn.datasets import load_digits

from sfgkeras.architecture.stage import Stage
from sfgkeras.console import build_reporter
from sfgkeras.networks import SHARING, MultiTaskNetwork, count_multiplies, count_parameters, fit_auto

SIZE, BATCH, TRAINED_ON, TESTED_ON = 12, 32, 1000, 1000
TEST_FROM = 1200
"""Digits from this place of a fixed random order on are for testing only."""
AUTO = "sfg, auto"
"""Filter groups under `schedule = auto`; the row `sfg` is the paper's way, with a temperature that falls in the run."""
DRAWN = "constant_p, 0.8 shared"
"""Masks that are drawn to the end from probabilities that are not learned, 0.1, 0.1 and 0.8: what their noise does."""
MECHANISMS = (AUTO, *SHARING, DRAWN)
BASELINES = ("single_task", "hard_sharing", "constant_mask", "constant_p", "cross_stitch")


class SmallNetwork(MultiTaskNetwork):
    """Three grouped convolutions with pooling between them, a dense head per task."""

    stages = (Stage(12, pools=True), Stage(16, pools=True), Stage(16))
    usual_head = "vector"


@dataclass(frozen=True)
class Samples:
    """Images with what is known and what is true of them.

    Attributes:
        images: `(samples, size, size, 1)` float32.
        targets: What the tasks learn from, by name.
        truth: The same without noise.
        weights: 1 where a target is known, `(samples,)` float32 by task.
    """

    images: np.ndarray
    targets: Mapping[str, np.ndarray]
    truth: Mapping[str, np.ndarray]
    weights: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Family:
    """Two tasks on the same images.

    Attributes:
        tasks: Outputs by task.
        losses: Name of Keras' loss by task.
        loss_weights: Weight of the loss by task.
        draw: Draws samples: a random generator, digits `(n, 8, 8)`, their classes, a number of samples.
    """

    tasks: Mapping[str, int]
    losses: Mapping[str, Any]
    loss_weights: Mapping[str, float]
    draw: Callable[[np.random.Generator, np.ndarray, np.ndarray, int], Samples]


def place_digits(random_generator: np.random.Generator, digits: np.ndarray, chosen: np.ndarray) -> tuple[Any, Any]:
    """Returns images of digits at random places, `(samples, size, size, 1)`, and the places, from -2 to 2."""
    corners = random_generator.integers(0, SIZE - 8, (len(chosen), 2), endpoint=True)
    images = np.zeros((len(chosen), SIZE, SIZE), np.float32)
    for image, digit, (x, y) in zip(images, digits[chosen], corners, strict=True):
        image[x : x + 8, y : y + 8] = digit
    images += random_generator.normal(0, 0.2, images.shape).astype(np.float32)
    return images[..., None], (corners - (SIZE - 8) / 2).astype(np.float32)


def draw_conflict(
    random_generator: np.random.Generator, digits: np.ndarray, classes: np.ndarray, count: int
) -> Samples:
    """Draws the family in which tasks conflict."""
    chosen = random_generator.integers(len(digits), size=count)
    images, places = place_digits(random_generator, digits, chosen)
    noisy = places + random_generator.normal(0, 2, places.shape).astype(np.float32)
    known = np.ones(count, np.float32)
    truth = {"digit": classes[chosen], "place": places}
    return Samples(images, {"digit": classes[chosen], "place": noisy}, truth, dict.fromkeys(truth, known))


def draw_help(random_generator: np.random.Generator, digits: np.ndarray, classes: np.ndarray, count: int) -> Samples:
    """Draws the family in which tasks help each other."""
    chosen = random_generator.integers(len(digits), size=count)
    images, _ = place_digits(random_generator, digits, chosen)
    is_random = random_generator.random(count) < 0.4
    noisy = np.where(is_random, random_generator.integers(0, 10, count), classes[chosen])
    weights = {
        "digit": (random_generator.random(count) < 0.1).astype(np.float32),
        "reading": np.ones(count, np.float32),
    }
    truth = {"digit": classes[chosen], "reading": classes[chosen]}
    return Samples(images, {"digit": classes[chosen], "reading": noisy}, truth, weights)


def _entropy() -> Any:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


FAMILIES = {
    "conflict": Family(
        {"digit": 10, "place": 2}, {"digit": _entropy, "place": "mse"}, {"digit": 1.0, "place": 10.0}, draw_conflict
    ),
    "help": Family(
        {"digit": 10, "reading": 10},
        {"digit": _entropy, "reading": _entropy},
        # Keras divides by all images, also those whose digit is not known.
        {"digit": 10.0, "reading": 1.0},
        draw_help,
    ),
}


def cohort(family: Family, seed: int) -> tuple[Samples, Samples, Samples]:
    """Draws the samples of a seed for training, for decisions within training, and for testing."""
    found = load_digits()
    order = np.random.default_rng(7).permutation(len(found.images))
    digits, classes = (found.images[order] / 16).astype(np.float32), found.target[order].astype(np.int32)
    random_generator = np.random.default_rng([seed, 1000])
    training, held_out = (
        family.draw(random_generator, digits[:TEST_FROM], classes[:TEST_FROM], n) for n in (TRAINED_ON, 300)
    )
    return training, held_out, family.draw(random_generator, digits[TEST_FROM:], classes[TEST_FROM:], TESTED_ON)


def batches(samples: Samples, seed: int) -> tf.data.Dataset:
    """Returns endless random batches of images, targets and weights; each row of networks sees the same ones."""

    def draw() -> Any:
        random_generator = np.random.default_rng([seed, 1])
        while True:
            rows = random_generator.integers(0, len(samples.images), BATCH)
            yield (
                samples.images[rows],
                {name: values[rows] for name, values in samples.targets.items()},
                {name: values[rows] for name, values in samples.weights.items()},
            )

    like = next(draw())
    signature = tf.nest.map_structure(lambda part: tf.TensorSpec((None, *part.shape[1:]), part.dtype), like)
    return tf.data.Dataset.from_generator(draw, output_signature=signature)


def build(family: Family, mechanism: str, seed: int, steps: int) -> MultiTaskNetwork:
    """Builds a network ready for `fit`; temperatures fall to 0.1 within the run."""
    settings: dict[str, Any] = {}
    if mechanism in ("sfg", "constant_p", DRAWN):
        settings["temperature"] = (1.0, 2.3 / steps, 0.1)
    if mechanism == DRAWN:
        mechanism, settings["initial_probabilities"] = "constant_p", (0.1, 0.1, 0.8)
    network = SmallNetwork(dict(family.tasks), mechanism, seed=seed, balancing=dict(family.loss_weights), **settings)
    network.build((None, SIZE, SIZE, 1))
    losses = {name: loss() if callable(loss) else loss for name, loss in family.losses.items()}
    network.compile(keras.optimizers.Adam(2e-3), loss=losses)
    return network


def score(task: str, outputs: np.ndarray, truth: np.ndarray) -> float:
    """Returns the accuracy, or for places the mean absolute error in pixels."""
    if task == "place":
        return float(np.abs(outputs - truth).mean())
    return float((outputs.argmax(axis=-1) == truth).mean())


def train(family_name: str, mechanism: str, seed: int, steps: int) -> dict[str, Any]:
    """Trains one network; returns its scores on test images and what it cost."""
    family = FAMILIES[family_name]
    training, held_out, test = cohort(family, seed)
    keras.utils.set_random_seed(seed)
    started = time.process_time()
    network = build(family, "sfg" if mechanism == AUTO else mechanism, seed, steps)
    drawn = batches(training, seed)
    if mechanism == AUTO:
        decided_on = (held_out.images, held_out.targets, held_out.weights)
        network = fit_auto(network, drawn, steps=steps, validation_data=decided_on, verbose=0)
    else:
        network.fit(drawn, steps_per_epoch=steps, epochs=1, verbose=0)
    seconds = time.process_time() - started
    outputs = network.predict(test.images, verbose=0, batch_size=250)
    scores = {task: score(task, outputs[task], test.truth[task]) for task in family.tasks}
    return {
        "family": family_name,
        "mechanism": mechanism,
        "seed": seed,
        "steps": steps,
        **{f"score_{place}": value for place, value in enumerate(scores.values(), start=1)},
        "parameters": count_parameters(network),
        "multiplies": count_multiplies(network, (SIZE, SIZE, 1)),
        "seconds": round(seconds, 2),
    }


def scores_of(runs: Sequence[Mapping[str, Any]], family: str, mechanism: str) -> dict[int, list[float]]:
    """Returns the scores of both tasks by seed, signed so that more is better."""
    signs = [-1 if task == "place" else 1 for task in FAMILIES[family].tasks]
    return {
        int(run["seed"]): [sign * float(run[f"score_{place}"]) for place, sign in enumerate(signs, start=1)]
        for run in runs
        if run["family"] == family and run["mechanism"] == mechanism
    }


def paired(runs: Sequence[Mapping[str, Any]], family: str, first: str, second: str, task: int) -> tuple[float, float]:
    """Returns the mean of the first less the second over common seeds, more being better, and p of a paired t-test."""
    ours, theirs = scores_of(runs, family, first), scores_of(runs, family, second)
    seeds = sorted(ours.keys() & theirs.keys())
    a, b = ([found[seed][task] for seed in seeds] for found in (ours, theirs))
    if len(seeds) < 2:
        return float(np.mean(a) - np.mean(b)), float("nan")
    return float(np.mean(a) - np.mean(b)), float(ttest_rel(a, b).pvalue)


def transfer_table(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns whether independent networks and hard sharing differ, as lines of Markdown."""
    lines = ["| family | task | single_task | hard_sharing | p | better |", "|---|---|---|---|---|---|"]
    for name, family in FAMILIES.items():
        for place, task in enumerate(family.tasks):
            alone, shared = (
                np.array([found[place] for found in scores_of(runs, name, mechanism).values()])
                for mechanism in ("single_task", "hard_sharing")
            )
            difference, p = paired(runs, name, "single_task", "hard_sharing", place)
            better = "single_task" if difference > 0 else "hard_sharing"
            lines.append(f"| {name} | {task} | {_spread(alone)} | {_spread(shared)} | {p:.2g} | {better} |")
    return lines


def _spread(values: np.ndarray) -> str:
    """Returns mean and deviation without the sign of what is better."""
    deviation = values.std(ddof=1) if len(values) > 1 else float("nan")
    return f"{abs(values.mean()):.3f} ± {deviation:.3f}"


def mechanisms_table(runs: Sequence[Mapping[str, Any]], mechanisms: Sequence[str]) -> list[str]:
    """Returns the scores of all mechanisms, their mean ranks, and their cost, as lines of Markdown."""
    columns = [(name, place, task) for name, family in FAMILIES.items() for place, task in enumerate(family.tasks)]
    means = np.array(
        [
            [np.mean([s[place] for s in scores_of(runs, name, mechanism).values()]) for name, place, _ in columns]
            for mechanism in mechanisms
        ]
    )
    ranks = np.mean([rankdata(-column) for column in means.T], axis=0)
    heads = [f"{name}: {task} {'error ↓' if task == 'place' else '↑'}" for name, _, task in columns]
    lines = [
        f"| mechanism | {' | '.join(heads)} | mean rank | parameters | multiplies | CPU seconds |",
        "|" + "---|" * (len(columns) + 5),
    ]
    for row, mechanism in enumerate(mechanisms):
        own = [run for run in runs if run["mechanism"] == mechanism]
        cells = [
            _spread(np.array([s[place] for s in scores_of(runs, name, mechanism).values()]))
            for name, place, _ in columns
        ]
        costs = [np.median([float(run[cost]) for run in own]) for cost in ("parameters", "multiplies", "seconds")]
        numbers = f"{costs[0]:,.0f} | {costs[1]:,.0f} | {costs[2]:.1f}"
        lines.append(f"| {mechanism} | {' | '.join(cells)} | {ranks[row]:.1f} | {numbers} |")
    return lines


def tests_table(runs: Sequence[Mapping[str, Any]], candidate: str, baselines: Sequence[str]) -> list[str]:
    """Returns how a mechanism stands against each baseline on each task, p corrected by Holm over all tests."""
    cases = [
        (name, task, baseline, *paired(runs, name, candidate, baseline, place))
        for name, family in FAMILIES.items()
        for place, task in enumerate(family.tasks)
        for baseline in baselines
    ]
    corrected = holm([case[-1] for case in cases])
    lines = [
        f"| family | task | baseline | {candidate} is better by | p | p (Holm) | |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, task, baseline, difference, p), holms in zip(cases, corrected, strict=True):
        verdict = ("better" if difference > 0 else "worse") if holms < 0.05 else "level"
        lines.append(f"| {name} | {task} | {baseline} | {difference:+.3f} | {p:.2g} | {holms:.2g} | {verdict} |")
    return lines


def report(runs: Sequence[Mapping[str, Any]], mechanisms: Sequence[str]) -> str:
    """Returns all tables as Markdown."""
    lines = mechanisms_table(runs, mechanisms)
    if {"single_task", "hard_sharing"} <= set(mechanisms):
        lines = [*transfer_table(runs), "", *lines]
    baselines = [name for name in BASELINES if name in mechanisms]
    if AUTO in mechanisms and baselines:
        lines += ["", *tests_table(runs, AUTO, [*baselines, "sfg"] if "sfg" in mechanisms else baselines)]
    return "\n".join(lines) + "\n"


def read_runs(path: Path, steps: int) -> list[dict[str, Any]]:
    """Returns the runs of so many steps that a table holds; none if there is no table."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if int(row["steps"]) == steps]


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains what is not trained yet and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="folder of all that is written; default: a temporary one")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--mechanisms", nargs="+", choices=MECHANISMS, default=MECHANISMS)
    parser.add_argument("--quick", action="store_true", help="shows that all works, nothing about what is learned")
    options = parser.parse_args(arguments)
    steps, seeds = (5, 2) if options.quick else (options.steps, options.seeds)
    # One thread: the networks are so small that several only wait for each other.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    output = options.output or Path(tempfile.mkdtemp(prefix="transfer_"))
    output.mkdir(parents=True, exist_ok=True)
    table = output / "runs.csv"
    done = {(run["family"], run["mechanism"], int(run["seed"])) for run in read_runs(table, steps)}
    wanted = [(f, m, s) for s in range(seeds) for f in FAMILIES for m in options.mechanisms if (f, m, s) not in done]
    with build_reporter().stage("networks", len(wanted)) as stage:
        for family, mechanism, seed in wanted:
            run = train(family, mechanism, seed, steps)
            is_new = not table.is_file()
            with table.open("a", newline="") as file:
                writer = csv.DictWriter(file, list(run))
                if is_new:
                    writer.writeheader()
                writer.writerow(run)
            stage.advance(1, f"{mechanism}, {family}, seed {seed}: {run['score_1']:.3f}, {run['score_2']:.3f}")
    runs = [run for run in read_runs(table, steps) if int(run["seed"]) < seeds]
    text = report(runs, options.mechanisms)
    (output / "transfer.md").write_text(text)
    print(f"\n{text}\nwritten to {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
