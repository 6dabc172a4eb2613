"""What a run writes down while it trains: CSV files that survive a kill, and TensorBoard events."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class CsvLog:
    """A CSV file with one line per logged iteration; a resumed run drops the lines that it will write again.

    Args:
        path: The file; its folder is made.
        columns: The names after `iteration`.
        resume_at: Lines of later iterations are dropped; 0 starts an empty file.
    """

    def __init__(self, path: Path, columns: list[str], resume_at: int = 0) -> None:
        self._path = path
        self._columns = ["iteration", *columns]
        kept = [row for row in read_log(path) if resume_at and int(row["iteration"]) <= resume_at]
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".writing")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns, extrasaction="ignore", restval="")
            writer.writeheader()
            writer.writerows(kept)
        os.replace(temporary, path)

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        """Appends one line; values are written with seven significant digits."""
        with self._path.open("a", newline="") as file:
            row = {name: f"{float(value):.7g}" for name, value in values.items()}
            csv.DictWriter(file, self._columns, restval="").writerow({"iteration": iteration, **row})


def read_log(path: Path) -> list[dict[str, str]]:
    """Reads the whole lines of a CSV log; a line that a kill cut short is left out."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if (row.get("iteration") or "").isdigit() and None not in row.values()]


class TensorBoardLog:
    """Scalars as TensorBoard events.

    Args:
        folder: Where the event files go.
    """

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._summary = tf.summary
        self._writer = tf.summary.create_file_writer(str(folder))

    def write(self, iteration: int, values: Mapping[str, Any], prefix: str) -> None:
        """Writes one event per value, named `prefix/name`."""
        with self._writer.as_default(step=iteration):
            for name, value in values.items():
                self._summary.scalar(f"{prefix}/{name}", float(value))

    def flush(self) -> None:
        """Puts the events on the disk."""
        self._writer.flush()
