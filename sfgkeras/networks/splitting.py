"""Networks whose tasks part while they are trained: when, by which errors, and what an optimiser goes on with."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from sfgkeras.networks.balanced_loss import as_loss
from sfgkeras.networks.moments import copy_moments
from sfgkeras.sharing.adaptive_trunk import AdaptiveTrunk
from sfgkeras.sharing.branches import Partition, write_splits


class Splitting:
    """Splits the stages of a network with `fully_adaptive` sharing at their iterations.

    Args:
        network: The network.
        first: The iteration at which its training begins.
        last: That at which it ends.

    Raises:
        Problem: If a stage would be split behind the end.
    """

    def __init__(self, network: Any, first: int, last: int) -> None:
        self._network = network
        self._queue = network.sharing.moments(network.trunk.num_shared, first, last)

    def is_due(self, iteration: int) -> bool:
        """Says whether stages are to be split after an iteration."""
        return bool(self._queue) and self._queue[0][0] <= iteration

    def split(self, iteration: int, optimizers: Iterable[Any]) -> list[str]:
        """Splits the stages that are due after an iteration.

        What was compiled for the network has to be made anew if anything has been split.

        Args:
            iteration: How many iterations are over.
            optimizers: Keras optimisers whose moments of a branch are those of its copies, too.

        Returns:
            What was decided, a line for each stage; empty where nothing was due.
        """
        lines, optimizers = [], list(optimizers)
        trunk = self._network.trunk
        while self.is_due(iteration):
            _, stage = self._queue.pop(0)
            if trunk.is_decided(stage):
                continue
            copied = trunk.decide(stage)
            for optimizer in optimizers:
                copy_moments(optimizer, copied)
            lines.append(describe_stage(self._network, stage))
        if lines:
            network = self._network
            network.train_function = network.test_function = network.predict_function = None
        return lines


def find_splitting(network: Any, first: int, last: int) -> Splitting | None:
    """Returns what splits a network while it is trained; None for those that keep their form."""
    return Splitting(network, first, last) if isinstance(network.trunk, AdaptiveTrunk) else None


def describe_stage(network: Any, index: int) -> str:
    """Returns in words which branches a stage has, and by which affinity of tasks."""
    trunk, names = network.trunk, network.task_names
    branches = [[names[task] for task in branch] for branch in trunk.connections.branches[index]]
    affinity = trunk.learned()[f"affinity/{trunk.architecture.names[index]}"]
    pairs = [f"{names[i]}-{names[j]} {affinity[i, j]:.2f}" for i in range(len(names)) for j in range(i + 1, len(names))]
    told = f" (affinity {', '.join(pairs)})" if pairs else ""
    return f"{write_splits({trunk.architecture.names[index]: branches})}{told}"


def describe_tree(network: Any) -> str:
    """Returns the branches of a network as `[SHARING] branches` of `tree` takes them."""
    trunk, names = network.trunk, network.task_names
    splits: dict[str, list[list[str]]] = {}
    present: Partition = ()
    for index in range(trunk.num_shared):
        partition, behind = trunk.connections.branches[index], trunk.architecture.tasks_behind(index)
        if _of_tasks(present, behind) != partition:
            # Tasks of another part of the network may come later; those whose head has passed have ended.
            later = {
                task for other in range(index, trunk.num_shared) for task in trunk.architecture.tasks_behind(other)
            }
            elsewhere = _of_tasks(present, sorted(later - set(behind)))
            ended = [(task,) for task in range(len(names)) if task not in later]
            present = tuple(sorted([*partition, *elsewhere, *ended]))
            splits[trunk.architecture.names[index]] = [
                [names[task] for task in branch] for branch in [*partition, *elsewhere, *ended]
            ]
    return write_splits(splits)


def _of_tasks(partition: Partition, tasks: Sequence[int]) -> Partition:
    """Returns the branches of some tasks alone."""
    left = (tuple(task for task in branch if task in tasks) for branch in partition)
    return tuple(sorted(branch for branch in left if branch))


def sample_errors(network: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
    """Returns the loss of every sample for every task, `(batch, tasks)`; NaN where a sample has no label of it.

    Args:
        network: A compiled `MultiTaskNetwork`.
        y: Targets by task.
        y_pred: Outputs by task.
        sample_weight: None, weights of all tasks, or weights by task.
    """
    columns = []
    for task in network.task_names:
        target = y[task] if isinstance(y, Mapping) else y
        weight = sample_weight.get(task) if isinstance(sample_weight, Mapping) else sample_weight
        loss = network.loss.get(task) if isinstance(network.loss, Mapping) else network.loss
        if loss is None:
            columns.append(ops.full_like(ops.cast(y_pred[task], "float32"), float("nan")))
        else:
            columns.append(_masked(as_loss(loss).call(target, y_pred[task]), weight))
    return ops.stack([_per_sample(column) for column in columns], axis=-1)


def _masked(values: Any, weight: Any) -> Any:
    """Returns the errors of a batch per sample, NaN where all of a sample's weights are 0."""
    values = _per_sample(values)
    if weight is None:
        return values
    counts = _per_sample(ops.abs(ops.cast(weight, "float32"))) > 0
    return ops.where(counts, values, float("nan"))


def _per_sample(values: Any) -> Any:
    values = ops.cast(values, "float32")
    if not values.shape:
        raise ValueError("fully_adaptive compares tasks sample by sample, and a loss gives one value for a batch")
    return ops.mean(values, axis=tuple(range(1, len(values.shape)))) if len(values.shape) > 1 else values


class SplittingCallback(keras.callbacks.Callback):
    """Splits a network's stages while `fit` trains it, and prints what was decided.

    Args:
        initial_epoch: As given to `fit`.
        verbose: As given to `fit`.
    """

    def __init__(self, initial_epoch: int = 0, verbose: Any = "auto") -> None:
        super().__init__()
        self._initial_epoch = initial_epoch
        self._verbose = bool(verbose)
        self._splitting: Splitting | None = None
        self._iteration = self._epoch_start = 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Finds out when stages are due."""
        steps, given = self.params.get("steps"), self.model.sharing.split_at
        if steps is None and not all(moment >= 1 for moment in given or (0,)):
            raise ValueError(
                "fully_adaptive splits at fractions of the training, whose length is not known: give steps_per_epoch "
                "to fit, or iterations as split_at to the network"
            )
        self._iteration = first = int(ops.convert_to_numpy(self.model.iteration))
        epochs = int(self.params.get("epochs") or 1) - self._initial_epoch
        last = 2**31 - 1 if steps is None else first + epochs * int(steps)
        self._splitting = find_splitting(self.model, first, last)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes how many iterations are over."""
        self._epoch_start = self._iteration

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Splits the stages that are due, and has the training step compiled anew."""
        # Not the network's own count, which a compiled epoch of another backend keeps to itself.
        self._iteration = self._epoch_start + batch + 1
        if self._splitting is None or not self._splitting.is_due(self._iteration):
            return
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        for line in self._splitting.split(self._iteration, [self.model.optimizer]):
            if self._verbose:
                print(f"\niteration {self._iteration}: {line}")  # noqa: T201
        self.model.make_train_function(force=True)
