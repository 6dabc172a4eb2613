"""Hardening: from drawn masks to dense convolutions of the filters that each group really owns."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from sfgkeras.architecture.walk import Streams, walk_and_keep
from sfgkeras.errors import suggestion
from sfgkeras.group_multiples import check_multiple
from sfgkeras.layers.activation import MaskedActivation
from sfgkeras.layers.convolution import Convolution
from sfgkeras.layers.residual import ResidualSection
from sfgkeras.networks.base import MultiTaskNetwork, describe_sharing
from sfgkeras.networks.functional_hardening import harden_functional
from sfgkeras.networks.hardening_cost import (
    noise_images,
    output_changes,
    refuse_stale_statistics,
    report_cost,
    warn_of_moved,
    warn_of_undecided,
)
from sfgkeras.networks.heads import TaskHead
from sfgkeras.networks.plain_layers import PlainLayers
from sfgkeras.networks.recalibration import BATCHES, recalibrate
from sfgkeras.sharing import ConstantMask
from sfgkeras.sharing.allocation import allocate_own
from sfgkeras.sharing.grouped_trunk import GroupedTrunk
from sfgkeras.sharing.masked_trunk import MaskedTrunk


class _Held(NamedTuple):
    """Which channels of a stream of the masked trunk the grouped one holds, and how many there are."""

    channels: np.ndarray
    width: int


def group_network(network: MultiTaskNetwork, multiple_of: int = 1) -> MultiTaskNetwork:
    """Returns a network of fixed groups that equals a network with drawn masks in `mode`.

    Every filter goes to its most probable group (ties: see `grouping.mode_assignment`). The result still normalises
    and trains as before; `harden` makes an ordinary Keras model of it. With `multiple_of` some filters go to another
    group than their most probable one: then it equals the drawn network no longer, and is meant to be trained on.

    Args:
        network: A network that has been built; one whose groups are fixed is returned as it is.
        multiple_of: What the filters per group are multiples of, where the layer's number of filters permits it; the
            probability of the whole allocation is the largest that this leaves, see `group_multiples.assign_groups`.

    Returns:
        A network of the same class with `sharing="constant_mask"`.

    Raises:
        ValueError: If the network is not built, or `multiple_of` is no positive whole number.
    """
    check_multiple(multiple_of)
    if not network.built:
        raise ValueError(f"network {network.name!r} has no weights yet: call it on images, or build it, first")
    if isinstance(network.trunk, GroupedTrunk):
        return network
    allocation = network.trunk.most_probable_groups(multiple_of)
    allocation += [allocate_own(stage, network.num_tasks) for stage in network.trunk.own_stages]
    drawn = network.trunk.sharing
    sharing = ConstantMask(routing=drawn.routing, mask_residual=drawn.mask_residual, allocation=allocation)
    config = network.get_config() | {"name": f"{network.name}_grouped"} | describe_sharing(sharing)
    grouped = type(network).from_config(config)
    grouped.build((None, *network.image_size, network.image_channels))
    grouped.iteration.assign(ops.convert_to_numpy(network.iteration))
    grouped.statistics_measured_at = network.statistics_measured_at
    _copy_trunk(network.trunk, grouped.trunk)
    for task, (old, new) in enumerate(zip(network.heads, grouped.heads, strict=True)):
        (reader,) = grouped.trunk.head_groups(task)
        held = _held(network.trunk, grouped.trunk, grouped.trunk.architecture.taps[task], reader)
        _copy_head(old, new, held)
    architecture = grouped.trunk.architecture
    for (task, stage), old, new in zip(architecture.supervised, network.deep_heads, grouped.deep_heads, strict=True):
        _copy_head(old, new, _held(network.trunk, grouped.trunk, stage, grouped.trunk.task_reader(task)))
    return grouped


def _copy_head(old: TaskHead, new: TaskHead, held: _Held) -> None:
    """Copies the layers of a head; the first one is of the channels that are held, at every voxel if it flattens."""
    for number, (source, target) in enumerate(zip(old.products, new.products, strict=True)):
        kernel = ops.convert_to_numpy(source.kernel)
        if number == 0:
            per_voxel = kernel.reshape(-1, held.width, kernel.shape[-1])
            kernel = _take_kernel(per_voxel, [held], None).reshape(target.kernel.shape)
        target.kernel.assign(kernel)
        target.bias.assign(ops.convert_to_numpy(source.bias))
    if old.limits is not None:
        new.limits.assign(ops.convert_to_numpy(old.limits))


def _copy_trunk(masked: MaskedTrunk, grouped: GroupedTrunk) -> None:
    """Copies to every group the kernels it owns, for the channels it reads."""
    connections, architecture = grouped.connections, grouped.architecture
    for index, stage in enumerate(architecture.stages):
        for number in connections.stage_groups(index):
            group = connections.group_of(number)
            key = f"{index}_{group}"
            owned: np.ndarray | None = None
            if stage.per_task:
                convolution, activation = masked.own.convolutions[key], masked.own.activations[key]
            else:
                convolution, owned = masked.convolutions[index].convolution, connections.filters_of(index, group)
                activation = masked.convolutions[index].activations[list(masked.stage_groups(index)).index(group)]
            read = [_held(masked, grouped, source, number) for source in architecture.sources(index)]
            _copy_convolution(convolution, grouped.convolutions[key], read, owned)
            _copy_activation(activation, grouped.activations[key], owned)
        for reader in connections.readers(index):
            key = f"{index}_{reader}"
            if key in grouped.sections:
                section = (
                    masked.own.sections[f"{index}_{connections.group_of(reader)}"]
                    if stage.per_task
                    else masked.sections[key]
                )
                _copy_section(section, grouped.sections[key], _held(masked, grouped, index, reader))


def _held(masked: MaskedTrunk, grouped: GroupedTrunk, index: int, reader: int) -> _Held:
    width = masked.stream_channels(index, reader)
    is_own = grouped.architecture.stages[index].per_task
    return _Held(np.arange(width) if is_own else grouped.connections.channels(index, reader), width)


def _copy_section(source: ResidualSection, target: ResidualSection, held: _Held) -> None:
    for old, new in zip(source.blocks, target.blocks, strict=True):
        for old_layer, new_layer in zip(old.convolutions, new.convolutions, strict=True):
            _copy_convolution(old_layer, new_layer, [held], held.channels)
        for old_layer, new_layer in zip(old.activations, new.activations, strict=True):
            _copy_activation(old_layer, new_layer, held.channels)


def _copy_convolution(
    source: Convolution, target: Convolution, read: Sequence[_Held], owned: np.ndarray | None
) -> None:
    """Copies the part of a convolution for the channels read and the filters owned; see `_take_kernel`."""
    target.kernel.assign(_take_kernel(source.kernel, read, owned))
    if source.bias is not None:
        bias = ops.convert_to_numpy(source.bias)
        target.bias.assign(bias if owned is None else bias[owned])


def _copy_activation(source: MaskedActivation, target: MaskedActivation, channels: np.ndarray | None) -> None:
    for old, new in zip(source.weights, target.weights, strict=True):
        values = ops.convert_to_numpy(old)
        new.assign(values if channels is None else values[channels])


def _take_kernel(kernel: Any, read: Sequence[_Held], owned: np.ndarray | None) -> np.ndarray:
    """Returns the part of a kernel for the channels read and the filters owned.

    What is read is a sequence of streams, whose channels stand one after the other; of an image everything is read, and
    the sequence is empty. A stream that holds no channel becomes a kernel of zeros on the one channel of zeros that
    stands for it. `owned` None takes all filters.
    """
    values = ops.convert_to_numpy(kernel)
    values = values if owned is None else values[..., owned]
    if not read:
        return values
    starts = np.cumsum([0, *(held.width for held in read)])
    parts = [
        values[..., start + held.channels, :] if held.channels.size else np.zeros_like(values[..., :1, :])
        for start, held in zip(starts, read, strict=False)
    ]
    return np.concatenate(parts, axis=-2)


def harden(
    network: keras.Model,
    task: str | None = None,
    fold: bool = True,
    keep_prelu: bool = False,
    data: Iterable[Any] | None = None,
    multiple_of: int = 1,
) -> keras.Model:
    """Makes an ordinary Keras model of a network: no masks, no sampling, no wasted multiply.

    Its outputs equal those of the network with `masks = "mode"`, for every choice of `batch_norm`. With
    population statistics it consists of Keras' own layers and loads without this package; with `batch`
    statistics its normalisation is this package's. Dropout and regularisation are left out.

    Args:
        network: A trained network with any sharing mechanism, or a functional model with SFG layers.
        task: The one task to keep, with what it depends on; None keeps all.
        fold: Whether the model is for inference only: normalisations are multiplied into the convolutions beside
            them wherever that is exact, and PReLU is a maximum whose slopes are constants.
        keep_prelu: Whether PReLU stays Keras' layer nevertheless, e.g. for a form that has an operator for it.
        data: Batches of training data, as `fit` takes them: where the network's statistics do not fit masks of `mode`,
            those of the hardened one are measured on 20 of them, and what hardening costs on them is printed. The
            network itself stays as it is.
        multiple_of: What the filters per group are multiples of, since engines are slow at any other number, e.g. 8;
            see `group_network`. Outputs then differ from the network's; how much is a warning. Groups that are fixed
            already stay.

    Returns:
        A functional model from images to a dict of float32 logits by task name.

    Raises:
        ValueError: If the network is not built, has no such task, or was trained after its statistics were measured and
            no data is given; if `multiple_of` is no positive whole number.
    """
    if not isinstance(network, MultiTaskNetwork):
        return harden_functional(network, task, fold, keep_prelu, data, multiple_of)
    check_task(network, task)
    share = network.undecided_filters
    if share and network.settled_masks != "mode":
        warn_of_undecided(network.name, share, data is not None)
    if data is None:
        refuse_stale_statistics(network, network.batch_norm)
    grouped = group_network(network, multiple_of)
    moved = count_moved_filters(network, grouped)
    if data is None:
        hardened = build_plain_model(grouped, task, fold, keep_prelu, name=network.name)
        if moved:
            images = [noise_images(network.image_size, network.image_channels or 1)]
            warn_of_moved(network.name, moved, multiple_of, output_changes(network, hardened, images), False)
        return hardened
    batches = list(itertools.islice(iter(data), BATCHES))
    fits = network.statistics_fit and network.settled_masks == "mode" and not moved
    measures = network.batch_norm == "recalibrated" and not fits
    if measures and grouped is network:
        grouped = network.__class__.from_config(network.get_config())
        grouped.build((None, *network.image_size, network.image_channels))
        grouped.set_weights(network.get_weights())
        grouped.restored()
    if measures:
        recalibrate(grouped, batches)
    hardened = build_plain_model(grouped, task, fold, keep_prelu, name=network.name)
    report_cost(network, hardened, batches)
    if moved:
        warn_of_moved(network.name, moved, multiple_of, output_changes(network, hardened, batches), True)
    return hardened


def count_moved_filters(network: MultiTaskNetwork, grouped: MultiTaskNetwork) -> int:
    """Returns how many filters are not in their likeliest group in what `group_network` made of a network."""
    if isinstance(network.trunk, GroupedTrunk):
        return 0
    allocations = zip(network.trunk.most_probable_groups(), grouped.trunk.connections.allocation, strict=False)
    return sum(int((np.asarray(likeliest) != chosen).sum()) for likeliest, chosen in allocations)


def check_task(network: MultiTaskNetwork, task: str | None) -> None:
    """Refuses a task that the network does not have.

    Raises:
        ValueError: Names the tasks, or the closest one.
    """
    if task is not None and task not in network.tasks:
        hint = suggestion(task, network.task_names) or f"; it has {', '.join(network.task_names)}"
        raise ValueError(f"the network has no task {task!r}{hint}")


def build_plain_model(
    network: MultiTaskNetwork,
    task: str | None = None,
    fold: bool = True,
    keep_prelu: bool = False,
    name: str | None = None,
) -> keras.Model:
    """Builds what `harden` returns, from the statistics that are there; `name` is the network's in the model's name."""
    check_task(network, task)
    grouped = group_network(network)
    wanted = [index for index, other in enumerate(network.tasks) if task in (None, other)]
    folds = fold and network.batch_norm != "batch"
    layers = PlainLayers(network.spatial_rank, folds, network.dtype_policy, keep_prelu)
    is_fixed = any(network.heads[index].head.needs_fixed_size for index in wanted)
    size = network.image_size if is_fixed else (None,) * network.spatial_rank
    inputs = keras.Input((*size, network.image_channels), name="image")
    # The operations on frames are named by Keras, and must not be called as layers are.
    layers.prefix = "frame_" if network.is_siamese else layers.prefix
    features = _plain_trunk(grouped.trunk, network.trunk_images(inputs), wanted, layers)
    outputs = {
        grouped.task_names[index]: layers.head(
            grouped.heads[index], network.head_features(grouped.heads[index], feature)
        )
        for index, feature in zip(wanted, features, strict=True)
    }
    suffix = "hardened" if task is None else f"hardened_{task}"
    return keras.Model(inputs, outputs, name=f"{name or network.name}_{suffix}")


def _plain_trunk(trunk: GroupedTrunk, inputs: Any, heads: Sequence[int], layers: PlainLayers) -> list[Any]:
    """Rebuilds a trunk of fixed groups from plain layers, for the wanted heads only."""
    connections, feeding = trunk.connections_for(heads), trunk.feeding(layers)

    def run_stage(index: int, streams: Streams, sized_image: Callable[[], Any]) -> Streams:
        outputs = {}
        streams = streams if feeding is None else feeding.widen(index, streams)
        for number, stream in streams.items():
            group = connections.group_of(number)
            key = f"{index}_{group}"
            outputs[group] = layers.convolve_and_activate(stream, trunk.convolutions[key], trunk.activations[key])
        outputs = trunk.mix_plainly(index, outputs, layers)
        left: Streams = {}
        led: Streams = {}
        for reader in connections.readers(index):
            leader = connections.leader(index, reader)
            if leader in led:
                left[reader] = led[leader]
                continue
            parts = [outputs[group] for group in connections.sources(index, reader)]
            missing = connections.num_channels(index, reader) - sum(part.shape[-1] for part in parts)
            if missing:
                parts.append(layers.zeros(parts[0] if parts else sized_image(), missing))
            section = trunk.sections.get(f"{index}_{trunk.connections.leader(index, reader)}")
            stream = layers.concatenate(parts, keeps_zeros=section is not None)
            left[reader] = led[leader] = stream if section is None else layers.residual_section(section, stream)
        if feeding is not None:
            feeding.note(index, left)
        return left

    found, kept = walk_and_keep(trunk.architecture, inputs, connections, layers, run_stage)
    found = trunk.heads_plainly(found, kept, layers)
    return [next(iter(found[head].values())) for head in heads]
