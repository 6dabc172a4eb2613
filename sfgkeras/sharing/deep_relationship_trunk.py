"""The trunk of deep relationship networks: shared stages, stages per task, and a prior over what tasks have alone."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from sfgkeras.architecture.graph import Architecture
from sfgkeras.architecture.layer_settings import LayerSettings
from sfgkeras.errors import Problem
from sfgkeras.layers.tensor_normal import AXES
from sfgkeras.sharing import deep_relationship
from sfgkeras.sharing.allocation import allocate_own, allocate_shared
from sfgkeras.sharing.grouped_trunk import GroupedTrunk
from sfgkeras.sharing.tensor_normal_prior import TensorNormalPrior, correlation_of
from sfgkeras.sharing.used_in_common import among_all, learned_by_stage


class Place(NamedTuple):
    """Where several tasks have kernels of one shape.

    Attributes:
        name: The stage, with the number of a convolution in its blocks, or what the layer of the heads is.
        tasks: Whose kernels these are.
        layers: The layer of each of them.
    """

    name: str
    tasks: tuple[int, ...]
    layers: tuple[Any, ...]


class DeepRelationshipTrunk(GroupedTrunk):
    """Hard sharing up to a stage; from there on tasks have layers of their own, joined by a prior over their kernels.

    A place is where several tasks have kernels of one shape: the convolutions of a stage, those of its blocks, and the
    layers of heads of one kind that read the same stage. Each place has covariances of its own.

    Args:
        architecture: The stages.
        settings: What all layers have in common.
        sharing: The mechanism.

    Raises:
        ValueError: If there are not so many stages, or a layer has fewer filters than tasks.
    """

    def __init__(
        self,
        architecture: Architecture,
        settings: LayerSettings,
        sharing: "deep_relationship.DeepRelationship",
        **kwargs: Any,
    ) -> None:
        self.first_own = _first_own(architecture, sharing.task_layers)
        architecture, allocation = _allocate(architecture, self.first_own)
        super().__init__(architecture, settings, allocation, joins=True, **kwargs)
        self.sharing = sharing
        axes = AXES if sharing.covariances == "all" else ("tasks",)
        self.prior = TensorNormalPrior(sharing.strength, sharing.epsilon, axes, name="prior")
        self._find_places: Callable[[], tuple[Place, ...]] = tuple
        for place in self._stage_places():
            self._start_equal(place.layers)

    def _stage_places(self) -> Iterator[Place]:
        """Yields the name, the tasks and their layers of every place in the stages."""
        architecture = self.architecture
        for index in range(self.first_own, len(architecture.stages)):
            tasks = tuple(architecture.tasks_behind(index))
            if len(tasks) < 2:
                continue
            name = architecture.names[index]
            yield Place(name, tasks, tuple(self.convolutions[f"{index}_{task}"] for task in tasks))
            readers = self.connections.readers(index)
            sections: dict[int, Any] = {
                self.connections.group_of(reader): self.sections.get(f"{index}_{reader}") for reader in readers
            }
            for block, plan in enumerate(architecture.stages[index].block_plans(self.settings.spatial_rank)):
                for number in range(len(plan.convolutions)):
                    layers = tuple(sections[task].blocks[block].convolutions[number] for task in tasks)
                    yield Place(f"{name}_block_{block + 1}_{number + 1}", tasks, layers)

    def _head_places(self, heads: Sequence[Any]) -> Iterator[Place]:
        """Yields those of every place in heads that read one stage and have a layer of one shape there."""
        alike: dict[tuple[Any, ...], list[int]] = {}
        for task, head in enumerate(heads):
            if head.kind == "motion":
                continue  # no stack of layers: what it keeps from frame to frame has no place in others
            widths = (*head.head.layers, head.channels)
            for number in range(len(widths)):
                reads = (head.kind, head.head.pooling, self.architecture.taps[task])
                is_last = number == len(widths) - 1
                alike.setdefault((*reads, widths[: number + 1], is_last), []).append(task)
        for (*_, widths, is_last), tasks in alike.items():
            if len(tasks) > 1:
                number = len(widths) - 1
                what = "logits" if is_last else f"layer_{number + 1}"
                name = f"head_{what}_of_{'_'.join(str(task + 1) for task in tasks)}"
                yield Place(name, tuple(tasks), tuple(heads[task].products[number] for task in tasks))

    def _start_equal(self, layers: Sequence[Any]) -> None:
        for layer in layers[1:] if self.sharing.same_start else ():
            layer.kernel_initializer = layers[0].kernel_initializer

    def build_heads(self, heads: Sequence[Any], shapes: Sequence[tuple[int, ...]]) -> None:
        """Builds the heads and, all kernels being there, the covariances."""
        of_heads = tuple(self._head_places(heads))
        for place in of_heads:
            self._start_equal(place.layers)
        super().build_heads(heads, shapes)
        places = (*self._stage_places(), *of_heads)
        # A function, as Keras would track the heads, which are the network's, here too.
        self._find_places = lambda: places
        self.prior.build({place.name: _stack_shape(place) for place in places})

    def _kernels(self) -> dict[str, list[Any]]:
        return {place.name: [layer.kernel for layer in place.layers] for place in self._find_places()}

    def before_step(self, iteration: Any) -> None:
        """Updates the covariances every `update_every` steps."""
        due = ops.logical_and(iteration > 0, iteration % self.sharing.update_every == 0)
        self.prior.learn(self._kernels(), due)

    def penalties(self) -> list[Any]:
        """Returns the negative logarithm of the prior of each place, without what no kernel moves."""
        return self.prior.penalties(self._kernels())

    def task_correlations(self) -> dict[str, np.ndarray]:
        """Returns the learned correlations of tasks by place, `(tasks, tasks)`; NaN for tasks without a part in it."""
        found = {}
        for place in self._find_places():
            found[place.name] = np.full((self.settings.num_tasks,) * 2, np.nan, "float32")
            covariance = self.prior.covariances(place.name)["tasks"]
            found[place.name][np.ix_(place.tasks, place.tasks)] = correlation_of(covariance)
        return found

    def sharing_matrix(self) -> dict[str, np.ndarray]:
        """Returns 1 of shared stages and, where tasks have convolutions of their own, their absolute correlation."""
        found, correlations = super().sharing_matrix(), self.task_correlations()
        for index in range(self.first_own, len(self.architecture.stages)):
            name, tasks = self.architecture.names[index], self.architecture.tasks_behind(index)
            if name in correlations:
                own = np.abs(correlations[name][np.ix_(tasks, tasks)])
                found[name] = among_all(own, tasks, self.settings.num_tasks)
        return found

    def learned(self) -> dict[str, np.ndarray]:
        """Returns the correlations of tasks of every place."""
        return learned_by_stage("task_correlation", self.task_correlations())


def _stack_shape(place: Place) -> tuple[int, int, int]:
    """Returns the shape of the stacked kernels of a place, `(features, classes, tasks)`."""
    shape = place.layers[0].kernel.shape
    return math.prod(shape[:-1]), shape[-1], len(place.tasks)


def _first_own(architecture: Architecture, task_layers: int) -> int:
    """Returns the first stage that every task has for itself."""
    count = len(architecture.stages)
    if task_layers > count:
        raise Problem(f"is more than the {count} stages of the network", key="task_layers", value=task_layers)
    return count - max(task_layers, sum(stage.per_task for stage in architecture.stages))


def _allocate(architecture: Architecture, first_own: int) -> tuple[Architecture, list[list[int]]]:
    """Returns stages whose filters can be shared out equally from one of them on, and the group of every filter."""
    stages, allocation = list(architecture.stages), allocate_shared(architecture)
    for index in range(first_own, len(stages)):
        stage, tasks = stages[index], architecture.tasks_behind(index)
        if stage.per_task:
            allocation[index] = allocate_own(stage, len(architecture.taps))
            continue
        each = stage.filters // len(tasks)
        if not each:
            raise ValueError(
                f"a layer has {stage.filters} filters for {len(tasks)} tasks; raise the width of the network"
            )
        stages[index] = replace(stage, filters=each * len(tasks))
        allocation[index] = [task for task in tasks for _ in range(each)]
    return architecture.with_stages(stages), allocation
