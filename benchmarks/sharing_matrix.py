"""Which sharing mechanism goes with which network, how many tasks and dimensions: every cell really trained.

    python benchmarks/sharing_matrix.py --output /tmp/matrix.json [--sharing a,b] [--networks unet] [--tasks 1,3]

A cell is a tiny network of a mechanism with its defaults, trained for some steps of Adam on random images. Tasks take
turns in predicting a map, a vector and a label map (on VGG11, which has no maps, vectors). A cell passes if

- the loss is finite at every step,
- every trainable variable of the network as it is has moved (without weight decay: by tasks and penalties alone; slopes
  of PReLUs before a pooling may stay, as few negative values get through),
- `sharing_matrix` has a matrix with entries from 0 to 1 and a diagonal of 1 for every stage,
- the hardened network is made of plain Keras layers and gives the outputs of the network within 1e-4 of their size.

A mechanism that refuses a network says why. Cells are kept in the file as they are done; what has passed is not done
again. Printed is a table in Markdown: mechanisms down, networks and dimensions across, in each cell numbers of tasks.
"""

import argparse
import json
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import numpy as np  # noqa: E402

from sfgkeras.networks import NETWORKS, harden  # noqa: E402
from sfgkeras.sharing import SHARING  # noqa: E402

STEPS, BATCH = 3, 16
TOLERANCE = 1e-4
SIDES = {2: 8, 3: 4}
# Filters enough for five tasks to have one each at the first stage, and no more.
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "highresnet": {"width": 0.375},
    "vgg11": {"width": 0.09375},
    "unet": {"width": 0.09375, "levels": 2},
}
# Subspaces of a sluice network: every task needs two filters.
WIDER = {"sluice": 2.0}
KINDS = ("map", "vector", "labels")
PASSED = "passed"


def cell_key(mechanism: str, network: str, num_tasks: int, rank: int) -> str:
    """Returns what a cell is called in the file of results."""
    return f"{mechanism}/{network}/{num_tasks}/{rank}"


def build_cell(mechanism: str, network: str, num_tasks: int, rank: int) -> Any:
    """Builds the network of a cell, for images of the cell's size.

    Raises:
        ValueError: If the mechanism refuses.
    """
    only_vectors = network == "vgg11"
    kinds = ["vector" if only_vectors else KINDS[task % len(KINDS)] for task in range(num_tasks)]
    tasks = {f"{kind}_{task}": 3 if kind == "labels" else 2 for task, kind in enumerate(kinds)}
    heads = {name: "vector" for name in tasks if name.startswith("vector") and not only_vectors}
    built = NETWORKS[network](
        tasks,
        mechanism,
        spatial_rank=rank,
        heads=heads,
        kernel_regularizer=None,
        # Moving averages are there without another pass over the data.
        batch_norm="population",
        seed=0,
        **{**SHAPES[network], "width": SHAPES[network]["width"] * WIDER.get(mechanism, 1.0)},
    )
    built.build((None, *(SIDES[rank],) * rank, 1))
    return built


def try_cell(mechanism: str, network: str, num_tasks: int, rank: int, steps: int = STEPS) -> str:
    """Trains and hardens a cell; returns `passed`, or what is wrong."""
    try:
        built = build_cell(mechanism, network, num_tasks, rank)
    except ValueError as error:
        return f"refused: {error}"
    rng = np.random.default_rng(0)
    images = rng.normal(size=(BATCH, *(SIDES[rank],) * rank, 1)).astype("float32")
    targets, losses = {}, {}
    for name, output in built(images, training=False).items():
        shape = tuple(output.shape)
        if name.startswith("labels"):
            targets[name] = rng.integers(0, shape[-1], shape[:-1])
            losses[name] = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        else:
            targets[name], losses[name] = rng.normal(size=shape).astype("float32"), "mse"
    before = [keras.ops.convert_to_numpy(variable) for variable in built.trainable_variables]
    built.compile(keras.optimizers.Adam(1e-2), loss=losses, run_eagerly=True)
    for _ in range(steps):
        loss = np.asarray(built.train_on_batch(images, targets))
        if not np.isfinite(loss).all():
            return f"the loss is {loss}"
    # A tree that grows has places for branches that it may have later.
    waiting = {id(weight) for weight in getattr(built.trunk, "waiting_weights", list)()}
    still = [
        variable.path
        for variable, value in zip(built.trainable_variables, before, strict=True)
        if np.array_equal(keras.ops.convert_to_numpy(variable), value)
        and id(variable) not in waiting
        and not _may_stay(built, variable.path)
    ]
    if still:
        return f"{len(still)} of {len(before)} variables have not moved: {', '.join(still[:3])}"
    return _matrices_are_wrong(built) or _hardened_differs(built, images) or PASSED


def _may_stay(network: Any, path: str) -> bool:
    """Says whether a variable is the slope of a PReLU before a pooling: of few voxels the largest is never negative."""
    stage = re.search(r"/(?:activation|sfg)_(\d+)", path)
    is_slope = stage is not None and path.endswith("activation/alpha")
    return is_slope and network.trunk.architecture.stages[int(stage[1]) - 1].pools


