"""How long calls take, compared fairly: in turn, so that a busy moment meets all of them."""

import os
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any


def measure_latency(
    calls: Mapping[str, Callable[[], Any]], repeats: int = 20, seconds: float = 20.0
) -> dict[str, float]:
    """Times calls in turn and returns the median seconds of each.

    Args:
        calls: What to time, by name; every call returns when its result is there. Each is called twice before, for
            what happens only then (tracing, choice of kernels).
        repeats: How often each is called, at most.
        seconds: No further round begins after so long; three are always made.

    Returns:
        Median seconds by name.
    """
    for call in calls.values():
        call()
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    began = time.perf_counter()
    for done in range(repeats):
        if done >= 3 and time.perf_counter() - began > seconds:
            break
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def available_threads() -> int:
    """Returns the number of threads that TensorFlow computes one operation with."""
    import tensorflow as tf

    return tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0))
