"""The groups that a run has settled on: part of every later state's record, from which its network is built again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

RECORD = "settled"


@dataclass(frozen=True)
class Settled:
    """What a search for groups has decided.

    Attributes:
        candidate: The candidate that won.
        iteration: From which iteration on the groups are fixed.
        groups: The group of every filter of every stage, shared last.
    """

    candidate: str
    iteration: int
    groups: Sequence[Sequence[int]]

    def values(self) -> dict[str, Any]:
        """Returns it as plain values for a state's record."""
        return {RECORD: asdict(self)}


def settled_of(record: Mapping[str, Any] | None) -> Settled | None:
    """Reads what a state's record says of it; None where masks are drawn, or groups fixed by the mechanism."""
    found = (record or {}).get(RECORD)
    return None if found is None else Settled(**found)
