"""What may be done to the intensities of training windows at random: the keys of `[TRAINING]`, and what they may be."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """What both numbers of a range must keep to.

    Attributes:
        lowest: They are not below it.
        highest: They are not above it; None for any.
        above: Whether they must be above `lowest`.
    """

    lowest: float
    highest: float | None = None
    above: bool = False

    def problem(self, values: tuple[float, float]) -> str:
        """Says what is wrong with a range; empty where nothing is."""
        low, high = values
        if low < self.lowest or (self.above and low == self.lowest):
            return f"must {'be above' if self.above else 'not be below'} {self.lowest:g}"
        return f"must not be above {self.highest:g}" if self.highest is not None and high > self.highest else ""


INTENSITIES: Mapping[str, Bounds] = {
    "gamma_range": Bounds(0.0, above=True),
    "contrast_range": Bounds(0.0, above=True),
    "ghosting_range": Bounds(0.0, 1.0),
    "blur_range": Bounds(0.0),
    "low_resolution_range": Bounds(1.0),
    "noise_range": Bounds(0.0),
}
"""The ranges by their keys, in the order in which they are applied."""
