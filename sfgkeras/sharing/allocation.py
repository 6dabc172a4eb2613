"""Fixed allocations of filters to groups, and which of their channels and groups a network really needs."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfgkeras.architecture.graph import Architecture
from sfgkeras.architecture.stage import Stage
from sfgkeras.grouping import draw_allocation
from sfgkeras.layers.routing import groups_read


@dataclass(frozen=True)
class Connections:
    """Who reads whom in a network of fixed groups, and what of it reaches a head.

    Inside a group filters keep their order. A stream is the concatenation of the groups that it merges, tasks
    before shared.

    Attributes:
        architecture: The stages.
        allocation: Group of every filter of every stage.
        num_groups: Number of groups, shared last.
        routing: `mixed`, `separate` or `dense`; see `groups_read`.
        heads: Indices of the tasks whose head is wanted.
        full_width: For every stage, whether its streams leave it with all channels of the stage (residual
            blocks that are not masked write everywhere).
        coupled: For every stage, whether what it leaves for one task depends on the filters of all tasks.
    """

    architecture: Architecture
    allocation: tuple[np.ndarray, ...]
    num_groups: int
    routing: str
    heads: tuple[int, ...]
    full_width: tuple[bool, ...]
    coupled: tuple[bool, ...]

    def filters_of(self, stage: int, group: int) -> np.ndarray:
        """Returns the indices of the filters of a group."""
        return np.flatnonzero(self.allocation[stage] == group)

    def sources(self, stage: int, reader: int) -> tuple[int, ...]:
        """Returns the groups with filters that a stream is merged from; heads always read task and shared."""
        ends = self.architecture.stages[stage].per_task or not self.architecture.readers(stage)
        routing = "mixed" if ends else self.routing
        return tuple(
            group for group in groups_read(routing, self.num_groups, reader) if self.filters_of(stage, group).size
        )

    @functools.cached_property
    def _live(self) -> list[set[int]]:
        """Groups of every stage that a wanted head depends on, found from the last stage back."""
        live: list[set[int]] = [set() for _ in self.allocation]
        for stage in reversed(range(len(self.allocation))):
            for reader in self._readers(stage, live):
                live[stage].update(self.sources(stage, reader))
            if self.coupled[stage] and live[stage]:
                live[stage].update(range(self.num_groups - 1))
        return live

    def _readers(self, stage: int, live: Sequence[set[int]]) -> set[int]:
        readers = {head for head in self.heads if self.architecture.taps[head] == stage}
        return readers.union(*(live[later] for later in self.architecture.readers(stage)))

    def stage_groups(self, stage: int) -> list[int]:
        """Returns the groups of a stage that have to be computed."""
        return sorted(self._live[stage])

    def head_groups(self, task: int) -> tuple[int, ...]:
        """Returns the stream that the head of a task reads; none if the head is not wanted."""
        return (task,) if task in self.heads else ()

    def readers(self, stage: int) -> list[int]:
        """Returns the reading groups whose stream has to be computed after a stage."""
        return sorted(self._readers(stage, self._live))

    def channels(self, stage: int, reader: int) -> np.ndarray:
        """Returns which of the stage's channels a stream holds, in its own order; empty if it holds none."""
        owned = [self.filters_of(stage, group) for group in self.sources(stage, reader)]
        held = np.concatenate(owned) if owned else np.zeros(0, int)
        if self.full_width[stage]:
            held = np.concatenate([held, np.setdiff1d(np.arange(len(self.allocation[stage])), held)])
        return held

    def num_channels(self, stage: int, reader: int) -> int:
        """Returns the channels of a stream's tensor: a stream that holds none is one channel of zeros."""
        return max(1, self.channels(stage, reader).size)


