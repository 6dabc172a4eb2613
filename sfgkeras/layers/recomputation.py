"""Gradients that make features again in place of keeping them (rematerialisation, Chen et al. 2016)."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from sfgkeras.errors import lookup
from sfgkeras.layers.backend import uses_tensorflow
from sfgkeras.layers.own_gradient import own_gradient

REMATERIALISATIONS = {"none": 0, "activations": 1, "blocks": 2}
"""What is made again, by the name of the setting; each includes those before it."""


def rematerialises(setting: str, what: str) -> bool:
    """Says whether a setting makes `what` (a key of `REMATERIALISATIONS`) again.

    Raises:
        ConfigError: If there is no such setting.
    """
    level: int = lookup(REMATERIALISATIONS, setting, "rematerialise")
    return level >= REMATERIALISATIONS[what]


def recomputed(layers: Sequence[keras.layers.Layer], call: Callable[..., Any], *tensors: Any) -> Any:
    """Returns `call(*tensors)`, of which only the tensors and the result stay in memory for the gradient.

    The gradient calls `call` a second time, when it gets there, and then has what it needs. Variables of the layers
    are handed in as values, so that a second call cannot move a moving average twice: both calls are pure, and what
    the first one assigned is assigned once, here.

    Args:
        layers: All layers that `call` uses, built.
        call: Takes the tensors, returns one tensor. It must not draw random numbers.
        tensors: What a gradient is wanted for, besides the layers' variables.

    Returns:
        What `call` returns.
    """
    variables = [variable for layer in layers for variable in layer.variables]
    states = [variable for layer in layers for variable in layer.non_trainable_variables]

    def pure(*arguments: Any) -> tuple[Any, ...]:
        values, inputs = arguments[: len(variables)], arguments[len(variables) :]
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))) as scope:
            output = call(*inputs)
        return output, *(scope.get_current_value(state) for state in states)

    values = [variable.value for variable in variables]
    run = _forgetting(pure) if uses_tensorflow(*tensors) else keras.remat(pure)
    output, *assigned = run(*values, *tensors)
    for state, value in zip(states, assigned, strict=True):
        state.assign(ops.stop_gradient(value))
    return output


def _forgetting(function: Callable[..., tuple[Any, ...]]) -> Callable[..., Any]:
    """Returns the function with a gradient of its first result that calls it again.

    TensorFlow's own `recompute_grad` adds a zero to every input to make XLA wait, which costs a pass over memory and
    a copy; here the second call waits by a control dependency on the gradient that arrives.
    """
    import tensorflow as tf

    @own_gradient
    def run(*tensors: Any) -> Any:
        def gradient(*upstream: Any) -> Any:
            with tf.control_dependencies([upstream[0]]):
                inputs = [tf.identity(tensor) for tensor in tensors]
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                output = function(*inputs)[0]
            gradients = tape.gradient(output, inputs, upstream[0])
            # TensorFlow would put off gradients of variables, and hold the features that they need; what comes
            # before this function in the network is made to wait for them.
            with tf.control_dependencies([gradient for gradient in gradients if gradient is not None]):
                return [None if gradient is None else tf.identity(gradient) for gradient in gradients]

        return function(*tensors), gradient

    # Variables are read before, or the gradient would have to know of them.
    return lambda *values: run(*(tf.convert_to_tensor(value) for value in values))
