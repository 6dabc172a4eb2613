"""The kinds of target: what a task learns of its reference, and how what the network says becomes a result.

A task has its target per voxel (`VoxelTarget`), in the image itself (`InputTarget`), per image (`ImageTarget`), or at
places in the image that move with it (`PointTarget`). Everything else in the applications asks for the kind of target,
or of result (`outputs`), never for the type of task.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sfgkeras.applications.tasks.outputs import RowTask, VolumeTask
from sfgkeras.data.points import Frame, Move


class VoxelTarget(VolumeTask):
    """A task whose target is a volume of its own, on the image's grid."""

    @abstractmethod
    def prepare_map(self, volume: np.ndarray) -> np.ndarray:
        """Turns a target volume as read, `(x, y, z)`, into what the network learns."""

    def unknown(self, volume: np.ndarray) -> np.ndarray | None:
        """Returns the voxels `(x, y, z)` of which a target volume as read knows nothing, besides what marks them so.

        None where there are none.
        """
        return None


class InputTarget(VolumeTask):
    """A task whose target is the image, as the network sees it: there is nothing to read."""

    @property
    def target_kind(self) -> str:
        """`image`."""
        return "image"

    def read_result(self, array: np.ndarray, affine: np.ndarray) -> np.ndarray:
        """Returns what a file of results holds as `evaluate_map` takes it; here as it is."""
        return array

    def result_shape(self, image: Sequence[int]) -> tuple[int, ...]:
        """Returns the shape of what `read_result` gives for an image of a shape."""
        return tuple(image)

    def picture(self, array: np.ndarray) -> np.ndarray:
        """Returns what a report shows of a file of results, `(x, y, z)`: the mean of all channels."""
        return array if array.ndim == 3 else array.mean(axis=-1)

    @property
    def drawn_names(self) -> tuple[str, ...]:
        """What the labels of `drawn` are, from 1 on; here none."""
        return ()

    def drawn(self, array: np.ndarray, affine: np.ndarray) -> np.ndarray | None:
        """Returns labels `(x, y, z)` whose outlines a report draws over the image; here none.

        Args:
            array: As the file of results has it.
            affine: Of the file, from voxels to mm.
        """
        return None


class ImageTarget(RowTask):
    """A task whose target belongs to the image as a whole."""

    @abstractmethod
    def finish_value(self, outputs: np.ndarray) -> dict[str, float]:
        """Turns one subject's activated output `(channels,)` into named values, those of `columns` among them."""

    def finish_value_spread(self, spread: Mapping[str, Any]) -> dict[str, float]:
        """Turns one subject's uncertainties into named values for the result table."""
        return {f"{self.name}{ending}": float(value) * self.spread_factor for ending, value in spread.items()}


class PointTarget(RowTask):
    """A task whose numbers are places in the image: they move with everything that moves the image.

    On their way to the network places are taken from the voxels of the subject's file to those of the network's grid
    (`place`), and from there to each window, however it is cut, turned, flipped, scaled and resized (`move`). On the
    way back the outputs for a window that is the whole image are taken to the file's voxels (`finish_points`). A task
    whose head is a map is told from all windows of the image: what their maps say together is the outputs (`locate`).
    """

    @property
    def target_kind(self) -> str:
        """`points`."""
        return "points"

    @property
    def drawn_names(self) -> tuple[str, ...]:
        """What `mask` marks by 1, 2, ..., by name."""
        return (self.name,)

    def locate(self, maps: np.ndarray) -> np.ndarray:
        """Returns the outputs `(channels,)` that activated maps of the whole image, `(x, y, z, channels)`, come to.

        Raises:
            TypeError: If the head is no map.
        """
        raise TypeError(f"task {self.name!r} ({self.type_name}) finds nothing in maps")

    @abstractmethod
    def as_written(self, numbers: np.ndarray, frame: Frame) -> np.ndarray:
        """Returns the target's numbers as results are written, in the order of `columns`."""

    @abstractmethod
    def place(self, numbers: np.ndarray, to_grid: Move, frame: Frame) -> np.ndarray:
        """Takes the target's numbers `(k,)` from its file to voxels of the network's grid.

        Args:
            numbers: As `prepare_value` returned them.
            to_grid: Takes points `(n, 3)` of the subject's own image to voxels of the grid.
            frame: How files count places in that image.

        Raises:
            DataError: If they lie outside of the image.
        """

    @abstractmethod
    def move(self, numbers: np.ndarray, to_window: Move, size: Sequence[int]) -> np.ndarray:
        """Returns what the network learns of a window, `(*places, channels)` float32; NaN where nothing is known.

        Args:
            numbers: As `place` returned them.
            to_window: Takes points `(n, 3)` of the network's grid to voxels of the window, `(n, rank)`; NaN beside
                the window's slice.
            size: Voxels of the window along its axes.
        """

    @abstractmethod
    def finish_points(self, outputs: np.ndarray, to_file: Move, size: Sequence[int], frame: Frame) -> dict[str, float]:
        """Turns one subject's activated outputs `(channels,)` into named values, those of `columns` among them.

        Args:
            outputs: For a window that is the whole image.
            to_file: Takes points `(n, rank)` of the window to voxels of the file, `(n, 3)`.
            size: Voxels of the window along its axes.
            frame: How files count places in the image.
        """

    @abstractmethod
    def finish_points_spread(
        self, spread: Mapping[str, Any], to_file: Move, size: Sequence[int], frame: Frame
    ) -> dict[str, float]:
        """Turns one subject's uncertainties, `(channels,)` by their ending, into named values; see `finish_points`."""

    @abstractmethod
    def mask(self, numbers: np.ndarray, shape: Sequence[int], frame: Frame) -> np.ndarray:
        """Returns the voxels that places mark, for pictures: the number of one of `drawn_names`, else 0.

        Args:
            numbers: As results are written.
            shape: Voxels of the subject's own image.
            frame: How files count places in it.
        """
