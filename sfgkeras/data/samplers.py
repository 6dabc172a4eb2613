"""Samplers: where in a subject's volume the next training window lies.

Every sampler is a table computed once per subject and a draw that costs microseconds. A window always lies
inside the volume. Its centre is the voxel `start + window_size // 2`; the allowed centres are those whose
window fits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from sfgkeras.data.prepared import PreparedSubject
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.tables.entry import LoadedTable
from sfgkeras.tables.samplers import SAMPLERS as ENTRIES


def window_axes(window_size: Sequence[int]) -> tuple[int, ...]:
    """Returns the axes of the volume that the network sees: all three, or the two that are not sliced.

    Args:
        window_size: Three numbers of voxels; a 1 marks the sliced axis of 2-D windows.

    Raises:
        ConfigError: If these are not three positive whole numbers with at most one 1 among them.
    """
    sizes = tuple(window_size)
    if len(sizes) != 3 or any(int(size) != size or size < 1 for size in sizes) or sizes.count(1) > 1:
        raise ConfigError(
            f"window size {sizes} cannot be used; give three whole numbers of voxels, of which one may be 1 "
            "for 2-D windows, e.g. 128, 128, 1"
        )
    return tuple(axis for axis in range(3) if sizes[axis] != 1)


class Sampler:
    """What the samplers have in common: the window size and the check that a volume is large enough.

    Attributes:
        whole_volume: Whether the volume is resized to the window instead of cut.
    """

    whole_volume = False

    def __init__(self, window_size: Sequence[int]) -> None:
        self.axes = window_axes(window_size)
        self.window_size = np.array([int(size) for size in window_size])
        self.half_window = self.window_size // 2

    def check(self, subject: PreparedSubject) -> None:
        """Raises a DataError that names the subject if no window can be drawn from it."""
        shape = np.array(subject.image.shape[:3])
        if np.any(shape < self.window_size):
            raise DataError(
                f"subject {subject.subject_id!r}: the volume of {_voxels(shape)} voxels is smaller than the "
                f"window of {_voxels(self.window_size)}; choose a smaller spatial_window_size, pad the "
                "volumes (volume_padding_size) or use window_sampling = resize"
            )

    def start(self, subject: PreparedSubject, rng: np.random.Generator) -> np.ndarray:
        """Draws the first voxel of a window, `(3,)` integers."""
        raise NotImplementedError


class UniformSampler(Sampler):
    """Draws every window that fits into the volume with the same probability."""

    def start(self, subject: PreparedSubject, rng: np.random.Generator) -> np.ndarray:
        """Draws the first voxel of a window, `(3,)` integers."""
        shape = subject.image.shape[:3]
        free = [n - w + 1 for n, w in zip(shape, self.window_size.tolist(), strict=True)]
        return np.array([rng.integers(count) if count > 1 else 0 for count in free])


class ResizeSampler(Sampler):
    """Takes the whole volume, which the window source resizes to the window.

    2-D windows take a slice, each with the same probability: photographs have only one, and the slices of a
    volume are not averaged into one another.
    """

    whole_volume = True

    def check(self, subject: PreparedSubject) -> None:
        """Accepts every volume: what is too small is resized too."""

    def start(self, subject: PreparedSubject, rng: np.random.Generator) -> np.ndarray:
        """Returns the first voxel of the volume, or of a slice drawn uniformly, `(3,)` integers."""
        start = np.zeros(3, int)
        if len(self.axes) == 2:
            sliced = ({0, 1, 2} - set(self.axes)).pop()
            start[sliced] = rng.integers(subject.image.shape[sliced])
        return start


class _CentreSampler(Sampler):
    """Draws the centre of the window from the subject's `sampling_weight`, by one table per subject."""

    def __init__(self, window_size: Sequence[int]) -> None:
        super().__init__(window_size)
        self._tables: WeakKeyDictionary[PreparedSubject, _WeightTable | _LabelTable] = WeakKeyDictionary()

    def check(self, subject: PreparedSubject) -> None:
        """Raises a DataError that names the subject if no window can be drawn from it; computes its table."""
        super().check(subject)
        self._table(subject)

    def start(self, subject: PreparedSubject, rng: np.random.Generator) -> np.ndarray:
        """Draws the first voxel of a window, `(3,)` integers."""
        centre = self._table(subject).draw(rng)
        return np.clip(centre - self.half_window, 0, np.array(subject.image.shape[:3]) - self.window_size)

    def _table(self, subject: PreparedSubject) -> "_WeightTable | _LabelTable":
        table = self._tables.get(subject)
        if table is None:
            table = self._tables.setdefault(subject, self._build_table(subject))
        return table

    def _build_table(self, subject: PreparedSubject) -> "_WeightTable | _LabelTable":
        raise NotImplementedError

    def _volume(self, subject: PreparedSubject) -> tuple[np.ndarray, tuple[int, ...]]:
        """Returns the sampling volume, its slowest axis in memory first, and the permutation of axes."""
        weight = subject.sampling_weight
        if weight is None:
            raise DataError(
                f"subject {subject.subject_id!r} has no sampling weight; name its input section with "
                "`sampler`, or use window_sampling = uniform"
            )
        slowest_first = np.argsort([-abs(stride) for stride in weight.strides], kind="stable")
        order = tuple(int(axis) for axis in slowest_first)
        return weight.transpose(order), order

    def _allowed(self, shape: Sequence[int], order: tuple[int, ...]) -> tuple[slice, ...]:
        """Returns the box of allowed centres, in the order of axes of `_volume`."""
        window, half = self.window_size[list(order)], self.half_window[list(order)]
        return tuple(slice(h, n - w + h + 1) for n, w, h in zip(shape, window, half, strict=True))


