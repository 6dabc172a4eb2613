"""Do mechanisms find out which tasks are related? Four tasks in two pairs, and what each mechanism says of them.

    python benchmarks/relatedness.py --output /tmp/relatedness.json [--seeds 10] [--steps 400] [--sharing a,b] [--print]

Images of 12 x 12 are noise. Every task is a map: how strongly a filter of 5 x 5 answers, whatever the sign.
The filters of a pair are one filter, changed by 0.3 of its size for either task; those of two pairs have nothing to do
with each other. So the tasks of a pair need the same features, in every layer. Their maps are noisy, some images' more
than others', and tasks of a pair have the same noisy images: what is hard for one is hard for the other. Both is what
mechanisms go by, each in its way: kernels alike, features worth reading, samples hard together. The network is a
chain of three stages of 16 filters, with each mechanism's defaults; every seed draws filters, images and network anew.

Read is the matrix of the last stage, which the heads read: what tasks do with the features before it is what differs
between them; edges and spots serve all. There are three ways to part four tasks into two pairs; a run counts as a
success if the true one has the highest mean sharing within its pairs, all others having strictly less. By chance that
is one in three, which is what the one-sided binomial p is against. `sfg` has one shared group for all tasks, by which
no pair of three or more tasks can be told: each two of the four tasks have a network of their own, six for a seed, and
an entry of the matrix is what its p says. Runs are kept in the file as they are done.
"""

import argparse
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import ops  # noqa: E402
from scipy.stats import binomtest  # noqa: E402

from sfgkeras.analysis.comparison import markdown_table  # noqa: E402
from sfgkeras.architecture.stage import Stage  # noqa: E402
from sfgkeras.networks import MultiTaskNetwork  # noqa: E402
from sfgkeras.sharing import SHARING  # noqa: E402

TASKS = ("first", "like_first", "second", "like_second")
PAIRINGS = (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))
"""The first one is the true one."""
SIZE, BATCH, NUM_TEST = 12, 16, 128
CHANGE = 0.3
"""Size of what tasks of a pair have for themselves, as a part of the filter that they have in common."""
NOISE = (0.1, 1.0)
"""Between which deviations the noise of an image's maps lies, in deviations of what the filter answers."""
LEAST_LEAD = 1e-4
"""Sharing by which a pairing has to lead: less is rounding."""


class Chain(MultiTaskNetwork):
    """Three stages of equal width for maps."""

    stages = (Stage(16), Stage(16), Stage(16))


def draw_filters(random_generator: np.random.Generator) -> np.ndarray:
    """Draws the filter of every task, `(5, 5, tasks)`, each of norm 1; the first two are alike, and the last two."""

    def unit(values: np.ndarray) -> np.ndarray:
        return values / np.linalg.norm(values, axis=(0, 1), keepdims=True)

    # At right angles: two draws may be alike by chance.
    pairs = np.linalg.qr(random_generator.normal(size=(25, 2)))[0].reshape(5, 5, 2)
    return unit(np.repeat(pairs, 2, axis=-1) + CHANGE * unit(random_generator.normal(size=(5, 5, 4))))


def draw_images(
    random_generator: np.random.Generator, filters: np.ndarray, count: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draws images `(count, 12, 12, 1)` and the noisy map of every task, of the same shape."""
    images = random_generator.normal(size=(count, SIZE, SIZE, 1)).astype("float32")
    answers = np.abs(correlate(images, filters))
    noise = np.repeat(np.exp(random_generator.uniform(*np.log(NOISE), (count, 2))), 2, axis=-1)
    maps = answers + noise[:, None, None] * random_generator.normal(size=answers.shape)
    return images, {name: maps[..., [task]].astype("float32") for task, name in enumerate(TASKS)}


def correlate(images: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Returns what each filter `(5, 5, tasks)` answers to images `(count, x, y, 1)`: `(count, x, y, tasks)`."""
    return np.asarray(ops.conv(images, filters[:, :, None].astype("float32"), padding="same"))


def train(mechanism: str, seed: int, steps: int) -> dict[str, Any]:
    """Trains on four tasks, `sfg` on two at a time; returns the matrix and the explained variance of every task.

    Raises:
        ValueError: If the mechanism refuses.
    """
    if mechanism != "sfg":
        matrix, explained = train_tasks(mechanism, seed, steps, TASKS)
        return {"mechanism": mechanism, "seed": seed, "matrix": matrix.tolist(), "explained": explained}
    matrix, explained = np.eye(len(TASKS)), {}
    for first, second in itertools.combinations(range(len(TASKS)), 2):
        both, explained_now = train_tasks(mechanism, seed, steps, (TASKS[first], TASKS[second]))
        matrix[first, second], matrix[second, first] = both[0, 1], both[1, 0]
        explained |= explained_now
        keras.backend.clear_session()
    return {"mechanism": mechanism, "seed": seed, "matrix": matrix.tolist(), "explained": explained}


def train_tasks(mechanism: str, seed: int, steps: int, tasks: Sequence[str]) -> tuple[np.ndarray, dict[str, float]]:
    """Trains one network; returns the matrix of its last stage and how much of each task's maps it explains."""
    keras.utils.set_random_seed(seed)
    filters = draw_filters(np.random.default_rng([seed, 0]))
    network = Chain(dict.fromkeys(tasks, 1), mechanism, seed=seed, batch_norm="batch")
    network.build((None, SIZE, SIZE, 1))
    network.compile(keras.optimizers.Adam(5e-3), loss="mse")
    images, maps = draw_images(np.random.default_rng([seed, 1]), filters, steps * BATCH)
    network.fit(images, {name: maps[name] for name in tasks}, BATCH, verbose=0)
    images, maps = draw_images(np.random.default_rng([seed, 2]), filters, NUM_TEST)
    outputs = network(images, training=False)
    errors = {name: np.mean(np.square(np.asarray(outputs[name]) - maps[name])) for name in tasks}
    explained = {name: float(1 - errors[name] / maps[name].var()) for name in tasks}
    return list(network.sharing_matrix().values())[-1], explained


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
        explained = np.mean([list(run["explained"].values()) for run in own])
        lines.append(
            {
                "mechanism": f"`{name}`",
                "pairs found": f"{found} of {len(own)}",
                "p": f"{binomtest(found, len(own), 1 / 3, alternative='greater').pvalue:.2g}",
                "shared within pairs": f"{shared[:, 0].mean():.3f}",
                "between pairs": f"{shared[:, 1:].mean():.3f}",
                "variance explained": f"{explained:.3f}",
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
            print(name, seed, sharing_of_pairings(runs[-1]["matrix"]), runs[-1]["explained"], flush=True)
            given.output.write_text(json.dumps(runs) + "\n")
            keras.backend.clear_session()
    print(markdown_table(findings(sorted(runs, key=lambda run: list(SHARING).index(run["mechanism"])))))


if __name__ == "__main__":
    main()
