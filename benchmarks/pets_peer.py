"""Masks of pets in real photographs: our U-Net beside MONAI's BasicUNet, on the same windows.

    python benchmarks/pets_peer.py --output pets_peer [--seeds 1] [--folds 5] [--networks monai,ours] [--quick]

Photos of the Oxford-IIIT set that have boxes and trimaps (edge counted as animal), resized. Every photo is tested once
for each seed: the folds take turns, and each kind has its share in all of them. Ours runs from an INI file through
train, inference and evaluate; MONAI's network sees the same windows in the same order, with the same loss, optimiser,
learning rates and number of iterations, and its masks are written and measured by the same code (`peer_run.py`). Needs
the extra `benchmark`.
"""

import argparse
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from own_run import describe_machine, train_and_infer

from sfgkeras.analysis.comparison import signed_rank
from sfgkeras.analysis.tables import read_csv, summarise
from sfgkeras.applications import run
from sfgkeras.applications.convert.conversion import convert
from sfgkeras.applications.convert.settings import ConversionSettings
from sfgkeras.config import Config, read_config
from sfgkeras.console import build_reporter
from sfgkeras.data.folds import make_folds
from sfgkeras.data.hdf5.rows import open_rows
from sfgkeras.data.subjects import write_split
from sfgkeras.reporter import Reporter

