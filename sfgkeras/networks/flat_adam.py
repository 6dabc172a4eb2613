"""Adam with the moments of all variables in two buffers: a few operations a step, however many variables there are."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


class Slot:
    """The moments of one variable: a part of a buffer that looks like a variable of its own.

    Args:
        buffer: Keras variable `(n,)`.
        start: Where the part begins.
        variable: What the moments are of.
        path: What states of a training call the slot.
    """

    def __init__(self, buffer: Any, start: int, variable: Any, path: str) -> None:
        self._buffer, self._part = buffer, slice(start, start + math.prod(variable.shape))
        self.shape = tuple(variable.shape)
        self.dtype = buffer.dtype
        self.path = path
        self.name = path.rsplit("/", 1)[-1]

    @property
    def value(self) -> Any:
        """The moments, in the shape of their variable."""
        return keras.ops.reshape(self._buffer.value[self._part], self.shape)

    def numpy(self) -> np.ndarray:
        """Returns a copy of the moments."""
        return np.array(keras.ops.convert_to_numpy(self.value))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def assign(self, value: Any) -> None:
        """Sets the moments, on every device.

        Raises:
            ValueError: If the value has another shape.
        """
        value = keras.ops.convert_to_tensor(value, self.dtype)
        if tuple(value.shape) != self.shape:
            raise ValueError(f"{self.path} has shape {self.shape}, not {tuple(value.shape)}")
        of_devices = self._buffer.value
        for buffer in getattr(of_devices, "values", (of_devices,)):
            buffer[self._part].assign(keras.ops.reshape(value, (-1,)))


@keras.saving.register_keras_serializable(package="sfgkeras")
class FlatAdam(keras.optimizers.Adam):
    """Adam (Kingma and Ba 2015) as Keras computes it, bit for bit, with the moments of all variables end to end.

    Keras takes some twenty operations for every variable. A network of filter groups has two hundred variables, most of
    them scales and offsets of a few numbers, so that starting operations costs more than doing them. Here gradients are
    put end to end, their moments move in a dozen operations, and the step is cut into the variables. Between devices
    gradients are summed as one tensor.

    `variables` shows moments as Keras' Adam does, one of each kind for every variable and under the same names, so that
    either reads what the other has saved. TensorFlow only. Other settings are those of `keras.optimizers.Adam`, but for
    `amsgrad`, which there is none of.
    """

    def build(self, var_list: Sequence[Any]) -> None:
        """Makes the buffers.

        Args:
            var_list: What is trained, of any shapes, all float32.

        Raises:
            ValueError: If a variable is of another type, or `amsgrad` is asked for.
        """
        if self.built:
            return
        if self.amsgrad:
            raise ValueError("FlatAdam has no amsgrad; use keras.optimizers.Adam")
        if others := [variable.path for variable in var_list if variable.dtype != "float32"]:
            raise ValueError(
                f"FlatAdam trains float32 variables, and {others[0]} is another; use keras.optimizers.Adam"
            )
        # Keras' Adam would make its own moments.
        super(keras.optimizers.Adam, self).build(var_list)
        self._sizes = [math.prod(variable.shape) for variable in var_list]
        starts = [0, *itertools.accumulate(self._sizes)]
        self._momentum, self._velocity = (
            self.add_variable((starts[-1],), dtype="float32", aggregation="mean", name=name)
            for name in ("momentum", "velocity")
        )
        self._slots = {
            name: tuple(
                Slot(buffer, start, variable, f"{self.name}/{variable.path.replace('/', '_')}_{name}")
                for start, variable in zip(starts[:-1], var_list, strict=True)
            )
            for name, buffer in (("momentum", self._momentum), ("velocity", self._velocity))
        }

    def slots(self) -> dict[str, list[Slot]]:
        """Returns first and second moments of every variable, in the order of the variables."""
        return {name: list(slots) for name, slots in self._slots.items()}

    @property
    def variables(self) -> list[Any]:
        """Steps, learning rate, and each variable's moments in turn: what Keras' Adam names, in its order."""
        own = super().variables
        if not self.built:
            return own
        buffers = {id(self._momentum), id(self._velocity)}
        pairs = zip(*self._slots.values(), strict=True)
        return [variable for variable in own if id(variable) not in buffers] + [slot for pair in pairs for slot in pair]

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        import tensorflow as tf

        variables = [getattr(variable, "value", variable) for variable in trainable_variables]
        places = [self._get_variable_index(variable) for variable in trainable_variables]
        gradients: list[Any] = [None] * len(self._sizes)
        for place, gradient in zip(places, grads, strict=True):
            gradients[place] = tf.reshape(tf.cast(tf.convert_to_tensor(gradient), tf.float32), (-1,))
        moves = [gradient is not None for gradient in gradients]
        flat = tf.concat(
            [tf.zeros(n) if one is None else one for one, n in zip(gradients, self._sizes, strict=True)], axis=0
        )
        ((flat, _),) = self._all_reduce_sum_gradients([(flat, None)])
        in_order = [variables[k] for k in np.argsort(places)]

        def update(strategy: Any, gradient: Any, variables: Sequence[Any], learning_rate: Any) -> None:
            def move(momentum: Any, *others: Any) -> None:
                self._move(moves, momentum, *others)

            others = (self._velocity.value, gradient, list(variables), learning_rate)
            strategy.extended.update(self._momentum.value, move, args=others, group=False)

        tf.__internal__.distribute.interim.maybe_merge_call(
            update, self._distribution_strategy, flat, in_order, learning_rate
        )

    def _move(
        self,
        moves: Sequence[bool],
        momentum: Any,
        velocity: Any,
        gradient: Any,
        variables: Sequence[Any],
        learning_rate: Any,
    ) -> None:
        """Takes a step on one device.

        Args:
            moves: Which of all variables have a gradient; the others keep their moments.
            momentum: This device's, `(n,)`.
            velocity: As well.
            gradient: Summed over devices, `(n,)`.
            variables: Those that have a gradient, this device's.
            learning_rate: Scalar.
        """
        import tensorflow as tf

        # The expressions of Keras' Adam, in its order: other roundings would be other numbers.
        step = tf.cast(self.iterations + 1, tf.float32)
        decayed_1, decayed_2 = (tf.pow(tf.cast(decay, tf.float32), step) for decay in (self.beta_1, self.beta_2))
        rate = tf.cast(learning_rate, tf.float32) * tf.sqrt(1 - decayed_2) / (1 - decayed_1)
        by_momentum = (gradient - momentum) * (1 - self.beta_1)
        by_velocity = (tf.square(gradient) - velocity) * (1 - self.beta_2)
        if not all(moves):
            moving = tf.repeat(tf.constant(moves), tf.constant(self._sizes))
            by_momentum, by_velocity = (tf.where(moving, change, 0.0) for change in (by_momentum, by_velocity))
        momentum.assign_add(by_momentum)
        velocity.assign_add(by_velocity)
        steps = tf.split(momentum * rate / (tf.sqrt(velocity) + self.epsilon), self._sizes)
        taken = [step for step, moved in zip(steps, moves, strict=True) if moved]
        for variable, step in zip(variables, taken, strict=True):
            variable.assign_sub(tf.reshape(step, variable.shape))
