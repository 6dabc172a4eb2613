"""Rows of the goals table about training as a whole: two workers and one process, real windows and a fixed batch.

Both measure the step of the applications (`steps.TrainingStep`: losses, regularisation, Adam) on HighResNet with filter
groups for two tasks at full width.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from goals_timing import Settings, alternate, ratio
from training_steps import build_network, build_step, random_batch

NUM_TASKS = 2
GRADIENT_TOLERANCE = 0.02
"""Share of the norm of a variable's gradient by which those of two workers and of one process may differ. Rounding made
up to 0.005 of it; a normalisation over half of the batch, or gradients that are not summed, several tenths."""
WEIGHT_TOLERANCE = 0.05
"""Share of the way that all weights went in a step by which they may lie apart after it. Rounding made 0.01 of it,
since Adam's first step is nearly the sign of the gradient, also where that is nearly 0."""
PATIENCE = 300.0
"""Seconds after which a process that says nothing is given up."""
STEPS = 2
"""Steps that a turn takes."""
LOSS_BORDER, QUEUE_LENGTH, VOLUMES = 4, 10, 4


def two_workers(settings: Settings) -> dict[str, float]:
    """One training step by two `multi_worker` processes of one thread each, against one process of two threads.

    All are child processes, with as many intra-op as inter-op threads. Each worker keeps its rows of one constant
    global batch on hand, so that nothing but the step is timed: computing, synchronised normalisation, and the sum of
    the gradients over localhost. Workers and process take blocks of steps in turn; those whose turn it is not wait for
    a line of input. Quick runs train the plain network, which is built and traced sooner.

    Raises:
        RuntimeError: If a process ends or is silent; if the variables of the two workers are not equal bit for bit,
            after the first step and in the end; or if gradients or weights differ from those of the one process by
            more than rounding after the first step (later on rounding grows, as in any two runs that sum in another
            order).
    """
    with tempfile.TemporaryDirectory() as folder, _processes(Path(folder), settings) as (alone, *workers):
        before, *_ = _saved(alone, *workers)
        for group in ([alone], workers):
            _do(group, 1)
        found = _compare(before, *_saved(alone, *workers))
        turns = {"workers": lambda: _do(workers, STEPS), "process": lambda: _do([alone], STEPS)}
        times = {name: seconds / STEPS for name, seconds in alternate(turns, settings.repeats).items()}
        _refuse_unequal(*_saved(*workers))
    return {**ratio(times, "workers", "process"), **found}


