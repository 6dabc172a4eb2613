"""Reconstruction: the image itself, as the network sees it; an auxiliary task, or an autoencoder."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sfgkeras.analysis.measures import evaluate_regression
from sfgkeras.analysis.uncertainty import Allocate, Moments, in_memory
from sfgkeras.applications.tasks.outputs import Resample
from sfgkeras.applications.tasks.targets import InputTarget


class ReconstructionTask(InputTarget):
    """Predicts all channels of the window that the network sees: normalised and whitened, if the INI file says so.

    Results and errors are in the same unit. There is no target to read.
    """

    @property
    def num_outputs(self) -> int:
        """At least 1; `outputs_for` knows them all."""
        return 1

    def outputs_for(self, image_channels: int) -> int:
        """As many channels as the image has."""
        return image_channels

    def activate(self, outputs: np.ndarray) -> np.ndarray:
        """Returns the outputs; a reconstruction has no activation."""
        return outputs

    def build_statistics(self, allocate: Allocate = in_memory) -> Moments:
        """Mean and standard deviation, of all channels as one."""
        return Moments(allocate)

    def describe_output(self) -> dict[str, Any]:
        """Says that the channels are those of the input."""
        described = super().describe_output()
        return described | {"channels": "those of the input", "values": "the input, as the network sees it"}

    def finish_map(self, aggregated: np.ndarray, resample: Resample, order: int, fill: float) -> dict[str, np.ndarray]:
        """Resamples every channel; one of several is written as the fourth axis."""
        channels = np.asarray(resample(aggregated, order, fill), np.float32)
        return {"": channels[..., 0] if channels.shape[-1] == 1 else channels}

    def evaluate_map(
        self,
        truth: np.ndarray,
        prediction: np.ndarray,
        valid: np.ndarray,
        spacing: Sequence[float],
        evaluation: Any,
        masks: Mapping[str, np.ndarray] | None = None,
    ) -> list[dict[str, Any]]:
        """Measures all channels of the voxels that the network has seen."""
        return evaluate_regression(
            truth,
            prediction,
            self.measures(evaluation.evaluations),
            evaluation.intensity_bounds,
            valid=valid,
            masks=masks,
        )
