"""Kills runs at random moments and looks whether anything is lost: training, inference, preprocessing, the cache.

    python benchmarks/faults.py [--kills 50 | --quick] [--only training,workers,...] [--seed 0]

Each scenario (training, workers, inference, preprocessing, cache) is run once without a kill. Then it is started,
killed by SIGKILL at a random moment, looked at and started again, over and over; a run that has ended is compared and
begun anew. After every kill each file that is there must load and hold what it should; every run that ends must end
with what the run without a kill gave: weights, logs, images and cache bit for bit. Prints a table; the exit code is 1
if anything was violated.
"""

import argparse
import atexit
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from sfgkeras.applications.records.checkpoints import CheckpointFolder, read_state
from sfgkeras.applications.records.logs import read_log
from sfgkeras.callbacks.grouping_history import read_grouping_history
from sfgkeras.config import read_config
from sfgkeras.data.subjects import read_split
from sfgkeras.data.volumes import VolumeStore
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.phantom.pelvis import write_phantom_cohort
from sfgkeras.preprocessing.folder.manifest import Manifest

PATIENCE = 900.0  # seconds that a run may take to get to work, or to end
SURVIVORS_END = 60.0  # seconds after which the other worker must have ended
SUBJECTS = 6
ITERATIONS, SAVE_EVERY_N = 80, 4

INI = """
[MR]
path_to_search = {cohort}
filename_contains = _mr
filename_removefromid = _(mr|ct|organs)$
spatial_window_size = 24, 24, 1
pixdim = 8, 8, 8

[CT]
path_to_search = {cohort}
filename_contains = _ct
filename_removefromid = _(mr|ct|organs)$
pixdim = 8, 8, 8
scaling = ct

[ORGANS]
path_to_search = {cohort}
filename_contains = _organs
filename_removefromid = _(mr|ct|organs)$
pixdim = 8, 8, 8

[SYSTEM]
model_dir = {model_dir}
seed = 3

[NETWORK]
name = highresnet
sharing = hard_sharing
width = 0.25
batch_size = 4
whitening = yes
normalisation = yes
histogram_ref_file = landmarks.json

[TRAINING]
max_iter = {iterations}
save_every_n = {save_every_n}
tensorboard_every_n = 1
validation_every_n = 20
max_checkpoints = 3
exclude_fraction_for_validation = 0.25
exclude_fraction_for_inference = 0.25

[INFERENCE]
dataset_to_infer = all

[MULTITASK]
image = MR
tasks = ct, organs

[TASK ct]
type = regression
target = CT

[TASK organs]
type = segmentation
target = ORGANS
num_classes = 6
"""

VERB = "from sfgkeras.cli import main; main()"

CACHE_WRITER = """
import sys
import numpy as np
from sfgkeras.data.volumes import VolumeStore
store = VolumeStore(sys.argv[1])
print("writing", flush=True)
for number in range(int(sys.argv[2])):
    rng = np.random.default_rng(number)
    store.array({"number": number}, lambda: rng.integers(0, 99, (64, 64, 32, 2)).astype(np.int16), sliced_axis=2)
"""


class Scenario(ABC):
    """One kind of work that is killed.

    Args:
        folder: What the work reads lies here.
    """

    name: str
    marker: str
    """What a process says when it gets to work; most kills come after it."""
    processes = 1

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def command(self, output: Path) -> list[str]:
        """Returns the command that works into a folder, without its interpreter."""

    @abstractmethod
    def check(self, output: Path, whole: Path | None) -> list[str]:
        """Returns what is wrong with the files of a killed run; `whole` is the run without a kill, once it is done."""

    @abstractmethod
    def compare(self, output: Path, whole: Path) -> list[str]:
        """Returns how a run that ended differs from the one without a kill."""

    def begin(self, output: Path) -> None:
        """Makes the folder of a new run."""
        output.mkdir()

    def progress(self, output: Path) -> float:
        """Returns how far a run has come; it must never fall."""
        return float(sum(1 for path in output.rglob("*") if path.is_file() and not path.name.startswith(".")))

    def start(self, output: Path) -> list[subprocess.Popen]:
        """Starts the processes; what they say is appended to `said_<index>.txt` beside the folder."""
        addresses = free_addresses(self.processes)
        started = []
        for index in range(self.processes):
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
            if self.processes > 1:
                task = {"type": "worker", "index": index}
                environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
            with said_by(output, index).open("a") as log:
                command = [sys.executable, "-c", *self.command(output)]
                started.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment))
            # However this script ends, it leaves nothing running; to kill what has ended does nothing.
            atexit.register(started[-1].kill)
        return started