@contextlib.contextmanager
def _processes(folder: Path, settings: Settings) -> Iterator[list["_Process"]]:
    """Starts one process alone and two workers; ends them in the end."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.bind(("localhost", 0))
        addresses = [f"localhost:{each.getsockname()[1]}" for each in sockets]
    plans: dict[str, tuple[int, Sequence[str], int]] = {
        "alone": (0, [], 2),
        **{f"worker_{index}": (index, addresses, 1) for index in range(2)},
    }
    sharing = "hard_sharing" if settings.quick else "sfg"
    common = {"size": settings.size, "batch": settings.batch, "sharing": sharing}
    started: list[_Process] = []
    with contextlib.ExitStack() as stack:
        for name, (index, found, threads) in plans.items():
            plan = {**common, "path": str(folder / f"{name}.npz"), "index": index, "addresses": found}
            command = [sys.executable, __file__, json.dumps({**plan, "threads": threads})]
            errors = stack.enter_context((folder / f"{name}.txt").open("w"))
            environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )
            started.append(_Process(name, folder, process))
            stack.callback(started[-1].end)
        _await_answers(started)
        yield started


@dataclass(frozen=True)
class _Process:
    """A child process that does what a line says, and answers with a line.

    Attributes:
        name: Name of its files.
        folder: Where they are.
        process: The process.
    """

    name: str
    folder: Path
    process: subprocess.Popen[str]

    def ask(self, work: int | str) -> None:
        """Sends a line; one that has ended is noticed by its missing answer."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{work}\n")
            self.process.stdin.flush()

    def await_answer(self) -> None:
        """Waits for the answer.

        Raises:
            RuntimeError: If the process has ended.
        """
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            last = (self.folder / f"{self.name}.txt").read_text().strip().splitlines()[-1:]
            raise RuntimeError(f"{self.name} ended, or said nothing for {PATIENCE:g} s; its last words: {last}")

    def arrays(self) -> dict[str, np.ndarray]:
        """Reads the variables that it has saved."""
        with np.load(self.folder / f"{self.name}.npz") as found:
            return dict(found)

    def end(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.communicate()


def _do(processes: Sequence[_Process], work: int | str) -> None:
    """Lets processes do a number of steps, or `save`, at once; returns when all have answered."""
    for process in processes:
        process.ask(work)
    _await_answers(processes)


def _await_answers(processes: Sequence[_Process]) -> None:
    guard = threading.Timer(PATIENCE, lambda: [process.process.kill() for process in processes])
    guard.start()
    try:
        for process in processes:
            process.await_answer()
    finally:
        guard.cancel()


def _saved(*processes: _Process) -> list[dict[str, np.ndarray]]:
    _do(processes, "save")
    return [process.arrays() for process in processes]


def _refuse_unequal(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> None:
    names = sorted(first.keys() | second.keys())
    different = [
        name for name in names if name not in first or name not in second or not _same(first[name], second[name])
    ]
    if different:
        raise RuntimeError(f"{len(different)} of {len(names)} variables of the two workers differ, e.g. {different[0]}")


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    return first.dtype == second.dtype and first.tobytes() == second.tobytes()


def _compare(
    before: Mapping[str, np.ndarray],
    alone: Mapping[str, np.ndarray],
    first: Mapping[str, np.ndarray],
    second: Mapping[str, np.ndarray],
) -> dict[str, float]:
    """Compares the variables of two workers with each other, and with those of one process before and after a step.

    Adam's first moments after one step are a tenth of the gradients.

    Returns:
        The largest `gradient_difference` of a variable and the `weight_difference` of all; see the tolerances.

    Raises:
        RuntimeError: If the workers differ at all, or from the one process by more than rounding.
    """
    _refuse_unequal(first, second)
    moments = [name for name in alone if name.startswith("optimizer") and name.endswith("momentum")]
    weights = [name for name, value in alone.items() if name.startswith("network") and value.dtype.kind == "f"]
    gradients = {name: _distance(first, alone, [name]) / _distance(alone, {}, [name]) for name in moments}
    name = max(gradients, key=gradients.__getitem__)
    if gradients[name] > GRADIENT_TOLERANCE:
        raise RuntimeError(
            f"the gradient of two workers differs from that of one process by {gradients[name]:.2g} of its norm, more "
            f"than {GRADIENT_TOLERANCE:g}, in {name}"
        )
    apart = _distance(first, alone, weights) / _distance(alone, before, weights)
    if apart > WEIGHT_TOLERANCE:
        raise RuntimeError(
            f"the weights of two workers and of one process lie {apart:.2g} of their first step apart, more than "
            f"{WEIGHT_TOLERANCE:g}"
        )
    return {"gradient_difference": gradients[name], "weight_difference": apart}


def _distance(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], names: Sequence[str]) -> float:
    """Returns the Euclidean distance over some variables; from the origin where the second has none."""
    squares = (np.square(first[name].astype(np.float64) - second.get(name, 0.0)).sum() for name in names)
    return float(np.sqrt(sum(squares)))


def run_process(plan: Mapping[str, Any]) -> None:
    """Is one of the processes: builds the network, then does what lines of input say, and answers each.

    A line is a number of steps, or `save`, which writes all variables.
    """
    import tensorflow as tf

    from sfgkeras.applications.records.checkpoints import collect_arrays
    from sfgkeras.applications.workers.strategies import build_multi_worker_strategy, build_strategy

    tf.config.threading.set_intra_op_parallelism_threads(plan["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(plan["threads"])
    tf.config.set_visible_devices([], "GPU")
    addresses = plan["addresses"]
    strategy = build_multi_worker_strategy(plan["index"], addresses) if addresses else build_strategy("one_device")
    with strategy.scope():
        network = build_network(NUM_TASKS, plan["sharing"])
        step, optimizer = build_step(network, strategy, plan["batch"])
    rows = (plan["index"], max(1, len(addresses)))
    batch = random_batch(NUM_TASKS, plan["batch"], (plan["size"],) * 2, rows)
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "save":
            np.savez(plan["path"], **collect_arrays(network, [optimizer]))
        else:
            for _ in range(int(line)):
                float(step(batch)["loss"])
        print("done", flush=True)


def real_windows(settings: Settings) -> dict[str, float]:
    """Training steps on augmented windows as they are made, against the same steps on one batch that is kept.

    One process takes blocks of both in turn. The batches that lie ready when a block begins are no gift: one is made
    for every one that is taken, while the step runs, and the steps take longer than the making.
    """
    import tensorflow as tf

    from sfgkeras.applications.workers.strategies import build_strategy
    from sfgkeras.data.pipeline import close, original_errors, training_dataset

    tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    steps, size = (4, 64) if settings.quick else (3, 128)
    with tempfile.TemporaryDirectory() as folder:
        source = _window_source(Path(folder), size)
        strategy = build_strategy("one_device")
        with strategy.scope():
            network = build_network(NUM_TASKS, "sfg")
            step, _ = build_step(network, strategy, settings.batch)
        dataset = training_dataset(source, settings.batch, num_threads=settings.threads).prefetch(QUEUE_LENGTH)
        batches = iter(strategy.experimental_distribute_dataset(dataset))
        with original_errors(source):
            kept = next(batches)
            float(step(kept)["loss"])
            real: list[float] = []
            fixed: list[float] = []
            for _ in range(settings.repeats):
                real += _seconds(lambda: step(next(batches)), steps)
                fixed += _seconds(lambda: step(kept), steps)
        close(source)
    return ratio({"real": median(real), "fixed": median(fixed)}, "real", "fixed")


def _seconds(work: Callable[[], Mapping[str, Any]], times: int) -> list[float]:
    """Times some steps, each until its loss is there."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        float(work()["loss"])
        seconds.append(time.perf_counter() - began)
    return seconds


def _window_source(folder: Path, size: int) -> Any:
    """Makes the source of windows of the paper's experiment: image, CT and organs, turned, scaled and padded."""
    from mr_volume import SPACING, mr_volume

    from sfgkeras.data.augmentation import Augmentation
    from sfgkeras.data.prepared import PreparedSubject
    from sfgkeras.data.samplers import UniformSampler
    from sfgkeras.data.volumes import VolumeStore
    from sfgkeras.data.windows import WindowSource

    store, subjects = VolumeStore(folder), []
    for number in range(VOLUMES):
        image, tissues = mr_volume(number)
        arrays = {
            "image": ((image - image.mean()) / image.std()).astype(np.float32)[..., None],
            "ct": (tissues / 5 + 0.02 * image / image.max()).astype(np.float32),
            "organs": tissues,
        }
        kept = {
            name: store.array({"number": number, "name": name}, lambda found=array: found, sliced_axis=2)
            for name, array in arrays.items()
        }
        targets = {name: kept[name] for name in ("ct", "organs")}
        subjects.append(PreparedSubject(f"s{number}", kept["image"], targets, spacing=SPACING))
    window = (size, size, 1)
    augmentation = Augmentation(rotation_angle=(-10, 10), scaling_percentage=(-10, 10))
    kinds = {"ct": "map", "organs": "labels"}
    return WindowSource(subjects, window, UniformSampler(window), augmentation, kinds, LOSS_BORDER)


if __name__ == "__main__":
    code = 1
    try:
        run_process(json.loads(sys.argv[1]))
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        # Python's own way out can hang where the other worker is gone before this one.
        os._exit(code)
