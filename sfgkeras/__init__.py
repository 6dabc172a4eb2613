"""Multi-task learning for medical images with Stochastic Filter Groups.

The rooms of the package (`sfgkeras.networks`, `sfgkeras.layers`, `sfgkeras.losses`, ...) are there after
`import sfgkeras` alone, each loaded when it is first asked for; and Keras finds their classes in saved files.
"""

import importlib
from typing import TYPE_CHECKING, Any

from sfgkeras.registration import register

if TYPE_CHECKING:
    from sfgkeras.runs import Comparison as Comparison
    from sfgkeras.runs import Predictions as Predictions
    from sfgkeras.runs import Run as Run
    from sfgkeras.runs import check as check
    from sfgkeras.runs import compare as compare
    from sfgkeras.runs import evaluate as evaluate
    from sfgkeras.runs import export as export
    from sfgkeras.runs import infer as infer
    from sfgkeras.runs import open_run as open_run
    from sfgkeras.runs import predict as predict
    from sfgkeras.runs import preprocess as preprocess
    from sfgkeras.runs import report as report
    from sfgkeras.runs import train as train

__version__ = "0.1.0"

ROOMS = (
    "analysis",
    "applications",
    "balancing",
    "callbacks",
    "config",
    "data",
    "errors",
    "grouping",
    "layers",
    "losses",
    "metrics",
    "networks",
    "preprocessing",
    "runs",
    "sharing",
    "targets",
)

RUNS = (
    "Comparison",
    "Predictions",
    "Run",
    "check",
    "compare",
    "evaluate",
    "export",
    "infer",
    "open_run",
    "predict",
    "preprocess",
    "report",
    "train",
)
"""Whole runs, as the verbs of the command line do them; see `sfgkeras.runs`."""

BACKENDS = ("tensorflow", "jax", "torch")
"""What Keras may compute with."""

register()


def __getattr__(name: str) -> Any:
    """Loads a room, or a function of `sfgkeras.runs`, when it is first asked for."""
    if name in ROOMS:
        return _load(f"sfgkeras.{name}")
    if name in RUNS:
        return getattr(_load("sfgkeras.runs"), name)
    raise AttributeError(f"module 'sfgkeras' has no attribute {name!r}; it has {', '.join((*ROOMS, *RUNS))}")


def _load(room: str) -> Any:
    """Imports a room; where Keras has no backend to compute with, it says which extra of the package brings one."""
    try:
        return importlib.import_module(room)
    except ModuleNotFoundError as error:
        if error.name not in BACKENDS:
            raise
        raise ImportError(
            f"{room} computes with Keras, whose backend {error.name} is not installed: pip install "
            '"sfgkeras[tensorflow]", or install jax or torch and set KERAS_BACKEND=jax or torch',
            name=error.name,
        ) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *ROOMS, *RUNS})
