"""Tables as pandas data frames: every CSV file that this package writes, read with types, written, and summarised.

pandas is imported when a frame is made, and not before: no verb of the command line starts more slowly for it.
"""

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfgkeras.analysis.tables import column_names, csv_text
from sfgkeras.errors import DataError, suggestion
from sfgkeras.files import replacing

if TYPE_CHECKING:
    import pandas as pd

NAMES = frozenset(
    (
        "subject_id", "phase", "task", "other", "label", "region", "group", "measure", "unit", "network", "baseline",
        "candidate", "stage", "layer", "status", "input", "output", "message", "input_hash", "settings_hash",
        "output_hash",
    )
)  # fmt: skip
"""Columns of names: a subject `007` and a label `1` are text, whatever the other cells look like."""

BOOLEANS = {"True": True, "False": False}


def frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """Returns rows of texts, as a CSV file has them, as a data frame with types.

    Columns of whole numbers are integers, of other numbers floats, of `True` and `False` booleans; cells of lists and
    dicts are read as such, names and all else stay text. Empty cells are `NaN` among numbers and empty text otherwise.

    Args:
        rows: Texts by the names of their columns; values that are no text stay as they are.
        columns: Names of the columns, in order, for a table that may have no rows; None takes them from the rows.

    >>> frame([{"subject_id": "007", "dice": "0.5"}, {"subject_id": "008", "dice": ""}]).to_dict("list")
    {'subject_id': ['007', '008'], 'dice': [0.5, nan]}
    """
    import pandas as pd

    names = column_names(rows) if columns is None else list(columns)
    return pd.DataFrame({name: _typed(name, [row.get(name, "") for row in rows]) for name in names})


def read_frame(path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """Reads a CSV file, of this package or alike, with types; see `frame`.

    Args:
        path: The file.
        columns: Names of the columns of a file without a header line, as a dataset split (`subject_id`, `phase`) and
            a list of files (`subject_id`, `path`) are; None reads them from the first line.

    Raises:
        DataError: If there is no such file, or it cannot be read as a table.
    """
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            lines = [line for line in csv.reader(stream, strict=True) if line]
        names = list(columns) if columns is not None else lines.pop(0) if lines else []
        wrong = next((line for line in lines if len(line) != len(names)), None)
        if wrong is not None:
            raise ValueError(f"a line has {len(wrong)} cells, not {len(names)}: {','.join(wrong)[:80]}")
        return frame([dict(zip(names, line, strict=True)) for line in lines], names)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such table") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table ({error})") from error


def write_frame(path: str | os.PathLike[str], table: "pd.DataFrame", header: bool = True) -> None:
    """Writes a data frame as this package writes its tables, whole or not at all: `read_frame` gives it back.

    Args:
        path: The file, which is replaced; its folder is made.
        table: The data frame; its index is left out, `table.reset_index()` makes columns of it.
        header: Whether the first line names the columns; a dataset split and a list of files have no such line.
    """
    rows = [{str(name): cell for name, cell in row.items()} for row in table.to_dict("records")]
    text = csv_text(rows, [str(name) for name in table.columns])
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(Path(path)) as stream:
        stream.write((text if header else text.partition("\n")[2]).encode())


def statistics(table: "pd.DataFrame", by: Sequence[str], value: str = "value") -> "pd.DataFrame":
    """Summarises a column group by group, in the order in which the groups come up.

    Values that are not finite are left out and counted in `n_missing`.

    Args:
        table: One value per row.
        by: Columns that name a group.
        value: The column of values.

    Returns:
        One row per group: the columns of `by`, `mean`, `std` (n - 1 in the denominator), `median`, `min`, `max`, `n`
        and `n_missing`.

    Raises:
        DataError: If a column is missing.
    """
    import numpy as np

    for name in (*by, value):
        if name not in table:
            known = [str(each) for each in table.columns]
            raise DataError(
                f"there is no column {name!r}{suggestion(name, known) or '; there are ' + ', '.join(known)}"
            )
    values = table.assign(**{value: table[value].where(np.isfinite(table[value].astype(float)))})
    grouped = values.groupby(list(by), sort=False, dropna=False)[value]
    found = grouped.agg(["mean", "std", "median", "min", "max", "count"]).rename(columns={"count": "n"})
    found["n_missing"] = grouped.size() - found["n"]
    return found.reset_index()


def _typed(name: str, cells: Sequence[Any]) -> list[Any]:
    """Returns the cells of a column with one type, or as they are where they have none in common."""
    if name in NAMES or not all(isinstance(cell, str) for cell in cells):
        return list(cells)
    there = [cell for cell in cells if cell]
    if not there:
        return list(cells)
    if set(there) <= set(BOOLEANS):
        return [BOOLEANS.get(cell, "") for cell in cells]
    if all(cell[0] in "[{" for cell in there):
        return [_parsed(cell) for cell in cells]
    try:
        if len(there) == len(cells) and all(cell.removeprefix("-").isdecimal() for cell in there):
            return [int(cell) for cell in cells]
        # Python reads back the very number that was written.
        return [float(cell) if cell else float("nan") for cell in cells]
    except ValueError:
        return list(cells)


def _parsed(cell: str) -> Any:
    try:
        return json.loads(cell) if cell else cell
    except ValueError:
        return cell
