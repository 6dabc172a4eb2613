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

Streams = dict[int, Any]


class Operations(Protocol):
    """What the walk itself does to features `(batch, *spatial, channels)`."""

    def pool(self, features: Any) -> Any:
        """Takes the maximum over 2 voxels per axis; an odd last voxel is kept."""
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

    def pool(self, features: Any) -> Any:
        """Takes the maximum over 2 voxels per axis; an odd last voxel is kept, so that no axis ever vanishes."""
        return ops.max_pool(features, 2, strides=2, padding="same", data_format="channels_last")

    def upsample(self, features: Any, like: Any) -> Any:
        """Repeats every voxel over 2 per axis and cuts the result to the spatial size of `like`."""
        rank = len(features.shape) - 2
        for axis in range(1, rank + 1):
            features = ops.repeat(features, 2, axis=axis)
        size = ops.shape(like)
        return features[(slice(None), *(slice(0, size[axis]) for axis in range(1, rank + 1)))]

    def concatenate(self, parts: Sequence[Any]) -> Any:
        """Concatenates channels."""
        return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)

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
    waiting: dict[tuple[str, int], Streams] = {}
    last_on_level: dict[int, Any] = {}

    @functools.cache
    def sized_image(level: int) -> Any:
        return image if level == 0 else operations.pool(sized_image(level - 1))

    for index, stage in enumerate(architecture.stages):
        level = architecture.levels[index]
        wanted = groups.stage_groups(index)
        streams = waiting["chain", index] if index else dict.fromkeys(wanted, image)
        if stage.upsamples:
            like = last_on_level[level]
            streams = _each(functools.partial(operations.upsample, like=like), streams)
        if stage.skip:
            streams = _joined(streams, waiting["skip", index], operations)
        left = run_stage(index, streams, functools.partial(sized_image, level))
        last_on_level[level] = next(iter(left.values())) if left else sized_image(level)
        _hand_on(architecture, index, left, groups, operations, waiting)
    heads = [waiting.get(("head", task), {}) for task in range(len(architecture.taps))]
    return heads, {place: streams for (consumer, place), streams in waiting.items() if consumer == "kept"}


def _hand_on(
    architecture: Architecture,
    index: int,
    streams: Streams,
    groups: Groups,
    operations: Operations,
    waiting: dict[tuple[str, int], Streams],
) -> None:
    """Puts what a stage left where the next stage, skips and heads find it."""
    skips = {
        ("skip", later): groups.stage_groups(later)
        for later in architecture.readers(index)
        if index in architecture.sources(later)[1:]
    }
    if kept := groups.kept_groups(index):
        skips["kept", index] = kept
    behind: dict[tuple[str, int], Collection[int]] = {}
    if index + 1 < len(architecture.stages):
        behind["chain", index + 1] = groups.stage_groups(index + 1)
    behind |= {("head", task): groups.head_groups(task) for task, tap in enumerate(architecture.taps) if tap == index}
    if not architecture.stages[index].pools:
        waiting |= _shared_out(streams, skips | behind, operations)
        return
    everything = {group for wanted in behind.values() for group in wanted}
    found = _shared_out(streams, skips | {("pool", index): everything}, operations)
    pooled = _each(operations.pool, found.pop(("pool", index)))
    waiting |= found | _shared_out(pooled, behind, operations)


def _shared_out(
    streams: Streams, wanted: dict[tuple[str, int], Collection[int]], operations: Operations
) -> dict[tuple[str, int], Streams]:
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


def _joined(streams: Streams, skipped: Streams, operations: Operations) -> Streams:
    """Concatenates every stream with the one that skips to it; once where both are one tensor."""
    done: dict[tuple[int, int], Any] = {}
    for group, stream in streams.items():
        key = (id(stream), id(skipped[group]))
        if key not in done:
            done[key] = operations.concatenate([stream, skipped[group]])
    return {group: done[id(stream), id(skipped[group])] for group, stream in streams.items()}
