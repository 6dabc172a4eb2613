"""The optimisers of a training: one for all variables, or a second one for the grouping logits, behind one front."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from sfgkeras.errors import Problems, lookup
from sfgkeras.settings import build_settings, setting_values
from sfgkeras.tables.entry import LoadedTable
from sfgkeras.tables.optimisers import OPTIMISERS, BuildOptimiser

OPTIMIZERS: Mapping[str, BuildOptimiser] = LoadedTable(OPTIMISERS)


def build_optimizer(
    name: str, learning_rate: float, precision: str = "none", settings: Mapping[str, Any] | None = None
) -> keras.optimizers.Optimizer:
    """Builds a Keras optimiser by its INI name; float16 gets dynamic loss scaling.

    Args:
        name: A key of `OPTIMIZERS`.
        learning_rate: Positive.
        precision: `none`, `float16` or `bfloat16`.
        settings: Settings of the optimiser by name (`sfgkeras.tables.optimisers`); others have their defaults there.

    Raises:
        ConfigError: If there is no such optimiser, or it has no such setting.
    """
    entry = lookup(OPTIMISERS, name, "optimiser")
    chosen, problems = build_settings(entry.settings_class(), settings or {})
    if problems:
        raise Problems(problems)
    optimizer = entry.load()(learning_rate, **setting_values(chosen))
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "float16" else optimizer


class Optimizers:
    """One Keras optimiser for all that a network learns, or two: the second for its grouping logits.

    Args:
        main: Takes the steps of all variables, or of all but the grouping logits.
        grouping: Takes the steps of the grouping logits, which have a learning rate of their own then. It is left out
            where the network learns no groups.
        clip_norm: Norm of the gradient of the objective, over all variables and devices, that no step exceeds; None
            for any.

    Raises:
        ValueError: If one of them scales the loss and the other does not.
    """

    def __init__(
        self,
        main: keras.optimizers.Optimizer,
        grouping: keras.optimizers.Optimizer | None = None,
        clip_norm: float | None = None,
    ) -> None:
        self._main, self._grouping = main, grouping
        self._clip_norm = clip_norm
        self._rates = [float(keras.ops.convert_to_numpy(one.learning_rate)) for one in self]
        self._factor: float | None = None
        if len({isinstance(one, keras.optimizers.LossScaleOptimizer) for one in self}) > 1:
            raise ValueError("the optimiser and that of the grouping logits must both scale the loss, or neither")
        self._variables: list[Any] = []
        self._logits: list[Any] = []

    def __iter__(self) -> Iterator[keras.optimizers.Optimizer]:
        """Iterates over the Keras optimisers that there are, the main one first."""
        return iter((self._main,) if self._grouping is None else (self._main, self._grouping))

    @property
    def variables(self) -> list[Any]:
        """What is trained, in the order in which `apply` takes gradients; known once `build` was called."""
        return [*self._variables, *self._logits]

    def build(self, network: Any) -> "Optimizers":
        """Makes the optimisers' variables, under the network's strategy; returns the optimisers themselves."""
        logits = [layer.grouping_logits for layer in network.groupings().values() if layer.grouping_logits.trainable]
        if self._grouping is None or not logits:
            self._grouping, logits = None, []
        ids = {id(variable) for variable in logits}
        self._variables = [variable for variable in network.trainable_variables if id(variable) not in ids]
        self._logits = logits
        self._main.build(self._variables)
        if self._grouping is not None:
            self._grouping.build(self._logits)
        return self

    def scale_rates(self, factor: float) -> None:
        """Sets every learning rate to a multiple of what it was given with, whatever a restored state says."""
        if factor != self._factor:
            for optimizer, rate in zip(self, self._rates, strict=False):
                optimizer.learning_rate = rate * factor
            self._factor = factor

    def scale_loss(self, loss: Any) -> Any:
        """Returns a scalar as `apply` wants it differentiated: in float16 a multiple, lest gradients are lost."""
        return self._main.scale_loss(loss)

    def apply(self, gradients: Sequence[Any], frozen: Sequence[bool] | None = None) -> None:
        """Takes a step with all optimisers or, where a gradient overflows, with none.

        Args:
            gradients: Of the scaled loss with respect to `variables`, on this device.
            frozen: Which of the variables keep their values, whatever an optimiser's momentum; None for none.
        """
        if len(gradients) != len(self.variables):
            raise ValueError(f"{len(gradients)} gradients were given for {len(self.variables)} variables")
        frozen = frozen or [False] * len(gradients)
        gradients = self._clipped([None if still else one for one, still in zip(gradients, frozen, strict=True)])
        count = len(self._variables)
        of_variables, variables = _moving(gradients[:count], self._variables, frozen[:count])
        of_logits, logits = _moving(gradients[count:], self._logits, frozen[count:])
        if isinstance(self._main, keras.optimizers.LossScaleOptimizer):
            overflow = _overflow_anywhere([*of_variables, *of_logits])
            # An optimiser that scales the loss passes over a step in which one gradient is not finite.
            for found in (of_variables, of_logits):
                found[:1] = [tf.where(overflow, float("nan"), gradient) for gradient in found[:1]]
        if self._grouping is not None and logits:
            # The loss was scaled for the other optimiser.
            scale, own = (optimizer.scale_loss(tf.constant(1.0)) for optimizer in self)
            self._grouping.apply([gradient / scale * own for gradient in of_logits], logits)
        if variables:
            self._main.apply(of_variables, variables)

    def _clipped(self, gradients: Sequence[Any]) -> Sequence[Any]:
        """Returns this device's part of the gradient, shortened where the whole of it is longer than `clip_norm`."""
        if self._clip_norm is None:
            return gradients
        whole = [tf.cast(gradient, tf.float32) for gradient in gradients if gradient is not None]
        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            whole = context.all_reduce(tf.distribute.ReduceOp.SUM, whole)
        norm = tf.linalg.global_norm(whole) / self._main.scale_loss(tf.constant(1.0))
        factor = tf.minimum(1.0, self._clip_norm / norm)
        return [None if gradient is None else gradient * tf.cast(factor, gradient.dtype) for gradient in gradients]


def _moving(gradients: Sequence[Any], variables: Sequence[Any], frozen: Sequence[bool]) -> tuple[list[Any], list[Any]]:
    """Returns the gradients and variables of a step, without those that are frozen."""
    kept = [(one, variable) for one, variable, still in zip(gradients, variables, frozen, strict=True) if not still]
    return [one for one, _ in kept], [variable for _, variable in kept]


def _overflow_anywhere(gradients: Sequence[Any]) -> Any:
    """Says whether any gradient is not finite, on any replica: those of one would spoil the sum."""
    flags = [tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients if gradient is not None]
    count = tf.cast(tf.math.logical_not(tf.reduce_all(flags)), tf.float32)
    context = tf.distribute.get_replica_context()
    if context is not None and context.num_replicas_in_sync > 1:
        count = context.all_reduce(tf.distribute.ReduceOp.SUM, count)
    return count > 0
