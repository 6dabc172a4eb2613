"""Depth: how far away each pixel shows something, after Eigen and Fergus (2015)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sfgkeras.analysis.surfaces import evaluate_depth
from sfgkeras.analysis.uncertainty import Allocate, Moments, in_memory
from sfgkeras.applications.tasks.outputs import Resample
from sfgkeras.applications.tasks.targets import VoxelTarget

LARGEST_LOG = 60.0
"""Logarithms beyond this are no depths; their exponential would leave float32."""


class DepthTask(VoxelTarget):
    """Predicts a depth per pixel. The network learns its natural logarithm; files and results hold the depth itself.

    Pixels whose depth is not above 0 are not known: nothing is learned or measured there.
    """

    @property
    def target_kind(self) -> str:
        """`log_depth`."""
        return "log_depth"

    @property
    def num_outputs(self) -> int:
        """One channel."""
        return 1

    @property
    def unit(self) -> str:
        """What the INI file says."""
        return self.settings.unit

    def describe_output(self) -> dict[str, Any]:
        """Adds what the channel is."""
        values = "natural logarithm of the depth: depth = exp(channel)"
        return super().describe_output() | {"values": values, "unit": self.unit or f"as [{self.source}]"}

    def unknown(self, volume: np.ndarray) -> np.ndarray | None:
        """Returns the pixels whose depth is not above 0."""
        return ~(volume > 0)

    def prepare_map(self, volume: np.ndarray) -> np.ndarray:
        """Returns the logarithm; 0 where nothing is known."""
        depth = np.asarray(volume, np.float32)
        return np.log(depth, out=np.zeros_like(depth), where=depth > 0)

    def activate(self, outputs: np.ndarray) -> np.ndarray:
        """Returns depths, of which the mean over windows and passes is taken."""
        return np.exp(np.clip(outputs, -LARGEST_LOG, LARGEST_LOG))

    def build_statistics(self, allocate: Allocate = in_memory) -> Moments:
        """Mean and standard deviation of the depth."""
        return Moments(allocate)

    def finish_map(self, aggregated: np.ndarray, resample: Resample, order: int, fill: float) -> dict[str, np.ndarray]:
        """Resamples the depths."""
        return {"": np.asarray(resample(aggregated[..., 0], order, fill), np.float32)}

    def evaluate_map(
        self,
        truth: np.ndarray,
        prediction: np.ndarray,
        valid: np.ndarray,
        spacing: Sequence[float],
        evaluation: Any,
        masks: Mapping[str, np.ndarray] | None = None,
    ) -> list[dict[str, Any]]:
        """Measures the pixels whose depth is known, and those within each intensity bound."""
        names = self.measures(evaluation.evaluations)
        return evaluate_depth(truth, prediction, valid, names, evaluation.intensity_bounds, masks)
