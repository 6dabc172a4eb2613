"""What not every installation has: which extra of the package brings which library, and what says so."""

import importlib.util
from collections.abc import Mapping, Sequence

from sfgkeras.errors import Problem

EXTRAS: Mapping[str, Mapping[str, str]] = {
    "tensorflow": {"tensorflow": "tensorflow"},
    "registration": {"ants": "antspyx"},
    "cluster": {"distributed": "dask[distributed]"},
    "report": {"plotly": "plotly"},
    "onnx": {"onnx": "onnx", "onnxruntime": "onnxruntime"},
    "mlflow": {"mlflow": "mlflow-skinny"},
    "wandb": {"wandb": "wandb"},
    "dicom": {"pydicom": "pydicom", "highdicom": "highdicom"},
}
"""Modules that an extra brings, each with the name of what is installed for it."""


def missing_packages(extra: str) -> list[str]:
    """Returns what an extra would install that is not there; nothing is imported."""
    return [package for module, package in EXTRAS[extra].items() if importlib.util.find_spec(module) is None]


def pip_command(extra: str) -> str:
    """Returns the command that installs an extra.

    >>> pip_command("report")
    'pip install "sfgkeras[report]"'
    """
    return f'pip install "sfgkeras[{extra}]"'


def require_extra(extra: str, what: str) -> None:
    """Refuses what needs an extra that is not installed.

    Args:
        extra: A key of `EXTRAS`.
        what: What needs it, the beginning of the sentence: `the step register`.

    Raises:
        Problem: A `ConfigError` that names the packages, and the command that installs them.
    """
    if missing := missing_packages(extra):
        raise Problem(f"{what} needs {_listed(missing)}, not installed here", pip_command(extra))


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)
