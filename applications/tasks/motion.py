"""Motion: where everything in the frames of a sequence was in the first one, without any labels."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from sfgkeras.analysis.measures import EVALUATIONS, evaluations_of
from sfgkeras.analysis.motion import evaluate_motion
from sfgkeras.applications.tasks.outputs import Resample
from sfgkeras.applications.tasks.quantities import QuantityTask
from sfgkeras.applications.tasks.targets import InputTarget
from sfgkeras.data.grids import Grid

SQUARES = 12
"""Squares of the chessboard along the longest axis."""


class MotionTask(QuantityTask, InputTarget):
    """Predicts a displacement per voxel for every frame after the first; the channels of the image are the frames.

    The network learns u in voxels of its grid: what is at x in frame t was at x + u_t(x) in the first one. Results are
    in mm along the axes of the scanner (x to the right, y to the front, z to the head), as NIfTI files of vectors.
    """

    @property
    def head(self) -> Literal["map", "vector", "motion"]:
        """`motion`."""
        return "motion"

    @property
    def num_outputs(self) -> int:
        """Those of two frames; `outputs_for` knows all."""
        return len(self.axes)

    def outputs_for(self, image_channels: int) -> int:
        """As many as the network has axes, for every frame after the first."""
        return len(self.axes) * max(image_channels - 1, 1)

    @property
    def unit(self) -> str:
        """Displacements are in mm."""
        return "mm"

    @property
    def writes_vectors(self) -> bool:
        """Three numbers for every voxel and frame."""
        return True

    def describe_output(self) -> dict[str, Any]:
        """Says what the channels are."""
        axes = ", ".join("xyz"[axis] for axis in self.axes)
        return super().describe_output() | {
            "channels": f"displacements along {axes} of the window, for every frame after the first",
            "values": "voxels; what is at x in a frame was at x + u(x) in the first one",
        }

    def in_world(self, outputs: np.ndarray, grid: Grid) -> np.ndarray:
        """Returns displacements in mm along the scanner's axes, `(x, y, z, 3 * frames)`, of those in voxels."""
        axes = list(self.axes)
        by_frame = np.reshape(outputs, (*outputs.shape[:3], -1, len(axes)))
        moved = by_frame @ np.asarray(grid.affine[:3, axes].T, np.float32)
        return np.reshape(moved, (*outputs.shape[:3], -1))

    def finish_map(self, aggregated: np.ndarray, resample: Resample, order: int, fill: float) -> dict[str, np.ndarray]:
        """Resamples every component; beyond the grid nothing moves."""
        return {"": np.asarray(resample(aggregated, min(order, 1), 0.0), np.float32)}

    def read_result(self, array: np.ndarray, affine: np.ndarray) -> np.ndarray:
        """Returns displacements in voxels, `(x, y, z, frames - 1, 3)`, of those in mm that a file holds."""
        return np.reshape(array, (*array.shape[:3], -1, 3)) @ np.linalg.inv(affine[:3, :3]).T

    def result_shape(self, image: Sequence[int]) -> tuple[int, ...]:
        """Returns the shape of what `read_result` gives for an image `(x, y, z, frames)`."""
        return (*image[:3], image[3] - 1, 3) if len(image) > 3 else (*image, 0, 3)

    def picture(self, array: np.ndarray) -> np.ndarray:
        """Returns the longest displacement of every voxel over all frames, `(x, y, z)` in mm."""
        return np.linalg.norm(np.reshape(array, (*array.shape[:3], -1, 3)), axis=-1).max(axis=-1)

    @property
    def drawn_names(self) -> tuple[str, ...]:
        """A grid that moves with the image."""
        return ("squares of the first frame, where they are in the frame that moved most",)

    def drawn(self, array: np.ndarray, affine: np.ndarray) -> np.ndarray:
        """Returns a chessboard of the first frame as it looks in the frame that moved most."""
        flow = self.read_result(array, affine)
        most = int(np.argmax(np.linalg.norm(flow, axis=-1).mean(axis=(0, 1, 2))))
        places = np.indices(flow.shape[:3]) + np.moveaxis(flow[..., most, :], -1, 0)
        side = max(4, round(max(flow.shape[:3]) / SQUARES))
        return (np.floor((places + 0.5) / side).sum(axis=0) % 2).astype(np.uint8)

    def evaluate_map(
        self,
        truth: np.ndarray,
        prediction: np.ndarray,
        valid: np.ndarray,
        spacing: Sequence[float],
        evaluation: Any,
        masks: Mapping[str, np.ndarray] | None = None,
    ) -> list[dict[str, Any]]:
        """Measures every frame after the first: how the moved first frame explains it, and the motion itself.

        Args:
            truth: The frames, as the network saw them, `(x, y, z, frames)`.
            prediction: What `read_result` gives.
            valid: Voxels that the image covers.
            spacing: Voxel size in mm.
            evaluation: The `[EVALUATION]` section.
            masks: Regions to measure once more.
        """
        names = self.measures(evaluation.evaluations)
        if names is None:
            names = [name for name in evaluations_of("motion") if EVALUATIONS[name].usual]
        functions = {name: EVALUATIONS[name].function for name in names}
        return evaluate_motion(truth, prediction, spacing, functions, valid, masks)
