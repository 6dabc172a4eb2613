"""Grouping probabilities over the iterations of a run: kept in one compressed file, watched for convergence."""

from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.callbacks import GroupingConvergence
from sfgkeras.data.files import replacing


class GroupingLog:
    """Notes p of every layer each n iterations and says when it no longer moves.

    The file holds `iterations` `(n,)` and one array `(n, filters, groups)` per layer, under the layer's name.

    Args:
        path: The compressed NumPy file.
        every_n: Iterations between two notes; 0 notes nothing.
        convergence: Told each note; decides whether p has converged.
    """

    def __init__(self, path: Path, every_n: int, convergence: GroupingConvergence) -> None:
        self._path = path
        self._every_n = every_n
        self._convergence = convergence
        self._iterations: list[int] = []
        self._layers: dict[str, list[np.ndarray]] = {}

    def start(self, iteration: int, network: Any) -> None:
        """Takes up what an earlier run noted until `iteration`, or notes the first probabilities."""
        earlier = read_grouping_log(self._path) if iteration else {}
        kept = [i for i, noted in enumerate(earlier.get("iterations", ())) if noted <= iteration]
        for i in kept:
            probabilities = {name: values[i] for name, values in earlier.items() if name != "iterations"}
            self._note(int(earlier["iterations"][i]), probabilities)
        if not kept:
            self._note(iteration, network.grouping_probabilities())

    def observe(self, iteration: int, network: Any) -> bool:
        """Notes p where it is due; returns whether it has converged."""
        if self._every_n < 1 or iteration % self._every_n:
            return False
        return self._note(iteration, network.grouping_probabilities())

    def write(self) -> None:
        """Writes the file, whole or not at all."""
        if not self._layers:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {name: np.stack(values) for name, values in self._layers.items()}
        with replacing(self._path) as stream:
            np.savez_compressed(stream, iterations=np.asarray(self._iterations), **arrays)

    def _note(self, iteration: int, probabilities: dict[str, np.ndarray]) -> bool:
        if not probabilities:
            return False
        self._iterations.append(iteration)
        for name, values in probabilities.items():
            self._layers.setdefault(name, []).append(np.asarray(values, np.float32))
        return self._convergence.update(iteration, probabilities)


def read_grouping_log(path: Path) -> dict[str, np.ndarray]:
    """Reads a grouping log; an absent or damaged one is empty."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError):
        return {}
