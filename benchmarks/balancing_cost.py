"""What every balancing rule costs: the time of a training step, and the memory at its peak, beside fixed weights.

    python benchmarks/balancing_cost.py [--tasks 2] [--width 0.5] [--size 64] [--batch 4] [--repeats 9]
        [--rules a,b] [--no-memory]

On HighResNet in two dimensions with hard sharing. Steps of all rules are timed in turn in one process on one core, in
seconds of the processor, so that what else the machine does counts little; medians are printed as ratios to `fixed`.
The peak of the memory is that of a process which takes three steps, above what it held before the first one.
"""

import argparse
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from sharing_cost import processor_seconds  # noqa: E402
from training_steps import build_losses, channels_of, random_batch  # noqa: E402

from sfgkeras.analysis.comparison import markdown_table  # noqa: E402
from sfgkeras.balancing import BALANCING  # noqa: E402

REFERENCE = "fixed"


def prepare_rule(name: str, num_tasks: int, width: float, size: int, batch_size: int) -> Callable[[], Any]:
    """Returns a training step by a rule, not compiled yet."""
    import tensorflow as tf

    from sfgkeras.applications.training.optimizers import Optimizers, build_optimizer
    from sfgkeras.applications.training.step import TrainingStep
    from sfgkeras.losses.likelihood import likelihood_of
    from sfgkeras.networks import HighResNet

    network = HighResNet(channels_of(num_tasks), "hard_sharing", width=width, seed=0, balancing=name)
    network.build((None, None, None, 1))
    losses = build_losses(network)
    network.balancer.learn_of({task: likelihood_of(loss) for task, loss in losses.items()})
    optimizers = Optimizers(build_optimizer("adam", 1e-3)).build(network)
    step = TrainingStep(network, optimizers, losses, network.balancer, tf.distribute.get_strategy(), batch_size)
    batch = random_batch(num_tasks, batch_size, (size, size))
    return lambda: step(batch)


def resident() -> float:
    """Returns the memory that this process holds now, in MiB."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def peak_of(step: Callable[[], Any]) -> float:
    """Returns how far the memory rises in two steps above what is held before, in MiB, the first step left out."""
    step()
    before, highest, done = resident(), [0.0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            highest[0] = max(highest[0], resident())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(2):
        step()
    done.set()
    watcher.join()
    return max(highest[0] - before, 0.0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--rules", default=",".join(BALANCING), help="rules, fixed is added")
    parser.add_argument("--no-memory", action="store_true", help="time only")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    sizes = (given.tasks, given.width, given.size, given.batch)
    if given.memory_of:
        print(peak_of(prepare_rule(given.memory_of, *sizes)))
        return
    names = list(dict.fromkeys([REFERENCE, *given.rules.split(",")]))
    seconds = processor_seconds({name: prepare_rule(name, *sizes) for name in names}, given.repeats)
    same = [sys.argv[0], f"--tasks={sizes[0]}", f"--width={sizes[1]}", f"--size={sizes[2]}", f"--batch={sizes[3]}"]
    lines = []
    for name in names:
        line = {
            "rule": name,
            "training step": f"{1000 * seconds[name]:.0f} ms",
            "ratio": f"{seconds[name] / seconds[REFERENCE]:.2f}",
        }
        lines.append(line)
        if given.no_memory:
            continue
        command = [sys.executable, *same, f"--memory-of={name}"]
        peak = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
        line["memory of a step"] = f"{peak:.0f} MiB"
    print(markdown_table(lines))


if __name__ == "__main__":
    main()
