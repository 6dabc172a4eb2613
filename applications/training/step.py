"""One training step and one validation pass, compiled once and run under any tf.distribute strategy."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from sfgkeras.errors import Problems, lookup
from sfgkeras.settings import build_settings, setting_values
from sfgkeras.tables.entry import LoadedTable
from sfgkeras.tables.optimisers import OPTIMISERS, BuildOptimiser

TOTAL = "loss"
REGULARISATION = "regularisation"


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


OPTIMIZERS: Mapping[str, BuildOptimiser] = LoadedTable(OPTIMISERS)


class TrainingStep:
    """One optimiser step on one global batch: `L = sum_t w_t L_t + regularisation` (Bragman et al. 2019, eq. 5).

    `L_t` is the mean of the task's per-sample losses over the *global* batch, so that a step on two devices equals a
    step on one device with the same windows.

    Args:
        network: Maps images to `{task: output}`; its `losses` hold the regularisation.
        optimizer: Built on the network's trainable variables, without those of `grouping_optimizer`.
        losses: One loss with `per_sample(y_true, y_pred, sample_weight)` per task.
        task_weights: `w_t` per task.
        strategy: Where it runs.
        global_batch_size: Windows per step over all devices.
        jit_compile: Whether XLA compiles the step.
        grouping_optimizer: Built on the grouping logits, where they have a learning rate of their own; scales the loss
            where `optimizer` does.

    Raises:
        ValueError: If one of the optimisers scales the loss and the other does not.
    """

    def __init__(
        self,
        network: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        losses: Mapping[str, Any],
        task_weights: Mapping[str, float],
        strategy: tf.distribute.Strategy,
        global_batch_size: int,
        jit_compile: bool = False,
        grouping_optimizer: keras.optimizers.Optimizer | None = None,
    ) -> None:
        self._optimizers = (optimizer, grouping_optimizer) if grouping_optimizer else (optimizer,)
        if len({isinstance(one, keras.optimizers.LossScaleOptimizer) for one in self._optimizers}) > 1:
            raise ValueError("optimizer and grouping_optimizer must both scale the loss, or neither of them")
        self._grouping_optimizer = grouping_optimizer
        self._network = network
        self._optimizer = optimizer
        self._losses = dict(losses)
        self._task_weights = dict(task_weights)
        self._strategy = strategy
        self._global_batch_size = global_batch_size
        replica_step = self._replica_step
        if jit_compile:
            replica_step = tf.function(replica_step, jit_compile=True, autograph=False)

        # Without AutoGraph, which would read the source of every Keras layer: nothing here branches on tensors.
        @tf.function(autograph=False)
        def step(images: Any, targets: Any, weights: Any) -> dict[str, tf.Tensor]:
            parts = strategy.run(replica_step, args=(images, targets, weights))
            return {name: strategy.reduce("SUM", part, axis=None) for name, part in parts.items()}

        self._step = step

    def __call__(self, batch: Any) -> dict[str, tf.Tensor]:
        """Runs one step; returns the scalars `loss`, `regularisation` and one unweighted loss per task."""
        return self._step(*batch)

    def _replica_step(self, images: Any, targets: Any, weights: Any) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            outputs = self._network(images, training=True)
            parts = {
                task: tf.reduce_sum(loss.per_sample(targets[task], outputs[task], weights[task]))
                / self._global_batch_size
                for task, loss in self._losses.items()
            }
            regularisation = tf.add_n(
                [tf.cast(term, tf.float32) for term in self._network.losses] or [tf.constant(0.0)]
            )
            # Gradients are summed over the replicas; a term that does not depend on the windows counts once.
            parts[REGULARISATION] = regularisation / self._strategy.num_replicas_in_sync
            total = parts[REGULARISATION] + tf.add_n([self._task_weights[task] * parts[task] for task in self._losses])
            scaled = self._optimizer.scale_loss(total)
        kernels, logits = split_variables(self._network, self._grouping_optimizer is not None)
        gradients = tape.gradient(scaled, [*kernels, *logits])
        self._apply(gradients[: len(kernels)], kernels, gradients[len(kernels) :], logits)
        return {TOTAL: total, **parts}

    def _apply(self, of_kernels: list[Any], kernels: list[Any], of_logits: list[Any], logits: list[Any]) -> None:
        """Takes a step by gradients of the scaled loss, with both optimisers or, where one overflows, with none."""
        if isinstance(self._optimizer, keras.optimizers.LossScaleOptimizer):
            overflow = _overflow_anywhere([*of_kernels, *of_logits])
            # An optimiser that scales the loss passes over a step in which one gradient is not finite.
            for gradients in (of_kernels, of_logits):
                gradients[:1] = [tf.where(overflow, float("nan"), gradient) for gradient in gradients[:1]]
        if self._grouping_optimizer is not None:
            # The loss was scaled for the other optimiser.
            scale, own = (optimizer.scale_loss(tf.constant(1.0)) for optimizer in self._optimizers)
            self._grouping_optimizer.apply([gradient / scale * own for gradient in of_logits], logits)
        self._optimizer.apply(of_kernels, kernels)


def _overflow_anywhere(gradients: list[Any]) -> Any:
    """Says whether any gradient is not finite, on any replica: those of one would spoil the sum."""
    flags = [tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients]
    count = tf.cast(tf.math.logical_not(tf.reduce_all(flags)), tf.float32)
    context = tf.distribute.get_replica_context()
    if context is not None and context.num_replicas_in_sync > 1:
        count = context.all_reduce(tf.distribute.ReduceOp.SUM, count)
    return count > 0


def split_variables(network: keras.Model, separate: bool) -> tuple[list[Any], list[Any]]:
    """Returns the trainable variables in two lists, the second with the grouping logits where they are `separate`."""
    logits = [layer.grouping_logits for layer in network.groupings().values() if layer.grouping_logits.trainable]
    if not separate:
        return list(network.trainable_variables), []
    ids = {id(variable) for variable in logits}
    return [variable for variable in network.trainable_variables if id(variable) not in ids], logits


class ValidationPass:
    """Losses and streaming metrics over a fixed set of validation windows.

    Args:
        network: Maps images to `{task: output}`.
        losses: One loss with `per_sample` per task.
        task_weights: `w_t` per task.
        metrics: `{task: {name: keras metric}}`, built under the strategy.
        strategy: Where it runs.
    """

    def __init__(
        self,
        network: keras.Model,
        losses: Mapping[str, Any],
        task_weights: Mapping[str, float],
        metrics: Mapping[str, Mapping[str, keras.metrics.Metric]],
        strategy: tf.distribute.Strategy,
    ) -> None:
        self._task_weights = dict(task_weights)
        self._losses = dict(losses)
        self._metrics = metrics
        self._network = network

        @tf.function(autograph=False)
        def step(images: Any, targets: Any, weights: Any) -> dict[str, tf.Tensor]:
            parts = strategy.run(self._replica_step, args=(images, targets, weights))
            return {name: strategy.reduce("SUM", part, axis=None) for name, part in parts.items()}

        self._step = step

    @property
    def columns(self) -> list[str]:
        """The names of what a pass returns, in order."""
        scores = [f"{task}_{name}" for task, metrics in self._metrics.items() for name in metrics]
        return [TOTAL, *(f"{task}_loss" for task in self._losses), *scores]

    def __call__(self, batches: Iterable[Any]) -> dict[str, float]:
        """Returns `loss`, one `<task>_loss` per task and `<task>_<metric>` for each metric."""
        for metric in (metric for metrics in self._metrics.values() for metric in metrics.values()):
            metric.reset_state()
        sums: dict[str, float] = {}
        for batch in batches:
            for name, part in self._step(*batch).items():
                sums[name] = sums.get(name, 0.0) + float(part)
        count = sums.pop("count", 0.0)
        if count == 0.0:
            return {}
        means = {f"{task}_loss": sums[task] / count for task in self._losses}
        scores = {
            f"{task}_{name}": float(metric.result())
            for task, metrics in self._metrics.items()
            for name, metric in metrics.items()
        }
        total = sum(self._task_weights[task] * means[f"{task}_loss"] for task in self._losses)
        return {TOTAL: total, **means, **scores}

    def _replica_step(self, images: Any, targets: Any, weights: Any) -> dict[str, tf.Tensor]:
        outputs = self._network(images, training=False)
        for task, metrics in self._metrics.items():
            for metric in metrics.values():
                metric.update_state(targets[task], outputs[task], weights[task])
        parts = {
            task: tf.reduce_sum(loss.per_sample(targets[task], outputs[task], weights[task]))
            for task, loss in self._losses.items()
        }
        parts["count"] = tf.cast(tf.shape(images)[0], tf.float32)
        return parts
