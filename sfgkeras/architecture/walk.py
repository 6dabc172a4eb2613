"""The one walk over the stages of a network: who is handed which features, at which size.

A stream is what one group reads; there is one per task, and the shared one. What a stage's convolution makes of its
streams, and how it mixes them, is for the sharing mechanism to say; the walk pools, upsamples, joins and hands on. The
same walk runs a network, looks into it, and rebuilds it from plain Keras layers.
"""

import functools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol

from keras import ops

from sfgkeras.architecture.graph import Architecture
from sfgkeras.layers.backend import fan_out
from sfgkeras.layers.repeated import joined, note_joined

Streams = dict[int, Any]
Consumer = tuple[str | int, ...]
"""Who waits for streams: `("chain", stage)`, `("skip", stage, source)`, `("head", task)` or `("kept", stage)`.

A branch begins with `("branch", stage)`, where a stage reads another one than that before it.
"""


class Operations(Protocol):
    """What the walk itself does to features `(batch, *spatial, channels)`."""

    def pool(self, features: Any, maximum_share: float = 1.0) -> Any:
        """Takes maximum and mean over 2 voxels per axis, the maximum by its share; an odd last voxel is kept."""
        ...

    def upsample(self, features: Any, like: Any) -> Any:
        """Repeats every voxel over 2 per axis and cuts the result to the spatial size of `like`."""
        ...

    def concatenate(self, parts: Sequence[Any]) -> Any:
        """Concatenates channels."""
        ...

    def copies(self, features: Any, count: int) -> list[Any]:
        """Returns features as often as they are used."""
        ...


class Groups(Protocol):
    """Which streams a sharing mechanism wants formed."""

    def stage_groups(self, index: int) -> Collection[int]:
        """Returns the groups of a stage that have to be computed, and so the streams it reads."""
        ...

    def head_groups(self, task: int) -> Collection[int]:
        """Returns the streams that the head of a task reads; none if the head is not wanted."""
        ...

    def kept_groups(self, index: int) -> Collection[int]:
        """Returns the streams of a stage, before its pooling, that are wanted when all stages have run."""
        ...


RunStage = Callable[[int, Streams, Callable[[], Any]], Streams]


class TensorOperations:
    """The walk's operations on tensors of any Keras backend."""

    def pool(self, features: Any, maximum_share: float = 1.0) -> Any:
        """Takes maximum and mean over 2 voxels per axis, the maximum by its share.

        An odd last voxel is kept, so that no axis ever vanishes.
        """
        settings = {"strides": 2, "padding": "same", "data_format": "channels_last"}
        if maximum_share == 1.0:
            return ops.max_pool(features, 2, **settings)
        if maximum_share == 0.0:
            return ops.average_pool(features, 2, **settings)
        first, second = fan_out(features, 2)
        largest = ops.max_pool(first, 2, **settings)
        return maximum_share * largest + (1.0 - maximum_share) * ops.average_pool(second, 2, **settings)

    def upsample(self, features: Any, like: Any) -> Any:
        """Repeats every voxel over 2 per axis and cuts the result to the spatial size of `like`."""
        rank, coarse = len(features.shape) - 2, features
        for axis in range(1, rank + 1):
            features = ops.repeat(features, 2, axis=axis)
        known = tuple(features.shape[1:-1])
        if None in known or known != tuple(like.shape[1:-1]):
            size = ops.shape(like)
            features = features[(slice(None), *(slice(0, size[axis]) for axis in range(1, rank + 1)))]
        note_joined(features, coarse)
        return features

    def concatenate(self, parts: Sequence[Any]) -> Any:
        """Concatenates channels."""
        if len(parts) == 1:
            return parts[0]
        outputs, first = ops.concatenate(parts, axis=-1), joined(parts[0])
        if first is not None:
            note_joined(outputs, first.coarse, [*first.rest, *parts[1:]])
        return outputs

    def copies(self, features: Any, count: int) -> list[Any]:
        """Returns features as often as they are used, with gradients summed in a fixed order."""
        return fan_out(features, count)


def walk(
    architecture: Architecture, image: Any, groups: Groups, operations: Operations, run_stage: RunStage
) -> list[Streams]:
    """Sends an image through all stages.

    Args:
        architecture: The stages.
        image: `(batch, *spatial, channels)`; what every group of the first stage reads.
        groups: Which streams are wanted.
        operations: What pools, upsamples and concatenates.
        run_stage: Called with the index of a stage, the streams that its groups read, and a function that returns the
            image at that stage's size; returns the streams that its readers want, before pooling.

    Returns:
        For every task the streams that its head reads.
    """
    return walk_and_keep(architecture, image, groups, operations, run_stage)[0]


