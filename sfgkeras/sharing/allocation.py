"""Fixed allocations of filters to groups, and which of their channels and groups a network really needs."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sfgkeras.architecture.graph import Architecture
from sfgkeras.architecture.stage import Stage
from sfgkeras.grouping import draw_allocation
from sfgkeras.sharing.readers import group_of, sources_of, task_reader


@dataclass(frozen=True)
class Connections:
    """Who reads whom in a network of fixed groups, and what of it reaches a head.

    Inside a group filters keep their order. A stream is the concatenation of the groups that it merges, tasks
    before shared.

    Attributes:
        architecture: The stages.
        allocation: Group of every filter of every stage.
        num_groups: Number of groups, shared last.
        routing: `mixed`, `separate` or `dense`; see `layers.routing.groups_read`.
        heads: Indices of the tasks whose head is wanted.
        full_width: For every stage, whether its streams leave it with all channels of the stage (residual
            blocks that are not masked write everywhere).
        coupled: For every stage, whether what it leaves for one task depends on the filters of all tasks.
        joined: Whether readers of the same groups have one stream, and its blocks, in common.
        keeps: Whether heads read what all stages leave for their task.
    """

    architecture: Architecture
    allocation: tuple[np.ndarray, ...]
    num_groups: int
    routing: str
    heads: tuple[int, ...]
    full_width: tuple[bool, ...]
    coupled: tuple[bool, ...]
    joined: bool = False
    keeps: bool = False

    def filters_of(self, stage: int, group: int) -> np.ndarray:
        """Returns the indices of the filters of a group."""
        return np.flatnonzero(self.allocation[stage] == group)

    def sources(self, stage: int, reader: int) -> tuple[int, ...]:
        """Returns the groups with filters that a stream is merged from."""
        read = sources_of(self.routing, self.num_groups, reader)
        return tuple(group for group in read if self.filters_of(stage, group).size)

    def task_reader(self, task: int) -> int:
        """Returns the number by which a task reads what is meant for its head; see `sharing.readers`."""
        return task_reader(self.routing, self.num_groups, task)

    def group_of(self, reader: int) -> int:
        """Returns the group of a reader."""
        return group_of(self.num_groups, reader)

    @functools.cached_property
    def _live(self) -> list[set[int]]:
        """Groups of every stage that a wanted head depends on, found from the last stage back."""
        live: list[set[int]] = [set() for _ in self.allocation]
        for stage in reversed(range(len(self.allocation))):
            for reader in self._readers(stage, live):
                live[stage].update(self.sources(stage, reader))
            if self.coupled[stage] and live[stage]:
                live[stage].update(self.architecture.tasks_behind(stage))
        return live

    def _readers(self, stage: int, live: Sequence[set[int]]) -> set[int]:
        readers = {self.task_reader(head) for head in self.heads if self.architecture.taps[head] == stage}
        readers |= self._supervised(stage)
        return readers.union(*(self._reading(later, live) for later in self.architecture.readers(stage)))

    def _supervised(self, stage: int) -> set[int]:
        """Returns the readers with a further head on a stage in training."""
        return {self.task_reader(task) for task in self.architecture.supervised_tasks(stage) if task in self.heads}

    def _reading(self, stage: int, live: Sequence[set[int]]) -> set[int]:
        """Returns by which numbers the groups of a stage read what stands before it."""
        is_own = self.architecture.stages[stage].per_task
        return {self.task_reader(task) for task in live[stage]} if is_own else live[stage]

    def stage_groups(self, stage: int) -> list[int]:
        """Returns the readers by which the groups of a stage read, of those that have to be computed."""
        return sorted(self._reading(stage, self._live))

    def head_groups(self, task: int) -> tuple[int, ...]:
        """Returns the stream that the head of a task reads; none if the head is not wanted."""
        return (self.task_reader(task),) if task in self.heads else ()

    def kept_groups(self, stage: int) -> list[int]:
        """Returns the streams of a stage that wanted heads read besides those of their own stage.

        These are further heads in training, and heads behind it where they read what all stages leave.
        """
        kept = self._supervised(stage)
        if self.keeps:
            kept |= {self.task_reader(head) for head in self.heads if stage in self.architecture.stages_before(head)}
        return sorted(kept)

    def readers(self, stage: int) -> list[int]:
        """Returns the readers whose stream has to be computed after a stage."""
        return sorted(self._readers(stage, self._live))

    def leader(self, stage: int, reader: int) -> int:
        """Returns the reader whose stream a reader has: its own or, where streams are joined, the first equal one."""
        if not self.joined or self.architecture.stages[stage].per_task:
            return reader
        sources = self.sources(stage, reader)
        return next(other for other in self.readers(stage) if self.sources(stage, other) == sources)

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
    joins: bool = False,
) -> Connections:
    """Works out the connections of a network of fixed groups, with all heads wanted.

    Args:
        architecture: The stages.
        allocation: The group of every filter of every stage.
        num_tasks: Number of tasks.
        routing: See `layers.routing.groups_read`.
        mask_residual: Whether residual blocks stay inside their stream's support.
        couples: Whether the mechanism mixes the features of all tasks where they have no stages of their own.
        joins: Whether readers of the same groups have one stream, and its blocks, in common.

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
    return Connections(
        architecture, groups, num_tasks + 1, routing, tuple(range(num_tasks)), full_width, coupled, joins
    )


