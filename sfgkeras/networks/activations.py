"""What single filters, and the stages of a network, answer to an image."""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from sfgkeras.architecture.walk import Streams
from sfgkeras.layers.filter_grouping import mask_source_index
from sfgkeras.networks.base import MultiTaskNetwork
from sfgkeras.sharing.masked_trunk import MaskedTrunk


def filter_activations(network: MultiTaskNetwork, images: Any) -> dict[str, np.ndarray]:
    """Returns the output of every filter in the stream of its most probable group.

    Args:
        network: A built network whose filters have grouping probabilities.
        images: `(batch, *spatial, channels)`.

    Returns:
        float32 `(batch, *spatial, filters)` by the name of the SFG layer; the spatial axes are those of the layer.

    Raises:
        ValueError: If the network's filters have fixed groups.
    """
    if not isinstance(network.trunk, MaskedTrunk):
        raise ValueError(
            f"sharing = {network.sharing.name} has no grouping probabilities, and so no filters of low or high "
            "entropy; use a network with sharing = sfg"
        )
    images = network.trunk_images(ops.cast(ops.convert_to_tensor(images), network.compute_dtype))
    features = network.trunk.filter_features(images, network.temperature, mask_source_index("mode"))
    return {name: ops.convert_to_numpy(ops.cast(values, "float32")) for name, values in features.items()}


def stage_features(network: MultiTaskNetwork, images: Any) -> dict[str, np.ndarray]:
    """Returns what the stages on the way down leave, before their pooling, under any sharing mechanism.

    Stages on the way up, from the first that upsamples on, are left out. Masks are the most probable ones.

    Args:
        network: A built network.
        images: `(batch, *spatial, channels)`.

    Returns:
        float32 `(batch, *spatial, features)` by the name of the stage; the spatial axes are those of the stage, and the
        features those of all its streams, each tensor once.
    """
    trunk, found = network.trunk, {}
    names, stages = trunk.architecture.names, trunk.architecture.stages
    first_up = next((index for index, stage in enumerate(stages) if stage.upsamples), len(stages))
    draw = network.temperature, mask_source_index("mode")

    def run_stage(index: int, streams: Streams, sized_image: Callable[[], Any]) -> Streams:
        left = trunk.run_stage(index, streams, sized_image, draw, False)
        if index < first_up:
            tensors = {id(stream): stream for stream in left.values()}.values()
            parts = [ops.convert_to_numpy(ops.cast(stream, "float32")) for stream in tensors]
            found[names[index]] = np.concatenate(parts, axis=-1)
        return left

    trunk.walk(network.trunk_images(ops.cast(ops.convert_to_tensor(images), network.compute_dtype)), run_stage)
    return found
