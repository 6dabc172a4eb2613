"""A network replaced by its dense form in the middle of a training: kernels and the optimiser's moments cut alike.

The way to do it at an iteration of a training:

1. `grouped = settle(network)`: the dense network of fixed groups, with the state of balancing rule and dropout.
2. a new optimiser is built on `grouped.trainable_variables`.
3. `carry_moments(network, grouped, old, new)`: the new optimiser goes on where the old one stopped.

What has been compiled for the old network has to be made anew. `[TRAINING] schedule = auto` does this between its
phases (`applications.training.exploration`), where the dense network is written as the state of that iteration, and
the training goes on as a resumed one.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras.networks.base import MultiTaskNetwork
from sfgkeras.networks.hardening import group_network
from sfgkeras.networks.moments import slots_of


def settle(network: MultiTaskNetwork) -> MultiTaskNetwork:
    """Returns the network of fixed groups that a training goes on with; the network itself stays as it is.

    Groups hold multiples of the mechanism's `group_multiple`: the training heals what was forced.

    Args:
        network: With any sharing mechanism that `group_network` takes.
    """
    grouped = group_network(network, getattr(network.sharing, "group_multiple", 1))
    if grouped is not network:
        random = network.random_state()
        grouped.set_random_state({name: random[name] for name in grouped.random_state()})
        pairs = zip(network.balancer.lasting_variables, grouped.balancer.lasting_variables, strict=True)
        for old, new in pairs:
            new.assign(ops.convert_to_numpy(old))
        for task, adversary in network.adversaries.items():
            grouped.adversaries[task].set_weights(adversary.get_weights())
    return grouped


def carry_moments(network: MultiTaskNetwork, grouped: MultiTaskNetwork, old: Any, new: Any) -> None:
    """Gives an optimiser of the dense network what one of the network has gathered: steps, moments, scale of the loss.

    A moment of a kernel is cut as the kernel is: it is put into the network in the place of the kernel, and the network
    made dense. Afterwards the network has its own values again.

    Args:
        network: The network that has been trained.
        grouped: What `settle` made of it.
        old: Keras optimiser that was built on variables of the network, all that are trained or all but the logits.
        new: One of the same class and settings, built on `grouped.trainable_variables`.

    Raises:
        ValueError: If the optimisers do not fit each other.
    """
    if isinstance(old, keras.optimizers.LossScaleOptimizer):
        _copy_scalars(old, new)
        old, new = old.inner_optimizer, new.inner_optimizer
    _copy_scalars(old, new)
    slots, wanted = slots_of(old), slots_of(new)
    if set(slots) != set(wanted):
        raise ValueError(f"optimisers that gather {sorted(slots)} and {sorted(wanted)} do not fit each other")
    values = [ops.convert_to_numpy(variable) for variable in network.weights]
    # The logits stay: they say which filters go where.
    logits = {id(grouping.grouping_logits) for grouping in network.groupings().values()}
    for name, slot in slots.items():
        for variable, moment in zip(old._trainable_variables, slot, strict=True):
            if id(variable) not in logits:
                variable.assign(ops.convert_to_numpy(moment))
        moments = _values_by_variable(network, grouped)
        for variable, moment in zip(new._trainable_variables, wanted[name], strict=True):
            moment.assign(moments[id(variable)])
        for variable, value in zip(network.weights, values, strict=True):
            variable.assign(value)


def _values_by_variable(network: MultiTaskNetwork, grouped: MultiTaskNetwork) -> dict[int, np.ndarray]:
    """Returns what the variables of the dense network would be, made of the network as it is now."""
    made = settle(network)
    pairs = zip(grouped.trainable_variables, made.trainable_variables, strict=True)
    return {id(variable): ops.convert_to_numpy(value) for variable, value in pairs}


def _copy_scalars(old: Any, new: Any) -> None:
    """Copies the numbers that an optimiser counts by, but not its learning rate."""
    for name, value in vars(old).items():
        other = vars(new).get(name)
        if isinstance(value, keras.Variable) and value is not old.__dict__.get("_learning_rate") and value.shape == ():
            other.assign(ops.convert_to_numpy(value))
