"""`sfgkeras schema`: the JSON schema of INI files, with the settings of the steps of `[PREPROCESSING]`."""

import json
from pathlib import Path
from typing import Any

from sfgkeras.applications.records.files import write_text
from sfgkeras.config.schema import build_schema
from sfgkeras.errors import DataError
from sfgkeras.preprocessing.table import STEPS, setting_prefixes
from sfgkeras.settings import Described, described


def run_schema() -> dict[str, Any]:
    """Returns the JSON schema of everything that a run's INI file may hold."""
    return build_schema(step_settings())


def step_settings() -> dict[str, Described]:
    """Returns the settings of all steps by their keys, `<step>_<setting>`, under names and aliases."""
    return {
        f"{prefix}_{name}": setting
        for prefix, step in setting_prefixes([]).items()
        for name, setting in described(STEPS[step].settings).items()
    }


def schema_text() -> str:
    """Returns the schema as text."""
    return json.dumps(run_schema(), indent=1, ensure_ascii=False) + "\n"


def write_schema(path: Path, overwrite: bool = False) -> None:
    """Writes the schema to a file.

    Raises:
        DataError: If the file exists and may not be replaced, or cannot be written.
    """
    if path.exists() and not overwrite:
        raise DataError(f"{path}: exists; choose another name, or add --overwrite to replace it")
    write_text(path, schema_text())
