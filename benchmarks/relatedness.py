"""Do mechanisms find out which tasks are related? Four tasks in two pairs, and what `sharing_matrix` says of them.

    python benchmarks/relatedness.py --output /tmp/relatedness.json [--seeds 10] [--steps 400] [--sharing a,b] [--print]

Images of 12 x 12 hold a glyph at a random place on a grating, both of random strength, and noise. Two tasks tell
classes of the glyph apart (is it round? is it hollow?), two tell the grating (is it fine? is it steep?): tasks of a
pair need the same features, and images that are hard for one are hard for the other. The network is the way down of a
small U-Net, with each mechanism's defaults; every seed draws images, network and batches anew.

The matrices of all stages are averaged. There are three ways to part four tasks into two pairs; a run counts as a
success if the true one has the highest mean sharing within its pairs, all others having strictly less. By chance that
is one in three, which is what the one-sided binomial p is against. Runs are kept in the file as they are done.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import numpy as np  # noqa: E402
from scipy.stats import binomtest  # noqa: E402

from sfgkeras.analysis.comparison import markdown_table  # noqa: E402
from sfgkeras.networks import UNet  # noqa: E402
from sfgkeras.sharing import SHARING  # noqa: E402

TASKS = ("round", "hollow", "fine", "steep")
PAIRINGS = (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))
"""The first one is the true one."""
SIZE, BATCH, NUM_TEST = 12, 32, 512
LEAST_LEAD = 1e-4
"""Sharing by which a pairing has to lead: less is rounding."""


def draw_images(random_generator: np.random.Generator, count: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draws images `(count, 12, 12, 1)` and the class 0 or 1 of every task, `(count,)`."""
    classes = {name: random_generator.integers(0, 2, count) for name in TASKS}
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    images = np.zeros((count, SIZE, SIZE), np.float32)
    for number, image in enumerate(images):
        is_round, is_hollow, is_fine, is_steep = (int(classes[name][number]) for name in TASKS)
        place = random_generator.uniform(3.5, SIZE - 4.5, 2)
        distance = np.stack([rows - place[0], columns - place[1]])
        radius = np.hypot(*distance) if is_round else np.abs(distance).max(axis=0)
        glyph = (radius <= 3.2) & (radius > (1.6 if is_hollow else -1))
        wave = 2 * np.pi * (rows if is_steep else columns) / (2.6 if is_fine else 5.2)
        strengths = random_generator.uniform(0.15, 1.0, 2)
        image += strengths[0] * 1.5 * glyph + strengths[1] * np.sin(wave + random_generator.uniform(0, 2 * np.pi))
    images += random_generator.normal(0, 0.3, images.shape)
    return images[..., None], classes


def train(mechanism: str, seed: int, steps: int) -> dict[str, Any]:
    """Trains one network; returns the mean of its sharing matrices and the accuracy of every task on new images.

    Raises:
        ValueError: If the mechanism refuses.
    """
    keras.utils.set_random_seed(seed)
    network = UNet(dict.fromkeys(TASKS, 2), mechanism, width=0.25, levels=2, convolutions=1, seed=seed,
                   heads=dict.fromkeys(TASKS, "vector"), batch_norm="batch")  # fmt: skip
    network.build((None, SIZE, SIZE, 1))
    losses = {name: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for name in TASKS}
    network.compile(keras.optimizers.Adam(3e-3), loss=losses)
    images, classes = draw_images(np.random.default_rng([seed, 0]), steps * BATCH)
    network.fit(images, classes, BATCH, verbose=0)
    images, classes = draw_images(np.random.default_rng([seed, 1]), NUM_TEST)
    outputs = network(images, training=False)
    matrix = np.mean(list(network.sharing_matrix().values()), axis=0)
    return {
        "mechanism": mechanism,
        "seed": seed,
        "matrix": matrix.tolist(),
        "accuracy": {name: float((np.argmax(outputs[name], axis=-1) == classes[name]).mean()) for name in TASKS},
    }


def sharing_of_pairings(matrix: np.ndarray) -> list[float]:
    """Returns the mean sharing within the pairs of each of `PAIRINGS`."""
    both = (np.asarray(matrix) + np.transpose(matrix)) / 2
    return [float(np.mean([both[pair] for pair in pairing])) for pairing in PAIRINGS]


def is_found(matrix: np.ndarray) -> bool:
    """Says whether the true pairs share more than any others."""
    true, *others = sharing_of_pairings(matrix)
    return true > max(others) + LEAST_LEAD


def findings(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns a line per mechanism: how often the pairs were found, and by how much."""
    lines = []
    for name in dict.fromkeys(run["mechanism"] for run in runs):
        own = [run for run in runs if run["mechanism"] == name]
        shared = np.array([sharing_of_pairings(run["matrix"]) for run in own])
        found = sum(is_found(run["matrix"]) for run in own)
        accuracy = np.mean([list(run["accuracy"].values()) for run in own])
        lines.append(
            {
                "mechanism": f"`{name}`",
                "pairs found": f"{found} of {len(own)}",
                "p": f"{binomtest(found, len(own), 1 / 3, alternative='greater').pvalue:.2g}",
                "shared within pairs": f"{shared[:, 0].mean():.3f}",
                "between pairs": f"{shared[:, 1:].mean():.3f}",
                "accuracy": f"{accuracy:.3f}",
            }
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what is not in the file yet, seed after seed, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="JSON file of the runs that are done")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--sharing", default=",".join(SHARING))
    parser.add_argument("--print", action="store_true", help="only print what is in the file")
    given = parser.parse_args(arguments)
    runs: list[dict[str, Any]] = json.loads(given.output.read_text()) if given.output.is_file() else []
    done = {(run["mechanism"], run["seed"]) for run in runs}
    for seed in () if given.print else range(given.seeds):
        for name in given.sharing.split(","):
            if (name, seed) in done:
                continue
            runs.append(train(name, seed, given.steps))
            print(name, seed, sharing_of_pairings(runs[-1]["matrix"]), runs[-1]["accuracy"], flush=True)
            given.output.write_text(json.dumps(runs) + "\n")
            keras.backend.clear_session()
    print(markdown_table(findings(sorted(runs, key=lambda run: list(SHARING).index(run["mechanism"])))))


if __name__ == "__main__":
    main()
