"""What a Keras optimiser has gathered of each variable that it trains, and how it passes to others."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from sfgkeras.networks.flat_adam import FlatAdam


def slots_of(optimizer: Any) -> dict[str, list[Any]]:
    """Returns what an optimiser keeps of every variable that it trains, by name, in the order of these variables."""
    if isinstance(optimizer, FlatAdam):
        return optimizer.slots()
    count = len(optimizer._trainable_variables)
    listed = {name: list(value) for name, value in vars(optimizer).items() if isinstance(value, list)}
    return {
        name: values
        for name, values in listed.items()
        if name not in ("_variables", "_trainable_variables")
        and len(values) == count
        and all(isinstance(value, keras.Variable) for value in values)
    }


def copy_moments(optimizer: Any, copied: Sequence[tuple[Any, Any]]) -> None:
    """Gives copies of variables the moments of those that they are copies of.

    Args:
        optimizer: A Keras optimiser that was built on both; variables that it does not train are passed over.
        copied: Each variable with its copy.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    places = {id(variable): place for place, variable in enumerate(optimizer._trainable_variables)}
    for source, target in copied:
        if id(source) in places and id(target) in places:
            for slots in slots_of(optimizer).values():
                slots[places[id(target)]].assign(ops.convert_to_numpy(slots[places[id(source)]]))
