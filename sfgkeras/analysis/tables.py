"""Tables of measures: rows of one value per column, their summary, CSV files and text."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    pass

Row = Mapping[str, Any]


def column_names(rows: Sequence[Row]) -> list[str]:
    """Returns the names of all columns, in the order in which the rows bring them up."""
    return list(dict.fromkeys(name for row in rows for name in row))


def is_number(value: Any) -> bool:
    """Tells whether a cell holds a number; booleans are none."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def summarise(rows: Sequence[Row], by: Sequence[str], measures: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Summarises measures over subjects.

    Values that are not finite are left out of the statistics and counted in `n_missing`, as are absent ones.

    Args:
        rows: One per subject and group, e.g. `{"subject_id": "a", "label": "prostate", "dice": 0.8}`.
        by: Columns that name a group, e.g. `("task", "label")`.
        measures: Columns to summarise; None for all columns that hold numbers only, less those of `by`.

    Returns:
        One row per group and measure: the columns of `by`, `measure`, `mean`, `std` (over the subjects, with
        n - 1 in the denominator), `median`, `n` and `n_missing`.
    """
    if measures is None:
        candidates = [name for name in column_names(rows) if name not in by]
        measures = [
            name for name in candidates if all(is_number(row[name]) for row in rows if row.get(name) is not None)
        ]
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name, "") for name in by), []).append(row)
    summary = []
    for group, members in groups.items():
        for measure in measures:
            if not any(measure in row for row in members):
                continue
            values = np.array([np.nan if row.get(measure) is None else row[measure] for row in members], float)
            finite = values[np.isfinite(values)]
            summary.append(
                {
                    **dict(zip(by, group, strict=True)),
                    "measure": measure,
                    "mean": float(finite.mean()) if finite.size else float("nan"),
                    "std": float(finite.std(ddof=1)) if finite.size > 1 else float("nan"),
                    "median": float(np.median(finite)) if finite.size else float("nan"),
                    "n": int(finite.size),
                    "n_missing": int(values.size - finite.size),
                }
            )
    return summary


def spread_text(mean: float, std: float = float("nan")) -> str:
    """Returns `mean ± std` with as many digits as the deviation is worth (two), or `-` where there is no mean."""
    if not np.isfinite(mean):
        return "-"
    digits = 3
    if np.isfinite(std) and std > 0:
        digits = int(np.clip(1 - np.floor(np.log10(std)), 0, 4))
    elif mean:
        digits = int(np.clip(2 - np.floor(np.log10(abs(mean))), 0, 4))
    return f"{mean:.{digits}f}" + (f" ± {std:.{digits}f}" if np.isfinite(std) else "")


def summary_text(entry: Row) -> str:
    """Returns one line of a summary as a cell: `mean ± std (2 missed, 1 undefined)`.

    Args:
        entry: A row of `summarise`, with `n_missed` besides where that is known.
    """
    missed = int(entry.get("n_missed") or 0)
    counts = {"missed": missed, "undefined": int(entry["n_missing"]) - missed}
    left_out = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    text = f"{entry['mean']:.4g}" if entry["n"] else "-"
    if entry["n"] > 1:
        text += f" ± {entry['std']:.3g}"
    return f"{text} ({left_out})" if left_out else text


def with_unit(name: str, unit: str) -> str:
    """Returns a heading with its unit, `mae [HU]`."""
    return f"{name} [{unit}]" if unit else name


def csv_text(rows: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    """Returns rows as CSV with a header line; lists and dicts become JSON, None an empty cell."""
    columns = column_names(rows) if columns is None else columns
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        cells = [row.get(name) for name in columns]
        writer.writerow([json.dumps(cell) if isinstance(cell, list | dict) else cell for cell in cells])
    return text.getvalue()


def read_csv(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Reads the rows of a table, cells as text by the names of their columns."""
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_csv(path: str | os.PathLike[str], rows: Sequence[Row], columns: Sequence[str] | None = None) -> None:
    """Writes rows as a CSV file, whole or not at all; the folder is created if it does not exist.

    Args:
        path: The file.
        rows: One mapping of column name to value per line.
        columns: Which columns, in order; None for all.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(csv_text(rows, columns), encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def cell_text(value: Any, precision: int = 4) -> str:
    """Returns a cell as text: numbers with that many significant digits, `-` for what is missing."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return "-"
    if isinstance(value, float | np.floating):
        return f"{value:.{precision}g}"
    return str(value)
