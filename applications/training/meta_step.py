"""One step of meta-training: towards weights from which a few steps fit any of the tasks (Finn et al. 2017, MAML)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from sfgkeras.applications.training.curriculum import StudentRecord, pick_tasks
from sfgkeras.applications.training.step import REGULARISATION, TOTAL, TrainingStep, losses_of_windows
from sfgkeras.applications.workers.order_of_sums import add_in_order
from sfgkeras.layers.own_gradient import gradients_with_graph
from sfgkeras.networks.deep_supervision import weighed
from sfgkeras.tables.meta_learning import FirstOrderSettings

CURRICULUM_STREAM = 3
"""Random numbers of the teacher, under the seed of the run and the number of the iteration."""


class MetaTrainingStep(TrainingStep):
    """A step by `sum_t w_t grad L_t(theta_t; query)`, where `theta_t` is the network adapted to task t on the support.

    The first half of a batch is the support, the other one the query. Adaptation is plain gradient descent on the
    task's loss from the weights `theta` that are learned; the gradient after it is taken for that of `theta` (MAML of
    first order), and the optimiser takes the step. The tasks of a step are picked by a curriculum. Losses that are
    logged are those of the query before adaptation, the objective is the sum of those after it.

    Args:
        settings: How tasks are picked and adapted to.
        seed: Seed of the run.
        arguments: As `TrainingStep`; there is one device.
    """

    def __init__(self, settings: FirstOrderSettings, seed: int, *arguments: Any) -> None:
        self._settings, self._seed = settings, seed
        super().__init__(*arguments)

    def _compile(self) -> None:
        """Compiles adaptation, one function for all tasks: which one it is, is an argument."""
        self._compiled_for = self._balancer.stopped, self._network.form
        self._adapt = tf.function(self._adapted, autograph=False)
        self._before = tf.function(self._query_losses, autograph=False)
        self._apply = tf.function(self._apply_sum, autograph=False)

    def take(self, batch: Any, iteration: int, memory: dict[str, Any]) -> dict[str, tf.Tensor]:
        """Picks tasks, adapts to each, and takes the step; see `TrainingStep.take`."""
        if (self._balancer.stopped, self._network.form) != self._compiled_for:
            self._compile()
        record, settings, tasks = StudentRecord.from_values(memory), self._settings, list(self._losses)
        rng = np.random.default_rng(np.random.SeedSequence([self._seed, iteration], spawn_key=(CURRICULUM_STREAM,)))
        active = [task for task in tasks if task not in self._balancer.stopped]
        picked = pick_tasks(active, record, settings.tasks_per_step, rng, settings.curriculum, settings.random_share)
        parts = dict(self._strategy.run(self._before, args=tuple(batch)))
        gradients, total = [], tf.constant(0.0)
        for task in picked:
            which = tf.one_hot(tasks.index(task), len(tasks))
            loss, regularisation, found = self._strategy.run(self._adapt, args=(which, *batch))
            record.note(task, float(loss), settings.memory)
            gradients.append(found)
            total += loss + regularisation
        self._strategy.run(self._apply, args=(gradients,))
        if self._averages is not None:
            self._averages.update()
        memory.update(vars(record))
        return {TOTAL: total, REGULARISATION: regularisation, **parts}

    def _query_losses(self, images: Any, targets: Any, weights: Any) -> Mapping[str, Any]:
        """Returns the losses of all tasks on the query, before any adaptation."""
        own, deep = self._task_losses(*halves(images, targets, weights)[1])
        return {**own, **{name: value for found in deep.values() for name, value in found.items()}}

    def _task_losses(self, images: Any, targets: Any, weights: Any) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Returns the mean loss of every task over the windows that have a label of it, and of its further heads."""
        outputs = self._network(images, training=True)
        values = losses_of_windows(self._losses, outputs, targets, weights)
        own = {task: mean_of_labelled(value, weights[task]) for task, value in values.items()}
        deep = {
            task: {
                name: mean_of_labelled(value, weights[task])
                for name, value in self._deep_losses(task, outputs, targets, weights).items()
            }
            for task in values
        }
        return own, deep

    def _adapted(self, which: Any, images: Any, targets: Any, weights: Any) -> tuple[Any, Any, list[Any]]:
        """Adapts to a task and returns loss and gradients on the query; weights are left as they were.

        Args:
            which: 1 for the task, 0 for the others, `(tasks,)`.
            images: The batch.
            targets: By task.
            weights: By task.
        """
        support, query = halves(images, targets, weights)
        variables = self._optimizers.variables
        before = [tf.identity(variable) for variable in variables]
        for _ in range(self._settings.inner_steps):
            *_, gradients = self._gradients(which, *support)
            for variable, gradient in zip(variables, gradients, strict=True):
                variable.assign_sub(self._settings.inner_lr * tf.cast(gradient, variable.dtype))
        found = self._gradients(which, *query)
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
        return found

    def _gradients(self, which: Any, images: Any, targets: Any, weights: Any) -> tuple[Any, Any, list[Any]]:
        """Returns a task's loss times its weight, the regularisation, and the gradients of their sum."""
        factors = self._balancer.task_weights()
        with tf.GradientTape() as tape:
            single, deep = self._task_losses(images, targets, weights)
            losses = {task: weighed(value, deep[task]) for task, value in single.items()}
            own = [which[number] * factors[task] for number, task in enumerate(losses)]
            loss = add_in_order([factor * value for factor, value in zip(own, losses.values(), strict=True)])
            terms = [tf.cast(term, tf.float32) for term in self._network.losses]
            regularisation = tf.reduce_sum(terms)
            total = loss + regularisation
        variables = self._optimizers.variables
        found = zip(variables, tape.gradient(total, variables), strict=True)
        return loss, regularisation, [tf.zeros_like(one) if gradient is None else gradient for one, gradient in found]

    @gradients_with_graph()
    def _apply_sum(self, gradients: Sequence[Sequence[Any]]) -> None:
        """Takes the optimiser's step by the sum of all tasks' gradients."""
        self._optimizers.apply([add_in_order(list(each)) for each in zip(*gradients, strict=True)])


def halves(images: Any, targets: Mapping[str, Any], weights: Mapping[str, Any]) -> tuple[Any, Any]:
    """Divides a batch into support, the first half, and query."""
    half = tf.shape(images)[0] // 2

    def part(which: slice) -> Any:
        return (
            images[which],
            {name: array[which] for name, array in targets.items()},
            {name: array[which] for name, array in weights.items()},
        )

    return part(slice(None, half)), part(slice(half, None))


def mean_of_labelled(values: Any, weight: Any) -> Any:
    """Returns the mean over those windows that have a label, `()` of `(batch,)`; 0 where none has."""
    flat = tf.reshape(tf.cast(weight, tf.float32), (tf.shape(weight)[0], -1))
    labelled = tf.cast(tf.reduce_any(flat > 0.0, axis=1), tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(tf.cast(values, tf.float32) * labelled), tf.reduce_sum(labelled))
