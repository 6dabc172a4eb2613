"""What tasks of quantities have in common: outputs as they are, their mean and spread, errors of maps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sfgkeras.analysis.measures import evaluate_regression
from sfgkeras.analysis.uncertainty import Allocate, Moments, in_memory
from sfgkeras.applications.tasks.outputs import VolumeTask
from sfgkeras.applications.tasks.task import Task


class QuantityTask(Task):
    """Predicts quantities, not classes: the outputs of the network are the prediction."""

    def activate(self, outputs: np.ndarray) -> np.ndarray:
        """Returns the outputs; a quantity has no activation."""
        return outputs

    def build_statistics(self, allocate: Allocate = in_memory) -> Moments:
        """Mean and standard deviation, of all channels as one."""
        return Moments(allocate)


class QuantityMap(QuantityTask, VolumeTask):
    """Predicts one quantity per voxel, or a few."""

    def evaluate_map(
        self,
        truth: np.ndarray,
        prediction: np.ndarray,
        valid: np.ndarray,
        spacing: Sequence[float],
        evaluation: Any,
        masks: Mapping[str, np.ndarray] | None = None,
    ) -> list[dict[str, Any]]:
        """Measures the voxels that the target covers, and those within each intensity bound."""
        return evaluate_regression(
            truth,
            prediction,
            self.measures(evaluation.evaluations),
            evaluation.intensity_bounds,
            valid=valid,
            masks=masks,
        )
