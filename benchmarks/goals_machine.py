"""What the goals table depends on besides the code: which code it is, versions, the machine, and what else it does."""

import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path

from goals_timing import Settings

PACKAGES = ("tensorflow", "keras", "torch", "monai", "torchio", "SimpleITK", "antspyx", "numpy", "nibabel")
BUSY = 0.1
"""Share of the processors at other work above which times are not comparable."""


def describe_machine(settings: Settings) -> str:
    """Returns what the figures depend on, in one line."""
    versions = [f"{name} {_version(name)}" for name in PACKAGES]
    return (
        f"commit {commit()}; {platform.machine()}, {os.cpu_count()} cores, {settings.threads} threads, "
        f"load {os.getloadavg()[0]:.1f}, median of {settings.repeats}{', small sizes' if settings.quick else ''}; "
        f"{', '.join(versions)}"
    )


def commit() -> str:
    """Returns the short name of the commit that is measured, with a `+` where files differ from it; else `unknown`."""
    folder = Path(__file__).parent
    try:
        name, changed = (
            subprocess.run(["git", "-C", str(folder), *command], capture_output=True, text=True, check=True).stdout
            for command in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.strip() + ("+" if changed.strip() else "")


def _version(package: str) -> str:
    for name in (package, f"{package}-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "is not installed"


def busy_share(seconds: float = 1.0, source: Path = Path("/proc/stat")) -> float:
    """Returns the share of all processors that work while this process waits; 0 where the system does not say.

    Args:
        seconds: How long to wait.
        source: Where Linux counts the time of its processors.
    """
    before = processor_times(source)
    time.sleep(seconds)
    after = processor_times(source)
    if before is None or after is None or after[1] <= before[1]:
        return 0.0
    return (after[0] - before[0]) / (after[1] - before[1])


def processor_times(source: Path) -> tuple[int, int] | None:
    """Returns the time that all processors have worked, and all their time, in ticks since the start of the system."""
    try:
        name, *ticks = source.read_text(encoding="ascii").splitlines()[0].split()
        user, nice, system, idle, waiting, interrupts, soft, stolen = map(int, ticks[:8])
    except (OSError, ValueError, IndexError):
        return None
    # Time that went to other machines on the same host is lost to us as well.
    working = user + nice + system + interrupts + soft + stolen
    return (working, working + idle + waiting) if name == "cpu" else None
