"""Exponential moving averages of a network's weights: what validation, `best` and inference use where they are kept."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sfgkeras.applications.records.checkpoints import AVERAGE, collect_averages, restore_averages

SOON = 9
"""Updates after which the averages reach back as far as a decay of a half does."""


class WeightAverages:
    """Averages of what a network learns, over the iterations: `a = d a + (1 - d) w` (Polyak and Juditsky 1992).

    After n updates the decay is at most n / (n + 9), so that early averages are not those of random weights; the first
    one is the weights themselves.

    Args:
        network: Built, under the strategy; its trained variables and moving statistics are averaged.
        decay: Above 0, below 1: averages reach back 1 / (1 - decay) iterations.
        strategy: Where the network lies.
    """

    def __init__(self, network: Any, decay: float, strategy: tf.distribute.Strategy) -> None:
        self._network, self._strategy = network, strategy
        self._decay = decay
        self._variables = averaged_variables(network)
        with strategy.scope():
            self._averages = [tf.Variable(keras.ops.convert_to_tensor(one), trainable=False) for one in self._variables]
            self._updates = tf.Variable(0, dtype=tf.int64, trainable=False)

    def update(self) -> None:
        """Takes the weights after a step; called outside of the replicas, in a compiled function or not."""
        count = tf.cast(tf.convert_to_tensor(self._updates), tf.float32)
        decay = tf.minimum(tf.constant(self._decay, tf.float32), count / (count + SOON))

        def follow(average: Any, weight: Any) -> Any:
            # Exactly the weight at first, and wherever nothing moves.
            moved = average + (1.0 - decay) * (weight - average)
            return average.assign(tf.where(decay > 0.0, moved, weight))

        for average, variable in zip(self._averages, self._variables, strict=True):
            self._strategy.extended.update(average, follow, args=(variable.value,))
        self._updates.assign_add(1)

    def restart(self) -> None:
        """Forgets everything: the next update takes the weights as they are."""
        self._updates.assign(0)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Gives the network the averages for a while; it is left as it was, bit for bit."""
        if self._count == 0:
            yield
            return
        weights = [np.array(keras.ops.convert_to_numpy(one)) for one in self._variables]
        try:
            self._assign([average.numpy() for average in self._averages])
            yield
        finally:
            self._assign(weights)

    def _assign(self, values: Sequence[np.ndarray]) -> None:
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)

    @property
    def _count(self) -> int:
        return int(self._updates.numpy())

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns what belongs to a saved state; nothing before the first update."""
        if self._count == 0:
            return {}
        averages = {id(one): average for one, average in zip(self._variables, self._averages, strict=True)}
        found = collect_averages(self._network, {key: average.numpy() for key, average in averages.items()})
        return found | {f"{AVERAGE}/updates": np.asarray(self._count)}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes the averages of a saved state; without any there, they begin with the network's weights."""
        self._updates.assign(int(arrays.get(f"{AVERAGE}/updates", 0)))
        if self._count:
            own = {id(one): average for one, average in zip(self._variables, self._averages, strict=True)}
            restore_averages(arrays, self._network, own)


def averaged_variables(network: Any) -> list[Any]:
    """Returns what is averaged: all that is trained and predicts, and the moving statistics of normalisation."""
    statistics = {id(one) for layer in network.normalizations() for one in layer.non_trainable_variables}
    return [
        one
        for one in network.predicting_variables
        if str(one.dtype).startswith("float") and (one.trainable or id(one) in statistics)
    ]
