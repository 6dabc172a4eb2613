"""What a window holds of every kind of target: how a subject's is read, what shape it has, how it follows the window.

A kind is one class and one line in `target_kinds.TASK_KINDS`. Targets that the window does not know have the weight 0,
there and only there.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sfgkeras.data.interpolation import WindowMap, resize_linear, resize_nearest
from sfgkeras.data.points import Move
from sfgkeras.data.prepared import PreparedSubject

WHOLLY_KNOWN = 1 - 1e-3
"""What linear interpolation gives where all neighbours are known, to rounding."""

SLICE = 0.5 + 1e-6
"""Voxels beside the middle of a slice within which a point lies on it."""

Resize = Callable[[np.ndarray, Sequence[int]], np.ndarray]

LearnPoints = Callable[[np.ndarray, Move, Sequence[int]], np.ndarray]
"""Turns a target of numbers `(k,)` into what is learned of a window, `(*places, channels)`; NaN is not known.

It gets the numbers, what takes points `(n, 3)` of the subject's grid to voxels of the window, `(n, rank)`, and the
voxels of the window.
"""


@dataclass(slots=True)  # made for every window: frozen ones cost five times as much
class Cut:
    """What a window is cut from: the volume or a slice of it, resized where the sampler says so.

    Attributes:
        start: First voxel along x, y and z.
        axes: Axes of the volume that the network sees.
        size: Voxels of the window along them.
        whole_volume: Whether the volume is resized to the window instead of cut.
    """

    start: Sequence[int]
    axes: tuple[int, ...]
    size: tuple[int, ...]
    whole_volume: bool

    def plane(self, volume: np.ndarray, resize: Resize) -> np.ndarray:
        """Returns what the window is cut from, of a volume `(x, y, z)` or `(x, y, z, channels)`."""
        volume = np.asarray(volume)
        if len(self.axes) == 2:
            sliced = 3 - sum(self.axes)
            volume = volume[(slice(None),) * sliced + (self.start[sliced],)]
        return resize(volume, self.size) if self.whole_volume else volume

    def points(self, points: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Takes points `(n, 3)` of a volume to what the window is cut from, `(n, rank)`; NaN beside a slice.

        Args:
            points: Positions in voxels; whole numbers are centres.
            shape: Voxels of the volume along x, y and z.
        """
        kept = np.asarray(points, np.float64)[:, list(self.axes)]
        if self.whole_volume:
            extent = np.array([shape[axis] for axis in self.axes])
            kept = (kept + 0.5) * (np.array(self.size) / extent) - 0.5
        if len(self.axes) == 2:
            sliced = 3 - sum(self.axes)
            kept[np.abs(points[:, sliced] - self.start[sliced]) > SLICE] = np.nan
        return kept


@dataclass(slots=True)
class Place:
    """Where one window lies.

    Attributes:
        subject: Whose window it is.
        image: What the network sees of it, `(*size, channels)`, augmented.
        cut: What it is cut from.
        window_map: From there to the window.
        spacing: Size in mm of a voxel of what it is cut from, along the axes that the network sees.
    """

    subject: PreparedSubject
    image: np.ndarray
    cut: Cut
    window_map: WindowMap
    spacing: Sequence[float] = ()

    def linear(self, volume: np.ndarray, out: np.ndarray) -> None:
        """Writes the window of a volume `(x, y, z, channels)`."""
        self.window_map.linear(self.cut.plane(volume, resize_linear), out)

    def nearest(self, labels: np.ndarray, out: np.ndarray) -> None:
        """Writes the window of a label map `(x, y, z)`."""
        self.window_map.nearest(self.cut.plane(labels, resize_nearest), out)

    def points(self, points: np.ndarray) -> np.ndarray:
        """Takes points `(n, 3)` of the subject's grid to voxels of the window, `(n, rank)`; NaN beside a slice."""
        return self.window_map.points(self.cut.points(points, self.subject.image.shape[:3]))


