"""The grouping probabilities over the iterations of a training, kept in one compressed file."""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.callbacks.grouping_convergence import GroupingConvergence
from sfgkeras.errors import DataError

ITERATIONS = "iterations"


class GroupingHistory:
    """Notes p of every filter group layer each n iterations and says when it no longer moves.

    The file holds `iterations` `(n,)` and one float32 array `(n, filters, groups)` per layer, under the
    layer's name. A network without filter groups leaves no file.

    Args:
        path: The compressed NumPy file, `.npz`.
        every_n: Iterations between two notes; 0 notes only the first probabilities.
        convergence: Told every note; decides whether p has converged. None never does.
    """

    def __init__(self, path: str | Path, every_n: int, convergence: GroupingConvergence | None = None) -> None:
        self.path = Path(path)
        self.every_n = every_n
        self.convergence = convergence
        self._iterations: list[int] = []
        self._layers: dict[str, list[np.ndarray]] = {}

    def start(self, iteration: int, network: Any) -> None:
        """Takes up what was noted until `iteration`, here or in the file; notes p where nothing was.

        Notes of later iterations are dropped: a resumed training makes them again. So is a damaged file.
        """
        earlier = self.arrays() if iteration else {}
        if iteration and not earlier and self.path.exists():
            try:
                earlier = read_grouping_history(self.path)
            except DataError:
                earlier = {}
        self._iterations, self._layers = [], {}
        for index, noted in enumerate(earlier.get(ITERATIONS, ())):
            if noted <= iteration:
                self.note(int(noted), {name: values[index] for name, values in earlier.items() if name != ITERATIONS})
        if not self._iterations:
            self.note(iteration, network.grouping_probabilities())

    def observe(self, iteration: int, network: Any) -> bool:
        """Notes p where it is due; returns whether it has converged."""
        if self.every_n < 1 or iteration % self.every_n:
            return False
        return self.note(iteration, network.grouping_probabilities())

    def note(self, iteration: int, probabilities: dict[str, np.ndarray]) -> bool:
        """Takes p of an iteration, `(filters, groups)` by layer name; returns whether it has converged."""
        if not probabilities:
            return False
        self._iterations.append(iteration)
        for name, values in probabilities.items():
            self._layers.setdefault(name, []).append(np.asarray(values, np.float32))
        return self.convergence is not None and self.convergence.update(iteration, probabilities)

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns what the file will hold; empty before the first note."""
        if not self._iterations:
            return {}
        layers = {name: np.stack(values) for name, values in self._layers.items()}
        return {ITERATIONS: np.asarray(self._iterations), **layers}

    def write(self) -> None:
        """Writes all notes under a temporary name beside the file, then moves it into place.

        Raises:
            DataError: If the file cannot be written; the old one stays.
        """
        arrays: dict[str, Any] = self.arrays()
        if not arrays:
            return
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(temporary, "wb") as stream:
                    np.savez_compressed(stream, **arrays)
                    stream.flush()
                    os.fsync(stream.fileno())
                os.replace(temporary, self.path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(
                f"{self.path}: the grouping probabilities cannot be written ({error.strerror or error}); free some "
                "space or choose another folder"
            ) from error


def read_grouping_history(path: str | Path) -> dict[str, np.ndarray]:
    """Reads what `GroupingHistory` wrote: `iterations` `(n,)`, and `(n, filters, groups)` by layer name.

    Raises:
        DataError: If the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise DataError(f"{path}: no grouping probabilities; train with sharing = sfg first") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: is damaged ({error}); remove it") from error