class WeightedSampler(_CentreSampler):
    """Draws the centre of the window with a probability proportional to the sampling weight there.

    The proportion holds among the allowed centres, as in NiftyNet. Where none of them has any weight, the
    centre is drawn from all voxels in proportion to their weight, and the window is moved inside the volume.
    """

    def _build_table(self, subject: PreparedSubject) -> "_WeightTable":
        volume, order = self._volume(subject)
        for box in (self._allowed(volume.shape, order), (slice(None),) * 3):
            # The sum of a row is inf or NaN where one of its weights is.
            sums = volume[box].sum(axis=2, dtype=np.float64)
            lowest = float(volume[box].min())
            if lowest < 0 or not np.all(np.isfinite(sums)):
                value = lowest if lowest < 0 else "a number that is not finite"
                raise DataError(
                    f"subject {subject.subject_id!r}: the sampling weight contains {value}; weights are "
                    "finite and at least 0"
                )
            if sums.any():
                return _WeightTable(volume, order, box, np.cumsum(sums), sums.shape)
        raise DataError(
            f"subject {subject.subject_id!r}: the sampling weight is 0 in every voxel; exclude the subject "
            "or use window_sampling = uniform"
        )


class BalancedSampler(_CentreSampler):
    """Draws a label, each value present with the same probability, then the centre among its voxels.

    The voxels of a label are equally likely as long as they are allowed centres. A label that has no such
    voxel, because it lies too near the edge of the volume, is drawn from all its voxels, and the window is
    moved inside the volume: rare structures are not lost. Background (0) is a label like the others, as in
    NiftyNet.
    """

    def _build_table(self, subject: PreparedSubject) -> "_LabelTable":
        volume, order = self._volume(subject)
        if not np.issubdtype(volume.dtype, np.integer) and volume.dtype != bool:
            raise DataError(
                f"subject {subject.subject_id!r}: balanced sampling needs a label map of integers, but the "
                f"sampling volume is of type {volume.dtype}; use window_sampling = weighted for weights"
            )
        allowed, everywhere = self._allowed(volume.shape, order), (slice(None),) * 3
        counts, allowed_counts = _plane_counts(volume, everywhere), _plane_counts(volume, allowed)
        labels = [
            _Label(value, allowed, np.cumsum(allowed_counts[value]))
            if value in allowed_counts
            else _Label(value, everywhere, np.cumsum(counts[value]))
            for value in sorted(counts)
        ]
        return _LabelTable(volume, order, labels)


@dataclass(frozen=True)
class _WeightTable:
    """Cumulative weights of the rows of a box: bisection finds the row, reading it the voxel."""

    volume: np.ndarray
    order: tuple[int, ...]
    box: tuple[slice, ...]
    cumulative: np.ndarray
    rows_shape: tuple[int, ...]

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        row = _draw_index(self.cumulative, rng)
        plane, line = divmod(row, self.rows_shape[1])
        first, second = (self.box[0].start or 0) + plane, (self.box[1].start or 0) + line
        weights = self.volume[first, second, self.box[2]]
        third = (self.box[2].start or 0) + _draw_index(np.cumsum(weights, dtype=np.float64), rng)
        return _in_volume_order((first, second, third), self.order)


@dataclass(frozen=True)
class _Label:
    value: int
    box: tuple[slice, ...]
    cumulative: np.ndarray


@dataclass(frozen=True)
class _LabelTable:
    """Cumulative counts of every label by plane: bisection finds the plane, reading it the voxel."""

    volume: np.ndarray
    order: tuple[int, ...]
    labels: list[_Label]

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        label = self.labels[int(rng.integers(len(self.labels)))]
        plane = int(np.searchsorted(label.cumulative, rng.integers(label.cumulative[-1]), side="right"))
        first = (label.box[0].start or 0) + plane
        voxels = np.flatnonzero(self.volume[first][label.box[1:]] == label.value)
        voxel = int(voxels[rng.integers(len(voxels))])
        width = len(range(*label.box[2].indices(self.volume.shape[2])))
        second, third = divmod(voxel, width)
        second, third = (label.box[1].start or 0) + second, (label.box[2].start or 0) + third
        return _in_volume_order((first, second, third), self.order)


def _draw_index(cumulative: np.ndarray, rng: np.random.Generator) -> int:
    """Draws an index with a probability proportional to the steps of a cumulative sum."""
    index = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
    if index == len(cumulative):  # the product rounded up to the total: the last index that has any weight
        index = int(np.searchsorted(cumulative, cumulative[-1], side="left"))
    return index


def _plane_counts(volume: np.ndarray, box: tuple[slice, ...]) -> dict[int, np.ndarray]:
    """Counts the voxels of every label in each plane of a box, `(planes,)` by label."""
    planes = volume[box]
    counts: dict[int, np.ndarray] = {}
    for index, plane in enumerate(planes):
        for value, count in zip(*np.unique(plane, return_counts=True), strict=True):
            counts.setdefault(int(value), np.zeros(len(planes), np.int64))[index] = count
    return counts


def _in_volume_order(voxel: tuple[int, ...], order: tuple[int, ...]) -> np.ndarray:
    """Returns a voxel given in a permuted order of axes as (x, y, z)."""
    result = np.empty(3, int)
    result[list(order)] = voxel
    return result


def _voxels(shape: np.ndarray) -> str:
    return " x ".join(str(size) for size in shape)


SAMPLERS: Mapping[str, type[Sampler]] = LoadedTable(ENTRIES)
