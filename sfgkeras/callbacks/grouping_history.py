"""The grouping probabilities over the iterations of a training, noted, kept, and watched for their standing still."""

from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.callbacks.grouping_convergence import GroupingConvergence
from sfgkeras.callbacks.grouping_file import ITERATIONS, append_notes, read_grouping_history, write_notes
from sfgkeras.errors import DataError


class GroupingHistory:
    """Notes p of every filter group layer each n iterations and says when it no longer moves.

    The file is that of `grouping_file`. A network without filter groups leaves none.

    Args:
        path: The compressed NumPy file, `.npz`.
        every_n: Iterations between two notes; 0 notes only the first probabilities.
        convergence: Told every note; decides whether p has converged. None never does.

    Attributes:
        warning: What `start` found wrong with an earlier file; empty where it found nothing.
        noted: What is noted, in words for messages.
    """

    noted = "the grouping probabilities"

    def __init__(self, path: str | Path, every_n: int, convergence: GroupingConvergence | None = None) -> None:
        self.path = Path(path)
        self.every_n = every_n
        self.convergence = convergence
        self.warning = ""
        self._iterations: list[int] = []
        self._layers: dict[str, list[np.ndarray]] = {}
        self._written = 0
        self._checksum: int | None = None

    def start(self, iteration: int, network: Any) -> None:
        """Takes up what was noted until `iteration`, here or in the file; notes p where nothing was.

        Notes of later iterations are dropped: a resumed training makes them again. So is a damaged file, with a
        `warning`.
        """
        earlier = self.arrays() if iteration else {}
        if iteration and not earlier and self.path.exists():
            try:
                earlier = read_grouping_history(self.path)
            except DataError as error:
                self.warning = f"{error}; the record of {self.noted} begins anew at iteration {iteration}"
        self._iterations, self._layers, self._checksum = [], {}, None
        for index, noted in enumerate(earlier.get(ITERATIONS, ())):
            if noted <= iteration and self.takes_up(int(noted)):
                self.note(int(noted), {name: values[index] for name, values in earlier.items() if name != ITERATIONS})
        if not self._iterations:
            self.note(iteration, self.values(network))

    def values(self, network: Any) -> dict[str, np.ndarray]:
        """Returns what is noted of a network, `(rows, columns)` by layer name."""
        return network.grouping_probabilities()

    def takes_up(self, iteration: int) -> bool:
        """Says whether an earlier note of an iteration is kept; here all are."""
        return True

    def observe(self, iteration: int, network: Any) -> bool:
        """Notes p where it is due; returns whether it has converged."""
        if self.every_n < 1 or iteration % self.every_n:
            return False
        return self.note(iteration, self.values(network))

    def note(self, iteration: int, probabilities: dict[str, np.ndarray]) -> bool:
        """Takes p of an iteration, `(filters, groups)` by layer name; returns whether it has converged."""
        if not probabilities:
            return False
        # A network that has been made dense on the way tells of its stages per task, too: they are left out.
        known = self._layers or probabilities
        probabilities = {name: values for name, values in probabilities.items() if name in known}
        self._iterations.append(iteration)
        for name, values in probabilities.items():
            self._layers.setdefault(name, []).append(np.asarray(values, np.float32))
        return self.convergence is not None and self.convergence.update(iteration, probabilities)

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns what the file will hold; empty before the first note."""
        if not self._iterations:
            return {}
        return self._arrays_since(0)

    def write(self, complete: bool = False) -> None:
        """Writes the notes that are new; `complete` puts all of them into the one archive.

        Raises:
            DataError: If they cannot be written; what was written before stays.
        """
        if not self._iterations:
            return
        try:
            if complete or self._checksum is None or not self._append():
                self._checksum = write_notes(self.path, self.arrays())
        except OSError as error:
            # What part of it is on the disk is not known.
            self._checksum = None
            raise DataError(
                f"{self.path}: {self.noted} cannot be written ({error.strerror or error}); free some space or choose "
                "another folder"
            ) from error
        self._written = len(self._iterations)

    def _append(self) -> bool:
        """Appends the notes since the last write; returns False where the archive is to be written anew instead."""
        if self._written == len(self._iterations):
            return True
        return append_notes(self.path, self._arrays_since(self._written), self._checksum or 0)

    def _arrays_since(self, first: int) -> dict[str, np.ndarray]:
        layers = {name: np.stack(values[first:]) for name, values in self._layers.items()}
        return {ITERATIONS: np.asarray(self._iterations[first:]), **layers}
