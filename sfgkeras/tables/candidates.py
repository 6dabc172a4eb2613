"""The candidates that a search for groups of filters trains side by side: what `auto_candidates` may name."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sfgkeras.tables.entry import Entry

if TYPE_CHECKING:
    from sfgkeras.architecture.graph import Architecture

Allocate = Callable[["Architecture"], "list[list[int]] | None"]
"""Gives every filter of every stage its group; None where that is learned."""


def _learned() -> Allocate:
    from sfgkeras.sharing.allocation import allocate_nothing

    return allocate_nothing


def _shared() -> Allocate:
    from sfgkeras.sharing.allocation import allocate_shared

    return allocate_shared


def _tapered() -> Allocate:
    from sfgkeras.sharing.allocation import allocate_tapered

    return allocate_tapered


def _separate() -> Allocate:
    from sfgkeras.sharing.allocation import allocate_evenly

    return allocate_evenly


CANDIDATES: dict[str, Entry[Allocate]] = {
    "learned": Entry(_learned, "groups learned together with the kernels, without noise"),
    "shared": Entry(_shared, "every filter serves all tasks, as with `hard_sharing`"),
    "tapered": Entry(_tapered, "all filters of the first stage are shared, and fewer from stage to stage to none"),
    "separate": Entry(_separate, "every task has an equal part of the filters, as with `single_task`"),
}
