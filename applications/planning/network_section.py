"""Lines of `[NETWORK]`, and the window: as much of the image as memory, time and the smallest image allow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfgkeras.applications.planning.facts import Facts
from sfgkeras.applications.planning.geometry import DIRECTIONS, slice_axis
from sfgkeras.applications.planning.lines import Lines, listed
from sfgkeras.applications.planning.roles import PlannedTask

LARGEST = {(2, False): 96, (2, True): 192, (3, True): 96, (3, False): 48}
"""Largest side of a window by its axes and whether there is a GPU."""
LARGEST_PHOTO = {False: 128, True: 256}
LEAST_FOR_3D = 32
"""Voxels along the shortest axis from which on a 3-D network sees more than slices do."""
UNEVEN_TOPS = 1.5
"""Factor between bright ends of histograms from which on one scale for all subjects has to be learned."""
FEWEST_FOR_NYUL = 5
RARE = 0.02
"""Share of the voxels below which windows at random would hardly ever show a label."""
PLACES = ("bounding_box", "landmarks")
_MULTIPLE = {"highresnet": 8, "unet": 16, "vgg11": 32}


@dataclass(frozen=True)
class Window:
    """The window of training.

    Attributes:
        size: Voxels along x, y, z; 1 across slices.
        why: Why.
        slices: How many windows a volume has across slices, in the median.
    """

    size: tuple[int, int, int]
    why: str
    slices: float = 1.0

    @property
    def rank(self) -> int:
        """2 for slices, else 3."""
        return 2 if 1 in self.size else 3


def choose_network(facts: Facts) -> tuple[str, str]:
    """Returns the network and why."""
    if not facts.maps and (facts.is_photo or facts.rows):
        return "vgg11", "every task has one value per image: convolutions and pooling, then an average"
    if facts.is_photo:
        return "unet", "photos: what is in them is told by their whole, which a way down and up sees at once"
    return "highresnet", "maps of volumes: full resolution throughout, as fine structures need"


def choose_window(facts: Facts, network: str, spacing: Sequence[float] | None) -> Window:
    """Returns the window: the photo, slices, or a piece of the volume."""
    if facts.is_photo:
        return _photo_window(facts, network)
    shapes = facts.geometry.shapes_at(spacing)
    sides = spacing if spacing is not None else tuple(facts.geometry.median_spacing)
    typical, smallest = np.median(shapes, axis=0), shapes.min(axis=0)
    axis, why_axis = slice_axis(typical, sides)
    boxes = any(task.type in PLACES for task in facts.rows)
    why_2d = _why_slices(facts, typical, sides, axis)
    if why_2d and not boxes:
        size = [_side(length, LARGEST[2, facts.machine.on_gpu], network) for length in smallest]
        size[axis] = 1
        why = f"slices, in 2-D: {why_2d}. They are cut across the axis from {DIRECTIONS[axis]}: {why_axis}"
        slices = float(typical[axis])
    else:
        size = [_side(length, LARGEST[3, facts.machine.on_gpu], network) for length in smallest]
        why = f"in 3-D: {typical.min():.0f} voxels along the shortest axis, voxels nearly as thick as wide, and a GPU"
        slices = max(1.0, float(np.prod(typical) / np.prod(size)))
    largest = " x ".join(f"{length:.0f}" for length in smallest)
    cap = LARGEST[2 if 1 in size else 3, facts.machine.on_gpu]
    why += f". The smallest volume has {largest} voxels; no side is above {cap} {_machine(facts)}"
    return Window((size[0], size[1], size[2]), why, slices)


def _why_slices(facts: Facts, shape: np.ndarray, spacing: Sequence[float], axis: int) -> str:
    """Returns why slices are better than pieces of volumes; empty if they are not."""
    sides = np.asarray(spacing, float)
    ratio = sides[axis] / np.delete(sides, axis).max()
    if ratio >= 2:
        return f"voxels are {ratio:.1f} times as thick as wide"
    if shape.min() < LEAST_FOR_3D:
        return f"volumes have {shape.min():.0f} voxels along one axis, fewer than {LEAST_FOR_3D}"
    if not facts.machine.on_gpu:
        return "there is no GPU, and a 3-D network costs some ten times as much per voxel"
    return ""


def _photo_window(facts: Facts, network: str) -> Window:
    rows, columns = np.median(facts.geometry.shapes[:, :2], axis=0)
    cap = LARGEST_PHOTO[facts.machine.on_gpu]
    factor = min(1.0, cap / max(rows, columns))
    step = _MULTIPLE[network] if min(rows, columns) * factor >= 2 * _MULTIPLE[network] else 4
    size = [max(step, int(round(length * factor / step)) * step) for length in (rows, columns)]
    if network == "vgg11":
        size = [max(32, length) for length in size]
    why = (
        f"each photo is one window, resized: they have {facts.geometry.describe_shapes()}, in the median "
        f"{rows:.0f} x {columns:.0f}; no side is above {cap} {_machine(facts)}, and sides are multiples of {step}, "
        "which can be halved"
    )
    return Window((size[0], size[1], 1), why)


def _side(length: float, cap: int, network: str) -> int:
    """Returns a side of a window: at most the cap and the smallest volume, a multiple of what the network halves."""
    step, side = _MULTIPLE[network], int(min(length, cap))
    return side // step * step if side >= 2 * step else max(1, side)


def _machine(facts: Facts) -> str:
    return "on a GPU" if facts.machine.on_gpu else "without a GPU"


def add_network(lines: Lines, facts: Facts, network: tuple[str, str], window: Window) -> None:
    """Adds `[NETWORK]`, but for what memory decides."""
    name, why = network
    lines.add("NETWORK", "name", name, why)
    _add_sharing(lines, facts)
    width = 1.0 if facts.machine.on_gpu else (0.5 if name == "highresnet" else 0.25)
    reason = f"{facts.machine.describe()}: " + ("all filters" if width == 1 else "fewer filters, for the time it takes")
    lines.add("NETWORK", "width", f"{width:g}", reason)
    if name == "unet":
        lines.add("NETWORK", "unet_levels", *levels_of(window.size))
        ways = [task.name for task in facts.maps]
        if len(ways) > 1:
            lines.add("NETWORK", "unet_decoder_start", "decoder", f"a way up of its own for each of {', '.join(ways)}")
    batch = (8 if window.rank == 2 else 2) * (2 if facts.machine.on_gpu else 1)
    lines.add("NETWORK", "batch_size", batch)
    _add_sampling(lines, facts)
    _add_intensities(lines, facts)


def levels_of(size: Sequence[int]) -> tuple[int, str]:
    """Returns how often a U-Net halves a window, and why."""
    shortest = min(length for length in size if length > 1)
    levels = max(1, min(4, int(np.log2(shortest / 4))))
    return levels, f"the shortest side, {shortest}, is halved {levels} times"


def change_levels(lines: Lines, window: Window) -> None:
    """Gives a planned U-Net the levels of a window that the memory has cut, and the reason."""
    planned = lines.value("NETWORK", "unet_levels")
    levels, why = levels_of(window.size)
    if planned and int(planned) != levels:
        lines.change("NETWORK", "unet_levels", levels, f"{why}; a window that memory does not cut would have {planned}")


def _add_sharing(lines: Lines, facts: Facts) -> None:
    tasks = facts.roles.tasks
    if len(tasks) == 1:
        lines.add("NETWORK", "sharing", "hard_sharing", "one task: there is nothing to share filters with")
        return
    why = f"{len(tasks)} tasks: which filters serve one of them and which serve all is found out in training"
    lines.add("NETWORK", "sharing", "sfg", why)


def rarest_labels(facts: Facts) -> tuple[PlannedTask, float] | None:
    """Returns the label task with the least foreground, and its share of the voxels; None where none has any."""
    shares = [
        (task, facts.contents[task.source].foreground)
        for task in facts.maps
        if task.type == "segmentation" and facts.contents[task.source].foreground > 0
    ]
    return min(shares, key=lambda pair: pair[1]) if shares else None


def _add_sampling(lines: Lines, facts: Facts) -> None:
    rarest = rarest_labels(facts)
    if facts.is_photo:
        lines.add("NETWORK", "window_sampling", "resize", "each photo is one window")
    elif any(task.type in PLACES for task in facts.rows):
        lines.add("NETWORK", "window_sampling", "resize", "places are told from the whole volume")
    elif rarest is not None and rarest[1] < RARE:
        task, share = rarest
        why = (
            f"{share:.2%} of the voxels have a label of {task.name}, less than {RARE:.0%}: windows are drawn so that "
            "each label is as often in their middle"
        )
        lines.add("NETWORK", "window_sampling", "balanced", why)
    else:
        why = f"{rarest[1]:.1%} of the voxels have a label, enough to be met" if rarest else "all voxels count alike"
        lines.add("NETWORK", "window_sampling", "uniform", f"anywhere: {why}")


def _add_intensities(lines: Lines, facts: Facts) -> None:
    kinds = {facts.contents[source].kind for source in facts.roles.images}
    lines.add("NETWORK", "whitening", True, f"each {'colour' if facts.is_photo else 'image'} to mean 0 and variance 1")
    if facts.is_photo or kinds != {"image"}:
        return
    spread, which = max((_spread(facts.contents[source].tops), source.name) for source in facts.roles.images)
    if spread >= UNEVEN_TOPS and len(facts.subjects) >= FEWEST_FOR_NYUL:
        why = (
            f"one scale for all subjects (Nyul): the bright ends of histograms of {which} differ by a factor of "
            f"{spread:.1f}, {UNEVEN_TOPS:g} or more"
        )
        lines.add("NETWORK", "normalisation", True, why)
        lines.add("NETWORK", "histogram_ref_file", "histogram_landmarks.json")
        lines.add("NETWORK", "cutoff", listed((0.01, 0.99)))


def _spread(tops: object) -> float:
    values = np.array(list(tops.values()) if isinstance(tops, dict) else [])
    values = values[values > 0]
    return float(values.max() / values.min()) if len(values) > 1 else 1.0
