"""How many voxels a network can be given at a time before its activations outgrow a budget."""

import functools
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
        network: Maps `(batch, *spatial, channels)` to outputs; its layers keep the spatial size.
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
    """
    import tensorflow as tf

    spec = tf.TensorSpec((None, *[None] * spatial_rank, channels), tf.float32)
    call = tf.function(functools.partial(network, training=False), autograph=False)
    graph = call.get_concrete_function(spec).graph
    operations = _needed(graph)
    last_use = {tensor.name: number for number, operation in enumerate(operations) for tensor in operation.inputs}
    last_use |= {tensor.name: len(operations) for tensor in graph.outputs}
    alive: dict[str, int] = {}
    peak = 0
    for number, operation in enumerate(operations):
        for tensor in operation.outputs:
            if _is_activation(tensor.shape.as_list() if tensor.shape.rank else (), spatial_rank):
                alive[tensor.name] = int(np.dtype(tensor.dtype.as_numpy_dtype).itemsize * tensor.shape[-1])
        peak = max(peak, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last_use.get(name, -1) > number}
    return max(peak, 1)


def _needed(graph: Any) -> list[Any]:
    """Returns the operations that the outputs of a graph need, in order; TensorFlow drops the others."""
    needed, waiting = set(), [tensor.op for tensor in graph.outputs]
    while waiting:
        operation = waiting.pop()
        if operation.name not in needed:
            needed.add(operation.name)
            waiting += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
    return [operation for operation in graph.get_operations() if operation.name in needed]


def _is_activation(shape: Sequence[int | None], spatial_rank: int) -> bool:
    return len(shape) == spatial_rank + 2 and shape[1] is None and shape[-1] is not None
