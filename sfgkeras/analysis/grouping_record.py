"""What a training noted of its grouping probabilities, and the numbers that the figures show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GroupingRecord:
    """Grouping probabilities over a training.

    Attributes:
        iterations: When they were noted, `(n,)`, rising.
        layers: `(n, filters, groups)` by layer name, in the order of depth.
        group_names: The tasks, then `shared`.
    """

    iterations: np.ndarray
    layers: Mapping[str, np.ndarray]
    group_names: tuple[str, ...]

    @classmethod
    def from_history(cls, history: Mapping[str, np.ndarray], task_names: Sequence[str]) -> "GroupingRecord":
        """Makes a record of what a grouping history holds.

        Raises:
            ValueError: If it was noted for another number of tasks, or holds nothing.
        """
        layers = {name: values for name, values in history.items() if name != "iterations"}
        names = (*task_names, "shared")
        found = {values.shape[-1] for values in layers.values()}
        if found != {len(names)}:
            raise ValueError(
                f"the grouping history has layers of {sorted(found) or 'no'} groups, {len(names)} are expected: "
                f"{', '.join(names)}"
            )
        return cls(np.asarray(history["iterations"]), layers, names)

    @property
    def num_tasks(self) -> int:
        """Number of tasks."""
        return len(self.group_names) - 1

    @property
    def is_fixed(self) -> bool:
        """Whether every filter is in one group, and always was: nothing was learned, nor drawn."""
        return all(np.isin(values, (0, 1)).all() and (values == values[:1]).all() for values in self.layers.values())

    def last(self) -> dict[str, np.ndarray]:
        """Returns the newest probabilities by layer, `(filters, groups)`."""
        return {name: values[-1] for name, values in self.layers.items()}

    def thinned(self, count: int) -> "GroupingRecord":
        """Returns at most `count` notes, evenly spread, the first and the last among them."""
        if len(self.iterations) <= count:
            return self
        kept = np.unique(np.linspace(0, len(self.iterations) - 1, max(count, 2)).round().astype(int))
        return GroupingRecord(
            self.iterations[kept], {name: values[kept] for name, values in self.layers.items()}, self.group_names
        )


def assigned_groups(probabilities: np.ndarray) -> np.ndarray:
    """Returns the most probable group of every filter, `(filters,)`, as `grouping.mode_assignment` breaks ties.

    Args:
        probabilities: `(filters, groups)`.
    """
    filters, groups = probabilities.shape
    distance = (np.arange(groups) - np.arange(filters)[:, None]) % groups
    largest = probabilities == probabilities.max(axis=1, keepdims=True)
    return np.where(largest, groups - distance, 0).argmax(axis=1)


def entropies(probabilities: np.ndarray) -> np.ndarray:
    """Returns the entropy of every filter's grouping in nats, `(...)`, of probabilities `(..., groups)`."""
    values = np.asarray(probabilities, np.float64)
    # Not -sum(..): that is -0.0 for a filter of one group.
    return (values * -np.log(np.where(values > 0, values, 1.0))).sum(axis=-1) + 0.0


def group_shares(probabilities: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns which part of each layer's filters every group has.

    Args:
        probabilities: `(filters, groups)` by layer.

    Returns:
        The shares by most probable group, and the mean probabilities; both `(layers, groups)`, rows sum to 1.
    """
    layers = [np.asarray(values, np.float64) for values in probabilities.values()]
    counted = [np.bincount(assigned_groups(values), minlength=values.shape[1]) / len(values) for values in layers]
    return np.array(counted), np.array([values.mean(axis=0) for values in layers])


def first_passage(iterations: np.ndarray, probabilities: np.ndarray, threshold: float = 0.9) -> np.ndarray:
    """Returns when every filter settled: from which noted iteration on its last group stays above `threshold`.

    Args:
        iterations: `(n,)`.
        probabilities: `(n, filters, groups)`.
        threshold: Probability that counts as settled.

    Returns:
        Iterations `(filters,)`; NaN for a filter whose largest probability is not above the threshold at the end.
    """
    last = assigned_groups(probabilities[-1])
    followed = np.take_along_axis(probabilities, last[None, :, None], axis=2)[..., 0]
    above = followed > threshold
    # True where this note and all later ones are above.
    settled = np.logical_and.accumulate(above[::-1], axis=0)[::-1]
    first = settled.argmax(axis=0)
    return np.where(settled.any(axis=0), np.asarray(iterations, np.float64)[first], np.nan)