def said_by(output: Path, index: int = 0) -> Path:
    """Returns the file of what a process said."""
    return output.with_name(f"{output.name}_said_{index}.txt")


def free_addresses(count: int) -> list[str]:
    """Returns addresses of this machine that are free now."""
    held = [socket.socket() for _ in range(count)]
    for each in held:
        each.bind(("localhost", 0))
    addresses = [f"localhost:{each.getsockname()[1]}" for each in held]
    for each in held:
        each.close()
    return addresses


class Training(Scenario):
    """A training in one process."""

    name, marker, strategy = "training", "training: ", "one_device"

    def begin(self, output: Path) -> None:
        """Makes the folder with its INI file."""
        output.mkdir()
        write_ini(self.folder, output)

    def command(self, output: Path) -> list[str]:
        """Trains with the INI file in the folder."""
        return [VERB, "train", "-c", str(output / "run.ini"), f"--SYSTEM.strategy={self.strategy}"]

    def progress(self, output: Path) -> float:
        """Returns the newest saved iteration."""
        return max(CheckpointFolder(output / "model" / "checkpoints").iterations(), default=-1)

    def check(self, output: Path, whole: Path | None) -> list[str]:
        """Loads states, logs, grouping probabilities, split, configuration and cache."""
        model = output / "model"
        wrong = failures(read_state, (model / "checkpoints").glob("*.npz"))
        wrong += failures(read_grouping_history, model.glob("logs/grouping.npz"))
        wrong += failures(read_split, model.glob("dataset_split.csv"))
        wrong += failures(read_config, model.glob("configuration.ini"))
        wrong += failures(read_json, [*model.glob("landmarks.json"), *model.glob("logs/network.json")])
        for path in model.glob("logs/*.csv"):
            iterations = [int(row["iteration"]) for row in read_log(path)]
            if iterations != sorted(set(iterations)):
                wrong.append(f"{path}: iterations {iterations}")
        return wrong + check_store(model / "cache")

    def compare(self, output: Path, whole: Path) -> list[str]:
        """Compares weights, optimiser, generators and logs."""
        found = [CheckpointFolder(each / "model" / "checkpoints").read(ITERATIONS) for each in (output, whole)]
        wrong = compare_arrays(found[0].arrays, found[1].arrays)
        wrong += [] if found[0].record == found[1].record else ["the record of the last state differs"]
        for name in ("training", "validation"):
            logs = [read_log(each / "model" / "logs" / f"{name}.csv") for each in (output, whole)]
            for row in (*logs[0], *logs[1]):
                row.pop("seconds_per_iteration", None)
            wrong += [] if logs[0] == logs[1] else [f"{name}.csv differs"]
        return wrong


class Workers(Training):
    """A training by two processes; the chief and the other are killed in turn."""

    name, processes, strategy = "workers", 2, "multi_worker"


