"""Training windows: window number i of a source is the same whoever asks, whenever, and in whatever order.

A window depends on nothing but the seed and its number, so that a resumed run goes on with the very windows
that an uninterrupted one would have seen, and workers can share a batch without talking to each other.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sfgkeras.data.augmentation import Augmentation, AugmentationParameters, sampling_matrix
from sfgkeras.data.deformation import bias_field, displacement_field
from sfgkeras.data.interpolation import (
    AffineMap,
    Crop,
    DenseMap,
    WindowMap,
    affine_positions,
    resize_linear,
    resize_nearest,
)
from sfgkeras.data.prepared import PreparedSubject
from sfgkeras.data.samplers import Sampler
from sfgkeras.errors import ConfigError, DataError, lookup

__all__ = ["TASK_KINDS", "PreparedSubject", "WindowSource"]

TASK_KINDS: Mapping[str, np.dtype] = {
    "map": np.dtype(np.float32),
    "labels": np.dtype(np.int32),
    "value": np.dtype(np.float32),
    "class": np.dtype(np.int32),
}
"""Types of the targets by kind of task."""

SPATIAL_KINDS = ("map", "labels")
"""Kinds whose target is a window; the others have one target per subject."""

WHOLLY_KNOWN = 1 - 1e-3
"""What linear interpolation gives where all neighbours are known, to rounding."""

WINDOW_STREAM, ORDER_STREAM = 0, 1
"""Independent streams of random numbers under one seed: the windows, and the order of subjects."""

Arrays = dict[str, np.ndarray]


class WindowSource:
    """Makes windows of prepared subjects: drawn, augmented, padded, with targets and weights.

    Windows come in passes; every pass takes `windows_per_volume` windows of each subject, in an order of its
    own.

    2-D windows are planes: the sliced axis, whose window size is 1, is dropped. Weights are 0 in the border,
    where a rotated window reaches beyond the volume, and where the target knows nothing; 1 elsewhere. Images and
    targets are 0 in the border and beyond the volume.

    Args:
        subjects: At least one; all with the same number of channels and the same tasks.
        window_size: Three numbers of voxels; a 1 marks the sliced axis.
        sampler: Draws the place, for the same window size.
        augmentation: What is drawn at random, or None for exact copies.
        task_kinds: By task: "map" (regression, linear), "labels" (a label map, nearest), "value" or "class"
            (one per subject).
        loss_border: Zeros added on each side of the window along the axes that the network sees.
        seed: Seed of everything random.
        windows_per_volume: Windows of each subject per pass (`sample_per_volume`).

    Attributes:
        spatial_rank: 2 or 3.
        image_shape: Shape of one window, border included, with channels.
        target_shapes: Shape of one target by task.
        weight_shapes: Shape of one weight by task.
        target_dtypes: Type of the target by task.
        failure: The last error raised while a pipeline made a batch (see `pipeline.original_errors`), or
            None.
        closed: Whether pipelines are to make no more batches (see `pipeline.close`).

    Raises:
        ConfigError: If settings contradict each other.
        DataError: If a subject does not fit; names it.
    """

    def __init__(
        self,
        subjects: Sequence[PreparedSubject],
        window_size: Sequence[int],
        sampler: Sampler,
        augmentation: Augmentation | None,
        task_kinds: Mapping[str, str],
        loss_border: int = 0,
        seed: int = 0,
        windows_per_volume: int = 1,
    ) -> None:
        self.subjects = list(subjects)
        self.sampler = sampler
        self.augmentation = augmentation
        self.task_kinds = dict(task_kinds)
        self.loss_border = loss_border
        self.seed = seed
        self.windows_per_volume = windows_per_volume
        self.failure: Exception | None = None
        self.closed = False
        self._check_settings(window_size)
        self.axes = sampler.axes
        self.spatial_rank = len(self.axes)
        self._size = tuple(int(window_size[axis]) for axis in self.axes)
        self._inner = tuple(slice(loss_border, loss_border + size) for size in self._size)
        self._streams = [np.random.SeedSequence(seed, spawn_key=(stream,)) for stream in range(2)]
        self._orders: dict[int, np.ndarray] = {}
        self._targets = [self._checked_targets(subject) for subject in self.subjects]
        self._set_shapes()

    def window(self, index: int) -> tuple[np.ndarray, Arrays, Arrays]:
        """Makes one window.

        Args:
            index: Its number, at least 0.

        Returns:
            Image `(*window, channels)` float32, targets by task, weights by task (`window` or a scalar,
            float32).
        """
        image, targets, weights = self.batch([index])
        return image[0], *({task: array[0] for task, array in arrays.items()} for arrays in (targets, weights))

    def batch(
        self, indices: Sequence[int], allocate: Callable[[tuple[int, ...], Any], np.ndarray] = np.empty
    ) -> tuple[np.ndarray, Arrays, Arrays]:
        """Makes windows, as `window` does, with a leading axis that counts them.

        Args:
            indices: Their numbers.
            allocate: Makes an array of a shape and type, whatever its content.
        """
        image = allocate((len(indices), *self.image_shape), np.float32)
        targets, weights = {}, {}
        for task in self.task_kinds:
            targets[task] = allocate((len(indices), *self.target_shapes[task]), self.target_dtypes[task])
            weights[task] = allocate((len(indices), *self.weight_shapes[task]), np.float32)
        if self.loss_border:
            for array in (image, *targets.values(), *weights.values()):
                array.fill(0)
        for row, index in enumerate(indices):
            self._fill(row, int(index), image, targets, weights)
        return image, targets, weights

    def subject_of(self, index: int) -> PreparedSubject:
        """Returns the subject that window `index` is cut from."""
        return self.subjects[self._subject_number(index)]

    def _fill(self, row: int, index: int, image: np.ndarray, targets: Arrays, weights: Arrays) -> None:
        """Writes window `index` into one row of the arrays, all but the border."""
        number = self._subject_number(index)
        subject, subject_targets = self.subjects[number], self._targets[number]
        rng = _generator(self._streams[WINDOW_STREAM], index)
        start = self.sampler.start(subject, rng).tolist()
        parameters = None if self.augmentation is None else self.augmentation.draw(rng, self.spatial_rank)
        inner: Any = (row, *self._inner)

        plane = self._plane(subject.image, start, resize_linear)
        shape, corner = plane.shape[:-1], [start[axis] for axis in self.axes]
        window_map = self._window_map(parameters, corner, shape, self._spacing(subject, shape))
        window = image[inner]
        smoothing: tuple[float, ...] = ()
        if self.augmentation is not None and parameters is not None:
            smoothing = self.augmentation.smoothing(parameters)
        window_map.linear(plane, window, smoothing)
        if parameters is not None and parameters.bias_coefficients is not None:
            window *= bias_field(parameters.bias_coefficients, corner, self._size, shape)[..., None]

        for task, kind in self.task_kinds.items():
            target = subject_targets[task]
            if kind not in SPATIAL_KINDS:
                targets[task][row] = target
                weights[task][row] = 1.0
                continue
            if kind == "labels":
                window_map.nearest(self._plane(target, start, resize_nearest), targets[task][inner])
            else:
                window_map.linear(self._plane(target, start, resize_linear), targets[task][inner])
            weights[task][inner] = 1.0 if window_map.inside is None else window_map.inside
            if task in subject.known:
                known = np.empty((*self._size, 1), np.float32)
                window_map.linear(self._plane(subject.known[task][..., None], start, resize_linear), known)
                # Where interpolation mixes in an unknown voxel the target is not known.
                weights[task][inner] *= known[..., 0] > WHOLLY_KNOWN
            if subject.loss_weight is not None:
                weight = np.empty((*self._size, 1), np.float32)
                window_map.linear(self._plane(subject.loss_weight[..., None], start, resize_linear), weight)
                weights[task][inner] *= weight[..., 0]

    def _plane(
        self,
        volume: np.ndarray,
        start: Sequence[int],
        resize: Callable[[np.ndarray, Sequence[int]], np.ndarray],
    ) -> np.ndarray:
        """Returns what the window is cut from: the volume or a slice, resized where the sampler says so."""
        if self.spatial_rank == 2:
            sliced = 3 - sum(self.axes)
            volume = volume[(slice(None),) * sliced + (start[sliced],)]
        return resize(volume, self._size) if self.sampler.whole_volume else volume

    def _spacing(self, subject: PreparedSubject, shape: Sequence[int]) -> list[float]:
        """Returns the voxel size of the plane, which is not that of the volume where it is resized."""
        return [
            subject.spacing[axis] * subject.image.shape[axis] / extent
            for axis, extent in zip(self.axes, shape, strict=True)
        ]

    def _window_map(
        self,
        parameters: AugmentationParameters | None,
        corner: Sequence[int],
        shape: Sequence[int],
        spacing: Sequence[float],
    ) -> WindowMap:
        """Composes the place of the window and what was drawn for it."""
        if parameters is None:
            return Crop(corner, self._size, (False,) * self.spatial_rank)
        flips = [parameters.flips[axis] for axis in self.axes]
        if parameters.is_exact:
            return Crop(corner, self._size, flips)
        matrix = sampling_matrix(parameters.angles, parameters.factors, flips, spacing)
        half = (np.array(self._size) - 1) / 2
        offset = np.array(corner) + half - matrix @ half
        if parameters.control_points is None:
            return AffineMap(matrix, offset, self._size, shape)
        # Displacements are lengths: voxels of the finest axis, fewer voxels along the others.
        finest = np.array([min(spacing) / size for size in spacing]).reshape((-1,) + (1,) * self.spatial_rank)
        displacement = displacement_field(parameters.control_points, corner, self._size, shape) * finest
        return DenseMap(displacement + np.stack(affine_positions(matrix, offset, self._size)), shape)

    def _subject_number(self, index: int) -> int:
        if index < 0:
            raise ValueError(f"window {index} does not exist; windows are counted from 0")
        per_pass = len(self.subjects) * self.windows_per_volume
        number_of_pass, place = divmod(index, per_pass)
        order = self._orders.get(number_of_pass)
        if order is None:
            rng = _generator(self._streams[ORDER_STREAM], number_of_pass)
            order = rng.permutation(per_pass) // self.windows_per_volume
            for old in list(self._orders)[:-3]:  # threads work on neighbouring passes
                self._orders.pop(old, None)
            self._orders[number_of_pass] = order
        return int(order[place])

    def _check_settings(self, window_size: Sequence[int]) -> None:
        if not self.subjects:
            raise DataError("there are no subjects to draw windows from; look at dataset_split_file and path_to_search")
        if tuple(window_size) != tuple(self.sampler.window_size):
            raise ConfigError(
                f"the sampler is made for windows of {tuple(self.sampler.window_size.tolist())}, not for "
                f"{tuple(window_size)}"
            )
        for name, value, lowest in (
            ("loss_border", self.loss_border, 0),
            ("seed", self.seed, 0),
            ("sample_per_volume", self.windows_per_volume, 1),
        ):
            if int(value) != value or value < lowest:
                raise ConfigError(f"{name} = {value!r} is not a whole number of at least {lowest}")
        for kind in self.task_kinds.values():
            lookup(TASK_KINDS, kind, "kind of task")
        unseen = set(self.augmentation.flip_axes if self.augmentation else ()) - set(self.sampler.axes)
        if unseen:
            raise ConfigError(
                f"random_flipping_axes contains {unseen.pop()}, but that axis is sliced by 2-D windows of "
                f"{tuple(window_size)}; leave it out"
            )

    def _checked_targets(self, subject: PreparedSubject) -> Arrays:
        """Returns a subject's targets in the form of their kind, and checks that it is like the first."""
        self.sampler.check(subject)
        first = self.subjects[0]
        if subject.image.shape[3] != first.image.shape[3]:
            raise DataError(
                f"subject {subject.subject_id!r} has {subject.image.shape[3]} image channels, but "
                f"{first.subject_id!r} has {first.image.shape[3]}; all need the same modalities"
            )
        targets = {}
        for task, kind in self.task_kinds.items():
            read = _READ_TARGET[kind]
            targets[task] = read(subject, task)
            size, expected = targets[task].shape[-1:], read(first, task).shape[-1:]
            if kind in ("map", "value") and size != expected:
                raise DataError(
                    f"subject {subject.subject_id!r}: the target of task {task!r} has {size[0]} values where "
                    f"{first.subject_id!r} has {expected[0]}"
                )
        return targets

    def _set_shapes(self) -> None:
        padded = tuple(size + 2 * self.loss_border for size in self._size)
        targets = self._targets[0]
        shapes: dict[str, Callable[[str], tuple[int, ...]]] = {
            "map": lambda task: (*padded, targets[task].shape[3]),
            "labels": lambda task: padded,
            "value": lambda task: targets[task].shape,
            "class": lambda task: (),
        }
        kinds = self.task_kinds.items()
        self.image_shape = (*padded, self.subjects[0].image.shape[3])
        self.target_dtypes = {task: TASK_KINDS[kind] for task, kind in kinds}
        self.target_shapes: dict[str, tuple[int, ...]] = {task: shapes[kind](task) for task, kind in kinds}
        self.weight_shapes = {task: padded if kind in SPATIAL_KINDS else () for task, kind in kinds}


_READ_TARGET: Mapping[str, Callable[[PreparedSubject, str], np.ndarray]] = {
    "map": PreparedSubject.target_map,
    "labels": PreparedSubject.label_map,
    "value": PreparedSubject.values,
    "class": PreparedSubject.class_index,
}


def _generator(stream: np.random.SeedSequence, number: int) -> np.random.Generator:
    """Returns the random numbers that belong to one window or one pass.

    Philox counts upwards in the lowest word of its counter. The number goes into the third word, so that the
    streams of neighbouring numbers never meet.
    """
    return np.random.Generator(np.random.Philox(stream, counter=np.array((0, 0, number, 0), np.uint64)))
