"""Bounding boxes: where in the image something is, as the box around it."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from sfgkeras.analysis.measures import evaluate_boxes
from sfgkeras.analysis.uncertainty import Allocate, Moments, in_memory
from sfgkeras.applications.tasks.targets import PointTarget
from sfgkeras.data.points import Frame, Move, box_corners, from_fractions, hull, moved_box, visible_box
from sfgkeras.errors import DataError
from sfgkeras.quoting import split_list

AXES = "xyz"


class BoundingBoxTask(PointTarget):
    """Predicts one box per image: x_min, y_min, x_max, y_max, in 3-D with z_min and z_max.

    The network learns it in fractions of the window, the low corner along the window's axes, then the high one; what
    lies beyond the window is cut off. Files and results count voxels of the subject's own image from its outer edge, so
    that a box around all of it goes from 0 to its size.
    """

    rows_per_subject: ClassVar[bool] = True

    @property
    def attributes(self) -> tuple[str, ...]:
        """The columns of the target's table: low corner, then high corner."""
        return tuple(split_list(str(self.settings.attribute)))

    @property
    def parts(self) -> tuple[str, ...]:
        """`x_min`, `y_min`, `x_max`, `y_max`, and in 3-D the same with z."""
        return box_parts(len(self.attributes) // 2)

    @property
    def num_outputs(self) -> int:
        """4, or 6 in 3-D."""
        return len(self.attributes)

    @property
    def unit(self) -> str:
        """Results are in pixels, whatever the target is in."""
        return "pixels"

    def activate(self, outputs: np.ndarray) -> np.ndarray:
        """Returns the outputs; a box has no activation."""
        return outputs

    def build_statistics(self, allocate: Allocate = in_memory) -> Moments:
        """Mean and standard deviation of each number."""
        return Moments(allocate, per_channel=True)

    def describe_output(self) -> dict[str, Any]:
        """Adds what the channels are."""
        values = "box in fractions of the window: its low corner along the window's axes, then its high corner"
        return super().describe_output() | {"values": values}

    def prepare_value(self, *texts: str) -> np.ndarray:
        """Returns the numbers in the target's own unit, `(4,)` or `(6,)`.

        Raises:
            DataError: If a text is no number, or the box is turned inside out or empty.
        """
        numbers = self.read_value(*texts)
        rank = len(numbers) // 2
        for axis in range(rank):
            if not numbers[axis] < numbers[axis + rank]:
                low, high = self.attributes[axis], self.attributes[axis + rank]
                raise DataError(
                    f"[{self.source}] {low} = {numbers[axis]:g} is not below {high} = {numbers[axis + rank]:g}; "
                    f"correct the box, or the order of attribute in [TASK {self.name}]: low corner, then high corner"
                )
        return numbers

    def as_written(self, numbers: np.ndarray, frame: Frame) -> np.ndarray:
        """Returns the box in voxels of the subject's own image, as results are written.

        Raises:
            DataError: If it lies outside of the image, or is too small to be in the unit that the INI file says.
        """
        rank, fractions = len(numbers) // 2, self.settings.units == "fractions"
        written = frame.box_as_written(frame.box_in_voxels(numbers, fractions), rank)
        extents = [frame.shape[axis] for axis in frame.axes[:rank]]
        shown = ", ".join(f"{number:g}" for number in numbers)
        size = " x ".join(map(str, extents))
        if np.any(written[:rank] >= extents) or np.any(written[rank:] <= 0):
            remedy = "correct it, or write units = pixels" if fractions else "correct it; pixels count from 0"
            raise DataError(
                f"[{self.source}] the box {shown} lies outside of the image of {size} pixels (units = "
                f"{self.settings.units}); {remedy}"
            )
        if not fractions and max(extents) > 1 and numbers.max() <= 1:
            raise DataError(
                f"[{self.source}] the box {shown} is within one of the {size} pixels; write units = fractions in "
                f"[TASK {self.name}] if these are parts of the image"
            )
        return written

    def place(self, numbers: np.ndarray, to_grid: Move, frame: Frame) -> np.ndarray:
        """Returns the box on the network's grid, `(6,)` in its voxels."""
        return moved_box(frame.box_in_voxels(self.as_written(numbers, frame)), to_grid)

    def move(self, numbers: np.ndarray, to_window: Move, size: Sequence[int]) -> np.ndarray:
        """Returns the part of the box that a window shows, in fractions of it; NaN where it shows none."""
        return visible_box(moved_box(numbers, to_window), size).astype(np.float32)

    def finish_points(self, outputs: np.ndarray, to_file: Move, size: Sequence[int], frame: Frame) -> dict[str, float]:
        """Returns the box in voxels of the file; whichever of two corners is further along an axis is its end there."""
        corners = from_fractions(np.reshape(outputs, (2, -1)), size)
        box = hull(to_file(box_corners(hull(corners))))
        numbers = frame.box_as_written(box, len(size))
        return dict(zip(self.columns, numbers.tolist(), strict=True))

    def finish_points_spread(
        self, spread: Mapping[str, Any], to_file: Move, size: Sequence[int], frame: Frame
    ) -> dict[str, float]:
        """Returns the standard deviation of each number in voxels of the file."""
        origin = np.zeros((1, len(size)))
        # Voxels of the file by the whole length of each axis of the window.
        lengths = np.stack([(to_file(origin + step) - to_file(origin))[0] for step in np.diag(size).astype(float)])
        row: dict[str, float] = {}
        for ending, values in spread.items():
            variance = np.square(np.reshape(values, (2, -1))) @ np.square(lengths)
            numbers = np.sqrt(variance)[:, list(frame.axes[: len(size)])].ravel()
            row |= {f"{column}{ending}": float(value) for column, value in zip(self.columns, numbers, strict=True)}
        return row

    def mask(self, numbers: np.ndarray, shape: Sequence[int], frame: Frame) -> np.ndarray:
        """Returns the voxels whose centres lie in the box."""
        return box_mask(frame.box_in_voxels(numbers), shape)

    def evaluate_values(self, truth: np.ndarray, prediction: np.ndarray, evaluation: Any) -> list[dict[str, Any]]:
        """Measures every box; one row per subject."""
        measured = evaluate_boxes(truth, prediction, self.measures(evaluation.evaluations))
        return [
            dict(zip(measured, (float(value) for value in values), strict=True))
            for values in zip(*measured.values(), strict=True)
        ]


def box_parts(rank: int) -> tuple[str, ...]:
    """Returns the names of a box's numbers in order, low corner first.

    Examples:
        >>> box_parts(2)
        ('x_min', 'y_min', 'x_max', 'y_max')
    """
    return tuple(f"{axis}_{end}" for end in ("min", "max") for axis in AXES[:rank])


def box_mask(box: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Returns the voxels whose centres lie in a box, uint8; where it is thinner than a voxel, that of its middle.

    Args:
        box: Low corner, then high corner, in voxels, `(6,)`.
        shape: Voxels along each axis.

    Examples:
        >>> box_mask(np.array([-0.5, 0.5, -0.5, 1.5, 2.5, 0.5]), (2, 4, 1))[..., 0].tolist()
        [[0, 1, 1, 0], [0, 1, 1, 0]]
    """
    low, high = np.split(np.asarray(box), 2)
    first, last = np.maximum(np.ceil(low), 0).astype(int), np.maximum(np.floor(high) + 1, 0).astype(int)
    thin, middle = last <= first, np.rint((low + high) / 2).astype(int)
    first, last = np.where(thin, np.maximum(middle, 0), first), np.where(thin, np.maximum(middle + 1, 0), last)
    mask = np.zeros(tuple(shape), np.uint8)
    mask[tuple(slice(start, stop) for start, stop in zip(first, last, strict=True))] = 1
    return mask