class TargetKind(ABC):
    """A kind of target.

    Args:
        task: Name of the task.

    Attributes:
        dtype: Type of the window's target.
        is_spatial: Whether there is a target for every voxel of the window; else one for the window.
    """

    dtype: ClassVar[np.dtype] = np.dtype(np.float32)
    is_spatial: ClassVar[bool] = False

    def __init__(self, task: str) -> None:
        self.task = task

    @abstractmethod
    def read(self, subject: PreparedSubject) -> np.ndarray:
        """Returns a subject's target in the form of this kind; refuses one of another form."""

    @abstractmethod
    def shapes(self, target: np.ndarray, window: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns the shapes of a window's target and of its weight; `window` has the border."""

    @abstractmethod
    def fill(self, target: np.ndarray, place: Place, out: np.ndarray, weight: np.ndarray) -> None:
        """Writes a window's target and weight, without border."""

    def num_values(self, target: np.ndarray) -> int | None:
        """Returns how many values a target has that must agree among subjects; None where that is free."""
        return None


class ValueTarget(TargetKind):
    """One number per subject, or a few."""

    def read(self, subject: PreparedSubject) -> np.ndarray:
        """Returns `(k,)` float32."""
        return subject.values(self.task)

    def shapes(self, target: np.ndarray, window: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns `(k,)`, and no axes."""
        return target.shape, ()

    def fill(self, target: np.ndarray, place: Place, out: np.ndarray, weight: np.ndarray) -> None:
        """Copies the numbers."""
        out[...] = target
        weight[...] = 1.0

    def num_values(self, target: np.ndarray) -> int | None:
        """Returns k."""
        return int(target.shape[0])


class ClassTarget(ValueTarget):
    """One class per subject."""

    dtype = np.dtype(np.int32)

    def read(self, subject: PreparedSubject) -> np.ndarray:
        """Returns the class, int32 without axes."""
        return subject.class_index(self.task)

    def num_values(self, target: np.ndarray) -> int | None:
        """Returns None: it has no axis."""
        return None


class PointsTarget(TargetKind):
    """Places in the image, which move with the window.

    Args:
        task: Name of the task.
        learn: Turns a subject's numbers into what is learned of a window.
    """

    def __init__(self, task: str, learn: LearnPoints) -> None:
        super().__init__(task)
        self._learn = learn

    def read(self, subject: PreparedSubject) -> np.ndarray:
        """Returns the numbers, `(k,)` float64."""
        subject.values(self.task)  # refuses what is no vector
        return np.atleast_1d(subject.target(self.task)).astype(np.float64)

    def shapes(self, target: np.ndarray, window: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns what `learn` gives, and the same without channels."""
        rank = len(window)
        learned = self._learn(target, lambda points: np.asarray(points, np.float64)[:, :rank], window)
        return learned.shape, learned.shape[:-1]

    def fill(self, target: np.ndarray, place: Place, out: np.ndarray, weight: np.ndarray) -> None:
        """Moves the places; one that is not known is 0 and has no weight."""
        learned = self._learn(target, place.points, place.cut.size)
        known = np.asarray(np.isfinite(learned).all(axis=-1))
        weight[...] = known
        out[...] = np.where(known[..., None], learned, 0.0)

    def num_values(self, target: np.ndarray) -> int | None:
        """Returns k."""
        return int(target.shape[0])


class VoxelTarget(TargetKind):
    """A target for every voxel: weights are 0 beyond the volume and where nothing is known."""

    is_spatial = True

    def fill(self, target: np.ndarray, place: Place, out: np.ndarray, weight: np.ndarray) -> None:
        """Writes the window of the volume."""
        self.fill_values(target, place, out)
        inside, subject = place.window_map.inside, place.subject
        weight[...] = 1.0 if inside is None else inside
        if self.task in subject.known:
            # Where interpolation mixes in an unknown voxel the target is not known.
            weight *= self._one_channel(subject.known[self.task], place) > WHOLLY_KNOWN
        if subject.loss_weight is not None:
            weight *= self._one_channel(subject.loss_weight, place)

    @abstractmethod
    def fill_values(self, target: np.ndarray, place: Place, out: np.ndarray) -> None:
        """Writes the window's target."""

    def _one_channel(self, volume: np.ndarray, place: Place) -> np.ndarray:
        window = np.empty((*place.cut.size, 1), np.float32)
        place.linear(volume[..., None], window)
        return window[..., 0]


class MapTarget(VoxelTarget):
    """A quantity per voxel, interpolated linearly."""

    def read(self, subject: PreparedSubject) -> np.ndarray:
        """Returns `(x, y, z, k)`."""
        return subject.target_map(self.task)

    def shapes(self, target: np.ndarray, window: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns the window with channels, and without."""
        return (*window, target.shape[3]), window

    def fill_values(self, target: np.ndarray, place: Place, out: np.ndarray) -> None:
        """Interpolates."""
        place.linear(target, out)

    def num_values(self, target: np.ndarray) -> int | None:
        """Returns k."""
        return int(target.shape[3])


class ImageTarget(VoxelTarget):
    """The image itself, as the network sees it: copied, and not interpolated again."""

    def read(self, subject: PreparedSubject) -> np.ndarray:
        """Returns the image, `(x, y, z, channels)`."""
        return subject.image

    def shapes(self, target: np.ndarray, window: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns the window with channels, and without."""
        return (*window, target.shape[3]), window

    def fill_values(self, target: np.ndarray, place: Place, out: np.ndarray) -> None:
        """Copies the window."""
        out[...] = place.image


class LabelsTarget(VoxelTarget):
    """A label per voxel: that of the nearest one."""

    dtype = np.dtype(np.int32)

    def read(self, subject: PreparedSubject) -> np.ndarray:
        """Returns `(x, y, z)`."""
        return subject.label_map(self.task)

    def shapes(self, target: np.ndarray, window: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Returns the window twice."""
        return window, window

    def fill_values(self, target: np.ndarray, place: Place, out: np.ndarray) -> None:
        """Takes the nearest labels."""
        place.nearest(target, out)
