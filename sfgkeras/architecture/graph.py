"""The stages of a network in order, who of them reads whom, and where the heads sit."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sfgkeras.architecture.stage import Stage
from sfgkeras.errors import suggestion


class UnknownStage(ValueError):
    """A skip or a tap that names no stage.

    Attributes:
        stage: The name.
        names: Those of the stages that there are.
    """

    def __init__(self, stage: str, names: Sequence[str]) -> None:
        self.stage = stage
        self.names = tuple(names)
        hint = suggestion(stage, list(names)) or f"; the stages are {', '.join(names)}"
        super().__init__(f"there is no stage {stage!r}{hint}")


@dataclass(frozen=True)
class Architecture:
    """Stages that read each other, and the stage that the head of every task reads.

    Every stage reads the one before it, or the one that it `reads`, and those that its `skip` names. Levels count how
    often the image has been halved: a stage works on one level, and leaves its features on the next where it pools.

    Attributes:
        stages: The stages, already scaled by the width.
        taps: Index of the stage that each task's head reads, after its pooling.
        supervised: Pairs of a task and the index of a stage on the way up to its head where it has a further head in
            training (deep supervision), which reads what the stage leaves for the task, before its pooling.

    Raises:
        ValueError: If stages do not fit each other; the message names the stage.
    """

    stages: tuple[Stage, ...]
    taps: tuple[int, ...]
    supervised: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("a network needs at least one stage")
        names = self.names
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"several stages are called {twice[0]!r}; names of stages must differ")
        for index, stage in enumerate(self.stages):
            self._check(index, stage)
        last = len(self.stages) - 1
        unread = [names[index] for index in range(last + 1) if not self.readers(index) and index not in self.taps]
        if unread:
            raise ValueError(f"stage {unread[0]!r} is read by no stage and no head; put a head on it, or leave it out")

    def _check(self, index: int, stage: Stage) -> None:
        name = self.names[index]
        if self.levels[index] < 0:
            raise ValueError(f"stage {name!r} is larger than the image: it upsamples where nothing was pooled")
        if index and self.stages[index - 1].per_task and not stage.per_task:
            raise ValueError(f"stage {name!r} is shared, but the stage before it is one per task; make it per_task too")
        found = [place_of(skip, self.names) for skip in stage.skips]
        for source in found:
            if source >= index:
                raise ValueError(f"stage {name!r} has skip = {self.names[source]!r}, which does not come before it")
            if found.count(source) > 1:
                raise ValueError(f"stage {name!r} has skip = {self.names[source]!r} twice; name it once")

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all stages."""
        return stage_names(self.stages)

    @functools.cached_property
    def levels(self) -> tuple[int, ...]:
        """How often the image has been halved where the convolution of each stage works."""
        return stage_levels(self.stages)

    def level_after(self, index: int) -> int:
        """Returns how often the image has been halved behind a stage."""
        return self.levels[index] + self.stages[index].pools

    def sources(self, index: int) -> tuple[int, ...]:
        """Returns the stages whose features a stage reads, in the order of its channels; none for the first."""
        stage = self.stages[index]
        before = (place_of(stage.reads, self.names),) if stage.reads else (index - 1,) if index else ()
        return (*before, *(place_of(skip, self.names) for skip in stage.skips))

    def readers(self, index: int) -> list[int]:
        """Returns the later stages that read a stage."""
        return [later for later in range(index + 1, len(self.stages)) if index in self.sources(later)]

    def supervised_tasks(self, index: int) -> list[int]:
        """Returns the tasks with a further head on a stage in training."""
        return [task for task, stage in self.supervised if stage == index]

    def way_up(self, index: int) -> tuple[int, ...]:
        """Returns the stages that leave a coarser level on the way up to a stage, the finest level first.

        The one that the way up begins at, the bottom, is not among them.
        """
        found = list[int]()
        while index:
            before = self.sources(index)[0]
            if self.stages[before].pools and not self.stages[index].reads:
                break
            if self.stages[index].upsamples:
                found.append(before)
            index = before
        return tuple(found[:-1])

    @functools.cached_property
    def _behind(self) -> tuple[frozenset[int], ...]:
        """The stages that depend on each stage, itself among them."""
        found: list[frozenset[int]] = [frozenset()] * len(self.stages)
        for index in reversed(range(len(self.stages))):
            found[index] = frozenset({index}).union(*(found[later] for later in self.readers(index)))
        return tuple(found)

    def stages_behind(self, index: int) -> list[int]:
        """Returns the later stages that depend on a stage."""
        return sorted(self._behind[index] - {index})

    def stages_before(self, task: int) -> list[int]:
        """Returns the stages that the head of a task depends on, without the one that it reads."""
        tap = self.taps[task]
        return [index for index in range(tap) if tap in self._behind[index]]

    def tasks_behind(self, index: int) -> list[int]:
        """Returns the tasks whose head sits on a stage or on one that depends on it."""
        return [task for task, tap in enumerate(self.taps) if tap in self._behind[index]]

    def live_groups(self, index: int) -> list[int]:
        """Returns the groups that the filters of a stage can serve: the tasks behind it, and the shared one, T."""
        return [*self.tasks_behind(index), len(self.taps)]

    def spatial_shape(self, level: int, shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Returns the spatial shape on a level, for images of spatial shape `shape`; odd sizes are rounded up."""
        for _ in range(level):
            shape = [None if size is None else -(-size // 2) for size in shape]
        return tuple(shape)

    def with_stages(self, stages: Sequence[Stage]) -> "Architecture":
        """Returns an architecture of the same connections with other stages."""
        return replace(self, stages=tuple(stages))


def build_architecture(
    stages: Sequence[Stage], width: float, taps: Sequence[str | None], supervised: Sequence[int] = ()
) -> Architecture:
    """Scales stages by a width and finds where the heads sit.

    Args:
        stages: The stages of a network at full width.
        width: Factor on all numbers of filters; counts are rounded, and at least 1.
        taps: For every task the name of the stage that its head reads; None is the last one.
        supervised: For every task on how many levels below its head, the finest first, it has further heads in
            training; empty for none. Where the way up has fewer levels, it is as many as there are.

    Raises:
        ValueError: If the width is not positive, or stages or taps do not fit each other.
    """
    if not width > 0:
        raise ValueError(f"width = {width} must be a positive factor on the numbers of filters, e.g. 0.5")
    if not stages:
        raise ValueError("a network needs at least one stage")
    scaled = tuple(stage.scaled(width) for stage in stages)
    names = stage_names(scaled)
    plain = Architecture(scaled, tuple(len(scaled) - 1 if tap is None else place_of(tap, names) for tap in taps))
    deep = [(task, stage) for task, count in enumerate(supervised) for stage in plain.way_up(plain.taps[task])[:count]]
    return replace(plain, supervised=tuple(deep))


def stages_behind(stages: Sequence[Stage], taps: Sequence[str | None]) -> Sequence[Stage]:
    """Returns the stages that heads depend on; all others are left out.

    Args:
        stages: The stages of a network.
        taps: For every task the name of the stage that its head reads; None is the last one.
    """
    names = stage_names(stages)
    if not {tap for tap in taps if tap is not None} <= set(names):
        return stages
    last = len(stages) - 1
    places = tuple(last if tap is None else names.index(tap) for tap in taps)
    # With a head on every stage none is unread, and all are known to fit.
    whole = Architecture(tuple(stages), (*places, *range(len(stages))))
    wanted = [index for index in range(len(stages)) if set(whole.tasks_behind(index)) & set(range(len(taps)))]
    if len(wanted) == 1 + max(places):
        return stages[: len(wanted)]
    # Names by place would change where stages in between are left out.
    return tuple(replace(stages[index], name=names[index]) for index in wanted)


def stage_levels(stages: Sequence[Stage]) -> tuple[int, ...]:
    """Returns how often the image has been halved where the convolution of each stage works.

    Raises:
        ValueError: If a stage reads none before it.
    """
    names, levels = stage_names(stages), list[int]()
    for index, stage in enumerate(stages):
        level = levels[-1] + stages[index - 1].pools if index else 0
        if stage.reads:
            source = place_of(stage.reads, names)
            if source >= index:
                raise ValueError(f"stage {names[index]!r} has reads = {stage.reads!r}, which does not come before it")
            level = levels[source]
        levels.append(level - stage.upsamples)
    return tuple(levels)


def stage_names(stages: Sequence[Stage]) -> tuple[str, ...]:
    """Returns the names of stages; those without one are named by their place."""
    return tuple(stage.name or f"stage_{index + 1}" for index, stage in enumerate(stages))


def place_of(name: str, names: Sequence[str]) -> int:
    """Returns the place of a stage.

    Raises:
        UnknownStage: If there is no stage of that name.
    """
    if name not in names:
        raise UnknownStage(name, names)
    return list(names).index(name)
