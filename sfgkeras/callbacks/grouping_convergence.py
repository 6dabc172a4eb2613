"""When the grouping probabilities have stopped moving (supplement of the paper, section 1.3)."""

from collections import deque
from collections.abc import Mapping

import numpy as np


class GroupingConvergence:
    """Says when grouping probabilities no longer move: the paper takes that iteration for its tests.

    The distance between two notes of p is half the sum of absolute differences over the groups (total
    variation, 0 to 1), averaged over the filters of a layer, in the layer where it is largest. p has
    converged once every note of the last `window` iterations is at most `tolerance` away from the newest one.

    Args:
        window: Iterations over which p must stand still.
        tolerance: Largest mean distance that counts as standing still.

    Attributes:
        converged_at: The iteration of the first convergence; None before it.

    Raises:
        ValueError: If the window is not positive or the tolerance negative.
    """

    def __init__(self, window: int = 10_000, tolerance: float = 0.01) -> None:
        if window < 1:
            raise ValueError(f"window = {window} must be a positive number of iterations")
        if tolerance < 0:
            raise ValueError(f"tolerance = {tolerance} must not be negative; distances are 0 to 1")
        self.window = window
        self.tolerance = tolerance
        self.converged_at: int | None = None
        self._notes: deque[tuple[int, dict[str, np.ndarray]]] = deque()

    def update(self, iteration: int, probabilities: Mapping[str, np.ndarray]) -> bool:
        """Takes the probabilities of an iteration.

        Args:
            iteration: Iteration of the note; later than the one before. An earlier one starts anew.
            probabilities: p by layer name, `(filters, groups)`.

        Returns:
            Whether p has stood still over the whole window that ends here.
        """
        if self._notes and iteration <= self._notes[-1][0]:
            self._notes.clear()
        current = {name: np.array(values, "float32") for name, values in probabilities.items()}
        self._notes.append((iteration, current))
        # One note at or before the window's start stays, so that notes cover the window.
        while len(self._notes) > 1 and self._notes[1][0] <= iteration - self.window:
            self._notes.popleft()
        if not current or self._notes[0][0] > iteration - self.window:
            return False
        converged = all(largest_movement(note, current) <= self.tolerance for _, note in self._notes)
        if converged and self.converged_at is None:
            self.converged_at = iteration
        return converged


def largest_movement(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> float:
    """Returns the mean total variation distance (0 to 1) of two notes, in the layer that moved most."""
    return max(
        float(np.mean(0.5 * np.abs(np.asarray(values) - after[name]).sum(axis=-1))) for name, values in before.items()
    )
