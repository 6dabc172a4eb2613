"""`label_normalisation`: the labels that a training found, numbered from 0 in their order, as they are kept."""

import json
from pathlib import Path
from typing import Any

from sfgkeras.config import Config
from sfgkeras.errors import DataError

FILE = "label_mapping.json"


def mapping_file(config: Config) -> Path:
    """Returns the file of a run's labels."""
    return config.system.model_dir / FILE


def has_mapping(config: Config) -> bool:
    """Says whether any task numbers its labels anew."""
    return any(task.label_normalisation for task in config.tasks.values())


def read_mapping(config: Config) -> dict[str, tuple[int, ...]]:
    """Returns the labels of every task that numbers them anew, in order; empty before the first training.

    Raises:
        DataError: If the file is damaged.
    """
    return {name: tuple(found["labels"]) for name, found in read_entries(mapping_file(config)).items()}


def read_entries(path: Path) -> dict[str, Any]:
    """Returns what the file holds of every task; nothing where there is no file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        for entry in found.values():
            [int(label) for label in entry["labels"]], str(entry["fitted_on"])
        return found
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: is no label mapping ({error}); remove it and train with --restart") from error