def walk_and_keep(
    architecture: Architecture, image: Any, groups: Groups, operations: Operations, run_stage: RunStage
) -> tuple[list[Streams], dict[int, Streams]]:
    """Does what `walk` does; returns besides, by the index of the stage, the streams of `Groups.kept_groups`."""
    waiting: dict[Consumer, Streams] = {}
    last_on_level: dict[int, Any] = {}

    @functools.cache
    def sized_image(level: int) -> Any:
        return image if level == 0 else operations.pool(sized_image(level - 1))

    for index, stage in enumerate(architecture.stages):
        level = architecture.levels[index]
        before = ("branch" if stage.reads else "chain", index)
        streams = waiting[before] if index else dict.fromkeys(groups.stage_groups(index), image)
        if stage.upsamples:
            like = last_on_level[level]
            streams = _each(functools.partial(operations.upsample, like=like), streams)
        skipped = [
            _brought_to(level, architecture, source, waiting["skip", index, source], last_on_level, operations)
            for source in architecture.sources(index)[1:]
        ]
        if skipped:
            streams = _joined(streams, skipped, operations)
        left = run_stage(index, streams, functools.partial(sized_image, level))
        last_on_level[level] = next(iter(left.values())) if left else sized_image(level)
        _hand_on(architecture, index, left, groups, operations, waiting)
    heads = [waiting.get(("head", task), {}) for task in range(len(architecture.taps))]
    return heads, {int(key[1]): streams for key, streams in waiting.items() if key[0] == "kept"}


def _brought_to(
    level: int,
    architecture: Architecture,
    source: int,
    streams: Streams,
    last_on_level: dict[int, Any],
    operations: Operations,
) -> Streams:
    """Returns the streams of a stage at the size of another level."""
    found, share = architecture.levels[source], architecture.stages[source].maximum_share
    for _ in range(found, level):
        streams = _each(functools.partial(operations.pool, maximum_share=share), streams)
    for finer in range(found - 1, level - 1, -1):
        streams = _each(functools.partial(operations.upsample, like=last_on_level[finer]), streams)
    return streams


def _hand_on(
    architecture: Architecture,
    index: int,
    streams: Streams,
    groups: Groups,
    operations: Operations,
    waiting: dict[Consumer, Streams],
) -> None:
    """Puts what a stage left where the next stage, skips and heads find it."""
    skips: dict[Consumer, Collection[int]] = {
        ("skip", later, index): groups.stage_groups(later)
        for later in architecture.readers(index)
        if index in architecture.sources(later)[1:]
    }
    stages = architecture.stages
    skips |= {
        ("branch", later): groups.stage_groups(later)
        for later in architecture.readers(index)
        if stages[later].reads and index == architecture.sources(later)[0]
    }
    if kept := groups.kept_groups(index):
        skips["kept", index] = kept
    behind: dict[Consumer, Collection[int]] = {}
    if index + 1 < len(stages) and not stages[index + 1].reads:
        behind["chain", index + 1] = groups.stage_groups(index + 1)
    behind |= {("head", task): groups.head_groups(task) for task, tap in enumerate(architecture.taps) if tap == index}
    if not architecture.stages[index].pools:
        waiting |= _shared_out(streams, skips | behind, operations)
        return
    everything = {group for wanted in behind.values() for group in wanted}
    found = _shared_out(streams, skips | {("pool", index): everything}, operations)
    pool = functools.partial(operations.pool, maximum_share=architecture.stages[index].maximum_share)
    pooled = _each(pool, found.pop(("pool", index)))
    waiting |= found | _shared_out(pooled, behind, operations)


def _shared_out(
    streams: Streams, wanted: dict[Consumer, Collection[int]], operations: Operations
) -> dict[Consumer, Streams]:
    """Gives every consumer a copy of each tensor that it wants; streams that are one tensor stay one tensor."""
    uses = Counter(key for groups in wanted.values() for key in {id(streams[group]) for group in groups})
    tensors = {id(stream): stream for stream in streams.values()}
    copies: dict[int, Iterator[Any]] = {
        key: iter(operations.copies(tensors[key], count)) for key, count in uses.items()
    }
    shared_out = {}
    for consumer, groups in wanted.items():
        own = {key: next(copies[key]) for key in dict.fromkeys(id(streams[group]) for group in groups)}
        shared_out[consumer] = {group: own[id(streams[group])] for group in groups}
    return shared_out


def _each(function: Callable[[Any], Any], streams: Streams) -> Streams:
    """Applies a function to every stream; once to streams that are one tensor."""
    done = {id(stream): stream for stream in streams.values()}
    done = {key: function(stream) for key, stream in done.items()}
    return {group: done[id(stream)] for group, stream in streams.items()}


def _joined(streams: Streams, skipped: Sequence[Streams], operations: Operations) -> Streams:
    """Concatenates every stream with those that skip to it; once where all of them are the same tensors."""
    done: dict[tuple[int, ...], Any] = {}
    joined = {}
    for group, stream in streams.items():
        parts = [stream, *(each[group] for each in skipped)]
        key = tuple(id(part) for part in parts)
        if key not in done:
            done[key] = operations.concatenate(parts)
        joined[group] = done[key]
    return joined