class Inference(Scenario):
    """An inference of all subjects."""

    name, marker = "inference", "inference: "

    def begin(self, output: Path) -> None:
        """Makes the folder with an INI file; the network is trained once."""
        output.mkdir()
        trained = self.folder / "trained"
        if not trained.is_dir():
            trained.mkdir()
            ini = write_ini(self.folder, trained)
            training = [sys.executable, "-c", VERB, "train", "-c", str(ini), "--TRAINING.max_iter=4"]
            subprocess.run(training, check=True, capture_output=True)
        write_ini(self.folder, output, trained / "model")

    def command(self, output: Path) -> list[str]:
        """Infers into the folder."""
        return [VERB, "inference", "-c", str(output / "run.ini"), f"--INFERENCE.save_seg_dir={output / 'results'}"]

    def check(self, output: Path, whole: Path | None) -> list[str]:
        """Loads every result, which must be that of the run without a kill, and the provenance."""
        return failures(read_json, output.glob("results/*.json")) + compare_images(output, whole, complete=False)

    def compare(self, output: Path, whole: Path) -> list[str]:
        """Compares all results."""
        return compare_images(output, whole, complete=True)


class Preprocessing(Scenario):
    """The preprocessing of a folder."""

    name, marker = "preprocessing", " to do"

    def command(self, output: Path) -> list[str]:
        """Preprocesses the cohort into the folder."""
        steps = ["--steps", "resample,nyul,whiten", "--resample_spacing", "2,2,2", "--no-pictures"]
        return [VERB, "preprocess", "--input", str(self.folder / "mr"), "--output", str(output), *steps]

    def check(self, output: Path, whole: Path | None) -> list[str]:
        """Loads images, manifest, landmarks and provenance."""
        wrong = failures(Manifest, output.glob("manifest.csv"))
        wrong += failures(read_json, [*output.glob("landmarks.json"), *output.glob("provenance/*.json")])
        return wrong + compare_images(output, whole, complete=False)

    def progress(self, output: Path) -> float:
        """Returns the number of images."""
        return len(list(output.glob("*.nii.gz")))

    def compare(self, output: Path, whole: Path) -> list[str]:
        """Compares all images, and what the manifest says is done."""
        manifests = [Manifest(each / "manifest.csv").records for each in (output, whole)]
        done = [{name: (each.status, each.output_hash) for name, each in records.items()} for records in manifests]
        wrong = compare_images(output, whole, complete=True)
        return wrong + ([] if done[0] == done[1] else ["the manifests differ"])


class Cache(Scenario):
    """The writing of prepared volumes."""

    name, marker, entries = "cache", "writing", 30

    def command(self, output: Path) -> list[str]:
        """Writes entries into the folder."""
        return [CACHE_WRITER, str(output), str(self.entries)]

    def check(self, output: Path, whole: Path | None) -> list[str]:
        """Opens every entry."""
        return check_store(output)

    def progress(self, output: Path) -> float:
        """Returns the number of entries."""
        return len(list(output.glob("*.json")))

    def compare(self, output: Path, whole: Path) -> list[str]:
        """Compares every entry."""
        stores = [VolumeStore(each) for each in (output, whole)]
        wrong = []
        for number in range(self.entries):
            first, second = (store.array({"number": number}, missing_entry, sliced_axis=2) for store in stores)
            wrong += [] if np.array_equal(first, second) else [f"entry {number} differs"]
        return wrong


def write_ini(folder: Path, output: Path, model_dir: Path | None = None) -> Path:
    """Writes the INI file of a run; returns its path."""
    path = output / "run.ini"
    values = {"cohort": folder / "cohort", "model_dir": model_dir or output / "model"}
    path.write_text(INI.format(**values, iterations=ITERATIONS, save_every_n=SAVE_EVERY_N))
    return path


