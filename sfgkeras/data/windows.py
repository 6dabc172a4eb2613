"""Training windows: window number i of a source is the same whoever asks, whenever, and in whatever order.

A window depends on nothing but the seed and its number, so that a resumed run goes on with the very windows that an
uninterrupted one would have seen, and workers can share a batch without talking to each other.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
from sfgkeras.data.samplers import Sampler
from sfgkeras.errors import ConfigError, DataError, lookup

SPATIAL_KINDS = {"map": np.dtype(np.float32), "labels": np.dtype(np.int32)}
SCALAR_KINDS = {"value": np.dtype(np.float32), "class": np.dtype(np.int32)}
TASK_KINDS: Mapping[str, np.dtype] = {**SPATIAL_KINDS, **SCALAR_KINDS}
"""Types of the targets by kind of task."""

WINDOW_STREAM, ORDER_STREAM = 0, 1
"""Independent streams of random numbers under one seed: of the windows, and of the order of subjects."""

Batch = tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True, eq=False)
class PreparedSubject:
    """The arrays of one subject, ready for drawing windows; memory maps stay where they are.

    Attributes:
        subject_id: Name for messages.
        image: `(x, y, z, channels)`, of any number type.
        targets: By task: a volume `(x, y, z)` or `(x, y, z, k)` on the grid of the image, or a number or vector.
        sampling_weight: `(x, y, z)` for the weighted (weights) and the balanced (labels) sampler.
        spacing: Voxel size in mm.

    Raises:
        DataError: If the shapes disagree or a number is not finite; names the subject.
    """

    subject_id: str
    image: np.ndarray
    targets: Mapping[str, np.ndarray]
    sampling_weight: np.ndarray | None = None
    spacing: tuple[float, float, float] = field(default=(1.0, 1.0, 1.0))

    def __post_init__(self) -> None:
        # Slicing a numpy.memmap costs ten times as much as slicing the plain array over the same memory.
        image = np.asarray(self.image)
        targets = {task: np.asarray(target) for task, target in self.targets.items()}
        weight = None if self.sampling_weight is None else np.asarray(self.sampling_weight)
        if image.ndim != 4 or 0 in image.shape:
            raise self._error(f"the image has shape {image.shape}, which is not (x, y, z, channels)")
        for task, target in targets.items():
            if target.ndim >= 3:
                self._check_grid(f"the target of task {task!r}", target, image)
            elif target.ndim == 2 or target.size == 0 or not np.all(np.isfinite(target)):
                raise self._error(
                    f"the target of task {task!r} is {target.tolist()}, which is neither a volume nor a finite number "
                    "or vector; correct its table or exclude the subject"
                )
        if weight is not None:
            self._check_grid("the sampling weight", weight, image)
            if weight.ndim == 4 and weight.shape[3] != 1:
                raise self._error(f"the sampling weight has {weight.shape[3]} channels; it needs one")
        if len(self.spacing) != 3 or not all(0 < size < math.inf for size in self.spacing):
            raise self._error(
                f"the spacing is {tuple(self.spacing)}; it must be three positive numbers of mm"
            )
        for name, value in (("image", image), ("targets", targets), ("sampling_weight", weight)):
            object.__setattr__(self, name, value)

    def _check_grid(self, what: str, volume: np.ndarray, image: np.ndarray) -> None:
        if volume.ndim > 4 or volume.shape[:3] != image.shape[:3]:
            raise self._error(
                f"{what} has shape {volume.shape} but the image {image.shape}; resample both to one grid "
                "(give the input sections the same pixdim and axcodes)"
            )

    def _error(self, text: str) -> DataError:
        return DataError(f"subject {self.subject_id!r}: {text}")


class WindowSource:
    """Makes windows of prepared subjects: drawn, augmented, padded, with targets and weights.

    Windows come in passes; every pass takes `windows_per_volume` windows of each subject, in an order of its own.

    2-D windows are planes: the sliced axis, whose window size is 1, is dropped. Weights are 0 in the border and where a
    rotated window reaches beyond the volume, 1 elsewhere; images and targets are 0 where the weight is 0.

    Args:
        subjects: At least one; all with the same number of channels and the same tasks.
        window_size: Three numbers of voxels; a 1 marks the sliced axis.
        sampler: Draws the place, for the same window size.
        augmentation: What is drawn at random, or None for exact copies.
        task_kinds: By task: "map" (regression, linear), "labels" (a label map, nearest), "value" or "class" (one per
            subject).
        loss_border: Zeros added on each side of the window along the axes that the network sees.
        seed: Seed of everything random.
        windows_per_volume: Windows of each subject per pass (`sample_per_volume`).

    Attributes:
        spatial_rank: 2 or 3.
        image_shape: Shape of one window, border included, with channels.
        target_shapes: Shape of one target by task.
        weight_shapes: Shape of one weight by task.
        target_dtypes: Type of the target by task.
        failure: The last error raised while a pipeline made a batch (see `pipeline.original_errors`), or None.

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
        self._check_settings(window_size)
        self.axes = sampler.axes
        self.spatial_rank = len(self.axes)
        self._size = tuple(int(window_size[axis]) for axis in self.axes)
        self._orders: dict[int, np.ndarray] = {}
        self._volumes = [self._task_volumes(subject) for subject in self.subjects]
        self._scalars = [self._scalar_targets(subject) for subject in self.subjects]
        self._set_shapes()

    def window(self, index: int) -> Batch:
        """Makes one window.

        Args:
            index: Its number, at least 0.

        Returns:
            Image `(*window, channels)` float32, targets by task, weights by task (`window` or a scalar, float32).
        """
        image, targets, weights = self.batch([index])
        return image[0], _first(targets), _first(weights)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Makes windows, as `window`, with a leading axis that counts them."""
        count = len(indices)
        image = np.zeros((count, *self.image_shape), np.float32)
        targets = {
            task: np.zeros((count, *self.target_shapes[task]), self.target_dtypes[task])
            for task in self.task_kinds
        }
        weights = {task: np.zeros((count, *self.weight_shapes[task]), np.float32) for task in self.task_kinds}
        border = self.loss_border
        inner = tuple(slice(border, border + size) for size in self._size)
        for row, index in enumerate(indices):
            self._fill(
                int(index),
                image[row][inner],
                {
                    task: target[row][inner]
                    if self.task_kinds[task] in SPATIAL_KINDS
                    else target[row : row + 1]
                    for task, target in targets.items()
                },
                {
                    task: weight[row][inner]
                    if self.task_kinds[task] in SPATIAL_KINDS
                    else weight[row : row + 1]
                    for task, weight in weights.items()
                },
            )
        return image, targets, weights

    def subject_of(self, index: int) -> PreparedSubject:
        """Returns the subject that window `index` is cut from."""
        return self.subjects[self._subject_number(index)]

    def _fill(
        self, index: int, image: np.ndarray, targets: dict[str, np.ndarray], weights: dict[str, np.ndarray]
    ) -> None:
        """Writes one window into the given arrays, which hold zeros."""
        number = self._subject_number(index)
        subject, volumes, scalars = self.subjects[number], self._volumes[number], self._scalars[number]
        rng = _generator(self.seed, WINDOW_STREAM, index)
        start = self.sampler.start(subject, rng).tolist()
        parameters = None if self.augmentation is None else self.augmentation.draw(rng, self.spatial_rank)
        planes = {
            task: self._plane(volume, start, self.task_kinds[task] == "labels")
            for task, volume in volumes.items()
        }
        plane = self._plane(subject.image, start, is_label_map=False)
        shape, spacing = plane.shape[:-1], [subject.spacing[axis] for axis in self.axes]
        corner = [start[axis] for axis in self.axes]
        if self.sampler.whole_volume:
            full = [subject.image.shape[axis] for axis in self.axes]
            spacing = [size * n / m for size, n, m in zip(spacing, full, shape, strict=True)]
        window_map = self._window_map(parameters, corner, shape, spacing)
        window_map.linear(plane, image)
        if parameters is not None and parameters.bias_coefficients is not None:
            image *= bias_field(parameters.bias_coefficients, corner, self._size, shape)[..., None]
        for task, kind in self.task_kinds.items():
            weights[task][...] = 1.0
            if kind in SCALAR_KINDS:
                targets[task][...] = scalars[task]
                continue
            (window_map.nearest if kind == "labels" else window_map.linear)(planes[task], targets[task])
            if window_map.inside is not None:
                weights[task][...] = window_map.inside

    def _plane(self, volume: np.ndarray, start: Sequence[int], is_label_map: bool) -> np.ndarray:
        """Returns what the window is cut from: the volume or a slice of it, resized where the sampler says so."""
        if self.spatial_rank == 2:
            sliced = 3 - sum(self.axes)
            volume = volume[(slice(None),) * sliced + (start[sliced],)]
        if self.sampler.whole_volume:
            return resize_nearest(volume, self._size) if is_label_map else resize_linear(volume, self._size)
        return volume

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
            rng = _generator(self.seed, ORDER_STREAM, number_of_pass)
            order = rng.permutation(per_pass) // self.windows_per_volume
            for old in list(self._orders)[:-3]:  # threads work on neighbouring passes at most
                self._orders.pop(old, None)
            self._orders[number_of_pass] = order
        return int(order[place])

    def _check_settings(self, window_size: Sequence[int]) -> None:
        if not self.subjects:
            raise DataError(
                "there are no subjects to draw windows from; look at dataset_split_file and path_to_search"
            )
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
        if self.augmentation is not None:
            unseen = set(self.augmentation.flip_axes) - set(self.sampler.axes)
            if unseen:
                raise ConfigError(
                    f"random_flipping_axes = {self.augmentation.flip_axes}: 2-D windows of {tuple(window_size)} have "
                    f"no axis {unseen.pop()}; it is the one that is sliced"
                )

    def _task_volumes(self, subject: PreparedSubject) -> dict[str, np.ndarray]:
        """Checks a subject and returns its target volumes by task: maps with channels, label maps without."""
        self.sampler.check(subject)
        first = self.subjects[0]
        if subject.image.shape[3] != first.image.shape[3]:
            raise DataError(
                f"subject {subject.subject_id!r} has {subject.image.shape[3]} image channels, but "
                f"{first.subject_id!r} has {first.image.shape[3]}; all must have the same modalities"
            )
        volumes = {}
        for task, kind in self.task_kinds.items():
            target = _target(subject, task)
            is_volume = target.ndim >= 3
            if is_volume != (kind in SPATIAL_KINDS):
                raise DataError(
                    f"subject {subject.subject_id!r}: task {task!r} needs a "
                    f"{'volume' if kind in SPATIAL_KINDS else 'number'}, but its target has shape {target.shape}"
                )
            if kind == "labels":
                volumes[task] = _label_volume(subject, task, target)
            elif kind == "map":
                volumes[task] = target if target.ndim == 4 else target[..., None]
                _check_same_size(volumes[task].shape[-1], _target(first, task).shape[3:], subject, task)
        return volumes

    def _scalar_targets(self, subject: PreparedSubject) -> dict[str, np.ndarray]:
        """Returns the targets that are one per subject: `(k,)` values and classes without axes."""
        scalars = {}
        for task, kind in self.task_kinds.items():
            if kind == "value":
                scalars[task] = np.atleast_1d(_target(subject, task)).astype(np.float32)
                _check_same_size(len(scalars[task]), _target(self.subjects[0], task).shape, subject, task)
            elif kind == "class":
                value = _target(subject, task)
                if value.size != 1 or int(value.item()) != value.item() or value.item() < 0:
                    raise DataError(
                        f"subject {subject.subject_id!r}: the class of task {task!r} is {value.tolist()}; classes are "
                        "whole numbers from 0"
                    )
                scalars[task] = np.array(int(value.item()), np.int32)
        return scalars

    def _set_shapes(self) -> None:
        padded = tuple(size + 2 * self.loss_border for size in self._size)
        self.image_shape = (*padded, self.subjects[0].image.shape[3])
        self.target_dtypes = {task: TASK_KINDS[kind] for task, kind in self.task_kinds.items()}
        self.target_shapes: dict[str, tuple[int, ...]] = {}
        self.weight_shapes: dict[str, tuple[int, ...]] = {}
        for task, kind in self.task_kinds.items():
            if kind in SCALAR_KINDS:
                self.target_shapes[task] = self._scalars[0][task].shape
            else:
                self.target_shapes[task] = (
                    padded if kind == "labels" else (*padded, self._volumes[0][task].shape[3])
                )
            self.weight_shapes[task] = padded if kind in SPATIAL_KINDS else ()


def _generator(seed: int, stream: int, number: int) -> np.random.Generator:
    """Returns the random numbers that belong to one window or pass.

    Philox counts upwards in the lowest word of its counter; the number goes into the third, so that the streams of
    neighbouring numbers never meet.
    """
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, number, stream]))


def _target(subject: PreparedSubject, task: str) -> np.ndarray:
    try:
        return subject.targets[task]
    except KeyError:
        raise DataError(
            f"subject {subject.subject_id!r} has no target for task {task!r}, only for {sorted(subject.targets)}; "
            "exclude the subject or complete its files"
        ) from None


def _label_volume(subject: PreparedSubject, task: str, target: np.ndarray) -> np.ndarray:
    if not (np.issubdtype(target.dtype, np.integer) or target.dtype == bool) or target.shape[3:] not in (
        (),
        (1,),
    ):
        raise DataError(
            f"subject {subject.subject_id!r}: the label map of task {task!r} must be one channel of integers, but is of "
            f"type {target.dtype} and shape {target.shape}"
        )
    return target.reshape(target.shape[:3])


def _check_same_size(size: int, first_shape: tuple[int, ...], subject: PreparedSubject, task: str) -> None:
    expected = first_shape[0] if first_shape else 1
    if size != expected:
        raise DataError(
            f"subject {subject.subject_id!r}: the target of task {task!r} has {size} values where the first subject "
            f"has {expected}"
        )


def _first(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {task: array[0] for task, array in arrays.items()}
