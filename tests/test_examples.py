"""Every public function of mathematics has an example in its docstring, and the examples give what they say."""

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import sfgkeras
from sfgkeras.preprocessing.volume import StepContext, Volume

ROOT = Path(__file__).parents[1]
ROOMS = ("losses", "metrics", "preprocessing")
# Steps take and give whole subjects; files are read and written; ANTs takes seconds.
NO_EXAMPLE = (
    "rule_setting",
    "read_",
    "write_",
    "check_fitted",
    "choose_modality",
    "register",
    "apply_registration",
)
PLUMBING = ("folder", "reference", "table", "pipeline", "settings", "volume")
SAMPLE = ("sfgkeras.errors", "sfgkeras.boxes", "sfgkeras.data.points", "sfgkeras.analysis.box_overlap")


def modules():
    found = ["sfgkeras.grouping", *SAMPLE]
    for room in ROOMS:
        package = importlib.import_module(f"sfgkeras.{room}")
        found += [
            module.name for module in pkgutil.iter_modules(package.__path__, f"sfgkeras.{room}.") if not module.ispkg
        ]
    return found


def public_functions(module):
    for name, function in inspect.getmembers(module, inspect.isfunction):
        hints = inspect.signature(function).parameters.values()
        is_step = any(hint.annotation in (Volume, StepContext) for hint in hints)
        if function.__module__ == module.__name__ and not name.startswith(("_", *NO_EXAMPLE)) and not is_step:
            yield name, function


@pytest.mark.parametrize("name", modules())
def test_examples_give_what_they_say(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


@pytest.mark.parametrize("name", [name for name in modules() if name.rpartition(".")[2] not in PLUMBING])
def test_every_public_function_has_an_example(name):
    module = importlib.import_module(name)
    if not name.startswith(SAMPLE):
        assert [each for each, function in public_functions(module) if ">>>" not in (function.__doc__ or "")] == []


def test_examples_are_headed_as_the_site_knows_them():
    """Griffe takes `Examples:` for code, and any other heading for a note."""
    folders = (ROOT / "sfgkeras", ROOT / "applications", ROOT / "preprocessing")
    files = [path for folder in folders for path in folder.rglob("*.py")]
    assert len(files) > 500
    assert [str(path) for path in files if re.search(r"^ +Example:$", path.read_text("utf-8"), re.MULTILINE)] == []


def test_the_rooms_with_examples_are_there():
    assert set(ROOMS) <= set(dir(sfgkeras))
