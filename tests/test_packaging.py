"""What an installation brings: the lean core, its extras, and the versions that the gate pins."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import sfgkeras
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


def test_the_citation_has_the_version_of_the_package():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {sfgkeras.__version__}\n" in text


def test_files_for_other_programs_can_be_read_by_them():
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    tools = names(PROJECT["optional-dependencies"]["lint"])
    assert {hook["entry"].split()[0].replace("lint-imports", "import-linter") for hook in hooks} <= tools
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert form.get("blank_issues_enabled") or all("type" in part for part in form["body"])


def test_an_image_is_built_from_what_is_copied_into_it():
    """No docker is needed: its file asks for files that are not left out, extras and a command that there are."""
    steps = [line for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines() if line[:1].isupper()]
    left_out = set((ROOT / ".dockerignore").read_text(encoding="utf-8").split())
    assert "COPY . ." in steps
    (install,) = [line for line in steps if line.startswith("RUN pip install")]
    (constraints,) = re.findall(r"-c (\S+)", install)
    needed = {constraints, "pyproject.toml", "setup.py", PROJECT["readme"], *PROJECT["license-files"]}
    needed |= {"sfgkeras", "applications", "preprocessing"}
    assert not needed & left_out
    assert all((ROOT / name).exists() for name in needed)

    (default,) = re.findall(r"^ARG EXTRAS=(\S+)", "\n".join(steps), re.MULTILINE)
    told = re.findall(r"EXTRAS=([\w,]+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert default in told
    assert {extra for each in told for extra in each.split(",")} <= PROJECT["optional-dependencies"].keys()

    (version,) = re.findall(r"^FROM python:([\d.]+)-slim$", "\n".join(steps), re.MULTILINE)
    assert SpecifierSet(PROJECT["requires-python"]).contains(version)
    assert f'ENTRYPOINT ["{next(iter(PROJECT["scripts"]))}"]' in steps


def test_release_notes_are_the_section_of_the_version(tmp_path):
    command = [sys.executable, ROOT / ".ci" / "release_notes.py"]
    notes = subprocess.run([*command, "0.1.0"], capture_output=True, text=True, check=True).stdout
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert notes.strip() in text
    assert "\n## " not in f"\n{notes}"
    missing = subprocess.run([*command, "9.9"], capture_output=True, text=True)
    assert missing.returncode == 1
    assert "says nothing about '9.9'; it has Unreleased, 0.1.0" in missing.stderr


@pytest.mark.slow
def test_the_wheel_is_as_an_index_takes_it_and_holds_what_is_not_python_too(tmp_path):
    pytest.importorskip("twine")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", str(wheel)], check=True)
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {"sfgkeras/py.typed", "sfgkeras/ini_configs/demo.ini", "sfgkeras/pages/page.css"} <= held
    assert {f"sfgkeras/{path}" for path in ("applications/run.py", "preprocessing/table.py")} <= held
    assert not {name for name in held if name.startswith(("tests", "benchmarks"))}
