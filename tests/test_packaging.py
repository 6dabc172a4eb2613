"""What an installation brings: the lean core, its extras, and the versions that the gate pins."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sfgkeras import extras
from sfgkeras.errors import ConfigError

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HEAVY = ("antspyx", "dask", "distributed", "plotly", "tensorboard", "tensorflow")


def names(requirements):
    return {canonicalize_name(Requirement(line).name) for line in requirements}


def test_the_core_is_lean():
    assert not names(PROJECT["dependencies"]) & set(HEAVY)


def test_all_extras_together_are_called_all():
    (line,) = PROJECT["optional-dependencies"]["all"]
    parts = Requirement(line).extras
    found = set().union(*(names(PROJECT["optional-dependencies"][part]) for part in parts))
    assert set(HEAVY) - {"distributed"} <= found
    assert parts >= set(extras.EXTRAS)


@pytest.mark.parametrize("extra", extras.EXTRAS)
def test_an_extra_brings_what_the_package_misses_without_it(extra):
    brought = names(PROJECT["optional-dependencies"][extra])
    assert names(extras.EXTRAS[extra].values()) <= brought


@pytest.mark.parametrize("extra", extras.EXTRAS)
def test_what_is_missing_is_named_with_the_command_that_installs_it(extra, monkeypatch):
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    packages = " and ".join(extras.EXTRAS[extra].values())
    with pytest.raises(
        ConfigError, match=re.escape(f'this needs {packages}, not installed here; pip install "sfgkeras[')
    ):
        extras.require_extra(extra, "this")


def test_the_gate_pins_every_package_that_the_project_asks_for_to_a_version_that_fits():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    for extra, lines in ({"": PROJECT["dependencies"]} | PROJECT["optional-dependencies"]).items():
        for requirement in map(Requirement, lines):
            name = canonicalize_name(requirement.name)
            if extra not in ("gpu", "benchmark") and name != "sfgkeras":
                assert requirement.specifier.contains(pinned[name]), requirement
    assert "-c constraints.txt" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
