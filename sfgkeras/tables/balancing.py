"""How the losses of the tasks become one: what `[TRAINING] balancing` may choose."""

from typing import Any

from sfgkeras.tables.entry import Entry


def _fixed() -> Any:
    """Nothing to load: the weights of the tasks are the objective's own."""
    return None


BALANCING: dict[str, Entry[Any]] = {"fixed": Entry(_fixed, "by each task's `weight`")}
