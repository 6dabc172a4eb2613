"""Notes the grouping probabilities during `fit`, in one compressed file."""

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sfgkeras.callbacks.grouping_convergence import GroupingConvergence


class GroupingMonitor(keras.callbacks.Callback):
    """Notes p of every filter group layer each n iterations, and can end the training when p no longer moves.

    The file holds `iterations` `(n,)` and one float32 array `(n, filters, groups)` per layer, under the
    layer's name. It is written at the end of every epoch, whole or not at all. A training that goes on from
    an earlier one keeps the notes of the iterations before.

    Args:
        path: The compressed NumPy file, `.npz`.
        every_n: Iterations between two notes.
        convergence: Told every note; ends the training once p has converged. None never ends it.

    Raises:
        ValueError: If `every_n` is not positive.
    """

    def __init__(self, path: str | Path, every_n: int = 100, convergence: GroupingConvergence | None = None) -> None:
        super().__init__()
        if every_n < 1:
            raise ValueError(f"every_n = {every_n} must be a positive number of iterations")
        self.path = Path(path)
        self.every_n = every_n
        self.convergence = convergence
        self._iterations: list[int] = []
        self._layers: dict[str, list[np.ndarray]] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        """Takes up the notes of an earlier training, or notes the first probabilities."""
        iteration = self._iteration()
        if iteration and self.path.exists() and not self._iterations:
            earlier = read_grouping_history(self.path)
            for index, noted in enumerate(earlier["iterations"]):
                if noted < iteration:
                    layers = {name: values[index] for name, values in earlier.items() if name != "iterations"}
                    self._note(int(noted), layers)
        if not self._iterations or self._iterations[-1] < iteration:
            self._note(iteration, self.model.grouping_probabilities())

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Notes p where it is due."""
        iteration = self._iteration()
        if iteration % self.every_n == 0 and self._note(iteration, self.model.grouping_probabilities()):
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the file."""
        self.write()

    def on_train_end(self, logs: Any = None) -> None:
        """Writes the file."""
        self.write()

    def write(self) -> None:
        """Writes all notes under a temporary name beside the file, then moves it into place."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        arrays: dict[str, Any] = {name: np.stack(values) for name, values in self._layers.items()}
        try:
            with open(temporary, "wb") as stream:
                np.savez_compressed(stream, iterations=np.asarray(self._iterations), **arrays)
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def _iteration(self) -> int:
        return int(keras.ops.convert_to_numpy(self.model.iteration))

    def _note(self, iteration: int, probabilities: dict[str, np.ndarray]) -> bool:
        self._iterations.append(iteration)
        for name, values in probabilities.items():
            self._layers.setdefault(name, []).append(np.asarray(values, "float32"))
        return self.convergence is not None and self.convergence.update(iteration, probabilities)


def read_grouping_history(path: str | Path) -> dict[str, np.ndarray]:
    """Reads what `GroupingMonitor` wrote: `iterations` `(n,)`, and `(n, filters, groups)` by layer name."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
