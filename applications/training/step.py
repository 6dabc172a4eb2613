"""One training step and one validation pass, compiled once and run under any tf.distribute strategy."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sfgkeras.applications.records.logs import WEIGHT
from sfgkeras.applications.training.averages import WeightAverages
from sfgkeras.applications.training.optimizers import Optimizers
from sfgkeras.applications.workers.order_of_sums import add_in_order
from sfgkeras.balancing.balancer import Balancer
from sfgkeras.balancing.gradients import Gradients
from sfgkeras.layers.own_gradient import gradients_with_graph
from sfgkeras.networks.deep_supervision import deep_losses, weighed

TOTAL = "loss"
REGULARISATION = "regularisation"
LABELLED = " labelled"
"""What follows a task's name where the share of the windows with a label of it is told."""


class TrainingStep:
    """One optimiser step on one global batch: `L = sum_t w_t L_t + regularisation` (Bragman et al. 2019, eq. 5).

    `L_t` is the mean of the task's per-sample losses over the *global* batch, so that a step on two devices equals a
    step on one device with the same windows. How they are weighed is the balancer's. Where a task has further heads in
    training, its term is the weighted sum of their losses; what is logged under its name is the loss of its own head.

    Args:
        network: Maps images to `{task: output}`; its `losses` hold the regularisation.
        optimizers: Built on the network.
        losses: One loss with `per_sample(y_true, y_pred, sample_weight)` per task.
        balancer: Makes one objective of the losses; its trained variables are the network's.
        strategy: Where it runs.
        global_batch_size: Windows per step over all devices.
        jit_compile: Whether XLA compiles the step.
        averages: Averages of the network's weights, which every step is followed by; None where none are kept.
    """

    def __init__(
        self,
        network: keras.Model,
        optimizers: Optimizers,
        losses: Mapping[str, Any],
        balancer: Balancer,
        strategy: tf.distribute.Strategy,
        global_batch_size: int,
        jit_compile: bool = False,
        averages: WeightAverages | None = None,
    ) -> None:
        self._network = network
        self._averages = averages
        self._optimizers = optimizers
        self._losses = dict(losses)
        self._balancer = balancer
        self._strategy = strategy
        self._global_batch_size = global_batch_size
        self._jit_compile = jit_compile
        self._compile()

    def _compile(self) -> None:
        """Compiles the step for the tasks that are trained now, and the branches that they have."""
        self._compiled_for = self._balancer.stopped, self._network.form
        balancer, strategy, replica_step = self._balancer, self._strategy, self._replica_step
        if self._jit_compile:
            replica_step = tf.function(replica_step, jit_compile=True, autograph=False)

        # Without AutoGraph, which would read the source of every Keras layer: nothing here branches on tensors.
        @tf.function(autograph=False)
        @gradients_with_graph()
        def step(images: Any, targets: Any, weights: Any, turn: int | None) -> dict[str, tf.Tensor]:
            # The weights that this step is taken with, not those that it leaves.
            used = {} if balancer.weighs_in_step else self._weights()
            parts, errors = strategy.run(replica_step, args=(images, targets, weights, turn))
            summed = {name: strategy.reduce("SUM", part, axis=None) for name, part in parts.items()}
            if self._averages is not None:
                self._averages.update()
            if errors is not None:
                self._network.trunk.record_errors(strategy.gather(errors, axis=0))
            found = self._weights() if balancer.weighs_in_step else {}
            return {**summed, **used, **found, **balancer.measures()}

        self._step = step

    def _weights(self) -> dict[str, Any]:
        if not self._logs_weights:
            return {}
        return {f"{WEIGHT}{task}": tf.identity(weight) for task, weight in self._balancer.task_weights().items()}

    @property
    def _logs_weights(self) -> bool:
        return self._balancer.is_learned or self._balancer.logs_weights

    @property
    def columns(self) -> list[str]:
        """The names of what a step returns, in order."""
        weights = [f"{WEIGHT}{task}" for task in self._losses] if self._logs_weights else []
        return [TOTAL, REGULARISATION, *self._losses, *self._network.deep_names, *weights, *self._balancer.measures()]

    def take(self, batch: Any, iteration: int, memory: dict[str, Any]) -> dict[str, tf.Tensor]:
        """Runs the step that follows so many.

        Args:
            batch: See `__call__`.
            iteration: Finished iterations.
            memory: Plain values that a kind of step keeps from one to the next; saved with the run.
        """
        return self(batch, self._network.trunk.turn(iteration))

    def __call__(self, batch: Any, turn: int | None = None) -> dict[str, tf.Tensor]:
        """Runs one step; returns the scalars that `columns` names, and what part of the batch has a label of each task.

        Args:
            batch: Images, targets and weights.
            turn: The task that alone is trained: nothing moves but what it uses. None for all; see `Trunk.turn`.
        """
        if (self._balancer.stopped, self._network.form) != self._compiled_for:
            self._compile()
        return self._step(*batch, turn)

    def _replica_step(
        self, images: Any, targets: Any, weights: Any, turn: int | None
    ) -> tuple[dict[str, tf.Tensor], Any]:
        with tf.GradientTape(persistent=self._balancer.asks_for_gradients or bool(self._balancer.stopped)) as tape:
            outputs = self._network(images, training=True)
            values = losses_of_windows(self._losses, outputs, targets, weights)
            deep = {task: self._deep_losses(task, outputs, targets, weights) for task in values}
            judged = {
                task: self._judged(task, value, images, outputs, targets, weights) for task, value in values.items()
            }
            logged = {
                name: tf.reduce_sum(value) / self._global_batch_size
                for name, value in [*judged.items(), *(one for found in deep.values() for one in found.items())]
            }
            parts = {task: weighed(logged[task], {name: logged[name] for name in deep[task]}) for task in values}
            presence = {
                task: count / self._global_batch_size for task, count in labelled(self._losses, weights).items()
            }
            # Gradients are summed over the replicas; a term that does not depend on the windows counts once.
            terms = [tf.cast(term, tf.float32) for term in self._network.losses]
            regularisation = tf.reduce_sum(terms) / self._strategy.num_replicas_in_sync

            def differentiate(scalar: Any, variables: Sequence[Any]) -> list[Any]:
                scaled = self._optimizers.scale_loss(scalar)
                with tape.stop_recording():
                    return list(tape.gradient(scaled, variables))

            gradient = Gradients(
                self._optimizers.variables,
                differentiate,
                sum_over_replicas,
                self._optimizers.scale_loss(tf.constant(1.0)),
            )
            tasks = list(parts) if turn is None else [list(parts)[turn]]
            own, labels = ({task: found[task] for task in tasks} for found in (parts, presence))
            total, gradients = self._balancer.backward(own, labels, regularisation, gradient)
            frozen = self._of_stopped_tasks(parts, presence, gradient)
        if turn is not None:
            others = self._of_other_turns(turn, gradients)
            frozen = [still or other for still, other in zip(frozen, others, strict=True)]
        self._optimizers.apply(gradients, frozen)
        errors = labelled_errors(values, weights) if self._network.trunk.records_errors else None
        shares = {f"{task}{LABELLED}": share for task, share in presence.items()}
        return {TOTAL: total, REGULARISATION: regularisation, **logged, **shares}, errors

    def _deep_losses(self, task: str, outputs: Any, targets: Any, weights: Any) -> dict[str, Any]:
        """Returns the losses of every window, `(batch,)`, of the further heads that a task has in training."""
        loss = self._losses[task]
        return deep_losses(self._network, task, loss, outputs, targets[task], weights[task], loss.per_sample)

    def _judged(self, task: str, value: Any, images: Any, outputs: Any, targets: Any, weights: Any) -> Any:
        """Returns the loss of a task, `(batch,)`, with the judgement of its adversary if it has one."""
        loss = self._losses[task]
        judgement = self._network.judgement(task, loss, images, targets[task], outputs[task], weights[task])
        return value if judgement is None else value + judgement

    def _of_other_turns(self, turn: int, gradients: Sequence[Any]) -> list[bool]:
        """Says for every variable whether the task of a turn does not use it, and nothing weighs its loss by it.

        In the turn of a stopped task nothing is trained.
        """
        used = [*self._network.used_by(turn), *self._balancer.trainable_variables]
        for adversary in self._network.adversaries.values():
            used += adversary.trainable_variables
        ids = set() if list(self._losses)[turn] in self._balancer.stopped else {id(variable) for variable in used}
        return [
            gradient is None or id(variable) not in ids
            for variable, gradient in zip(self._optimizers.variables, gradients, strict=True)
        ]

    def _of_stopped_tasks(
        self, losses: Mapping[str, Any], presence: Mapping[str, Any], gradient: Gradients
    ) -> list[bool]:
        """Says for every variable whether it serves stopped tasks alone.

        Such a variable keeps its value: without a gradient of its task, the optimiser's momentum and the regularisation
        would still move it.
        """
        stopped = self._balancer.stopped
        if not stopped:
            return [False] * len(gradient.variables)
        terms = self._balancer.terms(losses, presence)
        reached = [
            gradient.reached(add_in_order(found)) if found else [False] * len(gradient.variables)
            for found in (
                [term for task, term in terms.items() if task in stopped],
                [term for task, term in terms.items() if task not in stopped],
            )
        ]
        return [of_stopped and not of_others for of_stopped, of_others in zip(*reached, strict=True)]


