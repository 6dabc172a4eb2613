"""Fixed allocations of filters to groups, and which of their channels and groups a network really needs."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfgkeras.grouping import draw_allocation
from sfgkeras.layers.routing import groups_read
from sfgkeras.networks.stages import Stage, TrunkSettings


@dataclass(frozen=True)
class Connections:
    """Who reads whom in a network of fixed groups, and what of it reaches a head.

    Inside a group filters keep their order. A stream is the concatenation of the groups that it merges, tasks
    before shared.

    Attributes:
        allocation: Group of every filter of every stage.
        num_groups: Number of groups, shared last.
        routing: `mixed`, `separate` or `dense`; see `groups_read`.
        heads: Indices of the tasks whose head is wanted.
        full_width: For every stage, whether its streams leave it with all channels of the stage (residual
            blocks that are not masked write everywhere).
    """

    allocation: tuple[np.ndarray, ...]
    num_groups: int
    routing: str
    heads: tuple[int, ...]
    full_width: tuple[bool, ...]

    @property
    def num_stages(self) -> int:
        """Number of stages."""
        return len(self.allocation)

    def filters_of(self, stage: int, group: int) -> np.ndarray:
        """Returns the indices of the filters of a group."""
        return np.flatnonzero(self.allocation[stage] == group)

    def sources(self, stage: int, reader: int) -> tuple[int, ...]:
        """Returns the groups with filters that a stream is merged from; heads always read task and shared."""
        routing = "mixed" if stage == self.num_stages - 1 else self.routing
        return tuple(
            group for group in groups_read(routing, self.num_groups, reader) if self.filters_of(stage, group).size
        )

    @functools.cached_property
    def _live(self) -> list[set[int]]:
        """Groups of every stage that a wanted head depends on, found from the last stage back."""
        live: list[set[int]] = [set() for _ in self.allocation]
        for stage in reversed(range(self.num_stages)):
            is_last = stage == self.num_stages - 1
            for reader in self.heads if is_last else live[stage + 1]:
                live[stage].update(self.sources(stage, reader))
        return live

    def live_groups(self, stage: int) -> list[int]:
        """Returns the groups of a stage that have to be computed."""
        return sorted(self._live[stage])

    def readers(self, stage: int) -> list[int]:
        """Returns the reading groups whose stream has to be computed after a stage."""
        is_last = stage == self.num_stages - 1
        return sorted(self.heads if is_last else self._live[stage + 1])

    def channels(self, stage: int, reader: int) -> np.ndarray:
        """Returns which of the stage's channels a stream holds, in its own order; empty if it holds none."""
        owned = [self.filters_of(stage, group) for group in self.sources(stage, reader)]
        held = np.concatenate(owned) if owned else np.zeros(0, int)
        if self.full_width[stage]:
            held = np.concatenate([held, np.setdiff1d(np.arange(len(self.allocation[stage])), held)])
        return held

    def needs_zeros_after(self, stage: int) -> bool:
        """Returns whether some stream is merged from nothing after this stage or a later one."""
        return any(
            not self.sources(later, reader) for later in range(stage, self.num_stages) for reader in self.readers(later)
        )

    def num_channels(self, stage: int, reader: int) -> int:
        """Returns the channels of a stream's tensor: a stream that holds none is one channel of zeros."""
        return max(1, self.channels(stage, reader).size)


def connect(stages: Sequence[Stage], settings: TrunkSettings, heads: Sequence[int] | None = None) -> Connections:
    """Works out the connections of a network from the allocation in its settings.

    Args:
        stages: The stages, already scaled by the width.
        settings: Settings of the trunk, with `allocation`.
        heads: Indices of the wanted tasks; None wants all.

    Returns:
        The connections.

    Raises:
        ValueError: If the allocation does not fit the stages.
    """
    allocation = tuple(np.asarray(groups, int) for groups in settings.allocation or ())
    if [len(groups) for groups in allocation] != [stage.filters for stage in stages]:
        raise ValueError(
            f"allocation has {[len(groups) for groups in allocation]} filters; the layers have "
            f"{[stage.filters for stage in stages]}"
        )
    for groups in allocation:
        if groups.min() < 0 or groups.max() >= settings.num_groups:
            raise ValueError(
                f"allocation has groups {groups.min()} to {groups.max()}; with {settings.num_tasks} tasks "
                f"they are 0 to {settings.num_tasks}"
            )
    return Connections(
        allocation,
        settings.num_groups,
        settings.routing,
        tuple(range(settings.num_tasks)) if heads is None else tuple(heads),
        tuple(bool(stage.num_blocks) and not settings.mask_residual for stage in stages),
    )


def allocate_evenly(stages: Sequence[Stage], num_tasks: int) -> list[list[int]]:
    """Gives every task the same share of every layer's filters, and the shared group none.

    Raises:
        ValueError: If a layer has fewer filters than tasks.
    """
    smallest = min(stage.filters for stage in stages)
    if smallest < num_tasks:
        raise ValueError(f"a layer has {smallest} filters for {num_tasks} tasks; raise the width of the network")
    fractions = (1.0 / num_tasks,) * num_tasks + (0.0,)
    return [draw_allocation(stage.filters, fractions).tolist() for stage in stages]


def allocate_shared(stages: Sequence[Stage], num_tasks: int) -> list[list[int]]:
    """Gives all filters to the shared group."""
    return [[num_tasks] * stage.filters for stage in stages]


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
    return [draw_allocation(stage.filters, fractions, random_generator).tolist() for stage in stages]
