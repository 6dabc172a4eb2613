"""Which streams feed which group: the connection rules between filter group layers.

Streams come as a list in the order of the groups: task 1 to task T, then shared. Supports of one-hot masks
are disjoint, so a sum of streams is their concatenation with the empty channels left in place.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sfgkeras.errors import suggestion
from sfgkeras.layers.backend import fan_out, ordered_sum
from sfgkeras.tables.grouping import ROUTINGS


def check_routing(routing: str) -> str:
    """Returns the name of a routing, or refuses it.

    Raises:
        ValueError: If the name is none of `ROUTINGS`.
    """
    if routing not in ROUTINGS:
        hint = suggestion(str(routing), list(ROUTINGS)) or f"; use one of {', '.join(ROUTINGS)}"
        raise ValueError(f"unknown routing {routing!r}{hint}")
    return routing


def groups_read(routing: str, num_groups: int, reader: int) -> tuple[int, ...]:
    """Returns the groups whose outputs a group of the next layer reads (section 3.1 of the paper).

    Args:
        routing: `mixed` (a task reads its own stream and the shared one, shared reads shared), `separate`
            (every group reads its own stream) or `dense` (every group reads all).
        num_groups: Number of groups, shared last.
        reader: Index of the reading group.

    Returns:
        Indices of the groups read, ascending.
    """
    shared = num_groups - 1
    if routing == "dense":
        return tuple(range(num_groups))
    if routing == "separate" or reader == shared:
        return (reader,)
    return (reader, shared)


def merge_streams(streams: Sequence[Any], routing: str, num_readers: int | None = None) -> list[Any]:
    """Sums the streams that every group of the next layer reads; masks are merged by the same rule.

    Args:
        streams: One tensor per group, all of one shape, shared last.
        routing: See `groups_read`.
        num_readers: How many reading groups, from the first on, there are; None means all.

    Returns:
        One tensor per reading group. With `dense` routing it is one and the same tensor.
    """
    num_groups = len(streams)
    readers = range(num_groups)[:num_readers]
    sources = {reader: groups_read(routing, num_groups, reader) for reader in readers}
    return list(merge_sources(dict(enumerate(streams)), sources).values())


def merge_sources(streams: Mapping[int, Any], sources: Mapping[int, tuple[int, ...]]) -> dict[int, Any]:
    """Sums for every reader the streams of the groups that it reads.

    Args:
        streams: One tensor per group, all of one shape.
        sources: The groups that every reader reads.

    Returns:
        One tensor per reader; one and the same for readers of the same groups.
    """
    sums = dict.fromkeys(sources.values())
    uses = {group: sum(group in wanted for wanted in sums) for group in streams}
    copies = {group: iter(fan_out(stream, uses[group])) for group, stream in streams.items()}
    for wanted in sums:
        sums[wanted] = ordered_sum([next(copies[group]) for group in wanted])
    return {reader: sums[wanted] for reader, wanted in sources.items()}


def one_each(tensors: dict[int, Any]) -> dict[int, Any]:
    """Gives every reader a copy of its own, where several have one and the same tensor; see `backend.fan_out`."""
    readers: dict[int, list[int]] = {}
    for reader, tensor in tensors.items():
        readers.setdefault(id(tensor), []).append(reader)
    copies = {
        reader: copy
        for same in readers.values()
        for reader, copy in zip(same, fan_out(tensors[same[0]], len(same)), strict=True)
    }
    return {reader: copies[reader] for reader in tensors}
