"""Training windows: window number i of a source is the same whoever asks, whenever, and in whatever order.

A window depends on nothing but the seed and its number, so that a resumed run goes on with the very windows
that an uninterrupted one would have seen, and workers can share a batch without talking to each other.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sfgkeras.data.augmentation import Augmentation, AugmentationParameters, sampling_matrix
from sfgkeras.data.deformation import bias_field, displacement_field
from sfgkeras.data.interpolation import AffineMap, Crop, DenseMap, WindowMap, affine_positions, resize_linear
from sfgkeras.data.prepared import PreparedSubject
from sfgkeras.data.samplers import Sampler
from sfgkeras.data.target_kinds import TASK_KINDS
from sfgkeras.data.window_targets import Cut, LearnPoints, Place, PointsTarget, TargetKind
from sfgkeras.errors import ConfigError, DataError, counted, lookup

__all__ = ["TASK_KINDS", "PreparedSubject", "WindowSource"]

WINDOW_STREAM, ORDER_STREAM = 0, 1
"""Independent streams of random numbers under one seed: the windows, and the order of subjects."""

Arrays = dict[str, np.ndarray]


class WindowSource:
    """Makes windows of prepared subjects: drawn, augmented, padded, with targets and weights.

    Windows come in passes; every pass takes `windows_per_volume` windows of each subject, in an order of its
    own.

    2-D windows are planes: the sliced axis, whose window size is 1, is dropped. Weights are 0 in the border,
    where a rotated window reaches beyond the volume, and where the target knows nothing; 1 elsewhere. Images and
    targets are 0 in the border and beyond the volume. Of a task that a subject has no target of (`missing`) both are 0.

    Args:
        subjects: At least one; all with the same number of channels and the same tasks.
        window_size: Three numbers of voxels; a 1 marks the sliced axis.
        sampler: Draws the place, for the same window size.
        augmentation: What is drawn at random, or None for exact copies.
        task_kinds: By task: "map" (regression, linear), "labels" (a label map, nearest), "value" or "class"
            (one per subject), "points" (places, which move with the window), "image" (the image itself), "log_depth"
            and "vectors" (see `surface_targets`).
        loss_border: Zeros added on each side of the window along the axes that the network sees.
        seed: Seed of everything random.
        windows_per_volume: Windows of each subject per pass (`sample_per_volume`).
        learn_points: By task of kind "points": what turns its numbers into what is learned of a window.

    Attributes:
        spatial_rank: 2 or 3.
        image_shape: Shape of one window, border included, with channels.
        target_shapes: Shape of one target by task.
        weight_shapes: Shape of one weight by task.
        target_dtypes: Type of the target by task.
        failure: The last error raised while a pipeline made a batch (see `pipeline.original_errors`), or
            None.
        closed: Whether pipelines are to make no more batches (see `pipeline.close`).
        makers: What makes batches for pipelines of this source.

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
        learn_points: Mapping[str, LearnPoints] | None = None,
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
        self.makers: list[Any] = []
        self._check_settings(window_size)
        self._kinds = {task: self._kind(task, learn_points or {}) for task in self.task_kinds}
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

        cut = Cut(start, self.axes, self._size, self.sampler.whole_volume)
        plane = cut.plane(subject.image, resize_linear)
        shape, corner = plane.shape[:-1], [start[axis] for axis in self.axes]
        spacing = self._spacing(subject, shape)
        window_map = self._window_map(parameters, corner, shape, spacing)
        window = image[inner]
        smoothing: tuple[float, ...] = ()
        if self.augmentation is not None and parameters is not None:
            smoothing = self.augmentation.smoothing(parameters)
        window_map.linear(plane, window, smoothing)
        if parameters is not None and parameters.bias_coefficients is not None:
            window *= bias_field(parameters.bias_coefficients, corner, self._size, shape)[..., None]
        if self.augmentation is not None and not self.augmentation.intensities.is_off:
            # After all other draws: where nothing of it is asked for, windows are what they were.
            window[...] = self.augmentation.intensities.apply(window, rng)

        place = Place(subject, window, cut, window_map, spacing)
        for task, kind in self._kinds.items():
            where: Any = inner if kind.is_spatial else (row, ...)
            target = subject_targets[task]
            if target is None:
                targets[task][where] = weights[task][where] = 0
            else:
                kind.fill(target, place, targets[task][where], weights[task][where])

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
        unseen = set(self.augmentation.flip_axes if self.augmentation else ()) - set(self.sampler.axes)
        if unseen:
            raise ConfigError(
                f"random_flipping_axes contains {unseen.pop()}, but that axis is sliced by 2-D windows of "
                f"{tuple(window_size)}; leave it out"
            )

    def _checked_targets(self, subject: PreparedSubject) -> dict[str, np.ndarray | None]:
        """Returns a subject's targets in the form of their kind, None for those it lacks; checks that all are alike."""
        self.sampler.check(subject)
        first = self.subjects[0]
        if subject.image.shape[3] != first.image.shape[3]:
            raise DataError(
                f"subject {subject.subject_id!r} has {subject.image.shape[3]} image channels, but "
                f"{first.subject_id!r} has {first.image.shape[3]}; all need the same modalities"
            )
        targets: dict[str, np.ndarray | None] = {}
        for task, kind in self._kinds.items():
            if task in subject.missing:
                targets[task] = None
                continue
            targets[task] = found = kind.read(subject)
            first = self._first_with(task)
            size, expected = kind.num_values(found), kind.num_values(kind.read(first))
            if size != expected:
                raise DataError(
                    f"subject {subject.subject_id!r}: the target of task {task!r} has {size} values where "
                    f"{first.subject_id!r} has {expected}"
                )
        return targets

    def _first_with(self, task: str) -> PreparedSubject:
        """Returns the first subject that has a target of a task."""
        for subject in self.subjects:
            if task not in subject.missing:
                return subject
        raise DataError(
            f"none of {counted(len(self.subjects), 'subject')} has a target of task {task!r}; give one that has the "
            "same phase in dataset_split_file, or leave the task out"
        )

    def _kind(self, task: str, learn_points: Mapping[str, LearnPoints]) -> TargetKind:
        kind = lookup(TASK_KINDS, self.task_kinds[task], "kind of task")
        if issubclass(kind, PointsTarget):
            if task not in learn_points:
                raise ConfigError(f"task {task!r} has places as target, and nothing says what is learned of them")
            return kind(task, learn_points[task])
        return kind(task)

    def _set_shapes(self) -> None:
        padded = tuple(size + 2 * self.loss_border for size in self._size)
        self.image_shape = (*padded, self.subjects[0].image.shape[3])
        self.target_dtypes = {task: kind.dtype for task, kind in self._kinds.items()}
        self.target_shapes: dict[str, tuple[int, ...]] = {}
        self.weight_shapes: dict[str, tuple[int, ...]] = {}
        for task, kind in self._kinds.items():
            shapes = kind.shapes(kind.read(self._first_with(task)), padded)
            self.target_shapes[task], self.weight_shapes[task] = shapes


def _generator(stream: np.random.SeedSequence, number: int) -> np.random.Generator:
    """Returns the random numbers that belong to one window or one pass.

    Philox counts upwards in the lowest word of its counter. The number goes into the third word, so that the
    streams of neighbouring numbers never meet.
    """
    return np.random.Generator(np.random.Philox(stream, counter=np.array((0, 0, number, 0), np.uint64)))
