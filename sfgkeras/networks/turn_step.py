"""The step of `fit` where tasks take turns: what the task of the turn does not use stays as it was."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras.networks.moments import slots_of


def turn_step(network: Any, take_step: Callable[..., Any], *given: Any) -> Any:
    """Takes a step of a compiled network, and undoes what it did to variables that the turn is not of.

    Without a gradient of a loss an optimiser's momentum, its weight decay and the regularisation would still move them.
    What the optimiser keeps of them stays, too, so that a step is the same as one with these variables alone.

    Args:
        network: A compiled `MultiTaskNetwork` whose trunk takes turns.
        take_step: `train_step` of `keras.Model`, bound to the network.
        *given: What Keras gives to it: on JAX the state and the data, elsewhere the data.

    Returns:
        What `take_step` returns.
    """
    if keras.backend.backend() == "jax":
        return _without_state(network, take_step, *given)
    held, users = _held_variables(network)
    before = [ops.copy(ops.convert_to_tensor(variable)) for variable in held]
    logs = take_step(*given)
    moves = _moves(users, network.trunk.turn_factors())
    _put_back(held, before, [moves[number] for number in range(len(held))])
    return logs


def _without_state(network: Any, take_step: Callable[..., Any], state: Any, data: Any) -> Any:
    """Does what `turn_step` does where variables are handed through a step: each list of the state by its own."""
    logs, after = take_step(state, data)
    held, users = _held_variables(network)
    number_of = {id(variable): number for number, variable in enumerate(held)}
    others = [id(variable) for variable in network.non_trainable_variables]
    moves = _moves(users, network.trunk.factors_of(after[1][others.index(id(network.trunk.memory.present))]))

    def kept(variables: Sequence[Any], old: Sequence[Any], new: Sequence[Any]) -> list[Any]:
        places = [number_of.get(id(variable)) for variable in variables]
        return [
            one if place is None else ops.where(moves[place], one, other)
            for place, one, other in zip(places, new, old, strict=True)
        ]

    trained = kept(network.trainable_variables, state[0], after[0])
    gathered = kept(network.optimizer.variables, state[2], after[2])
    return logs, (trained, after[1], gathered, after[3])


def _held_variables(network: Any) -> tuple[list[Any], np.ndarray]:
    """Returns all that a step may move, and which task's turn moves it, bool `(variables, tasks)`."""
    optimizer = getattr(network.optimizer, "inner_optimizer", network.optimizer)
    of_rule = {id(variable) for variable in network.balancer.trainable_variables}
    of_rule |= {id(weight) for adversary in network.adversaries.values() for weight in adversary.trainable_variables}
    used = [{id(variable) for variable in network.used_by(task)} | of_rule for task in range(network.num_tasks)]
    trained = list(network.trainable_variables)
    held, owners = list(trained), list(trained)
    for slots in slots_of(optimizer).values():
        held += slots
        owners += optimizer._trainable_variables
    return held, np.array([[id(owner) in own for own in used] for owner in owners])


def _moves(users: np.ndarray, factors: Any) -> Any:
    """Returns whether each variable may move in a turn, bool `(variables,)`, for factors of the tasks."""
    return ops.any(ops.logical_and(users, factors > 0), axis=-1)


def _put_back(variables: Sequence[Any], before: Sequence[Any], moves: Sequence[Any]) -> None:
    """Assigns to variables what they were before, where they do not move."""
    if keras.backend.backend() != "tensorflow":
        for variable, old, moved in zip(variables, before, moves, strict=True):
            variable.assign(ops.where(moved, ops.convert_to_tensor(variable), old))
        return
    import tensorflow as tf

    def put_back(distribution: Any, before: Sequence[Any], moves: Sequence[Any]) -> None:
        for variable, old, moved in zip(variables, before, moves, strict=True):

            def assign(own: Any, old: Any, moved: Any) -> None:
                own.assign(tf.where(moved, own, old))

            distribution.extended.update(variable.value, assign, args=(old, moved), group=False)

    # As Keras' optimisers do: variables of several devices are assigned outside of the replicas.
    strategy = tf.distribute.get_strategy()
    tf.__internal__.distribute.interim.maybe_merge_call(put_back, strategy, before, moves)
