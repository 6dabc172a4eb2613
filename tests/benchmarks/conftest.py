"""The scripts of benchmarks/ are no package: they are loaded from their folder."""

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load_benchmark(monkeypatch):
    """Returns a function: name of a script -> module; what the scripts import from each other is forgotten again."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module
    scripts = {path.stem for path in FOLDER.glob("*.py")}
    for name in (set(sys.modules) - before) & scripts:
        del sys.modules[name]