def read_json(path: Path) -> object:
    """Reads a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def failures(read: object, paths: object) -> list[str]:
    """Returns one line per file that cannot be read."""
    wrong = []
    for path in paths:
        try:
            read(path)
        except (ConfigError, DataError, OSError, ValueError) as error:
            wrong.append(f"{path}: {error}")
    return wrong


def missing_entry() -> np.ndarray:
    """Stands for what would compute an entry that ought to be there."""
    raise DataError("an entry of the cache is missing or damaged")


def check_store(folder: Path) -> list[str]:
    """Opens every entry of a store of volumes by its own key."""
    wrong, store = [], VolumeStore(folder)
    for path in folder.glob("*.json"):
        try:
            made_of = json.loads(path.read_text(encoding="utf-8"))["made_of"]
            store.array(made_of["key"], missing_entry, made_of["sliced_axis"])
        except (DataError, ValueError, KeyError) as error:
            wrong.append(f"{path}: {error}")
    return wrong


def compare_arrays(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> list[str]:
    """Returns one line per array that is not the same in both, bit for bit."""
    if first.keys() != second.keys():
        return [f"other arrays: {sorted(first.keys() ^ second.keys())[:3]}"]
    return [f"{key} differs" for key in first if not np.array_equal(first[key], second[key], equal_nan=True)]


def compare_images(output: Path, whole: Path | None, complete: bool) -> list[str]:
    """Loads every image, and compares it with that of the run without a kill; `complete` asks for all of them."""
    images = {path.relative_to(output): path for path in output.rglob("*.nii.gz") if ".work" not in path.parts}
    images = {name: path for name, path in images.items() if not path.name.startswith(".")}
    wrong = []
    for name, path in images.items():
        try:
            voxels = np.asarray(nib.load(path).dataobj)
        except (OSError, EOFError, ValueError, nib.filebasedimages.ImageFileError) as error:
            wrong.append(f"{path}: {error}")
            continue
        if whole is not None and not np.array_equal(voxels, np.asarray(nib.load(whole / name).dataobj)):
            wrong.append(f"{path}: differs from that of the run without a kill")
    if complete and whole is not None:
        wanted = {path.relative_to(whole) for path in whole.rglob("*.nii.gz")}
        wrong += [f"{output / name}: is missing" for name in sorted(wanted - images.keys())]
    return wrong


class Executioner:
    """Runs one scenario with kills.

    Args:
        scenario: What is killed.
        folder: Where it works.
        chance: Draws the moments.
    """

    def __init__(self, scenario: Scenario, folder: Path, chance: random.Random) -> None:
        self.scenario, self.folder, self.chance = scenario, folder, chance
        self.whole = folder / "whole"
        self.violations: list[str] = []
        self.kills = self.finished = 0
        self.seconds_before = self.seconds_of_work = 0.0

    def run(self, kills: int) -> None:
        """Runs once without a kill, then with the given number of kills, then to the end."""
        self.whole.parent.mkdir()
        self.scenario.begin(self.whole)
        began = time.monotonic()
        processes = self.scenario.start(self.whole)
        self._await_marker(processes, self.whole, 0)
        self.seconds_before = time.monotonic() - began
        self._end(processes, self.whole)
        self.seconds_of_work = time.monotonic() - began - self.seconds_before
        self.violations += self.scenario.check(self.whole, None)
        output, number = self.folder / "killed_0", 0
        self.scenario.begin(output)
        while self.kills < kills:
            if self._kill_one(output):
                number += 1
                output = self.folder / f"killed_{number}"
                self.scenario.begin(output)
        self._end(self.scenario.start(output), output)
        self._compare(output)

    def _kill_one(self, output: Path) -> bool:
        """Starts, kills and checks; returns whether the run had ended before it could be killed."""
        scenario, reached = self.scenario, self.scenario.progress(output)
        said = said_by(output)
        heard = said.stat().st_size if said.exists() else 0
        victim = self.kills % scenario.processes
        processes = scenario.start(output)
        is_early = self.chance.random() < 0.2
        if is_early:
            time.sleep(self.chance.uniform(0, self.seconds_before))
        else:
            self._await_marker(processes, output, heard)
            time.sleep(self.chance.uniform(0, self.seconds_of_work / 2))
        processes[victim].send_signal(signal.SIGKILL)
        codes = self._codes(processes, output, SURVIVORS_END if scenario.processes > 1 else PATIENCE)
        others = [code for index, code in enumerate(codes) if index != victim]
        if codes[victim] == 0:
            self.violations += [] if set(codes) == {0} else [f"{output}: exit codes {codes}: {last_words(output)}"]
            self._compare(output)
            return True
        self.kills += 1
        if others and set(others) == {0}:
            # The kill met a worker that was about to leave: by what the others say, everything must be there.
            self._compare(output)
            return True
        # A survivor that had not met the other yet waits for it, and is taken away; all others end by themselves.
        for index, code in enumerate(codes):
            if index != victim and code != 1 and not (is_early and code is None):
                self.violations.append(
                    f"{output}: the surviving worker {index} ended with {code}: {last_words(output)}"
                )
        self.violations += scenario.check(output, self.whole)
        if scenario.progress(output) < reached:
            self.violations.append(f"{output}: had come to {reached}, now {scenario.progress(output)}")
        return False

    def _await_marker(self, processes: Sequence[subprocess.Popen], output: Path, heard: int) -> None:
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit and all(process.poll() is None for process in processes):
            if said_by(output).exists() and self.scenario.marker in said_by(output).read_text()[heard:]:
                return
            time.sleep(0.01)

    def _codes(self, processes: Sequence[subprocess.Popen], output: Path, patience: float) -> list[int | None]:
        """Waits for the processes to end; None for one that had to be taken away."""
        codes: list[int | None] = []
        limit = time.monotonic() + patience
        for process in processes:
            try:
                codes.append(process.wait(max(0.1, limit - time.monotonic())))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                codes.append(None)
        return codes

    def _end(self, processes: Sequence[subprocess.Popen], output: Path) -> None:
        codes = self._codes(processes, output, PATIENCE)
        if set(codes) != {0}:
            raise SystemExit(f"{self.scenario.name}: exit codes {codes} without a kill: {last_words(output)}")

    def _compare(self, output: Path) -> None:
        self.finished += 1
        self.violations += self.scenario.check(output, self.whole) + self.scenario.compare(output, self.whole)
        shutil.rmtree(output)


def last_words(output: Path) -> str:
    """Returns the last line that each process said."""
    said = [path.read_text().strip().splitlines()[-1:] for path in sorted(output.parent.glob(f"{output.name}_said_*"))]
    return " | ".join(line for lines in said for line in lines)


SCENARIOS = {kind.name: kind for kind in (Training, Workers, Inference, Preprocessing, Cache)}
SHARES = {"training": 0.3, "workers": 0.2, "inference": 0.2, "preprocessing": 0.15, "cache": 0.15}


def main(arguments: Sequence[str] | None = None) -> int:
    """Kills and prints; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="Kills over all scenarios.")
    parser.add_argument("--quick", action="store_true", help="Two kills of each scenario.")
    parser.add_argument("--only", default=",".join(SCENARIOS), help="Scenarios, separated by commas.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        parser.error(f"no scenario {unknown[0]!r}; there are {', '.join(SCENARIOS)}")
    violations: list[str] = []
    # `timeout` and batch systems ask processes to end: that must reach the exit handlers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print("| scenario | kills | runs that ended | s to start | s of work | violations |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_phantom_cohort(folder / "cohort", SUBJECTS, size="small", seed=5)
        (folder / "mr").mkdir()
        for path in (folder / "cohort").glob("*_mr.nii.gz"):
            shutil.copy(path, folder / "mr")
        total = sum(SHARES[name] for name in names)
        for name in names:
            kills = 2 if options.quick else max(2, round(options.kills * SHARES[name] / total))
            run = Executioner(SCENARIOS[name](folder), folder / name, random.Random(f"{options.seed} {name}"))
            run.run(kills)
            violations += [f"{name}: {text}" for text in run.violations]
            print(
                f"| {name} | {run.kills} | {run.finished} | {run.seconds_before:.1f} | {run.seconds_of_work:.1f} "
                f"| {len(run.violations)} |",
                flush=True,
            )
            for text in run.violations:
                print(f"{name}: {text}", file=sys.stderr, flush=True)
    for text in violations:
        print(text)
    print("nothing was lost" if not violations else f"{len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