DATA = Path(os.environ.get("SFGKERAS_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
PEERS = {"monai": False, "monai_as_ours": True}
"""Peers by name, and whether they normalise and activate as ours does."""
OURS = {"ours": "repeat", "ours_convolution": "convolution"}
"""Ours by name, and how the way up returns to a finer level."""
NAMES = {
    "monai": "MONAI BasicUNet as it comes (instances normalised, leaky ReLU)",
    "monai_as_ours": "MONAI BasicUNet, batches normalised, ReLU",
    "ours": "sfgkeras U-Net (batches normalised, ReLU)",
    "ours_convolution": "sfgkeras U-Net, `unet_upsampling = convolution`",
}
MEASURES = ("dice", "jaccard", "voxel_accuracy")
GOAL = 0.01
"""Mean Dice that ours may lack compared with the better peer."""

INI = """\
[PHOTOS]
loader = hdf5
path_to_search = {photos}
hdf5_file = images.h5
hdf5_ids = ids
spatial_window_size = {window}, {window}, 1

[MASKS]
loader = hdf5
path_to_search = {photos}
hdf5_file = masks.h5
hdf5_ids = ids

[SYSTEM]
model_dir = {model_dir}
dataset_split_file = {split}
num_threads = {threads}
seed = {seed}

[NETWORK]
name = unet
sharing = hard_sharing
unet_upsampling = {upsampling}
activation_function = relu
width = {width}
batch_size = {batch_size}
window_sampling = resize
whitening = yes

[TRAINING]
optimiser = adam
lr = {learning_rate}
lr_schedule = cosine
max_iter = {iterations}
rotation_angle = -15, 15
scaling_percentage = -15, 15
random_flipping_axes = 1
save_every_n = 0
max_checkpoints = 1
tensorboard_every_n = 10
validation_every_n = 0

[EVALUATION]
evaluations = dice, jaccard, voxel_accuracy

[MULTITASK]
image = PHOTOS
tasks = mask

[TASK mask]
type = segmentation
target = MASKS
loss = binary_crossentropy
num_classes = 2
class_names = ground, animal
"""
"""The run of one network; every `{name}` is a setting of the benchmark."""


@dataclass(frozen=True)
class Settings:
    """What all networks of a comparison have in common.

    Attributes:
        iterations: Optimiser steps.
        window: Side of photos and windows, in pixels.
        batch_size: Windows per step.
        width: Factor on the number of filters, 64 on the first level.
        learning_rate: Adam's; it falls along half a cosine.
        threads: Threads of every library.
    """

    iterations: int = 300
    window: int = 64
    batch_size: int = 8
    width: float = 0.125
    learning_rate: float = 2e-3
    threads: int = 2


QUICK = Settings(iterations=20, window=32, batch_size=4, width=0.0625)


@dataclass(frozen=True)
class Part:
    """One training of one network: its name, the seed of folds, windows and weights, and the fold that is tested."""

    network: str
    seed: int
    fold: int

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f"{self.network}_{self.seed}_{self.fold}"


def write_photos(source: Path, output: Path, window: int, reporter: Reporter) -> dict[str, str]:
    """Writes photos and masks as HDF5 files, once; returns whether each photo is of a cat or a dog, by its id."""
    if not (output / "masks.h5").is_file():
        chosen = ConversionSettings(size=(window, window), foreground=(1, 3))
        convert(source, output, reporter, overwrite=True, settings=chosen)
    ids, kinds = (open_rows(output / "binary.h5", name) for name in ("ids", "binary"))
    return dict(zip(ids.texts(), kinds.texts(), strict=True))


def write_config(settings: Settings, output: Path, part: Part, kinds: Mapping[str, str], num_folds: int) -> Config:
    """Writes the INI file and the split file of one training, and reads it."""
    folder = output / part.folder
    folder.mkdir(parents=True, exist_ok=True)
    folds = make_folds(list(kinds), num_folds, part.seed, strata=kinds)
    tested = [subject_id for subject_id, fold in folds.items() if fold == part.fold]
    write_split(
        folder / "split.csv",
        {"training": [each for each in kinds if each not in tested], "validation": [], "inference": tested},
    )
    values = asdict(settings) | {
        "photos": output / "photos",
        "model_dir": folder / "model",
        "split": folder / "split.csv",
        "seed": part.seed,
        "upsampling": OURS.get(part.network, "repeat"),
    }
    (folder / "run.ini").write_text(INI.format(**values))
    return read_config(folder / "run.ini")


def train_one(config: Config, part: Part, reporter: Reporter) -> dict[str, Any]:
    """Trains one network and writes the masks of its fold; returns what it cost."""
    if part.network in OURS:
        return train_and_infer(config, ["inference"], reporter)[1]
    from peer_run import run_peer
    from pets_peer_networks import build_peer

    peer = build_peer(config, PEERS[part.network], reporter)
    return run_peer(peer, config, ["inference"], reporter)


def measure(config: Config, reporter: Reporter) -> list[dict[str, Any]]:
    """Evaluates the masks of a training; returns `subject` and the measures of the animal, a row each photo."""
    run.evaluate(config, reporter, "inference")
    rows = read_csv(config.evaluation.save_csv_dir / "mask_subjects.csv")
    photos: dict[str, dict[str, Any]] = defaultdict(dict)
    for row in rows:
        for name in MEASURES:
            if row.get(name) and row.get("label", "animal") in ("animal", "all", ""):
                photos[row["subject_id"]][name] = float(row[name])
    return [{"subject": subject_id, **found} for subject_id, found in photos.items()]


def compare(
    names: Sequence[str], seeds: int, num_folds: int, settings: Settings, data: Path, output: Path, reporter: Reporter
) -> list[dict[str, Any]]:
    """Trains every network with every seed on every fold; what an earlier call has finished is read again.

    Returns:
        One row per network, seed and photo.
    """
    kinds = write_photos(data, output / "photos", settings.window, reporter)
    rows: list[dict[str, Any]] = []
    for part in (Part(name, seed, fold + 1) for seed in range(seeds) for fold in range(num_folds) for name in names):
        record = output / part.folder / "record.json"
        asked = asdict(settings) | asdict(part) | {"folds": num_folds}
        found = json.loads(record.read_text()) if record.is_file() else {}
        if found.get("asked") != asked:
            reporter.message(f"\n== {NAMES[part.network]}, seed {part.seed}, fold {part.fold} of {num_folds}")
            config = write_config(settings, output, part, kinds, num_folds)
            cost = train_one(config, part, reporter)
            found = {"asked": asked, "photos": [photo | cost for photo in measure(config, reporter)]}
            record.write_text(json.dumps(found, indent=1) + "\n")
        rows += [{"network": part.network, "seed": part.seed, "fold": part.fold, **row} for row in found["photos"]]
    return rows


def markdown(rows: Sequence[dict[str, Any]], settings: Settings) -> str:
    """Returns the table of means and deviations over the photos, tests, and how ours stands to the better peer."""
    means: dict[str, dict[str, dict[str, Any]]] = {}
    for row in summarise(rows, ["network"], [*MEASURES, "seconds"]):
        means.setdefault(row["network"], {})[row["measure"]] = row
    dice = {name: _by_photo(rows, name) for name in means}
    best = max((name for name in means if name in PEERS), key=lambda name: means[name]["dice"]["mean"], default=None)
    lines = [
        "| network | Dice | IoU | pixel accuracy | p of Dice | s / step | parameters |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in means.items():
        cells = [f"{found[column]['mean']:.3f} ± {found[column]['std']:.3f}" for column in MEASURES]
        p = signed_rank(dice[name], dice[best]) if best and name != best else None
        parameters = next(row["parameters"] for row in rows if row["network"] == name)
        tested = "-" if p is None else f"{p:.2g}"
        seconds = f"{found['seconds']['mean']:.2f}"
        lines.append(f"| {' | '.join([NAMES[name], *cells, tested, seconds, f'{parameters:,}'])} |")
    lines += ["", describe(rows, settings), *verdicts({name: each["dice"]["mean"] for name, each in means.items()})]
    return "\n".join(lines) + "\n"


def _by_photo(rows: Sequence[dict[str, Any]], network: str) -> dict[str, float]:
    """Returns the Dice of every photo, the mean over the seeds."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row["network"] == network:
            found[row["subject"]].append(row["dice"])
    return {subject_id: float(np.mean(values)) for subject_id, values in found.items()}


def describe(rows: Sequence[dict[str, Any]], s: Settings) -> str:
    """Returns what was compared, in a sentence."""
    photos, seeds, folds = (len({row[name] for row in rows}) for name in ("subject", "seed", "fold"))
    return (
        f"{photos} photos of {s.window} x {s.window}, {folds} folds, so that each is tested once for each of {seeds} "
        f"seeds; {s.iterations} iterations of {s.batch_size}, width {s.width}, Adam at {s.learning_rate} that falls "
        "along a cosine. Means ± standard deviations over photos and seeds; p: Wilcoxon over photos, against the "
        "better peer."
    )


def verdicts(dice: Mapping[str, float]) -> list[str]:
    """Returns a sentence for each of our networks: how far its mean Dice is from the better peer's."""
    peers = [value for name, value in dice.items() if name in PEERS]
    if not peers:
        return []
    return [
        f"{NAMES[name]}: mean Dice {value - max(peers):+.4f} against the better peer; goal: no less than -{GOAL}: "
        f"{'met' if value - max(peers) >= -GOAL else 'MISSED'}."
        for name, value in dice.items()
        if name in OURS
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the comparison; returns 1 where the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA / "pets", help="folder of the photos")
    parser.add_argument("--output", type=Path, help="folder of all that is written; default: a temporary one")
    parser.add_argument("--networks", default="monai,monai_as_ours,ours", help=", ".join(NAMES))
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds of folds, windows and weights")
    parser.add_argument("--folds", type=int, default=5, help="folds that take turns in being tested")
    parser.add_argument("--iterations", type=int, help="optimiser steps")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a minute: shows that all works, nothing about quality")
    options = parser.parse_args(arguments)
    names = options.networks.split(",")
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"unknown network {unknown[0]!r}; known: {', '.join(NAMES)}")
    settings = replace(QUICK if options.quick else Settings(), threads=options.threads)
    if options.iterations:
        settings = replace(settings, iterations=options.iterations)
    output = options.output or Path(tempfile.mkdtemp(prefix="pets_peer_"))
    rows = compare(names, options.seeds, options.folds, settings, options.data, output, build_reporter())
    text = markdown(rows, settings)
    result = {"settings": asdict(settings), "machine": describe_machine(), "photos": rows}
    (output / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    (output / "results.md").write_text(text)
    print(f"\n{text}\nwritten to {output}")
    return 0 if options.quick or "MISSED" not in text else 1


if __name__ == "__main__":
    sys.exit(main())
