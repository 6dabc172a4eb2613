"""Surface normals: how the surface that each pixel shows is turned, after Eigen and Fergus (2015)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from sfgkeras.analysis.surfaces import evaluate_normals
from sfgkeras.analysis.uncertainty import Allocate, Moments, in_memory
from sfgkeras.applications.tasks.outputs import Resample
from sfgkeras.applications.tasks.targets import VoxelTarget
from sfgkeras.data.directions import unit_vectors


class NormalsTask(VoxelTarget):
    """Predicts a unit vector per pixel: x, y and z.

    In files and results x runs along the columns of a photo, to the right, y down its rows and z into it; in a volume
    they are the axes of the array. They turn with everything that turns the image. Pixels of 0, 0, 0 are not known.
    """

    has_directions: ClassVar[bool] = True

    @property
    def target_kind(self) -> str:
        """`vectors`."""
        return "vectors"

    @property
    def num_outputs(self) -> int:
        """Three channels."""
        return 3

    def describe_output(self) -> dict[str, Any]:
        """Adds what the channels are."""
        values = "a vector along the axes of the input, of any length: the normal is channels / |channels|"
        return super().describe_output() | {"values": values}

    def unknown(self, volume: np.ndarray) -> np.ndarray | None:
        """Returns the pixels without a direction."""
        return ~np.any(volume != 0, axis=-1)

    def prepare_map(self, volume: np.ndarray) -> np.ndarray:
        """Returns vectors of length 1."""
        return unit_vectors(volume)

    def activate(self, outputs: np.ndarray) -> np.ndarray:
        """Returns vectors of length 1, so that each window and each pass counts the same in a mean."""
        return unit_vectors(outputs)

    def build_statistics(self, allocate: Allocate = in_memory) -> Moments:
        """Mean vector, and standard deviation of its components as one."""
        return Moments(allocate)

    def finish_map(self, aggregated: np.ndarray, resample: Resample, order: int, fill: float) -> dict[str, np.ndarray]:
        """Resamples, and gives what is there length 1 again."""
        return {"": unit_vectors(resample(aggregated, order, 0.0))}

    def evaluate_map(
        self,
        truth: np.ndarray,
        prediction: np.ndarray,
        valid: np.ndarray,
        spacing: Sequence[float],
        evaluation: Any,
        masks: Mapping[str, np.ndarray] | None = None,
    ) -> list[dict[str, Any]]:
        """Measures the angles at pixels whose normal is known."""
        return evaluate_normals(truth, prediction, valid, self.measures(evaluation.evaluations), masks)
