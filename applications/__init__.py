"""The line from an INI file to results, written down. Whole runs for users of Python are in `sfgkeras.runs`."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfgkeras.runs import Run, compare, evaluate, infer, open_run, preprocess, train

__all__ = ["Run", "compare", "evaluate", "infer", "open_run", "preprocess", "train"]


def __getattr__(name: str) -> Any:
    """Gives what `sfgkeras.runs` has, but for the verbs whose names are rooms here: `predict`, `report`, `export`."""
    if name in __all__:
        return getattr(importlib.import_module("sfgkeras.runs"), name)
    raise AttributeError(f"module 'sfgkeras.applications' has no attribute {name!r}; it has {', '.join(__all__)}")
