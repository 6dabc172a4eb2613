"""A thin trunk of a trained wide one: filters by matching pursuit, layer by layer (Lu et al. 2017, section 3.1)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from sfgkeras.errors import Problem
from sfgkeras.layers.residual import ResidualSection
from sfgkeras.networks.base import MultiTaskNetwork, describe_sharing
from sfgkeras.sharing import HardSharing
from sfgkeras.sharing.adaptive_trunk import AdaptiveTrunk
from sfgkeras.sharing.matching_pursuit import matching_pursuit


class _Kept(NamedTuple):
    """Which channels of the wide network a thin one has, and how these make all: `wide = mixture @ thin`, nearly."""

    channels: np.ndarray
    mixture: np.ndarray


def wide_network(network: MultiTaskNetwork) -> MultiTaskNetwork:
    """Returns the hard-sharing network, with first weights, that a thin one of `fully_adaptive` can be made of."""
    config = network.get_config() | {"name": network.name} | describe_sharing(HardSharing())
    wide: MultiTaskNetwork = type(network).from_config(config)
    wide.build((None, *network.image_size, network.image_channels))
    return wide


def start_thin(network: MultiTaskNetwork, wide: MultiTaskNetwork) -> None:
    """Starts a thin network from a trained wide one, both built.

    Of every layer the filters are taken that the others are best made of (`matching_pursuit`), with their normalisation
    and slopes; what reads the layer takes the others as the mixtures of these that they nearly are. Channels that a
    residual block adds to are those of its stage. Stages per task, and what heads give, keep their width.

    Args:
        network: With `fully_adaptive` sharing, none of whose stages has been split.
        wide: With `hard_sharing`, the same architecture, width and tasks; see `wide_network`.

    Raises:
        Problem: If a network shares in another way, the stages differ, or tasks have parted.
    """
    thin, trunk = network.trunk, wide.trunk
    if not isinstance(thin, AdaptiveTrunk) or wide.sharing.name != HardSharing.name:
        raise Problem(f"is {network.sharing.name} from {wide.sharing.name}", "start fully_adaptive from hard_sharing")
    if thin.architecture.names != trunk.architecture.names or network.tasks != wide.tasks:
        raise Problem("has other stages or tasks than the network that it starts from", "train both alike")
    if any(thin.is_decided(index) for index in range(thin.num_shared)):
        raise Problem("has been split already", "start from another network before it is trained")
    kept: list[dict[int, _Kept]] = []
    for index, stage in enumerate(trunk.architecture.stages):
        tasks = trunk.architecture.tasks_behind(index)
        if stage.per_task:
            kept.append({task: _copy_stage(wide, network, index, (task, task), kept, task) for task in tasks})
        else:
            found = _copy_stage(wide, network, index, (network.num_tasks, tasks[0]), kept, tasks[0])
            kept.append(dict.fromkeys(range(network.num_tasks), found))
    for task, (old, new) in enumerate(zip(wide.heads, network.heads, strict=True)):
        _copy_head(old, new, kept[trunk.architecture.taps[task]][task])
    deep = zip(wide.deep_heads, network.deep_heads, strict=True)
    for (task, index), (old, new) in zip(trunk.architecture.supervised, deep, strict=True):
        _copy_head(old, new, kept[index][task])


def _copy_stage(
    wide: MultiTaskNetwork,
    network: MultiTaskNetwork,
    index: int,
    groups: tuple[int, int],
    kept: Sequence[dict[int, _Kept]],
    task: int,
) -> _Kept:
    """Copies a stage of one group, by its number in the wide and in the thin network; returns what is kept of it."""
    trunk, thin = wide.trunk, network.trunk
    old, new = (f"{index}_{group}" for group in groups)
    read = [kept[source][task].mixture for source in trunk.architecture.sources(index)] if index else []
    found = _copy_convolution(trunk.convolutions[old], thin.convolutions[new], read)
    _copy_channels(trunk.activations[old].weights, thin.activations[new].weights, found.channels)
    section = thin.sections.get(new)
    if section is None:
        return found
    # Where only heads read a stage, the wide network has blocks for each of them, and the thin one those of the first.
    source = trunk.sections[old if old in trunk.sections else f"{index}_{task}"]
    if not isinstance(section, ResidualSection):
        raise Problem(f"has blocks of a kind ({type(section).__name__}) whose filters are not chosen", "start it anew")
    for one, other in zip(source.blocks, section.blocks, strict=True):
        _copy_channels(one.activations[0].weights, other.activations[0].weights, found.channels)
        between = _copy_convolution(one.convolutions[0], other.convolutions[0], [found.mixture])
        _copy_channels(one.activations[1].weights, other.activations[1].weights, between.channels)
        _copy_convolution(one.convolutions[1], other.convolutions[1], [between.mixture], found)
    return found


def _copy_convolution(old: Any, new: Any, read: Sequence[np.ndarray], kept: _Kept | None = None) -> _Kept:
    """Copies the chosen filters of a convolution; `kept` chooses them, None: matching pursuit.

    Args:
        old: The wide convolution.
        new: The thin one.
        read: For each stream that it reads, one behind the other, how its kept channels make all; none for an image.
        kept: The filters to take.
    """
    kernel = _reading(ops.convert_to_numpy(old.kernel), read)
    if kept is None:
        rows = kernel.reshape(-1, kernel.shape[-1]).T
        count = new.kernel.shape[-1]
        whole = _Kept(np.arange(len(rows)), np.eye(len(rows)))
        kept = whole if count == len(rows) else _Kept(*matching_pursuit(rows, count))
    new.kernel.assign(kernel[..., kept.channels])
    if old.bias is not None:
        new.bias.assign(ops.convert_to_numpy(old.bias)[kept.channels])
    return kept


def _reading(kernel: np.ndarray, read: Sequence[np.ndarray]) -> np.ndarray:
    """Returns a kernel `(..., channels, filters)` that reads the kept channels of each stream in place of all."""
    if not read:
        return kernel
    parts = np.split(kernel, np.cumsum([len(mixture) for mixture in read])[:-1], axis=-2)
    return np.concatenate(
        [np.einsum("...io,ik->...ko", part, mixture) for part, mixture in zip(parts, read, strict=True)], axis=-2
    )


def _copy_channels(old: Sequence[Any], new: Sequence[Any], channels: np.ndarray) -> None:
    for source, target in zip(old, new, strict=True):
        target.assign(ops.convert_to_numpy(source)[channels])


def _copy_head(old: Any, new: Any, kept: _Kept) -> None:
    for number, (source, target) in enumerate(zip(old.products, new.products, strict=True)):
        kernel = ops.convert_to_numpy(source.kernel)
        if number == 0:
            # Flattened features are channels of many voxels, voxel by voxel.
            per_voxel = kernel.reshape(-1, len(kept.mixture), kernel.shape[-1])
            kernel = _reading(per_voxel, [kept.mixture]).reshape(target.kernel.shape)
        target.kernel.assign(kernel)
        target.bias.assign(ops.convert_to_numpy(source.bias))
    if old.limits is not None:
        new.limits.assign(ops.convert_to_numpy(old.limits))
