"""A run of ours beside a peer's: trained, its results written, and what a step of it costs."""

import os
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np

from sfgkeras.applications import run
from sfgkeras.applications.records.logs import read_log
from sfgkeras.config import Config
from sfgkeras.reporter import Reporter


def train_and_infer(config: Config, datasets: Sequence[str], reporter: Reporter) -> tuple[Any, dict[str, Any]]:
    """Trains one of our networks anew and writes its results.

    Returns:
        The network, and what it cost: `seconds` per iteration and `parameters`.
    """
    from sfgkeras.networks import count_parameters

    network = run.train(config, reporter, restart=True)
    for dataset in datasets:
        run.infer(config, reporter, dataset, overwrite=True)
    rows = read_log(config.system.model_dir / "logs" / "training.csv")
    elapsed = np.array([int(row["iteration"]) * float(row["seconds_per_iteration"]) for row in rows])
    steps = np.diff([int(row["iteration"]) for row in rows])
    return network, {"seconds": typical(np.diff(elapsed) / steps), "parameters": count_parameters(network)}


def typical(seconds_per_iteration: Sequence[float] | np.ndarray) -> float:
    """Returns the median over chunks of iterations, without the first, which compiles."""
    return float(np.median(seconds_per_iteration[1:] if len(seconds_per_iteration) > 1 else seconds_per_iteration))


def describe_machine() -> dict[str, Any]:
    """Returns what times depend on: processor, cores, and the load at this moment."""
    return {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()}
