"""How many voxels a network can be given at a time before its activations outgrow a budget."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

ACTIVATION_BUDGET = 3 << 29
"""Bytes that the activations of one batch of inference may take: 1.5 GiB."""

WORKING_SPACE = 2.0
"""What convolutions take for themselves and what runs side by side, as a factor on activations alive at a time."""


class VoxelLimit:
    """Says how many windows fit into one call of a network.

    What training has worked with always fits, for training keeps every activation.

    Args:
        network: Maps `(batch, *spatial, channels)` to outputs.
        spatial_rank: 2 or 3.
        channels: Channels of the image.
        trained_voxels: Voxels of a batch in training.
    """

    def __init__(self, network: Any, spatial_rank: int, channels: int, trained_voxels: int) -> None:
        self._network = network
        self._spatial_rank = spatial_rank
        self._channels = channels
        self._trained_voxels = trained_voxels

    def windows(self, batch_size: int, window_voxels: int) -> int:
        """Returns how many windows of a size go together: `batch_size`, or fewer where these fit; 0 if none does."""
        if batch_size * window_voxels <= self._trained_voxels:
            return batch_size
        return min(batch_size, self._voxels // window_voxels)

    @functools.cached_property
    def _voxels(self) -> int:
        per_voxel = WORKING_SPACE * bytes_per_voxel(self._network, self._spatial_rank, self._channels)
        return max(self._trained_voxels, int(ACTIVATION_BUDGET / per_voxel))


def bytes_per_voxel(network: Any, spatial_rank: int, channels: int) -> int:
    """Returns the bytes of activations that are alive at a time per voxel of the input, at their peak.

    The network's graph is gone through in order; an activation lives from where it is made to where it is last used.
    A smaller one behind pooling counts by its voxels.
    """
    import tensorflow as tf

    sizes = _known_sizes(network, spatial_rank)
    spec = tf.TensorSpec((None, *sizes, channels), tf.float32)
    call = tf.function(functools.partial(network, training=False), autograph=False)
    graph = call.get_concrete_function(spec).graph
    operations = _needed(graph)
    last_use = {tensor.name: number for number, operation in enumerate(operations) for tensor in operation.inputs}
    last_use |= {tensor.name: len(operations) for tensor in graph.outputs}
    alive: dict[str, float] = {}
    peak = 0.0
    for number, operation in enumerate(operations):
        for tensor in operation.outputs:
            numbers = _numbers_per_voxel(tensor.shape.as_list() if tensor.shape.rank else (), sizes)
            if numbers:
                alive[tensor.name] = np.dtype(tensor.dtype.as_numpy_dtype).itemsize * numbers
        peak = max(peak, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last_use.get(name, -1) > number}
    return max(math.ceil(peak), 1)


def _known_sizes(network: Any, spatial_rank: int) -> tuple[int | None, ...]:
    """Returns a size of images at which those of all activations are known: any, where none is smaller."""
    architecture = getattr(getattr(network, "trunk", None), "architecture", None)
    levels = 0 if architecture is None else max(map(architecture.level_after, range(len(architecture.stages))))
    own: tuple[int | None, ...] = getattr(network, "image_size", (None,) * spatial_rank)
    return (8 << levels,) * spatial_rank if levels and None in own else own


def _needed(graph: Any) -> list[Any]:
    """Returns the operations that the outputs of a graph need, in order; TensorFlow drops the others."""
    needed, waiting = set(), [tensor.op for tensor in graph.outputs]
    while waiting:
        operation = waiting.pop()
        if operation.name not in needed:
            needed.add(operation.name)
            waiting += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
    return [operation for operation in graph.get_operations() if operation.name in needed]


def _numbers_per_voxel(shape: Sequence[int | None], sizes: Sequence[int | None]) -> float:
    """Returns how many numbers an activation has per voxel of an image of so many; 0 for what is none."""
    if len(shape) != len(sizes) + 2 or shape[-1] is None:
        return 0
    if None in sizes:
        return shape[-1] if shape[1] is None else 0
    if shape[0] is not None or None in shape[1:]:
        return 0
    return math.prod(size or 1 for size in shape[1:]) / math.prod(size or 1 for size in sizes)
