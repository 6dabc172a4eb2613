"""Batch and window for the memory at hand, by the estimate that `check` refuses by."""

from collections.abc import Mapping
from pathlib import Path

from sfgkeras.applications.planning.facts import Facts
from sfgkeras.applications.planning.lines import Lines
from sfgkeras.applications.planning.network_section import Window, levels_of
from sfgkeras.applications.planning.text import render
from sfgkeras.applications.subjects.memory import GIB, training_batch
from sfgkeras.applications.subjects.preprocessing_settings import read_run
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.config import Config

SMALLEST = 16


def read_lines(lines: Lines, path: Path, overrides: Mapping[str, str] | None = None) -> Config:
    """Returns the configuration of a file in the making, as it would be read.

    Args:
        lines: The file.
        path: What it will be called; a hidden file beside it is read, and removed.
        overrides: Values by `SECTION.KEY`, as on the command line.

    Raises:
        ConfigError: If it cannot be read, which is a mistake of the plan.
    """
    scratch = path.with_name(f".{path.name}.trial")
    try:
        scratch.write_text(render(lines, ()), encoding="utf-8")
        return read_run(scratch, list((overrides or {}).items()))
    finally:
        scratch.unlink(missing_ok=True)


def fit_memory(lines: Lines, facts: Facts, window: Window, path: Path) -> tuple[Window, int]:
    """Halves the batch, then the window, until a batch fits into its part of the memory; adds the reason.

    Returns:
        Window and batch.
    """
    batch = int(lines.value("NETWORK", "batch_size"))
    wanted, budget = batch, facts.machine.budget
    size = list(window.size)
    limit = len(facts.teaching) if facts.is_photo else batch  # of volumes there are any number of windows
    batch = min(batch, max(1, limit))
    needed = _needed(lines, facts, batch, size, path)
    while needed > budget and (batch > 1 or max(size) > SMALLEST):
        if batch > 1:
            batch //= 2
        else:
            size[size.index(max(size))] //= 2
        needed = _needed(lines, facts, batch, size, path)
    why = (
        f"a batch needs at least {needed / GIB:.2f} GiB by the estimate of check; a quarter of the memory is "
        f"{budget / GIB:.1f} GiB"
    )
    why += "" if batch == wanted else f"; {wanted} would be usual"
    why += f"; there are {limit} photos" if batch == limit < wanted else ""
    lines.change("NETWORK", "batch_size", batch, why)
    return Window((size[0], size[1], size[2]), window.why, window.slices), batch


def _needed(lines: Lines, facts: Facts, batch: int, size: list[int], path: Path) -> int:
    overrides = {
        "NETWORK.batch_size": str(batch),
        f"{facts.first.name}.spatial_window_size": ", ".join(map(str, size)),
        "SYSTEM.num_gpus": "0",  # what a GPU has to hold is what a processor would
    }
    if lines.value("NETWORK", "unet_levels"):
        overrides["NETWORK.unet_levels"] = str(levels_of(size)[0])  # as the file will have them, see `change_levels`
    config = read_lines(lines, path, overrides)
    return training_batch(config, build_tasks(config)).num_bytes
