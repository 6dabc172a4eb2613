"""Preprocessing of NIfTI volumes: pure functions on arrays and one loop over a folder, without TensorFlow.

`sfgkeras.preprocessing.histogram` and the other modules are loaded when they are first used.
"""

import importlib
from types import ModuleType

__all__ = [
    "bias_field",
    "clipping",
    "conversion",
    "cropping",
    "ct",
    "folder",
    "foreground",
    "histogram",
    "landmark_file",
    "orientation",
    "pipeline",
    "registration",
    "resampling",
    "whitening",
]


def __getattr__(name: str) -> ModuleType:
    """Loads a module of this package on first use; raises AttributeError for other names."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    """Lists the modules."""
    return sorted(__all__)
