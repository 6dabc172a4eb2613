"""What single filters answer to an image."""

from typing import Any

import numpy as np
from keras import ops

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
    images = ops.cast(ops.convert_to_tensor(images), network.compute_dtype)
    features = network.trunk.filter_features(images, network.temperature, mask_source_index("mode"))
    return {name: ops.convert_to_numpy(ops.cast(values, "float32")) for name, values in features.items()}
