"""Thousands of subjects on one machine: files, disk, time and memory of preprocessing, cache and windows.

    python benchmarks/many_subjects.py [--counts 500,1000,2000,4000] [--size 32] [--workers 2] [--output FOLDER]

For every count a cohort of small images and labels is written, preprocessed as a folder, then opened and prepared as
for a training, and windows of all subjects are drawn. Every part runs in a process of its own, whose memory (less
mapped files) is shown; what a count adds to it is what does not scale. The exit code is 1 if memory grows as if voxels
were kept.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from process_memory import memory_of

MOST_PER_SUBJECT = 20
"""KiB that one more subject may take in memory: names, headers and open maps. Its voxels alone would be twice that."""

INI = """
[IMAGE]
path_to_search = {images}
filename_contains = _image
spatial_window_size = 16, 16, 1

[LABEL]
path_to_search = {labels}
filename_contains = _label

[SYSTEM]
model_dir = {folder}/model
seed = 0

[NETWORK]
name = highresnet
width = 0.25
batch_size = 10
whitening = yes

[TRAINING]
max_iter = 10
rotation_angle = -10, 10

[SEGMENTATION]
image = IMAGE
label = LABEL
num_classes = 2
"""


def write_cohort(folder: Path, count: int, size: int) -> None:
    """Writes images and labels of `size` x `size` x 8 voxels, compressed."""
    from sfgkeras.data.nifti import write_image

    random_generator = np.random.default_rng(0)
    labels = np.zeros((size, size, 8), np.uint8)
    labels[size // 4 : -size // 4, size // 4 : -size // 4] = 1
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = (100 * labels + random_generator.normal(200, 20, labels.shape)).astype(np.int16)
        write_image(folder / "images" / f"s{number:05d}_image.nii.gz", image, np.eye(4))
        write_image(folder / "labels" / f"s{number:05d}_label.nii.gz", labels, np.eye(4))


def preprocess(folder: Path, workers: int) -> None:
    """Preprocesses the folder of images: clipping and whitening, without pictures."""
    from sfgkeras.preprocessing.folder import run_folder

    settings = {"clip_percentiles": "1, 99"}
    result = run_folder(folder / "images", folder / "ready", "clip,whiten", settings, workers=workers, pictures=False)
    if result.failed:
        raise RuntimeError(f"{len(result.failed)} subjects failed: {next(iter(result.failed.items()))}")


def prepare(folder: Path) -> None:
    """Opens the cohort as training does, fills the cache and draws a window of every subject."""
    from sfgkeras.applications.subjects.preprocessing_settings import read_run
    from sfgkeras.applications.subjects.session import open_session, prepare_phase
    from sfgkeras.applications.training.batches import build_window_source
    from sfgkeras.reporter import SilentReporter

    path = folder / "run.ini"
    path.write_text(INI.format(images=folder / "images", labels=folder / "labels", folder=folder))
    config = read_run(path)
    session = open_session(config, SilentReporter(), training=True)
    subjects = prepare_phase(session, "training", SilentReporter())
    source = build_window_source(config, session.tasks, subjects, augment=True)
    for first in range(0, len(subjects), 10):
        source.batch(range(first, first + 10))


PARTS = {"preprocess": preprocess, "prepare": prepare}


def measure(part: str, folder: Path, *arguments: int) -> dict[str, float]:
    """Runs a part in a process of its own; returns seconds, its memory at the end and its children's peak, in MiB."""
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{part}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def run_part(part: str, folder: Path, arguments: Sequence[int]) -> None:
    """Runs a part here and prints what it took."""
    began = time.perf_counter()
    PARTS[part](folder, *arguments)
    seconds = time.perf_counter() - began
    usage = {
        "seconds": seconds,
        "MiB": memory_of().private / 2**20,
        "MiB of a worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }
    print(json.dumps(usage))


def size_of(folder: Path) -> tuple[int, float]:
    """Returns number of files below a folder and their size in MiB."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return len(files), sum(path.stat().st_size for path in files) / 2**20


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures every count and prints a table; returns 1 where memory grows as if volumes were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default="500,1000,2000,4000")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.part:
        run_part(options.part, options.folder, options.rest)
        return 0
    rows: list[dict[str, Any]] = []
    columns = "| subjects | preprocessing s | MiB | of a worker | opening and cache s | MiB | cache files | cache MiB |"
    print(f"{columns}\n{'|---' * 8}|")
    for count in map(int, options.counts.split(",")):
        with tempfile.TemporaryDirectory(dir=options.output) as name:
            folder = Path(name)
            write_cohort(folder, count, options.size)
            first = measure("preprocess", folder, options.workers)
            second = measure("prepare", folder)
            files, size = size_of(folder / "model" / "cache")
        rows.append({"count": count, "preprocess": first, "prepare": second})
        print(
            f"| {count} | {first['seconds']:.1f} | {first['MiB']:.0f} | {first['MiB of a worker']:.0f} | "
            f"{second['seconds']:.1f} | {second['MiB']:.0f} | {files} | {size:.0f} |",
            flush=True,
        )
    growth = [
        1024 * (later[part]["MiB"] - earlier[part]["MiB"]) / (later["count"] - earlier["count"])
        for earlier, later in zip(rows, rows[1:], strict=False)
        for part in PARTS
    ]
    return int(bool(growth) and max(growth) > MOST_PER_SUBJECT)


if __name__ == "__main__":
    sys.exit(main())
