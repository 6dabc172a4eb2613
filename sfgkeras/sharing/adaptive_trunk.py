"""The trunk of fully adaptive sharing: a tree of tasks that grows from one branch to as many as tasks need."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras.architecture.graph import Architecture
from sfgkeras.architecture.layer_settings import LayerSettings
from sfgkeras.sharing import fully_adaptive
from sfgkeras.sharing.affinity import best_grouping, task_affinity
from sfgkeras.sharing.branch_connections import BranchConnections, connect_branches
from sfgkeras.sharing.branches import Partition
from sfgkeras.sharing.tree_trunk import TreeTrunk
from sfgkeras.sharing.used_in_common import learned_by_stage


class AdaptiveTrunk(TreeTrunk):
    """Stages with room for a branch of every task; those that the tree has by now are computed, the others wait.

    A branch has the place of its first task. A split copies the layers of a branch to the places of the new ones, so
    that no output changes. Variables do not come and go: an optimiser keeps those that it was built on, and the saved
    states of a training are alike. A waiting variable has a gradient of 0, and no regularisation.

    Which branches there are is kept in a variable, as are the errors of the last training samples. Whoever has assigned
    variables calls `restored`.

    Args:
        architecture: The stages.
        settings: What all layers have in common.
        sharing: The mechanism.
    """

    def __init__(
        self,
        architecture: Architecture,
        settings: LayerSettings,
        sharing: "fully_adaptive.FullyAdaptive",
        **kwargs: Any,
    ) -> None:
        width = sharing.start_width or 1.0 / settings.num_tasks
        thin = [
            stage if stage.per_task else replace(stage, filters=max(1, round(stage.filters * width)))
            for stage in architecture.stages
        ]
        architecture = architecture.with_stages(thin)
        leaves = tuple(
            tuple((task,) for task in architecture.tasks_behind(index)) for index in range(len(architecture.stages))
        )
        super().__init__(architecture, settings, _connect(architecture, leaves, settings.num_tasks), **kwargs)
        self.sharing = sharing
        num_stages, num_tasks = len(architecture.stages), settings.num_tasks
        self.num_shared = sum(not stage.per_task for stage in architecture.stages)
        # Tasks with the same number are in one branch.
        self.tree = self._add_state("tree", (num_stages, num_tasks), "int32")
        self.decided = self._add_state("decided", (num_stages,), "int32")
        self.affinity = self._add_state("affinity", (num_stages, num_tasks, num_tasks), "float32", np.nan)
        self.errors = self._add_state("errors", (sharing.samples, num_tasks), "float32", np.nan)
        self.next_place = self._add_state("next_place", (), "int32")
        self._regularizers: dict[int, Any] = {}

    def _add_state(self, name: str, shape: tuple[int, ...], dtype: str, value: float = 0) -> Any:
        return self.add_weight(
            shape=shape,
            initializer=keras.initializers.Constant(value),
            dtype=dtype,
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=name,
        )

    def build(self, input_shape: Any) -> None:
        """Builds the layers of all places."""
        super().build(input_shape)
        self._regularizers = {id(weight): weight.regularizer for weight in self.trainable_weights}
        # Not what the variable holds, which a graph, where Keras may build, cannot read.
        self._go_by(np.zeros(self.tree.shape, "int32"))

    def load_own_variables(self, store: Any) -> None:
        """Reads the tree, and goes by it."""
        super().load_own_variables(store)
        self.restored()

    def restored(self) -> bool:
        """Goes by the tree that the variables hold now; says whether it is another one than before."""
        before = self.connections.branches
        self._go_by(ops.convert_to_numpy(self.tree))
        return self.connections.branches != before

    def _go_by(self, numbers: np.ndarray) -> None:
        branches = [self._partition(index, row) for index, row in enumerate(numbers)]
        self.connections = _connect(self.architecture, branches, self.settings.num_tasks)
        waiting = {id(weight) for weight in self.waiting_weights()}
        for weight in self.trainable_weights:
            weight.regularizer = None if id(weight) in waiting else self._regularizers.get(id(weight))

    def _partition(self, index: int, numbers: np.ndarray) -> Partition:
        tasks = self.architecture.tasks_behind(index)
        if self.architecture.stages[index].per_task:
            return tuple((task,) for task in tasks)
        branches: dict[int, list[int]] = {}
        for task in tasks:
            branches.setdefault(int(numbers[task]), []).append(task)
        return tuple(sorted(tuple(branch) for branch in branches.values()))

    def waiting_weights(self) -> list[Any]:
        """Returns the trained weights of places that no branch has, which nothing is computed with."""
        return [
            weight
            for index, partition in enumerate(self.connections.branches)
            for place in self.architecture.tasks_behind(index)
            if place not in {branch[0] for branch in partition}
            for layer in self._layers_of(index, place)
            for weight in layer.trainable_weights
        ]

    def _layers_of(self, index: int, place: int) -> list[Any]:
        key = f"{index}_{place}"
        found = (layers.get(key) for layers in (self.convolutions, self.activations, self.sections))
        return [layer for layer in found if layer is not None]

    def penalties(self) -> list[Any]:
        """Returns a term that is 0, and by which waiting weights have a gradient: of 0."""
        waiting = [ops.sum(ops.cast(weight, "float32")) for weight in self.waiting_weights()]
        return [0.0 * sum(waiting[1:], waiting[0])] if waiting else []

    @property
    def records_errors(self) -> bool:
        """True: by them tasks are compared."""
        return True

    @property
    def form(self) -> Any:
        """Which branches there are."""
        return self.connections.branches

    def record_errors(self, errors: Any) -> None:
        """Keeps the errors of a batch of training samples, in place of the oldest ones.

        Args:
            errors: Error of every sample for every task, `(batch, tasks)` in any unit; NaN where it has no label.
        """
        capacity = self.sharing.samples
        errors = ops.cast(errors, "float32")
        errors = errors[ops.maximum(ops.shape(errors)[0] - capacity, 0) :]
        count = ops.shape(errors)[0]
        first = ops.convert_to_tensor(self.next_place)
        places = (first + ops.arange(count, dtype="int32")) % capacity
        self.errors.assign(ops.scatter_update(ops.convert_to_tensor(self.errors), places[:, None], errors))
        self.next_place.assign((first + count) % capacity)

    def is_decided(self, index: int) -> bool:
        """Says whether it has been decided which branches a stage has."""
        return bool(ops.convert_to_numpy(self.decided)[index])

    def decide(self, index: int) -> list[tuple[Any, Any]]:
        """Decides by the errors that were recorded which branches a stage has, and splits it.

        The branches that meet behind the stage, of the next one and of tasks whose head is here, stay together in it or
        part. Stages are decided from the last one down.

        Args:
            index: Which stage.

        Returns:
            Every variable that was copied, with its copy.
        """
        affinity = task_affinity(ops.convert_to_numpy(self.errors), self.sharing.threshold)
        architecture = self.architecture
        own = [(task,) for task, tap in enumerate(architecture.taps) if tap == index]
        above = [branch for later in architecture.readers(index) for branch in self.connections.branches[later]]
        meeting = joined_branches([*above, *own])
        # What pools in front of the last stage that depends on it, from this one on.
        chain = [index, *architecture.stages_behind(index)]
        poolings = sum(architecture.stages[place].pools for place in chain if place < len(architecture.stages) - 1)
        groups = best_grouping(affinity, meeting, self.sharing.complexity_weight * 2.0**poolings)
        copied = self._split(index, groups)
        _assign_row(self.decided, index, 1)
        _assign_row(self.affinity, index, affinity)
        return copied

    def _split(self, index: int, groups: Partition) -> list[tuple[Any, Any]]:
        copied = []
        numbers = np.zeros(self.settings.num_tasks, "int32")
        for group in groups:
            numbers[list(group)] = group[0]
            origin = self.connections.branch_of(index, group[0])
            if origin == group[0]:
                continue
            for old, new in zip(self._layers_of(index, origin), self._layers_of(index, group[0]), strict=True):
                for source, target in zip(old.weights, new.weights, strict=True):
                    target.assign(ops.convert_to_numpy(source))
                    copied.append((source, target))
        _assign_row(self.tree, index, numbers)
        self.restored()
        return copied

    def grouping_probabilities(self) -> dict[str, np.ndarray]:
        """Returns what the filters of every task's place serve, as one-hot `(filters, groups)`: it alone, or several.

        A task that has not parted from others counts with the filters that it shares, so that shapes never change.
        """
        rows = np.eye(self.settings.num_groups, dtype="float32")
        found = {}
        for index, (stage, partition) in enumerate(
            zip(self.architecture.stages, self.connections.branches, strict=True)
        ):
            alone = {branch[0] for branch in partition if len(branch) == 1}
            tasks = self.architecture.tasks_behind(index)
            groups = [task if task in alone else self.settings.num_tasks for task in tasks]
            found[f"sfg_{index + 1}"] = np.repeat(rows[groups], stage.filters, axis=0)
        return found

    def learned(self) -> dict[str, np.ndarray]:
        """Returns the tree, and the affinity of all tasks, `(tasks, tasks)`, by which every stage was decided.

        Of the tree it is the height of every task at every stage, `(tasks,)`, as lines over the stages draw it: the
        mean place of the tasks of its branch, which are in the order of the leaves.
        """
        affinity, decided = ops.convert_to_numpy(self.affinity), ops.convert_to_numpy(self.decided)
        names = self.architecture.names
        by_stage = {names[index]: affinity[index] for index in np.flatnonzero(decided)}
        return {**learned_by_stage("tree", self._heights()), **learned_by_stage("affinity", by_stage)}

    def _heights(self) -> dict[str, np.ndarray]:
        branches, num_tasks = self.connections.branches, self.settings.num_tasks
        path = {
            task: [branch[0] for partition in branches for branch in partition if task in branch]
            for task in range(num_tasks)
        }
        place = {task: number for number, task in enumerate(sorted(path, key=lambda task: (path[task], task)))}
        found = {}
        for name, partition in zip(self.architecture.names, branches, strict=True):
            found[name] = np.full(num_tasks, np.nan)
            for branch in partition:
                found[name][list(branch)] = np.mean([place[task] for task in branch])
        return found


def _connect(architecture: Architecture, branches: Any, num_tasks: int) -> BranchConnections:
    """Works out the connections of branches that all have the filters of their stage."""
    filters = [[stage.filters] * len(found) for stage, found in zip(architecture.stages, branches, strict=True)]
    return connect_branches(architecture, branches, num_tasks, filters)


def joined_branches(branches: Iterable[Sequence[int]]) -> list[tuple[int, ...]]:
    """Joins branches that have tasks in common, until none have; several stages that read one may each have some.

    Examples:
        >>> joined_branches([(0,), (1, 2), (0, 1), (3,)])
        [(0, 1, 2), (3,)]
    """
    found: list[set[int]] = []
    for branch in branches:
        meeting = [other for other in found if other & set(branch)]
        found = [other for other in found if other not in meeting] + [set(branch).union(*meeting)]
    return sorted(tuple(sorted(branch)) for branch in found)


def _assign_row(variable: Any, index: int, row: Any) -> None:
    values = np.array(ops.convert_to_numpy(variable))
    values[index] = row
    variable.assign(values)
