"""How much memory a run needs at the very least, so that what cannot work is refused by its setting and not killed.

Every figure is a lower bound: what must be in memory at one time whatever TensorFlow does. It is compared with all that
the machine has. So nothing is refused that could work, and a run that is let through may still need more.
"""

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sfgkeras.applications.tasks.task import Task
from sfgkeras.applications.workers.address import find_place
from sfgkeras.config import Config
from sfgkeras.data.grids import resampled_shape, turned_grid
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import ConfigError, DataError, Problem
from sfgkeras.tables.losses import is_told_by_map

FLOAT = 4
"""Bytes of a number."""

LEAST_FILTERS: Mapping[str, int] = {"highresnet": 200, "hyperface": 96, "vgg11": 64}
"""Feature maps of the image's size that a training step keeps for its gradients, at width 1; less than there are."""

FIRST_FILTERS: Mapping[str, int] = {"highresnet": 16, "hyperface": 96, "unet": 64, "vgg11": 64}
"""Feature maps of the image's size that the first convolution gives, at width 1."""

GIB = 1 << 30


@dataclass(frozen=True)
class BatchSize:
    """What the memory of a batch depends on.

    Attributes:
        batch_size: Windows on this machine.
        window: Voxels of a window along the axes that it has.
        loss_border: Zeros on each side of them.
        channels: Channels of the image.
        outputs: Output channels of a voxel by task; 0 for tasks of one value per image.
        coarse_levels: On how many coarser levels a task has further heads in training, by task: the n-th at an n-th
            halving of the window.
        filters: Feature maps that are kept.
        bytes_per_feature: Bytes of one of their numbers.
    """

    batch_size: int
    window: tuple[int, ...]
    loss_border: int
    channels: int
    outputs: Mapping[str, int]
    filters: int
    bytes_per_feature: int = FLOAT
    coarse_levels: Mapping[str, int] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        """Returns image, targets, outputs and feature maps of a batch in bytes."""
        numbers = self.channels + len(self.outputs) + sum(self.outputs.values())
        whole = self._voxels(0) * (numbers * FLOAT + self.filters * self.bytes_per_feature)
        return whole + self.num_coarse * FLOAT

    @property
    def num_coarse(self) -> int:
        """Returns how many numbers the heads on coarser levels give and are compared with."""
        return sum(
            self._voxels(level) * (1 + self.outputs[name])
            for name, count in self.coarse_levels.items()
            if self.outputs[name]
            for level in range(1, count + 1)
        )

    def _voxels(self, level: int) -> int:
        """Returns the voxels of a batch on a level; odd sizes are rounded up, as where features are pooled."""
        return self.batch_size * math.prod(-(-(size + 2 * self.loss_border) // 2**level) for size in self.window)


def total_memory() -> int | None:
    """Returns the bytes of memory and swap that this process may have at most; None where that is not known."""
    limits = []
    with contextlib.suppress(OSError, ValueError, KeyError):
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
        limits.append(sum(int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "SwapTotal")))
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(Path(place).read_text(encoding="utf-8")))
    return min(limits, default=None)


def refuse_large_batch(config: Config, tasks: Mapping[str, Task]) -> None:
    """Refuses a training batch that cannot fit into memory.

    Raises:
        ConfigError: Says what it needs, what there is, and the setting that makes it so large.
    """
    available = total_memory()
    batch = training_batch(config, tasks)
    if available is None or batch.num_bytes <= available:
        return
    remedies = {
        f"[NETWORK] batch_size = {config.network.batch_size}": replace(batch, batch_size=1),
        f"[MULTITASK] loss_border = {batch.loss_border}": replace(batch, loss_border=0),
        f"spatial_window_size = {', '.join(map(str, config.window_size))}": replace(
            batch, window=tuple(min(size, 32) for size in batch.window)
        ),
        f"[NETWORK] width = {config.network.width:g}": replace(batch, filters=1),
        **{
            f"[TASK {name}] num_classes = {count}": replace(batch, outputs={**batch.outputs, name: 2})
            for name, count in batch.outputs.items()
            if config.tasks[name].num_classes
        },
    }
    key = min(remedies, key=lambda name: remedies[name].num_bytes)
    frame = " x ".join(str(size + 2 * batch.loss_border) for size in batch.window)
    raise Problem(
        f"{key} is too large: a batch of {batch.batch_size} windows of {frame} voxels with "
        f"{sum(batch.outputs.values())} output channels needs at least {_gib(batch.num_bytes)} of memory, and this "
        f"machine has {_gib(available)}",
        "lower it",
        file=str(config.path),
    )


