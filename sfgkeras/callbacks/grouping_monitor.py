"""Notes the grouping probabilities during `fit`, in one compressed file."""

from pathlib import Path
from typing import Any

import keras

from sfgkeras.callbacks.grouping_convergence import GroupingConvergence
from sfgkeras.callbacks.grouping_history import GroupingHistory


class GroupingMonitor(keras.callbacks.Callback):
    """Keeps a `GroupingHistory` during `fit`, and can end the training when p no longer moves.

    The file is written at the end of every epoch. A training that goes on from an earlier one keeps the notes
    of the iterations before.

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
        self.history = GroupingHistory(path, every_n, convergence)

    def on_train_begin(self, logs: Any = None) -> None:
        """Takes up the notes of an earlier training, or notes the first probabilities."""
        self.history.start(self._iteration(), self.model)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Notes p where it is due."""
        if self.history.observe(self._iteration(), self.model):
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the file."""
        self.history.write()

    def on_train_end(self, logs: Any = None) -> None:
        """Writes the file."""
        self.history.write(complete=True)

    def _iteration(self) -> int:
        return int(keras.ops.convert_to_numpy(self.model.iteration))
