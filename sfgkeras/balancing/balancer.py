"""What weighs the losses of a step: one term of the objective for each task, and a switch for each of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from sfgkeras.balancing.gradients import on_one_device

Gradient = Callable[[Any], list[Any]]
"""Returns the gradients of a scalar; in a training step it is a `Gradients`, which can do more."""
OverDevices = Callable[[Any], Any]
"""Returns the sum of a tensor over all devices."""


class Balancer(keras.layers.Layer):
    """Makes one objective of the losses of several tasks: `sum_t a_t term_t`, where `a_t` is 0 for a stopped task.

    A subclass says what the terms are. It may own variables: trained ones are trained with the network, and all are
    saved with a training's state. A rule that needs the gradients of the single tasks takes over `backward`.

    Args:
        tasks: Names of the tasks.
        name: Name of the layer.

    Attributes:
        tasks: Names of the tasks.
        is_learned: Whether weights are learned while a network trains.
        logs_weights: Whether the weights of every step are logged: where they change.
        weighs_in_step: Whether the weights of a step are found in it, so that they are known after it and not before.
        asks_for_gradients: Whether `backward` asks for more than one gradient, for which the forward pass is kept.
        likelihoods: What each task's loss is the negative logarithm of, `categorical` or `gaussian` (see
            `TaskLoss.likelihood`); whoever knows the losses says it by `learn_of`.
        active: 1 for each task that is trained, 0 for one that was stopped. It is not written with the weights.
        stopped: The tasks that were stopped.
    """

    is_learned: ClassVar[bool] = False
    logs_weights: bool = False
    weighs_in_step: ClassVar[bool] = False
    asks_for_gradients: ClassVar[bool] = False

    def __init__(self, tasks: Sequence[str], name: str = "balancing") -> None:
        # The objective is computed in float32, whatever the precision of the network.
        super().__init__(name=name, dtype="float32", autocast=False)
        self.tasks = tuple(tasks)
        self.likelihoods: Mapping[str, str] = {}
        self.stopped: frozenset[str] = frozenset()
        self.active = self.add_weight(
            shape=(len(self.tasks),),
            initializer="ones",
            trainable=False,
            aggregation="only_first_replica",
            name="active",
        )
        self.built = True

    def learn_of(self, likelihoods: Mapping[str, str]) -> None:
        """Notes the likelihood of each task's loss, before the objective is computed."""
        self.likelihoods = dict(likelihoods)

    def set_seed(self, seed: int) -> None:
        """Takes the seed of a network, for a rule that draws anything; others leave it."""

    def measures(self) -> dict[str, Any]:
        """Returns what else is logged of the last step, float32 scalars by name."""
        return {}

    def take_note(
        self,
        losses: Mapping[str, Any],
        presence: Mapping[str, Any] | None = None,
        over_devices: OverDevices = on_one_device,
    ) -> None:
        """Learns from the losses that a step was taken with what weighs the next one; by default nothing.

        Args:
            losses: See `terms`.
            presence: See `terms`.
            over_devices: Sums over the devices.
        """

    def task_weights(self) -> dict[str, Any]:
        """Returns the factor that each task's loss has now, float32 scalars by task."""
        raise NotImplementedError(f"{type(self).__name__} lacks task_weights")

    def terms(self, losses: Mapping[str, Any], presence: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Returns what each task adds to the objective, by default its loss times its factor.

        Args:
            losses: Mean loss of each task over the batch, scalars. A task may be missing.
            presence: Fraction of the batch that has a label of the task; None for all of it. A term that does not
                depend on the loss is multiplied by it: without labels a task learns nothing. Of several devices each
                gives its part of losses and of fractions, and terms are summed over the devices.
        """
        weights = self.task_weights()
        return {task: weights[task] * loss for task, loss in losses.items()}

    def total(
        self,
        losses: Mapping[str, Any],
        presence: Mapping[str, Any] | None = None,
        training: bool = False,
        over_devices: OverDevices = on_one_device,
    ) -> Any:
        """Returns the objective of a batch, a float32 scalar.

        Args:
            losses: See `terms`.
            presence: See `terms`.
            training: Whether it is trained on: stopped tasks are left out then, in validation they still count.
            over_devices: Sums over the devices, for a rule that has to know the whole batch.
        """
        active = ops.unstack(ops.convert_to_tensor(self.active), num=len(self.tasks))
        total = ops.zeros((), "float32")
        for task, term in self.terms(losses, presence).items():
            total = total + (active[self.tasks.index(task)] * term if training else term)
        return total

    def backward(
        self, losses: Mapping[str, Any], presence: Mapping[str, Any] | None, extra: Any, gradient: Gradient
    ) -> tuple[Any, list[Any]]:
        """Returns the objective of a training step and the gradients by which the step is taken.

        By default these are the gradients of the sum. A rule that makes them of the tasks' own gradients sets
        `asks_for_gradients` and calls `gradient` once for each.

        Args:
            losses: See `terms`.
            presence: See `terms`.
            extra: What is added to the objective, whatever the tasks: the regularisation.
            gradient: Returns the gradients of a scalar with respect to all trained variables: None for those that it
                does not depend on. Of several devices each gives its part. See `Gradients`.
        """
        over_devices = getattr(gradient, "over_devices", on_one_device)
        total = self.total(losses, presence, True, over_devices) + extra
        gradients = gradient(total)
        self.take_note(losses, presence, over_devices)
        return total, gradients

    def stop(self, tasks: Iterable[str]) -> None:
        """Gives tasks no gradient from now on: neither through their losses nor through what the rule learns of them.

        Raises:
            ValueError: If a name is no task's.
        """
        stopped = set(tasks)
        unknown = sorted(stopped - set(self.tasks))
        if unknown:
            raise ValueError(f"there is no task {unknown[0]!r} to stop; the tasks are {', '.join(self.tasks)}")
        self.stopped |= stopped
        active = np.array(ops.convert_to_numpy(self.active))
        for task in self.stopped:
            active[self.tasks.index(task)] = 0.0
        self.active.assign(active)

    def current_weights(self) -> dict[str, float]:
        """Returns the factor that each task's loss has now, as Python numbers."""
        return {task: float(ops.convert_to_numpy(weight)) for task, weight in self.task_weights().items()}

    @property
    def lasting_variables(self) -> list[Any]:
        """What belongs to a saved state: all variables but `active`, which the record of a training tells."""
        return [variable for variable in self.variables if variable is not self.active]

    def save_own_variables(self, store: Any) -> None:
        """Writes what the rule has learned."""
        for variable in self.lasting_variables:
            store[variable.name] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store: Any) -> None:
        """Reads what the rule has learned; files of earlier versions hold nothing, as their weights were fixed."""
        for variable in self.lasting_variables:
            variable.assign(np.asarray(store[variable.name]))
