"""How rows of the goals table are timed: in turn, medians, with a fixed number of threads."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Settings:
    """Sizes of a run of the goals table.

    Attributes:
        threads: Threads of every library.
        repeats: Times that each of a pair is run.
        quick: Whether sizes are small: shows that all works, and ratios only roughly.
        size: Side of the windows.
        batch: Windows per step.
    """

    threads: int = 2
    repeats: int = 7
    quick: bool = False

    @property
    def size(self) -> int:
        """Side of the windows, in voxels."""
        return 64 if self.quick else 128

    @property
    def batch(self) -> int:
        """Windows per step."""
        return 4 if self.quick else 10


def alternate(functions: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Runs every function once unmeasured, then all in turn; returns median seconds by name."""
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            began = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - began)
    return {name: median(values) for name, values in times.items()}


def ratio(times: Mapping[str, float], ours: str, peer: str) -> dict[str, float]:
    """Returns both times and their ratio."""
    return {"ours": times[ours], "peer": times[peer], "value": times[ours] / times[peer]}
