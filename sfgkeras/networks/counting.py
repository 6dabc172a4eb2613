"""How large a network is and how much it computes."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import keras

from sfgkeras.layers import multiplies

COUNTED_LAYERS = (keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.Dense)


def count_parameters(network: keras.Model) -> int:
    """Returns the number of trainable parameters of a built network.

    Weights of its tasks' losses do not count, nor those that no branch of its sharing mechanism has yet.
    """
    trunk = getattr(network, "trunk", None)
    waiting = set() if trunk is None else {id(weight) for weight in trunk.waiting_weights()}
    weights = predicting_weights(network, network.trainable_weights)
    return sum(math.prod(weight.shape) for weight in weights if id(weight) not in waiting)


def predicting_weights(network: keras.Model, weights: Iterable[Any]) -> list[Any]:
    """Returns those of a network's weights that predictions depend on.

    None of its balancing rule, of adversaries or of the heads of deep supervision.
    """
    balancer = getattr(network, "balancer", None)
    others = set() if balancer is None else {id(variable) for variable in balancer.variables}
    for adversary in getattr(network, "adversaries", {}).values():
        others |= {id(variable) for variable in adversary.variables}
    others |= {id(variable) for variable in getattr(network, "deep_variables", ())}
    return [weight for weight in weights if id(weight) not in others]


def count_multiplies(network: keras.Model, input_shape: Sequence[int]) -> int:
    """Counts the multiplies of convolutions and dense products that one image costs at inference.

    What is counted is what is performed: every stream of a masked network, and only the owned kernels of a
    hardened one.

    Args:
        network: A network of this package, or a model that `harden` returned.
        input_shape: `(*spatial, channels)` of one image.

    Returns:
        Number of multiplies per image.

    Raises:
        ValueError: If the shape has not the axes of one image.
    """
    shape = (1, *input_shape)
    axes = network.spatial_rank + 1 if hasattr(network, "spatial_rank") else len(network.inputs[0].shape) - 1
    if len(input_shape) != axes:
        raise ValueError(
            f"count_multiplies received input_shape = {tuple(input_shape)}; one image has {axes} axes, channels last"
        )
    if not network.built:
        network.build((None, *input_shape))
    with multiplies.recording() as counts:
        network.compute_output_spec(keras.KerasTensor(shape))
    is_functional = getattr(network, "inputs", None) is not None
    return sum(counts) + (_count_functional(network, shape) if is_functional else 0)


def _count_functional(network: keras.Model, shape: tuple[int, ...]) -> int:
    """Counts over Keras' own layers: every entry of an output times every kernel entry that it sums."""
    layers = [layer for layer in network.layers if isinstance(layer, COUNTED_LAYERS)]
    outputs = keras.Model(network.inputs, [layer.output for layer in layers]).compute_output_shape(shape)
    return sum(
        math.prod(output[:-1]) * math.prod(layer.kernel.shape) for layer, output in zip(layers, outputs, strict=True)
    )
