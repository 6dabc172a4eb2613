"""Where the normalisation statistics of a saved state lie: known without the network, hence without TensorFlow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sfgkeras.applications.records.files import digest
from sfgkeras.config import Config

BATCHES = 20
"""Batches of training windows that statistics are measured on."""


def statistics_path(config: Config, folder: Path, record: Mapping[str, Any], measured_on: Sequence[Any]) -> Path:
    """Returns the file that holds the statistics of a saved state, measured as a configuration asks for.

    Args:
        config: The configuration; masks and batch size count.
        folder: Folder of the states.
        record: The record of the state.
        measured_on: What tells the training images from others. Where it is empty, the images stayed elsewhere, and
            what was measured there last is all that there can be.
    """
    path = folder / f"{_start(config, record)}_{digest(measured_on)}.npz"
    return path if measured_on else max(folder.glob(statistics_names(config, record)), key=age_of, default=path)


def statistics_names(config: Config, record: Mapping[str, Any]) -> str:
    """Returns the pattern of the names of all such files, whatever images they were measured on."""
    return f"{_start(config, record)}*.npz"


def age_of(path: Path) -> float:
    """Returns when a file was written, in seconds."""
    return path.stat().st_mtime


def _start(config: Config, record: Mapping[str, Any]) -> str:
    return f"recalibrated_{digest([record, config.inference.masks, BATCHES, config.network.batch_size])}"