def sum_over_replicas(tensor: Any) -> Any:
    """Returns the sum of a tensor over all replicas, to each of them."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return tensor
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tensor)


def losses_of_windows(losses: Mapping[str, Any], outputs: Any, targets: Any, weights: Any) -> dict[str, tf.Tensor]:
    """Returns each task's loss of every window of a batch, `(batch,)`."""
    return {task: loss.per_sample(targets[task], outputs[task], weights[task]) for task, loss in losses.items()}


def labelled_errors(values: Mapping[str, Any], weights: Mapping[str, Any]) -> tf.Tensor:
    """Returns the losses of all tasks, `(batch, tasks)`; NaN where a window has no label."""
    columns = [
        tf.where(_has_label(weights[task]), tf.cast(value, tf.float32), np.nan) for task, value in values.items()
    ]
    return tf.stack(columns, axis=-1)


def labelled(tasks: Iterable[str], weights: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Returns how many windows of a batch have a label of each task: a weight that is not 0, anywhere."""
    return {task: tf.reduce_sum(tf.cast(_has_label(weights[task]), tf.float32)) for task in tasks}


def _has_label(weight: Any) -> tf.Tensor:
    counts = tf.cast(weight, tf.float32) > 0.0
    return tf.reduce_any(counts, axis=list(range(1, counts.shape.rank)))


class ValidationPass:
    """Losses and streaming metrics over a fixed set of validation windows.

    Args:
        network: Maps images to `{task: output}`.
        losses: One loss with `per_sample` per task.
        balancer: As in training; tasks that were stopped still count.
        metrics: `{task: {name: keras metric}}`, built under the strategy.
        strategy: Where it runs.
    """

    def __init__(
        self,
        network: keras.Model,
        losses: Mapping[str, Any],
        balancer: Balancer,
        metrics: Mapping[str, Mapping[str, keras.metrics.Metric]],
        strategy: tf.distribute.Strategy,
    ) -> None:
        self._balancer = balancer
        self._losses = dict(losses)
        self._metrics = metrics
        self._network = network
        self._strategy = strategy
        self._compile()

    def _compile(self) -> None:
        """Compiles the pass for the branches that tasks have now."""
        self._compiled_for, strategy = self._network.form, self._strategy

        @tf.function(autograph=False)
        @gradients_with_graph()
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
        """Returns what `columns` names, and what part of the windows has a label of each task.

        A `<task>_loss` is the mean over all windows: 0 for those without a label.
        """
        for metric in (metric for metrics in self._metrics.values() for metric in metrics.values()):
            metric.reset_state()
        if self._network.form != self._compiled_for:
            self._compile()
        sums: dict[str, float] = {}
        for batch in batches:
            for name, part in self._step(*batch).items():
                sums[name] = sums.get(name, 0.0) + float(part)
        count = sums.pop("count", 0.0)
        if count == 0.0:
            return {}
        means = {task: sums[task] / count for task in self._losses}
        presence = {task: sums[f"{task}{LABELLED}"] / count for task in self._losses}
        scores = {
            f"{task}_{name}": float(metric.result())
            for task, metrics in self._metrics.items()
            for name, metric in metrics.items()
        }
        total = float(self._balancer.total(means, presence))
        shares = {f"{task}{LABELLED}": share for task, share in presence.items()}
        return {TOTAL: total, **{f"{task}_loss": mean for task, mean in means.items()}, **scores, **shares}

    def _replica_step(self, images: Any, targets: Any, weights: Any) -> dict[str, tf.Tensor]:
        outputs = self._network(images, training=False)
        for task, metrics in self._metrics.items():
            for metric in metrics.values():
                metric.update_state(targets[task], outputs[task], weights[task])
        present = {f"{task}{LABELLED}": count for task, count in labelled(self._losses, weights).items()}
        count = tf.cast(tf.shape(images)[0], tf.float32)
        values = losses_of_windows(self._losses, outputs, targets, weights)
        return {**{task: tf.reduce_sum(value) for task, value in values.items()}, **present, "count": count}
