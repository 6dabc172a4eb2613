"""What a source holds, by its voxels: labels, a CT in Hounsfield units, or intensities, with the numbers behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sfgkeras.applications.planning.sources import FoundSource
from sfgkeras.applications.planning.words import meaning
from sfgkeras.data.references import ImageRef
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing.foreground import otsu_threshold
from sfgkeras.reporter import Reporter

READ = 20
"""Images of a source whose voxels are read; of label maps all are."""
MOST_LABELS = 300
SAME_NEIGHBOURS = 0.5
"""Share of neighbours off the background with one value from which on whole numbers are labels: organs have insides."""
DENSER_THAN_LUNG = -500.0
_POINTS = 20_000


@dataclass
class Content:
    """What is known of the voxels of a source.

    Attributes:
        kind: `labels`, `ct`, `quantity`, `image`, or `constant`.
        why: The numbers that say so.
        labels: Every label that was seen.
        shares: Share of the voxels of each label.
        low: Lowest value of all that was read.
        high: Highest value.
        tops: 99th percentile of each image that was read, by subject.
        bias: By which factor a smooth field in the intensities varies, of the median image.
        clip: Of a CT the 0.5th and 99.5th percentile of what is denser than lung.
        filled: Share of the voxels that have the lowest value.
        broken: Why images cannot be used, by subject.
        num_read: Images whose voxels were read.
    """

    kind: str = "image"
    why: str = ""
    labels: tuple[int, ...] = ()
    shares: Mapping[int, float] = field(default_factory=dict)
    low: float = 0.0
    high: float = 0.0
    tops: Mapping[str, float] = field(default_factory=dict)
    bias: float = 1.0
    clip: tuple[float, float] = (0.0, 0.0)
    filled: float = 0.0
    broken: Mapping[str, str] = field(default_factory=dict)
    num_read: int = 0

    @property
    def foreground(self) -> float:
        """Share of the voxels with a label other than 0."""
        return 1.0 - self.shares.get(0, 0.0)

    @property
    def is_consecutive(self) -> bool:
        """Whether the labels are 0, 1, 2, ..., at most one of them never seen; they count from 0."""
        return bool(self.labels) and self.labels[0] == 0 and self.labels[-1] - len(self.labels) < 1


@dataclass(frozen=True)
class _Read:
    array: np.ndarray
    is_whole: bool

    @property
    def background(self) -> float:
        """The most frequent of its extreme values, which fills what is not of interest."""
        low, high = float(self.array.min()), float(self.array.max())
        return low if (self.array == low).sum() >= (self.array == high).sum() else high


def measure(sources: Sequence[FoundSource], reporter: Reporter) -> dict[FoundSource, Content]:
    """Measures all sources; see `measure_source`."""
    found = {}
    with reporter.stage("measuring images", sum(len(source.images) for source in sources)) as stage:
        for source in sources:
            found[source] = measure_source(source)
            stage.advance(len(source.images), source.name)
    return found


def measure_source(source: FoundSource) -> Content:
    """Measures one source: a sample of its images, and all of them where these are label maps."""
    subjects = _sample(sorted(source.images), READ)
    arrays, broken = {}, {}
    for subject in subjects:
        try:
            arrays[subject] = _read(source.images[subject], meaning(source.words) == "labels")
        except (DataError, ConfigError) as error:
            broken[subject] = str(error)
    if not arrays:
        return Content("broken", next(iter(broken.values()), ""), broken=broken)
    said = source.role or meaning(source.words)
    low = float(min(read.array.min() for read in arrays.values()))
    high = float(max(read.array.max() for read in arrays.values()))
    content = Content(low=low, high=high, broken=broken, num_read=len(arrays))
    if low == high:
        content.kind, content.why = "constant", f"every voxel is {low:g}"
    elif all(read.is_whole for read in arrays.values()) and _looks_like_labels(content, arrays, said):
        _measure_labels(content, source)
    else:
        _measure_intensities(content, source, arrays, said)
    return content


def _sample(subjects: Sequence[str], number: int) -> list[str]:
    if len(subjects) <= number:
        return list(subjects)
    return [subjects[index] for index in np.linspace(0, len(subjects) - 1, number).round().astype(int)]


def _read(image: ImageRef, as_labels: bool) -> _Read:
    """Reads an image; of a photo grey values or palette indices where it has them, for they may be labels."""
    array = None
    if image.is_photo:
        try:
            array = image.read_labels().array
        except DataError:
            if as_labels:
                raise
    if array is None:
        array = image.read().array
    finite = np.isfinite(array)
    if not finite.all():
        raise DataError(f"{image}: {int((~finite).sum())} of its {array.size} voxels are NaN or infinite")
    rounded = np.rint(array) if array.dtype.kind == "f" else array
    return _Read(array, bool(array.dtype.kind in "iub" or np.abs(array - rounded).max() < 1e-4))


def _looks_like_labels(content: Content, arrays: Mapping[str, _Read], said: str) -> bool:
    if content.low < 0 or any(len(np.unique(_some(read.array))) > MOST_LABELS for read in arrays.values()):
        return False
    values = set[int]().union(*(count_labels(read.array) for read in arrays.values()))
    if len(values) > MOST_LABELS:
        return False
    same = float(np.median([_same_neighbours(read) for read in arrays.values()]))
    content.why = f"whole numbers, {len(values)} of them; {same:.0%} of neighbours off the background are equal"
    needed = SAME_NEIGHBOURS / 2 if said == "labels" else SAME_NEIGHBOURS
    return same >= needed or len(values) == 2


def _some(array: np.ndarray) -> np.ndarray:
    """Returns some of the voxels, evenly spread."""
    return array.reshape(-1)[:: max(1, array.size // _POINTS)]


def count_labels(array: np.ndarray) -> dict[int, int]:
    """Returns how many voxels have each label; labels are whole numbers.

    >>> count_labels(np.array([[0, 2], [2, 2]]))
    {0: 1, 2: 3}
    """
    whole = np.rint(array).astype(np.int64, copy=False).reshape(-1)
    low = int(whole.min())
    if int(whole.max()) - low <= np.iinfo(np.uint16).max:
        counts = np.bincount(whole - low)
        labels = np.flatnonzero(counts)
        return {int(label) + low: int(counts[label]) for label in labels}
    values, numbers = np.unique(whole, return_counts=True)
    return dict(zip(values.tolist(), numbers.tolist(), strict=True))


def _same_neighbours(read: _Read) -> float:
    """Returns the share of neighbouring voxels, neither of them background, that have the same value."""
    array, background = np.rint(read.array), read.background
    same = pairs = 0
    for axis in range(min(array.ndim, 3)):
        one, other = np.moveaxis(array, axis, 0)[:-1], np.moveaxis(array, axis, 0)[1:]
        inside = (one != background) & (other != background)
        pairs += int(inside.sum())
        same += int((inside & (one == other)).sum())
    return same / pairs if pairs else 1.0


def _measure_labels(content: Content, source: FoundSource) -> None:
    counts: dict[int, int] = {}
    broken = dict(content.broken)
    num_read = 0
    for subject, image in source.images.items():
        try:
            found = count_labels(image.read_labels().array)
        except (DataError, ConfigError) as error:
            broken[subject] = str(error)
            continue
        num_read += 1
        for label, number in found.items():
            counts[label] = counts.get(label, 0) + number
    total = sum(counts.values())
    content.kind, content.broken, content.num_read = "labels", broken, num_read
    content.labels = tuple(sorted(counts))
    content.shares = {label: counts[label] / total for label in content.labels}


def _measure_intensities(content: Content, source: FoundSource, arrays: Mapping[str, _Read], said: str) -> None:
    air, soft, below = np.mean([_hounsfield(read.array) for read in arrays.values()], axis=0)
    content.tops = {subject: float(np.percentile(read.array, 99)) for subject, read in arrays.items()}
    content.filled = float(np.mean([(read.array == content.low).mean() for read in arrays.values()]))
    is_ct = air >= 0.05 and soft >= 0.05 and below <= 0.05 and content.low >= -32768 and not source.is_photo
    if is_ct and said != "mr":
        content.kind = "ct"
        content.clip = _percentiles([read.array for read in arrays.values()])
        content.why = f"{air:.0%} of the voxels lie within 150 of -1000 HU (air), {soft:.0%} within 200 of 0 (tissue)"
        return
    content.kind = "quantity" if said == "quantity" else "image"
    content.why = f"from {content.low:g} to {content.high:g}"
    if said == "ct":
        content.why += f"; called a CT, and not in Hounsfield units: {air:.0%} of the voxels lie within 150 of -1000"
    if not source.is_photo:
        content.bias = float(np.median([_bias(read.array) for read in list(arrays.values())[:5]]))


def _hounsfield(array: np.ndarray) -> tuple[float, float, float]:
    """Returns the shares of voxels that may be air, soft tissue, and below air but no padding."""
    array = array.astype(np.float32, copy=False)
    air = (np.abs(array + 1000) <= 150).mean()
    soft = (np.abs(array) <= 200).mean()
    below = ((array < -1300) & (array > -1900)).mean()
    return float(air), float(soft), float(below)


def _percentiles(arrays: Sequence[np.ndarray]) -> tuple[float, float]:
    """Returns the 0.5th and 99.5th percentile of the voxels denser than lung of all images together."""
    dense = [array[array > DENSER_THAN_LUNG] for array in arrays]
    low, high = np.percentile(np.concatenate([part[:: max(1, len(part) // _POINTS)] for part in dense]), [0.5, 99.5])
    return float(np.floor(low / 10) * 10), float(np.ceil(high / 10) * 10)


def _bias(array: np.ndarray) -> float:
    """Returns by which factor a field of second degree, fitted to the logarithms of the foreground, varies over it.

    It is 1 where nothing can be told, as of intensities that are not all above 0, which a coil does not multiply.
    """
    try:
        inside = np.argwhere(array > otsu_threshold(array))
    except DataError:
        return 1.0
    step = max(1, len(inside) // _POINTS)
    points = inside[::step]
    values = array[tuple(points.T)].astype(np.float64)
    if len(points) < 100 or values.min() <= 0:
        return 1.0
    logs = np.log(values)
    x = 2.0 * points / np.maximum(np.array(array.shape) - 1, 1) - 1.0
    columns = [np.ones(len(x)), *x.T, *(x[:, i] * x[:, j] for i in range(x.shape[1]) for j in range(i + 1))]
    terms = np.stack(columns, axis=1)
    solution, *_ = np.linalg.lstsq(terms, logs, rcond=None)
    low, high = np.percentile(terms @ solution, [2.5, 97.5])
    return float(np.exp(high - low))
