"""Which tasks share what over the iterations of a training, and what the sharing mechanism has learned at its end."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.callbacks.grouping_convergence import GroupingConvergence
from sfgkeras.callbacks.grouping_file import DAMAGE, ITERATIONS
from sfgkeras.callbacks.grouping_history import GroupingHistory
from sfgkeras.errors import DataError
from sfgkeras.files import replacing


class SharingHistory(GroupingHistory):
    """Notes `sharing_matrix` each n iterations and at the end, in a file of the form of `grouping_file`.

    What the mechanism learned besides (`learned`) is written beside it, with the newest values only. A training that
    goes on from an end that was no multiple of n drops the note of that end, so that it leaves what one without a stop
    would have left.

    Args:
        path: The compressed NumPy file, `.npz`; that of what was learned is called `<name>_learned.npz`.
        every_n: Iterations between two notes.
    """

    noted = "which tasks share what"

    def __init__(self, path: str | Path, every_n: int, convergence: GroupingConvergence | None = None) -> None:
        super().__init__(path, every_n, convergence)
        self._network: Any = None
        self._iteration = 0

    def start(self, iteration: int, network: Any) -> None:
        """Takes up what was noted until `iteration`; see `GroupingHistory.start`."""
        self._network, self._iteration = network, iteration
        super().start(iteration, network)

    def values(self, network: Any) -> dict[str, np.ndarray]:
        """Returns the matrix `(tasks, tasks)` of every stage."""
        return network.sharing_matrix()

    def takes_up(self, iteration: int) -> bool:
        """Says whether an earlier note is kept: not that of an end between two notes."""
        return self.every_n < 1 or iteration % self.every_n == 0

    def observe(self, iteration: int, network: Any) -> bool:
        """Notes the matrices where it is due; nothing converges."""
        # A training may go on with another network: one that has been hardened on the way.
        self._network, self._iteration = network, iteration
        return super().observe(iteration, network)

    def write(self, complete: bool = False) -> None:
        """Writes the notes that are new and what is learned now; `complete` notes the end as well.

        Raises:
            DataError: If they cannot be written; what was written before stays.
        """
        if complete and self._iterations and self._iterations[-1] != self._iteration:
            self.note(self._iteration, self.values(self._network))
        super().write(complete)
        write_learned(learned_path(self.path), self._iteration, self._network.learned())


class Histories:
    """Several histories as one, each with its own file and its own times.

    Args:
        histories: The histories; the first one that says that something has converged decides.
    """

    def __init__(self, histories: Sequence[GroupingHistory]) -> None:
        self.histories = tuple(histories)

    @property
    def warning(self) -> str:
        """What was found wrong with earlier files."""
        return "; ".join(history.warning for history in self.histories if history.warning)

    def start(self, iteration: int, network: Any) -> None:
        """Takes up what was noted until `iteration`."""
        for history in self.histories:
            history.start(iteration, network)

    def observe(self, iteration: int, network: Any) -> bool:
        """Notes what is due; returns whether something has converged."""
        # All of them: one that has converged must not keep the others from noting.
        converged = [history.observe(iteration, network) for history in self.histories]
        return any(converged)

    def write(self, complete: bool = False) -> None:
        """Writes what is new."""
        for history in self.histories:
            history.write(complete)


def learned_path(path: Path) -> Path:
    """Returns the file of what was learned, beside that of a history."""
    return path.with_name(f"{path.stem}_learned.npz")


def write_learned(path: Path, iteration: int, learned: dict[str, np.ndarray]) -> None:
    """Writes what a mechanism has learned as a compressed NumPy file; where that is nothing there is none.

    Raises:
        DataError: If it cannot be written; what was written before stays.
    """
    try:
        if not learned:
            path.unlink(missing_ok=True)
            return
        content = io.BytesIO()
        arrays = {name: np.asarray(values) for name, values in learned.items()}
        np.savez_compressed(content, **{ITERATIONS: np.asarray([iteration])}, **arrays)  # type: ignore[arg-type]
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            stream.write(content.getvalue())
    except OSError as error:
        raise DataError(
            f"{path}: what was learned of sharing cannot be written ({error.strerror or error}); free some space or "
            "choose another folder"
        ) from error


def read_learned(path: str | Path) -> dict[str, np.ndarray]:
    """Reads what `write_learned` wrote, by name; nothing where there is no file.

    Raises:
        DataError: If the file is damaged.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name != ITERATIONS}
    except FileNotFoundError:
        return {}
    except DAMAGE as error:
        raise DataError(f"{path}: is damaged ({error or type(error).__name__}); remove it") from error