def connect(
    architecture: Architecture,
    allocation: Sequence[Sequence[int]],
    num_tasks: int,
    routing: str = "mixed",
    mask_residual: bool = True,
    couples: bool = False,
) -> Connections:
    """Works out the connections of a network of fixed groups, with all heads wanted.

    Args:
        architecture: The stages.
        allocation: The group of every filter of every stage.
        num_tasks: Number of tasks.
        routing: See `groups_read`.
        mask_residual: Whether residual blocks stay inside their stream's support.
        couples: Whether the mechanism mixes the features of all tasks where they have no stages of their own.

    Raises:
        ValueError: If the allocation does not fit the stages.
    """
    groups = tuple(np.asarray(group, int) for group in allocation)
    widths = [filters_held(stage, num_tasks) for stage in architecture.stages]
    if [len(group) for group in groups] != widths:
        raise ValueError(f"allocation has {[len(group) for group in groups]} filters; the layers have {widths}")
    for group in groups:
        if group.min() < 0 or group.max() > num_tasks:
            raise ValueError(
                f"allocation has groups {group.min()} to {group.max()}; with {num_tasks} tasks they are 0 to "
                f"{num_tasks}"
            )
    for stage, name, group in zip(architecture.stages, architecture.names, groups, strict=True):
        if stage.per_task and (group != np.repeat(np.arange(num_tasks), stage.filters)).any():
            raise ValueError(f"allocation shares filters of stage {name!r}, of which every task has its own")
    full_width = tuple(
        bool(stage.num_blocks) and not (mask_residual or stage.per_task) for stage in architecture.stages
    )
    coupled = tuple(couples and not stage.per_task for stage in architecture.stages)
    return Connections(architecture, groups, num_tasks + 1, routing, tuple(range(num_tasks)), full_width, coupled)


def filters_held(stage: Stage, num_tasks: int) -> int:
    """Returns the filters of a stage over all groups."""
    return stage.filters * (num_tasks if stage.per_task else 1)


def allocate_own(stage: Stage, num_tasks: int) -> list[int]:
    """Gives every task its own filters of a stage per task."""
    return np.repeat(np.arange(num_tasks), stage.filters).tolist()


def allocate_evenly(stages: Sequence[Stage], num_tasks: int) -> list[list[int]]:
    """Gives every task the same share of every layer's filters, and the shared group none.

    Raises:
        ValueError: If a layer has fewer filters than tasks.
    """
    smallest = min((stage.filters for stage in stages if not stage.per_task), default=num_tasks)
    if smallest < num_tasks:
        raise ValueError(f"a layer has {smallest} filters for {num_tasks} tasks; raise the width of the network")
    fractions = (1.0 / num_tasks,) * num_tasks + (0.0,)
    return [
        allocate_own(stage, num_tasks) if stage.per_task else draw_allocation(stage.filters, fractions).tolist()
        for stage in stages
    ]


def allocate_shared(stages: Sequence[Stage], num_tasks: int) -> list[list[int]]:
    """Gives all filters to the shared group, but for stages per task."""
    return [allocate_own(stage, num_tasks) if stage.per_task else [num_tasks] * stage.filters for stage in stages]


def allocate_once(
    stages: Sequence[Stage], num_tasks: int, fractions: Sequence[float] | None, seed: int
) -> list[list[int]]:
    """Draws one allocation with fixed fractions of every layer's filters, by default equal ones.

    Numbers of filters are rounded by the largest remainder; see `grouping.count_allocation`.

    Raises:
        ValueError: If the fractions are not one per group with sum 1.
    """
    num_groups = num_tasks + 1
    fractions = (1.0 / num_groups,) * num_groups if fractions is None else tuple(fractions)
    if len(fractions) != num_groups:
        raise ValueError(
            f"fractions = {list(fractions)} must be {num_groups} numbers: one for each of {num_tasks} tasks, "
            f"then one for the shared group"
        )
    random_generator = np.random.default_rng(seed)
    return [
        allocate_own(stage, num_tasks)
        if stage.per_task
        else draw_allocation(stage.filters, fractions, random_generator).tolist()
        for stage in stages
    ]