def training_batch(config: Config, tasks: Mapping[str, Task]) -> BatchSize:
    """Returns what the memory of a training batch on this machine depends on."""
    network = config.network
    workers = find_place(config, required=False).count
    on_device = config.system.num_gpus > 0 and has_gpu()
    return BatchSize(
        max(1, network.batch_size // workers),
        tuple(size for size in config.window_size if size != 1),
        config.multitask.loss_border,
        len(config.image),
        # What a GPU holds does not count here: how much memory it has is TensorFlow's to say.
        {name: 0 if on_device or task.writes == "row" else task.num_outputs for name, task in tasks.items()},
        0 if on_device else max(1, int(least_filters(config) * network.width)),
        FLOAT if config.system.mixed_precision == "none" else FLOAT // 2,
        coarse_levels(config, tasks),
    )


def coarse_levels(config: Config, tasks: Mapping[str, Task]) -> dict[str, int]:
    """Returns on how many coarser levels each task has heads of `[NETWORK] deep_supervision` at least.

    What is read at a stage of its own choice may have fewer levels below it, and is not counted.
    """
    # No window can be halved more often.
    levels = min(config.network.deep_supervision, max(config.window_size).bit_length())
    return {name: levels for name, task in tasks.items() if levels and task.is_dense and not task.settings.tap}


def least_filters(config: Config) -> float:
    """Returns how many feature maps of the image's size a training step keeps at width 1; less than there are."""
    network = config.network
    if network.name != "unet":
        return LEAST_FILTERS.get(network.name, 0)
    shape, dimensions = network.settings_of("name"), config.spatial_rank
    filters = FIRST_FILTERS["unet"] * shape["convolutions"]
    # Twice the filters on a level of half the size along every axis.
    way_down = sum(filters * 2.0 ** ((1 - dimensions) * level) for level in range(shape["levels"]))
    maps = (
        config.target_kind(name) in ("map", "labels") or is_told_by_map(task.type, task.loss)
        for name, task in config.tasks.items()
    )
    ways = 2 if any(maps) else 1
    return ways * way_down


def refuse_large_window(config: Config, tasks: Mapping[str, Task], subjects: Iterable[Subject]) -> None:
    """Refuses an inference of which a single window, or the image of a subject, cannot fit into memory.

    Raises:
        ConfigError: If a window cannot.
        DataError: If the image of a subject cannot; names its file.
    """
    available = total_memory()
    if available is None:
        return
    for subject in subjects:
        with contextlib.suppress(DataError, ConfigError):  # what cannot be read is said in its turn
            shape = prepared_shape(config, subject)
            break
    else:
        return
    window = tuple(min(size or whole, whole) for size, whole in zip(config.inference_window_size, shape, strict=True))
    network = config.network
    one = BatchSize(
        1,
        tuple(size for size, full in zip(window, config.inference_window_size, strict=True) if full != 1),
        config.multitask.loss_border,
        len(config.image),
        {name: 0 if task.writes == "row" else task.num_outputs for name, task in tasks.items()},
        max(1, int(FIRST_FILTERS.get(network.name, 0) * network.width)),
        FLOAT if config.system.mixed_precision == "none" else FLOAT // 2,
    )
    if one.num_bytes > available and not (config.system.num_gpus > 0 and has_gpu()):
        frame = " x ".join(str(size + 2 * one.loss_border) for size in one.window)
        raise Problem(
            f"one window of inference, {frame} voxels with [MULTITASK] loss_border = {one.loss_border} "
            f"and {sum(one.outputs.values())} output channels, needs at least {_gib(one.num_bytes)} of memory, and "
            f"this machine has {_gib(available)}",
            "lower [INFERENCE] spatial_window_size, loss_border or num_classes",
            file=str(config.path),
        )
    for message in large_images(config, subjects):
        raise DataError(message)


def large_images(config: Config, subjects: Iterable[Subject]) -> Iterable[str]:
    """Yields a line for every subject whose prepared image cannot fit into memory; nothing where that is not known."""
    available = total_memory()
    if available is None:
        return
    source = config.sources[config.image[0]]
    for subject in subjects:
        try:
            shape = prepared_shape(config, subject)
        except (DataError, ConfigError):
            continue  # what cannot be read is said by another check
        needed = math.prod(shape) * len(config.image) * FLOAT
        if needed > available:
            name = config.image[0]
            spacing = ", ".join(f"{size:g}" for size in source.pixdim) if source.pixdim else "its own"
            image, padding = subject.images[name], ", ".join(map(str, config.network.volume_padding_size))
            yield (
                f"{image}: prepared for the network it has {' x '.join(map(str, shape))} voxels ([{name}] pixdim = "
                f"{spacing}, [NETWORK] volume_padding_size = {padding}), needs at least {_gib(needed)} of memory, and "
                f"this machine has {_gib(available)}; choose larger voxels or less padding"
            )


def prepared_shape(config: Config, subject: Subject) -> Sequence[int]:
    """Returns the voxels of a subject's image after `axcodes`, `pixdim` and padding, from its header alone."""
    name = config.image[0]
    source = config.sources[name]
    grid = turned_grid(subject.images[name].header(), source.axcodes)
    shape = grid.shape if source.pixdim is None else resampled_shape(grid.shape, grid.spacing, source.pixdim)
    padding = config.network.volume_padding_size
    return [size + 2 * added for size, added in zip(shape[:3], padding, strict=True)]


def has_gpu() -> bool:
    """Says whether the machine has a GPU of NVIDIA, without loading TensorFlow."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / GIB:,.1f} GiB" if num_bytes < 1024 * GIB else f"{num_bytes / GIB / 1024:,.1f} TiB"
