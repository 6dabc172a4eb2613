"""What several passes of one network say together: mean and spread, entropy and mutual information."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

STANDARD_DEVIATION = "_std"
ENTROPY = "_entropy"
MUTUAL_INFORMATION = "_mutual_information"

Allocate = Callable[[tuple[int, ...]], np.ndarray]
"""Returns an uninitialised float32 array of a shape."""


def in_memory(shape: tuple[int, ...]) -> np.ndarray:
    """Returns an uninitialised float32 array."""
    return np.empty(shape, np.float32)


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Returns `-sum_c p_c ln p_c` over the last axis, in nats; 0 ln 0 is 0."""
    logarithms = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    return -np.sum(probabilities * logarithms, axis=-1)


class PassStatistics(ABC):
    """Collects the outputs of several passes, without keeping them.

    Args:
        allocate: Makes the arrays that are kept between passes.

    Attributes:
        count: Number of passes so far.
        mean: Their mean.
    """

    endings: tuple[str, ...] = ()
    """The endings of the names of what `spread` returns."""

    def __init__(self, allocate: Allocate = in_memory) -> None:
        self._allocate = allocate
        self.count = 0
        self.mean: np.ndarray = np.zeros(())

    def add(self, outputs: np.ndarray) -> None:
        """Adds one pass, `(..., channels)`."""
        self.count += 1
        outputs = np.asarray(outputs, np.float32)
        if self.count == 1:
            self.mean = self._allocate(outputs.shape)
            self.mean[...] = 0
        distance = outputs - self.mean
        self.mean += distance / np.float32(self.count)
        self._add(outputs, distance)

    @abstractmethod
    def _add(self, outputs: np.ndarray, distance: np.ndarray) -> None:
        """Updates the spread; `distance` is from the mean before this pass."""

    @abstractmethod
    def spread(self) -> dict[str, np.ndarray]:
        """Returns the maps of uncertainty, `(...)`, by the ending of their name."""


class Moments(PassStatistics):
    """Mean and standard deviation of a quantity over passes (Welford 1962; with count - 1, as a sample's).

    Args:
        allocate: Makes the arrays that are kept between passes.
        per_channel: Whether each channel has its standard deviation; else there is one, the root of their mean
            variance.
    """

    endings = (STANDARD_DEVIATION,)
    _squares: np.ndarray

    def __init__(self, allocate: Allocate = in_memory, per_channel: bool = False) -> None:
        super().__init__(allocate)
        self._per_channel = per_channel

    def _add(self, outputs: np.ndarray, distance: np.ndarray) -> None:
        if self.count == 1:
            self._squares = self._allocate(outputs.shape)
            self._squares[...] = 0
        self._squares += distance * (outputs - self.mean)

    def spread(self) -> dict[str, np.ndarray]:
        """Returns the standard deviation, `(...)`, or `(..., channels)` per channel."""
        squares = self._squares if self._per_channel else self._squares.mean(axis=-1)
        variance = squares / np.float32(max(self.count - 1, 1))
        return {STANDARD_DEVIATION: np.sqrt(np.maximum(variance, 0.0))}


class Information(PassStatistics):
    """Entropy of the mean probabilities, and the part of it that the passes disagree on.

    Mutual information is the entropy of the mean less the mean of the entropies (Houlsby et al. 2011, equation 2;
    Gal 2016, section 3.3.1): zero where all passes say the same, however uncertain each is.
    """

    endings = (ENTROPY, MUTUAL_INFORMATION)
    _entropies: np.ndarray

    def _add(self, outputs: np.ndarray, distance: np.ndarray) -> None:
        if self.count == 1:
            self._entropies = self._allocate(outputs.shape[:-1])
            self._entropies[...] = 0
        self._entropies += entropy(outputs)

    def spread(self) -> dict[str, np.ndarray]:
        """Returns both, in nats."""
        total = entropy(self.mean)
        # Not negative but for rounding, by Jensen's inequality.
        shared = np.maximum(total - self._entropies / np.float32(self.count), 0.0)
        return {ENTROPY: total, MUTUAL_INFORMATION: shared}
