"""Reconstruction: the image itself, as the network sees it; an auxiliary task, or an autoencoder."""

from typing import Any

import numpy as np

from sfgkeras.applications.tasks.outputs import Resample
from sfgkeras.applications.tasks.quantities import QuantityMap
from sfgkeras.applications.tasks.targets import InputTarget


class ReconstructionTask(QuantityMap, InputTarget):
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

    def describe_output(self) -> dict[str, Any]:
        """Says that the channels are those of the input."""
        described = super().describe_output()
        return described | {"channels": "those of the input", "values": "the input, as the network sees it"}

    def finish_map(self, aggregated: np.ndarray, resample: Resample, order: int, fill: float) -> dict[str, np.ndarray]:
        """Resamples every channel; one of several is written as the fourth axis."""
        channels = np.asarray(resample(aggregated, order, fill), np.float32)
        return {"": channels[..., 0] if channels.shape[-1] == 1 else channels}
