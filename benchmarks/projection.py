"""Hours for 200 000 iterations on one to eight GPUs: a projection from counted work, not a measurement.

    python benchmarks/projection.py [--sharing sfg] [--window 128] [--batch 10] [--threads 2] [--check-window 64]

What is counted, on the network itself: multiplies of the convolutions, the bytes that the operations of one traced
training step read and write, the number of these operations, the parameters, and the normalisations. What is taken from
data sheets: peak rates. What is assumed, and printed with the result: which share of the peaks is reached, and what a
launch and a collective cost. A step takes the longest of computing, moving bytes and launching operations, and then the
exchange of gradients and statistics. The same model with this machine's measured rates is compared with a measured
step. Prints Markdown.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from training_steps import build_losses, build_network, build_step, random_batch

ITERATIONS, NUM_TASKS = 200_000, 2
PASSES = 3
"""Products of a training step per product of the forward pass: features, their gradients, gradients of kernels."""
COMPUTE_SHARE, BANDWIDTH_SHARE = 0.4, 0.7
"""Shares of the peaks that convolutions of 16 to 64 channels and element-wise operations are assumed to reach."""
LAUNCH, COLLECTIVE = 5e-6, 20e-6
"""Seconds that starting an operation and a small exchange over all GPUs are assumed to take."""
FREE_OPERATIONS = re.compile(
    "Const|Identity|IdentityN|Reshape|Shape|ShapeN|NoOp|Placeholder|ReadVariableOp|ExpandDims|Squeeze|StopGradient|"
    "PreventGradient|BroadcastGradientArgs|StridedSlice|Pack|Range|Size|Rank|AssignVariableOp|ZerosLike"
)
"""Operations that move no features: they hand tensors on, or look at shapes."""


@dataclass(frozen=True)
class Accelerator:
    """What a data sheet says: dense TF32 operations, bytes of memory, and bytes of the link one way, all per second."""

    name: str
    flops: float
    bandwidth: float
    link: float
    source: str


# Dense rates: where a data sheet states TF32 "with sparsity", half of it.
ACCELERATORS = (
    Accelerator("A100 SXM 80 GB", 156e12, 2.039e12, 300e9, "NVIDIA A100 data sheet; NVLink of 2 x 300 GB/s"),
    Accelerator("H100 SXM", 494e12, 3.35e12, 450e9, "NVIDIA H100 data sheet; NVLink of 2 x 450 GB/s"),
    Accelerator("RTX 4090", 82.6e12, 1.008e12, 32e9, "NVIDIA Ada GPU architecture paper; PCIe 4.0 x16"),
    Accelerator("L4", 60e12, 0.3e12, 32e9, "NVIDIA L4 data sheet; PCIe 4.0 x16"),
)


@dataclass(frozen=True)
class Work:
    """What one training step does: forward multiplies, bytes moved with nothing fused, and what is counted else."""

    multiplies: float
    bytes: float
    operations: int
    parameters: int
    exchanges: int

    def of_batch(self, share: float) -> "Work":
        """Returns the work for another number of windows; the number of operations stays."""
        return Work(self.multiplies * share, self.bytes * share, self.operations, self.parameters, self.exchanges)


def count_work(sharing: str, window: int, batch: int) -> Work:
    """Counts the work of a training step on its traced graph."""
    from sfgkeras.networks import count_multiplies, count_parameters

    network = build_network(NUM_TASKS, sharing)
    operations = [
        operation for operation in _traced(network, window, batch) if not FREE_OPERATIONS.fullmatch(operation.type)
    ]
    normalisations = sum(variable.path.endswith("normalization/gamma") for variable in network.trainable_variables)
    return Work(
        multiplies=batch * count_multiplies(network, (window, window, 1)),
        bytes=float(sum(_bytes([*operation.inputs, *operation.outputs]) for operation in operations)),
        operations=len(operations),
        parameters=count_parameters(network),
        # The moments, the same again where activations are made again, and their gradients.
        exchanges=(2 if network.trunk.settings.rematerialise == "none" else 3) * normalisations,
    )


def _traced(network: Any, window: int, batch: int) -> list[Any]:
    """Returns the operations of a training step, forward, backward and Adam, in one flat graph."""
    import tensorflow as tf

    from sfgkeras.networks.flat_adam import FlatAdam

    images, targets, weights = random_batch(NUM_TASKS, batch, (window, window))
    losses = build_losses(network)
    optimizer = FlatAdam(1e-3)
    optimizer.build(network.trainable_variables)

    @tf.function(autograph=False)
    def step() -> Any:
        with tf.GradientTape() as tape:
            outputs = network(images, training=True)
            parts = [
                tf.reduce_mean(loss.per_sample(targets[task], outputs[task], weights[task]))
                for task, loss in losses.items()
            ]
            total = tf.add_n([*parts, *[tf.cast(term, tf.float32) for term in network.losses]])
        optimizer.apply(tape.gradient(total, network.trainable_variables))
        return total

    graph = step.get_concrete_function().graph
    # As TensorFlow does it: what nothing depends on is not computed.
    needed, waiting = set(), [*graph.control_outputs, *(tensor.op for tensor in graph.outputs)]
    while waiting:
        operation = waiting.pop()
        if operation not in needed:
            needed.add(operation)
            waiting += [*operation.control_inputs, *(tensor.op for tensor in operation.inputs)]
    return list(needed)


def _bytes(tensors: Sequence[Any]) -> int:
    """Returns the size of all tensors whose shape is known; handles of variables have none."""
    return sum(tensor.dtype.size * tensor.shape.num_elements() for tensor in tensors if tensor.shape.is_fully_defined())


@dataclass(frozen=True)
class Rates:
    """What a device reaches: operations and bytes per second, and seconds per launch."""

    flops: float
    bandwidth: float
    launch: float

    def parts(self, work: Work) -> tuple[float, float, float]:
        """Returns the seconds that a step computes, moves bytes, and launches operations."""
        return 2 * PASSES * work.multiplies / self.flops, work.bytes / self.bandwidth, work.operations * self.launch


def exchange_seconds(work: Work, link: float, devices: int) -> float:
    """Returns the seconds of the exchange: a ring for the gradients, a small collective for every statistic."""
    if devices == 1:
        return 0.0
    return 4 * work.parameters * 2 * (devices - 1) / devices / link + (1 + work.exchanges) * COLLECTIVE


def project(work: Work, batch: int, devices: Sequence[int] = (1, 2, 4, 8)) -> str:
    """Returns the tables: as many windows per GPU, and as many windows in all."""
    fixed = batch * max(devices) // 2
    lines = [
        f"Hours for {ITERATIONS:,} iterations on {', '.join(map(str, devices))} GPUs; what a step on one waits for.",
        "",
        f"| GPU | waits for | {batch} windows per GPU | {fixed} windows in all |",
        "|---|---|---|---|",
    ]
    for gpu in ACCELERATORS:
        rates = Rates(COMPUTE_SHARE * gpu.flops, BANDWIDTH_SHARE * gpu.bandwidth, LAUNCH)

        def hours(part: Work, count: int, rates: Rates = rates, gpu: Accelerator = gpu) -> float:
            return ITERATIONS / 3600 * (max(rates.parts(part)) + exchange_seconds(part, gpu.link, count))

        seconds = rates.parts(work)
        longest = ("computing", "memory", "launches")[int(np.argmax(seconds))]
        weak = ", ".join(f"{hours(work, count):.1f}" for count in devices)
        strong = ", ".join(f"{hours(work.of_batch(fixed / batch / count), count):.1f}" for count in devices)
        lines.append(f"| {gpu.name} | {longest} ({1e3 * max(seconds):.0f} ms) | {weak} | {strong} |")
    sources = "; ".join(f"{gpu.name}: {gpu.source}" for gpu in ACCELERATORS)
    return "\n".join([*lines, "", f"Peaks: {sources}."])


def measure_rates() -> Rates:
    """Measures this machine: a product of matrices, and the sum of two large arrays; launches are not told apart."""
    import tensorflow as tf

    side, length = 2048, 1 << 26
    matrix = tf.random.normal((side, side))
    first, second = tf.ones(length), tf.ones(length)
    flops = 2 * side**3 / _fastest_seconds(lambda: matrix @ matrix)
    return Rates(flops, 3 * 4 * length / _fastest_seconds(lambda: first + second), 0.0)


def _fastest_seconds(work: Any, repeats: int = 7) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def check(work: Work, sharing: str, window: int, batch: int) -> str:
    """Compares the model with a measured step on this machine."""
    from sfgkeras.applications.workers.strategies import build_strategy

    network = build_network(NUM_TASKS, sharing)
    step, _ = build_step(network, build_strategy("one_device"), batch)
    windows = random_batch(NUM_TASKS, batch, (window, window))
    step(windows)
    before = measure_rates()
    measured = _fastest_seconds(lambda: float(step(windows)["loss"]), 5)
    after = measure_rates()
    rates = Rates((before.flops + after.flops) / 2, (before.bandwidth + after.bandwidth) / 2, 0.0)
    computing, moving, _ = rates.parts(work)
    return (
        f"This machine ({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}): {rates.flops / 1e9:.0f} GFLOP/s and "
        f"{rates.bandwidth / 1e9:.1f} GB/s at its fastest. A step on {batch} windows of {window} x {window}: computing "
        f"{computing:.2f} s, memory {moving:.2f} s; predicted (the longer) {max(computing, moving):.2f} s, or one "
        f"after the other {computing + moving:.2f} s; measured {measured:.2f} s. Predicted / measured: "
        f"{max(computing, moving) / measured:.2f}; one after the other {(computing + moving) / measured:.2f}."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Counts, projects and checks."""
    import tensorflow as tf

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sharing", default="sfg")
    parser.add_argument("--window", type=int, default=128)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--check-window", type=int, default=64)
    options = parser.parse_args(arguments)
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.set_visible_devices([], "GPU")
    work = count_work(options.sharing, options.window, options.batch)
    print(
        f"A projection, not a measurement. One step of HighResNet ({options.sharing}, {NUM_TASKS} tasks) on "
        f"{options.batch} windows of {options.window} x {options.window}: {PASSES} x {work.multiplies / 1e9:.0f} G "
        f"multiplies, {work.bytes / 1e9:.0f} GB read and written where nothing is fused, {work.operations:,} "
        f"operations, {work.parameters:,} parameters, {work.exchanges} exchanges of statistics. Assumed: "
        f"{COMPUTE_SHARE:g} of the peak TF32 rate, {BANDWIDTH_SHARE:g} of the bandwidth, {1e6 * LAUNCH:g} us per "
        f"operation, {1e6 * COLLECTIVE:g} us "
        "per exchange.\n"
    )
    print(project(work, options.batch), flush=True)
    smaller = work.of_batch((options.check_window / options.window) ** 2)
    print(f"\n{check(smaller, options.sharing, options.check_window, options.batch)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
