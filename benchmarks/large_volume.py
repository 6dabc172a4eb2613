"""Memory and time of inference on one large volume: CT and organs of 512 x 512 x 1000 voxels within 4 GiB.

    python benchmarks/large_volume.py [--length 1000] [--width 0.25] [--folder FOLDER] [--quick]

A smooth CT-like volume is written as .nii.gz (int16), a network that has learned nothing is saved as a checkpoint, and
`sfgkeras inference` runs over the volume in a process of its own, which is looked at ten times a second: its private
memory (what it has made), and its resident memory (with the files that it has mapped, which the system may take back).
Returns 1 if private memory was larger than 4 GiB at any time.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from process_memory import memory_of

LIMIT = 4 * 2**30
SIDE = 512
INI_NAME = "large.ini"
INTERVAL = 0.1  # seconds between two looks at the memory

INI = """
[MR]
path_to_search = {folder}/images
filename_contains = _mr
spatial_window_size = 128, 128, 1

[CT]
path_to_search = {folder}/images
filename_contains = _ct
scaling = ct

[ORGANS]
path_to_search = {folder}/images
filename_contains = _organs

[SYSTEM]
model_dir = {folder}/model
seed = 0

[NETWORK]
name = highresnet
sharing = {sharing}
batch_norm = population
width = {width}
batch_size = 10
whitening = yes

[INFERENCE]
dataset_to_infer = all
{more}

[MULTITASK]
image = MR
tasks = ct, organs

[TASK ct]
type = regression
target = CT
loss = rmse

[TASK organs]
type = segmentation
target = ORGANS
loss = dicecrossentropy
num_classes = 6
"""


def write_volume(path: Path, length: int) -> None:
    """Writes a body of smooth intensities in air, `SIDE` x `SIDE` x `length` voxels, int16, with noise that repeats."""
    from sfgkeras.data.nifti import write_image

    random_generator = np.random.default_rng(0)
    x, y = np.meshgrid(*2 * [np.linspace(-1, 1, SIDE, dtype=np.float32)], indexing="ij")
    body = np.hypot(x, y * 1.3) < 0.9
    noise = random_generator.integers(-20, 20, (8, SIDE, SIDE), dtype=np.int16)
    volume = np.empty((length, SIDE, SIDE), np.int16)
    for number, plane in enumerate(volume):
        phase = 8 * number / 1000
        plane[...] = np.where(body, 300 + 200 * np.sin(4 * x + phase) * np.cos(3 * y - phase), 0)
        plane += noise[number % len(noise)]
    write_image(path, np.moveaxis(volume, 0, -1), np.diag([0.8, 0.8, 1.0, 1.0]))


def save_network(ini: Path) -> None:
    """Saves the configuration's network as it begins, as if it had been trained."""
    from sfgkeras.applications.records.checkpoints import CheckpointFolder, TrainingState, collect_arrays
    from sfgkeras.applications.records.files import RunFolder
    from sfgkeras.applications.subjects.preprocessing_settings import read_run
    from sfgkeras.applications.tasks.table import build_tasks
    from sfgkeras.applications.training import fingerprint
    from sfgkeras.applications.training.network import build_network

    config = read_run(ini)
    network = build_network(config, build_tasks(config), 1)
    record = {"iteration": 0, "fingerprint": fingerprint.network_fingerprint(config)}
    state = TrainingState(collect_arrays(network), record)
    CheckpointFolder(RunFolder(config.system.model_dir).checkpoints, 1).write(state)


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """Writes volume, INI file and checkpoint."""
    (folder / "images").mkdir(parents=True)
    write_volume(folder / "images" / "large_mr.nii.gz", options.length)
    ini = folder / INI_NAME
    ini.write_text(INI.format(folder=folder, width=options.width, sharing=options.sharing, more=options.inference))
    save_network(ini)


def watch(command: Sequence[str]) -> tuple[float, int, int]:
    """Runs a command; returns its seconds, and its largest private and resident memory in bytes.

    Raises:
        RuntimeError: If it fails; with what it said last.
    """
    began = time.perf_counter()
    private = resident = 0
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        while process.poll() is None:
            now = memory_of(process.pid)
            private, resident = max(private, now.private), max(resident, now.resident)
            time.sleep(INTERVAL)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(said.read().decode(errors="replace")[-2000:])
    return time.perf_counter() - began, private, resident


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints a line; returns 1 if the limit was passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=1000, help="slices")
    parser.add_argument("--width", type=float, default=0.25, help="of the network, 1 is the paper's")
    parser.add_argument("--sharing", default="sfg")
    parser.add_argument("--inference", default="", metavar="'KEY = VALUE'", help="a line for [INFERENCE]")
    parser.add_argument("--folder", type=Path, help="for the files, a temporary folder in it is used")
    parser.add_argument("--quick", action="store_true", help="40 slices, width 0.1")
    options = parser.parse_args(arguments)
    if options.quick:
        options.length, options.width = min(options.length, 40), min(options.width, 0.1)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        # In a process of its own: memory that this one has touched would be passed on to the one that is measured.
        maker = multiprocessing.get_context("spawn").Process(target=prepare, args=(Path(name), options))
        maker.start()
        maker.join()
        if maker.exitcode:
            raise RuntimeError("the volume or the network could not be made")
        program = [sys.executable, "-c", "from sfgkeras.cli import main; main()", "inference"]
        seconds, private, resident = watch([*program, "-c", str(Path(name) / INI_NAME)])
    print("| slices | width | seconds | private GiB | resident GiB | within 4 GiB |\n|---|---|---|---|---|---|")
    verdict = "yes" if private <= LIMIT else "no"
    print(
        f"| {options.length} | {options.width:g} | {seconds:.0f} | {private / 2**30:.2f} | {resident / 2**30:.2f} | "
        f"{verdict} |"
    )
    return int(private > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
