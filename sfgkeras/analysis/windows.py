"""Display windows that all subjects share: a value has the same colour in every subject's picture."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# Per volume; enough for percentiles that are shown with three digits.
MOST_SAMPLES = 50_000
MARGIN = 0.1


@dataclass(frozen=True)
class Window:
    """What a scale of colours stands for.

    Attributes:
        limits: Values of the darkest and the brightest colour.
        reach: Least and greatest value that are told apart at all, around `limits`.
        unit: Their unit; empty where they have none.
    """

    limits: tuple[float, float]
    reach: tuple[float, float]
    unit: str = ""

    @property
    def texts(self) -> tuple[str, str]:
        """The limits with their unit."""
        low, high = (f"{number_text(value)} {self.unit}".rstrip() for value in self.limits)
        return low, high


class WindowSamples:
    """Collects a part of the values of every subject, by the name of the window in which they will be shown."""

    def __init__(self) -> None:
        self._samples: dict[str, list[np.ndarray]] = {}

    def add(self, name: str, volume: np.ndarray) -> None:
        """Adds a volume; values that are not finite do not count."""
        flat = np.asarray(volume, np.float32).ravel()
        # A step prime to most sizes of images, so that it does not walk along one column.
        sample = flat[:: max(1, flat.size // MOST_SAMPLES) | 1]
        self._samples.setdefault(name, []).append(sample[np.isfinite(sample)])

    def between(self, name: str, low: float, high: float, unit: str = "") -> Window:
        """Returns the window between two percentiles, in %, of all subjects together."""
        limits = self._percentiles(name, low, high)
        return self.fixed(name, limits, unit)

    def fixed(self, name: str, limits: tuple[float, float], unit: str = "") -> Window:
        """Returns a window of given limits that reaches as far as nearly all values."""
        lowest, highest = self._percentiles(name, MARGIN, 100 - MARGIN)
        return Window(limits, (min(limits[0], lowest), max(limits[1], highest)), unit)

    def from_zero(self, name: str, high: float, unit: str = "") -> Window:
        """Returns the window from zero to a percentile."""
        return self.fixed(name, (0.0, self._percentiles(name, 0, high)[1] or 1.0), unit)

    def symmetric(self, name: str, high: float, unit: str = "") -> Window:
        """Returns a window around zero as wide to both sides, to a percentile of the absolute values."""
        values = [np.abs(sample) for sample in self._samples.get(name, [])]
        pooled = np.concatenate(values) if values else np.zeros(0)
        limit, reach = np.percentile(pooled, [high, 100 - MARGIN]) if pooled.size else (1.0, 1.0)
        limit = float(limit) or 1.0
        reach = max(limit, float(reach))
        return Window((-limit, limit), (-reach, reach), unit)

    def _percentiles(self, name: str, low: float, high: float) -> tuple[float, float]:
        pooled = np.concatenate(self._samples.get(name) or [np.zeros(0)])
        if not pooled.size:
            return 0.0, 1.0
        first, last = np.percentile(pooled, [low, high])
        return float(first), float(last)


def number_text(value: float) -> str:
    """Returns a number short enough for a scale of colours."""
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"  # which would be 1e+03


def settings_of(windows: Mapping[str, Window]) -> dict[str, dict[str, object]]:
    """Returns windows as plain values for a page's script."""
    return {
        name: {"limits": list(window.limits), "reach": list(window.reach), "unit": window.unit}
        for name, window in windows.items()
    }
