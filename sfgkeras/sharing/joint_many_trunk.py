"""The trunk of joint many-task networks: hard sharing, and a memory of what lower tasks had learned."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras.architecture.graph import Architecture
from sfgkeras.architecture.layer_settings import LayerSettings
from sfgkeras.architecture.walk import RunStage, Streams
from sfgkeras.sharing import joint_many
from sfgkeras.sharing.allocation import allocate_shared
from sfgkeras.sharing.fed_outputs import Feeding, FeedingOperations, FeedingTensors, LabelEmbedding, tasks_fed
from sfgkeras.sharing.grouped_trunk import GroupedTrunk


class JointManyTrunk(GroupedTrunk):
    """Hard sharing up to every head, with successive regularisation (Hashimoto et al. 2017, section 3).

    A task uses the stages up to its head, and its head. `strength ||theta - theta'||^2` is over what lower tasks use,
    theta' being what it was when the period began:

    * in turns: in the turn of a task over what all tasks below it use; in that of the lowest, over the stages up to its
      head, which the task before it, the highest, has moved.
    * together: over what all tasks but the highest use.

    Args:
        architecture: The stages.
        settings: What all layers have in common.
        sharing: The mechanism.
        order: The tasks from the lowest to the highest.
    """

    def __init__(
        self,
        architecture: Architecture,
        settings: LayerSettings,
        sharing: "joint_many.JointMany",
        order: Sequence[int],
        **kwargs: Any,
    ) -> None:
        super().__init__(architecture, settings, allocate_shared(architecture), joins=True, **kwargs)
        self.sharing = sharing
        self.order = tuple(order)
        self.memory = _Memory(name="memory")
        self._used_by: Callable[[int], list[Any]] = lambda task: []
        self._find_heads: Callable[[], Sequence[Any]] = tuple
        self.fed = sorted(sharing.fed_tasks(settings.task_names), key=self.order.index)
        self.embeddings = {str(task): self._build_embedding(task) for task in self.fed}

    def _build_embedding(self, task: int) -> LabelEmbedding:
        said = self.sharing.fed_tasks(self.settings.task_names)[task]
        return LabelEmbedding(self.sharing.embedding, said, self.settings.initializer(), name=f"embedding_{task + 1}")

    def feeding(self, operations: FeedingOperations, dtype: str | None = None) -> Feeding | None:
        """Returns what feeds the outputs of lower tasks during one pass; None where none are fed."""
        if not self.fed:
            return None
        embeddings = {int(task): embedding for task, embedding in self.embeddings.items()}
        return Feeding(self.architecture, self.fed, self._find_heads(), embeddings, operations, dtype)

    def walk(self, image: Any, run_stage: RunStage) -> tuple[list[Streams], dict[int, Streams]]:
        """Sends an image through all stages, with what is fed to them; see `Trunk.walk`."""
        feeding = self.feeding(FeedingTensors(), self.compute_dtype)
        if feeding is None:
            return super().walk(image, run_stage)

        def fed_stage(index: int, streams: Streams, sized_image: Callable[[], Any]) -> Streams:
            left = run_stage(index, feeding.widen(index, streams), sized_image)
            feeding.note(index, left)
            return left

        return super().walk(image, fed_stage)

    def build_stage(self, index: int, size: tuple[int, ...], channels: dict[int, int]) -> None:
        """Builds a stage that reads what is fed to it, too."""
        more = self.sharing.embedding * len(tasks_fed(self.architecture, self.fed, index))
        super().build_stage(index, size, {group: read + more for group, read in channels.items()})

    @property
    def takes_turns(self) -> bool:
        """Whether a step is one of a single task."""
        return self.sharing.trained == "in_turns" and len(self.order) > 1

    def turn(self, iteration: int) -> int | None:
        """Returns the task that is trained in the step after so many; None for all."""
        return self.order[self._number(iteration)] if self.takes_turns else None

    def _number(self, iteration: Any) -> Any:
        return iteration // self.sharing.period % len(self.order)

    def turn_factors(self) -> Any:
        """Returns by what each task's term counts in the present step, float32 `(tasks,)`; None for all alike."""
        return self.factors_of(self.memory.present) if self.takes_turns else None

    def factors_of(self, number: Any) -> Any:
        """Returns what `turn_factors` is in the turn of a number."""
        return ops.take(np.eye(len(self.order), dtype="float32")[list(self.order)], number, axis=0)

    def used_by(self, task: int) -> list[Any]:
        """Returns the trained variables that a task uses: those of its stages and of its head."""
        return self._used_by(task)

    def _stage_variables(self, task: int) -> list[Any]:
        """Returns the trained variables of the stages up to the head of a task."""
        connections, found = self.connections, []
        for index in [*self.architecture.stages_before(task), self.architecture.taps[task]]:
            group = task if self.architecture.stages[index].per_task else self.settings.num_tasks
            found += [self.convolutions[f"{index}_{group}"], self.activations[f"{index}_{group}"]]
            leaders = {connections.leader(index, reader) for reader in connections.readers(index)}
            found += [
                self.sections[f"{index}_{reader}"]
                for reader in sorted(leaders)
                if f"{index}_{reader}" in self.sections
                and (group == self.settings.num_tasks or connections.group_of(reader) == task)
            ]
        return [variable for layer in found for variable in layer.trainable_variables]

    def build_heads(self, heads: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> None:
        """Builds the heads and, all parameters being there, the memory of them."""
        super().build_heads(heads, shapes)
        # Functions, as Keras would track the heads, which are the network's, here too.
        self._find_heads = lambda: heads
        for task in self.fed:
            embedding, outputs = self.embeddings[str(task)], heads[task].channels
            embedding.activation = embedding.activation or ("softmax" if outputs > 1 else "linear")
            embedding.build((None, outputs))
        found = {
            task: [*self._stage_variables(task), *(v for layer in head.products for v in layer.trainable_variables)]
            for task, head in enumerate(heads)
        }
        for task, used in found.items():
            # What is fed to a task it uses, too: the heads that say it, and the vectors that embed it.
            for lower in self.fed:
                if self.architecture.taps[lower] < self.architecture.taps[task]:
                    of_head = [v for layer in heads[lower].products for v in layer.trainable_variables]
                    used += [*of_head, *self.embeddings[str(lower)].trainable_variables]
        self._used_by = lambda task: list(found[task])
        if len(self.order) > 1:
            self.memory.build_for([_ids(part) for part in self._parts()], self._kept())

    def _parts(self) -> list[list[Any]]:
        """Returns the parameters that are kept near theirs in each turn; together, the same in all of them."""
        if not self.takes_turns:
            return [self._used_together(self.order[:-1])] * len(self.order)
        below = [self._used_together(self.order[:number]) for number in range(len(self.order))]
        return [self._stage_variables(self.order[0]), *below[1:]]

    def _used_together(self, tasks: Sequence[int]) -> list[Any]:
        return [variable for task in tasks for variable in self.used_by(task)]

    def _kept(self) -> list[Any]:
        """Returns every parameter of any turn, once."""
        return list({id(variable): variable for part in self._parts() for variable in part}.values())

    def before_step(self, iteration: Any) -> None:
        """Remembers the parameters when a period begins, and whose turn it is."""
        if len(self.order) > 1:
            begins = ops.equal(iteration % self.sharing.period, 0)
            self.memory.remember(self._kept(), begins, self._number(iteration))

    def penalties(self) -> list[Any]:
        """Returns the successive regularisation."""
        if len(self.order) == 1:
            return []
        return [self.sharing.strength * self.memory.distance(self._kept())]


class _Memory(keras.layers.Layer):
    """Holds parameters as they were when the period began.

    Attributes:
        present: Number of the present turn.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, dtype="float32", **kwargs)
        self._counts: Callable[[], np.ndarray] = lambda: np.zeros((0, 0), "float32")

    def build_for(self, parts: Sequence[set[int]], variables: Sequence[Any]) -> None:
        """Makes the memory.

        Args:
            parts: For each turn the ids of the variables that are kept near theirs.
            variables: All of them, once.
        """
        counts = np.array([[id(variable) in part for variable in variables] for part in parts], "float32")
        self._counts = lambda: counts
        settings: dict[str, Any] = {"trainable": False, "autocast": False, "aggregation": "only_first_replica"}
        self.present = self.add_weight(shape=(), initializer="zeros", dtype="int32", name="turn", **settings)
        self.begun = self.add_weight(shape=(), initializer="zeros", name="begun", **settings)
        self.values = [
            self.add_weight(
                shape=variable.shape, initializer="zeros", dtype=variable.dtype, name=f"memory_{number}", **settings
            )
            for number, variable in enumerate(variables)
        ]
        self.built = True

    def remember(self, variables: Sequence[Any], begins: Any, turn: Any) -> None:
        """Takes over what variables are now, if a period begins, and whose turn it is."""
        self.present.assign(ops.cast(turn, "int32"))
        # A network that was trained before goes on from there: at first it remembers whatever the step.
        begins = ops.logical_or(begins, ops.equal(ops.convert_to_tensor(self.begun), 0.0))
        for value, variable in zip(self.values, variables, strict=True):
            now = ops.stop_gradient(ops.convert_to_tensor(variable))
            value.assign(ops.where(begins, now, ops.convert_to_tensor(value)))
        self.begun.assign(1.0)

    def distance(self, variables: Sequence[Any]) -> Any:
        """Returns the sum of squared distances of those that count in the present turn; 0 before any step."""
        counts = ops.take(self._counts(), self.present, axis=0) * ops.convert_to_tensor(self.begun)
        distances = [
            ops.sum(ops.square(ops.cast(ops.convert_to_tensor(variable), "float32") - ops.cast(value, "float32")))
            for value, variable in zip(self.values, variables, strict=True)
        ]
        return ops.sum(counts * ops.stack(distances))


def _ids(variables: Sequence[Any]) -> set[int]:
    return {id(variable) for variable in variables}
