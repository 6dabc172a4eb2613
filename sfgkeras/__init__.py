"""Multi-task learning for medical images with Stochastic Filter Groups.

The rooms of the package (`sfgkeras.networks`, `sfgkeras.layers`, `sfgkeras.losses`, ...) are there after
`import sfgkeras` alone, each loaded when it is first asked for; and Keras finds their classes in saved files.
"""

import importlib
from typing import Any

from sfgkeras.registration import register

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
    "sharing",
    "targets",
)

register()


def __getattr__(name: str) -> Any:
    """Loads a room when it is first asked for."""
    if name in ROOMS:
        return importlib.import_module(f"sfgkeras.{name}")
    raise AttributeError(f"module 'sfgkeras' has no attribute {name!r}; it has {', '.join(ROOMS)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *ROOMS})
