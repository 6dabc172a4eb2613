"""Prints constraints.txt: the versions installed here of all that the project asks for, and of what that asks for.

    python .ci/pin.py > constraints.txt

after `pip install --upgrade -e ".[test,lint,docs]"` in a fresh environment, when the gate is green with it.
"""

import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LEFT_OUT = ("gpu", "benchmark")
"""Extras whose wheels depend on the machine."""

BUILDERS = ("setuptools", "wheel")
"""What builds packages, which belongs to Python's own version."""


def declared() -> list[Requirement]:
    """Returns what pyproject.toml asks for, itself left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    for name, extra in project["optional-dependencies"].items():
        lines += [] if name in LEFT_OUT else extra
    found = [Requirement(line) for line in lines]
    return [requirement for requirement in found if requirement.name != project["name"]]


def pins(requirements: list[Requirement]) -> dict[str, str]:
    """Returns the installed version of each requirement, and of all that it leads to.

    Raises:
        PackageNotFoundError: If something that is declared is not installed.
    """
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(requirement, extra) for requirement in requirements for extra in ("", *requirement.extras)]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        distribution = metadata.distribution(name)
        found[name] = distribution.version
        for line in distribution.requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(needed, each) for each in ("", *needed.extras)]
    return found


def main() -> None:
    """Prints one line for each package."""
    lines = [
        "# What .ci/run installs; `pip install -c constraints.txt .` gives the same versions. Written by .ci/pin.py.",
        *(f"{name}=={version}" for name, version in sorted(pins(declared()).items()) if name not in BUILDERS),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
