"""What every sharing mechanism costs: parameters, multiplies, and the time of a training step beside hard sharing.

    python benchmarks/sharing_cost.py [--tasks 2] [--width 0.5] [--size 64] [--batch 4] [--repeats 9] [--sharing a,b]

All mechanisms of `SHARING` with their defaults, on HighResNet in two dimensions, in one process on one core. Their
steps are timed in turn, in seconds of the processor, so that what else the machine does counts little; medians are
printed as ratios to `hard_sharing`. A hardened network is what `harden` makes of one; its multiplies and its time for
one batch are those of inference. A mechanism that refuses to be built with its defaults has the reason instead.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from training_steps import build_network, build_step, random_batch  # noqa: E402

from sfgkeras.analysis.comparison import markdown_table  # noqa: E402
from sfgkeras.networks import count_multiplies, count_parameters, harden, recalibrate  # noqa: E402
from sfgkeras.sharing import SHARING  # noqa: E402

REFERENCE = "hard_sharing"


def prepare_mechanism(
    name: str, num_tasks: int, width: float, size: int, batch_size: int
) -> tuple[dict[str, Any], Callable[[], Any], Callable[[], Any]]:
    """Builds a network of a mechanism; returns its size, a training step of it, and a call of what it hardens to.

    Raises:
        ValueError: If the mechanism refuses.
    """
    import tensorflow as tf

    network = build_network(num_tasks, name, width=width)
    batch = random_batch(num_tasks, batch_size, (size, size))
    shape = (size, size, 1)
    line = {"parameters": count_parameters(network), "multiplies in training": count_multiplies(network, shape)}
    step, _ = build_step(network, tf.distribute.get_strategy(), batch_size)
    step(batch)
    recalibrate(network, [batch[0]])
    hardened = harden(network)
    line["multiplies, hardened"] = count_multiplies(hardened, shape)
    infer = tf.function(hardened)
    return line, lambda: step(batch), lambda: infer(batch[0], training=False)


def processor_seconds(functions: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Runs every function once unmeasured, then all in turn; returns median seconds of the processor by name."""
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            began = time.process_time()
            function()
            times[name].append(time.process_time() - began)
    return {name: median(values) for name, values in times.items()}


def cost_table(
    lines: Mapping[str, dict[str, Any]], steps: Mapping[str, float], calls: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Joins sizes and median times to the lines of the table, times as ratios to those of `hard_sharing`."""
    return [
        {"mechanism": name}
        | line
        | {
            "training step": f"{1000 * steps[name]:.0f} ms",
            "ratio": f"{steps[name] / steps[REFERENCE]:.2f}",
            "hardened ratio": f"{calls[name] / calls[REFERENCE]:.2f}",
        }
        for name, line in lines.items()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--sharing", default=",".join(SHARING), help="mechanisms, hard_sharing is added")
    given = parser.parse_args(arguments)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    warnings.filterwarnings("ignore", message=".*of the filters of.*")
    lines, steps, calls, refused = {}, {}, {}, {}
    for name in dict.fromkeys([REFERENCE, *given.sharing.split(",")]):
        try:
            lines[name], steps[name], calls[name] = prepare_mechanism(
                name, given.tasks, given.width, given.size, given.batch
            )
        except ValueError as error:
            refused[name] = str(error)
    table = cost_table(lines, processor_seconds(steps, given.repeats), processor_seconds(calls, given.repeats))
    print(markdown_table(table))
    for name, why in refused.items():
        print(f"{name}: {why}")


if __name__ == "__main__":
    main()