def _matrices_are_wrong(network: Any) -> str:
    matrices = network.sharing_matrix()
    if not matrices:
        return "no stage has a sharing matrix"
    for stage, matrix in matrices.items():
        is_right = matrix.shape == (network.num_tasks,) * 2 and matrix.min() >= 0 and matrix.max() <= 1 + 1e-6
        if not is_right or not np.allclose(np.diag(matrix), 1):
            return f"the sharing matrix of {stage} is {matrix.tolist()}"
    return ""


def _hardened_differs(network: Any, images: np.ndarray) -> str:
    """Says how a network differs from what it hardens to; nothing where it does not."""
    network.masks = "mode"
    hardened = harden(network)
    foreign = [type(layer).__name__ for layer in hardened.layers if type(layer).__module__.startswith("sfgkeras")]
    if foreign:
        return f"hardened to a network with {foreign[0]}"
    expected, found = network(images, training=False), hardened(images, training=False)
    for name, values in expected.items():
        values, others = keras.ops.convert_to_numpy(values), keras.ops.convert_to_numpy(found[name])
        off = float(np.abs(values - others).max() / max(np.abs(values).max(), 1e-12))
        if not off <= TOLERANCE:
            return f"hardening moves {name} by {off:.2g} of its size"
    return ""


def matrix_table(cells: Mapping[str, str], networks: Sequence[str], ranks: Sequence[int]) -> str:
    """Returns cells as a Markdown table with the numbers of tasks that passed, and what is wrong with others below."""
    mechanisms = list(dict.fromkeys(key.split("/")[0] for key in cells))
    columns = [(network, rank) for network in networks for rank in ranks]
    heads = [f"{network}, {rank}-D" for network, rank in columns]
    lines = [f"| mechanism | {' | '.join(heads)} |", f"|{'---|' * (len(heads) + 1)}"]
    notes: list[str] = []
    for mechanism in mechanisms:
        shown = [_shown(cells, mechanism, network, rank, notes) for network, rank in columns]
        lines.append(f"| `{mechanism}` | {' | '.join(shown)} |")
    lines += ["", *(f"{number}. {note}" for number, note in enumerate(notes, start=1))] if notes else []
    return "\n".join(lines)


def _shown(cells: Mapping[str, str], mechanism: str, network: str, rank: int, notes: list[str]) -> str:
    """Returns the numbers of tasks that passed, and behind a stroke those that did not with the number of a note."""
    passed, failed = [], {}
    for key, outcome in cells.items():
        own, of, count, dimensions = key.split("/")
        if (own, of, int(dimensions)) != (mechanism, network, rank):
            continue
        if outcome == PASSED:
            passed.append(int(count))
        else:
            failed.setdefault(outcome, []).append(int(count))
    for outcome in failed:
        if outcome not in notes:
            notes.append(outcome)
    parts = [_ranges(passed)] if passed else []
    parts += [f"not {_ranges(counts)} ({notes.index(outcome) + 1})" for outcome, counts in failed.items()]
    return "; ".join(parts) or "not tried"


def _ranges(counts: Sequence[int]) -> str:
    """Returns numbers as `1-3, 5`."""
    found: list[list[int]] = []
    for count in sorted(counts):
        if found and count == found[-1][-1] + 1:
            found[-1].append(count)
        else:
            found.append([count])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in found)


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Tries all cells that are not in the file yet, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="JSON file of the cells that are done")
    parser.add_argument("--sharing", default=",".join(SHARING))
    parser.add_argument("--networks", default=",".join(SHAPES))
    parser.add_argument("--tasks", default="2,3,1,5,4", help="numbers of tasks, in this order")
    parser.add_argument("--ranks", default="2,3")
    parser.add_argument("--print", action="store_true", help="only print what is in the file")
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", message=".*of the filters of.*")
    networks, ranks = _names(given.networks), [int(rank) for rank in _names(given.ranks)]
    cells: dict[str, str] = json.loads(given.output.read_text()) if given.output.is_file() else {}
    wanted = [
        (mechanism, network, int(num_tasks), rank)
        for num_tasks in _names(given.tasks)
        for rank in ranks
        for network in networks
        for mechanism in _names(given.sharing)
    ]
    for cell in [] if given.print else wanted:
        key = cell_key(*cell)
        if cells.get(key) == PASSED:
            continue
        try:
            cells[key] = try_cell(*cell)
        except Exception as error:
            # Whatever breaks a cell is what the matrix is there to tell.
            cells[key] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        keras.backend.clear_session()
        print(f"{key}: {cells[key]}", flush=True)
        given.output.write_text(json.dumps(cells, indent=1) + "\n")
    known = list(SHARING)
    in_order = sorted(cells, key=lambda key: known.index(key.split("/")[0]))
    print(matrix_table({key: cells[key] for key in in_order}, networks, ranks))


if __name__ == "__main__":
    main()