def filters_held(stage: Stage, num_tasks: int) -> int:
    """Returns the filters of a stage over all groups."""
    return stage.filters * (num_tasks if stage.per_task else 1)


def allocate_own(stage: Stage, num_tasks: int) -> list[int]:
    """Gives every task its own filters of a stage per task."""
    return np.repeat(np.arange(num_tasks), stage.filters).tolist()


def allocate_evenly(architecture: Architecture) -> list[list[int]]:
    """Gives every task behind a stage the same share of its filters, and the shared group none.

    Raises:
        ValueError: If a layer has fewer filters than tasks.
    """
    num_tasks = len(architecture.taps)
    allocation = []
    for index, stage in enumerate(architecture.stages):
        tasks = architecture.tasks_behind(index)
        if stage.per_task:
            allocation.append(allocate_own(stage, num_tasks))
            continue
        if stage.filters < len(tasks):
            raise ValueError(
                f"a layer has {stage.filters} filters for {len(tasks)} tasks; raise the width of the network"
            )
        places = draw_allocation(stage.filters, (1.0 / len(tasks),) * len(tasks) + (0.0,))
        allocation.append([tasks[place] for place in places])
    return allocation


def divide_evenly(architecture: Architecture, parts: int = 1) -> Architecture:
    """Returns an architecture whose stages give every task behind them equally many filters, in equal parts.

    A stage has as many filters fewer as are left over; stages per task stay as they are.

    Args:
        architecture: The stages.
        parts: Into how many equal parts the filters of a task are to fall.

    Raises:
        ValueError: If a layer has fewer filters than tasks, or a task fewer than parts.
    """
    stages = []
    for index, stage in enumerate(architecture.stages):
        count = len(architecture.tasks_behind(index)) * parts
        if not stage.per_task and stage.filters < count:
            of_parts = "" if parts == 1 else f", each in {parts} parts"
            raise ValueError(
                f"a layer has {stage.filters} filters for {count // parts} tasks{of_parts}; raise the width of the "
                "network"
            )
        stages.append(stage if stage.per_task else replace(stage, filters=stage.filters // count * count))
    return architecture.with_stages(stages)


def allocate_shared(architecture: Architecture) -> list[list[int]]:
    """Gives all filters to the shared group, but for stages per task."""
    num_tasks = len(architecture.taps)
    return [
        allocate_own(stage, num_tasks) if stage.per_task else [num_tasks] * stage.filters
        for stage in architecture.stages
    ]


def allocate_once(
    architecture: Architecture, fractions: Sequence[float] | None, seed: int, multiple_of: int = 1
) -> list[list[int]]:
    """Draws one allocation with fixed fractions of every layer's filters, by default equal ones.

    Numbers of filters are rounded by the largest remainder, to multiples of `multiple_of`; see
    `grouping.count_allocation`. Where a task has no head behind a stage, the groups that are left have its fraction in
    proportion.

    Raises:
        ValueError: If the fractions are not one per group with sum 1, or `multiple_of` leaves a task nothing.
    """
    num_tasks = len(architecture.taps)
    num_groups = num_tasks + 1
    fractions = (1.0 / num_groups,) * num_groups if fractions is None else tuple(fractions)
    if len(fractions) != num_groups:
        raise ValueError(
            f"fractions = {list(fractions)} must be {num_groups} numbers: one for each of {num_tasks} tasks, "
            f"then one for the shared group"
        )
    random_generator = np.random.default_rng(seed)
    allocation = []
    for index, stage in enumerate(architecture.stages):
        if stage.per_task:
            allocation.append(allocate_own(stage, num_tasks))
            continue
        groups = architecture.live_groups(index)
        parts = of_groups(fractions, groups)
        places = draw_allocation(stage.filters, parts, random_generator, multiple_of)
        _refuse_starved_tasks(np.bincount(places, minlength=len(groups)), parts, multiple_of)
        allocation.append([groups[place] for place in places])
    return allocation


def _refuse_starved_tasks(counts: np.ndarray, fractions: Sequence[float], multiple_of: int) -> None:
    """Refuses groups of suitable sizes where a task that is to have filters would read none.

    Raises:
        ValueError: Names the layer by its number of filters.
    """
    for task in range(len(counts) - 1):
        if multiple_of > 1 and not counts[task] + counts[-1] and fractions[task] > 0:
            raise ValueError(
                f"group_multiple = {multiple_of} leaves a task without any of the {counts.sum()} filters of a layer; "
                "take a smaller one, or give the shared group a fraction"
            )


def of_groups(fractions: Sequence[float], groups: Sequence[int]) -> tuple[float, ...]:
    """Returns the fractions of some groups, in proportion, so that they sum to 1.

    Raises:
        ValueError: If these groups have nothing.
    """
    if len(groups) == len(fractions):
        return tuple(fractions)
    chosen = [fractions[group] for group in groups]
    if sum(chosen) <= 0:
        raise ValueError(
            f"fractions {list(fractions)} give all filters to tasks whose heads sit before the end of the network: "
            "stages behind these heads would have no filter; give the shared group, or another task, more than 0"
        )
    return tuple(fraction / sum(chosen) for fraction in chosen)


def allocate_tapered(architecture: Architecture) -> list[list[int]]:
    """Gives fewer filters to the shared group from stage to stage: all of the first one, none of the last one.

    Stages per task do not count; the other filters of a stage are divided evenly among the tasks behind it. What a
    network of one stage has is halved.

    Raises:
        ValueError: If the last stage has fewer filters than tasks.
    """
    num_tasks = len(architecture.taps)
    num_shared = sum(not stage.per_task for stage in architecture.stages)
    allocation = []
    for index, stage in enumerate(architecture.stages):
        if stage.per_task:
            allocation.append(allocate_own(stage, num_tasks))
            continue
        tasks = architecture.tasks_behind(index)
        specialised = index / (num_shared - 1) if num_shared > 1 else 0.5
        if specialised == 1.0:
            own = [group for group in allocate_evenly(architecture)[index] if group != num_tasks]
        else:
            each = min(round(specialised * stage.filters / len(tasks)), stage.filters // len(tasks))
            own = [task for task in tasks for _ in range(each)]
        allocation.append([*own, *[num_tasks] * (stage.filters - len(own))])
    return allocation


def allocate_nothing(architecture: Architecture) -> None:
    """Leaves the groups of all filters to be learned."""
