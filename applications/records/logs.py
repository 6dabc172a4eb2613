"""What a run writes down while it trains: CSV files that survive a kill, and TensorBoard events."""

import contextlib
import csv
import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.applications.records.files import write_text
from sfgkeras.applications.records.trackers import Tracker
from sfgkeras.errors import DataError
from sfgkeras.files import writing_problem

UNITS = "units.json"
SECONDS = "seconds_per_iteration"
EPOCH = "epoch"
WEIGHT = "weight_"
"""What the columns of the tasks' weights begin with, where these are learned."""


class CsvLog:
    """A CSV file with one line per logged iteration; a resumed run drops the lines that it will write again.

    Args:
        path: The file; its folder is made.
        columns: The names after `iteration`.
        resume_at: Lines of later iterations are dropped; 0 starts an empty file.

    Raises:
        DataError: If the file cannot be written, here or in `write`.
    """

    def __init__(self, path: Path, columns: list[str], resume_at: int = 0) -> None:
        self._path = path
        self._columns = ["iteration", *columns]
        kept = [row for row in read_log(path) if resume_at and int(row["iteration"]) <= resume_at]
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(kept)
        write_text(path, text.getvalue())

    def write(self, iteration: int, values: Mapping[str, float]) -> None:
        """Appends one line; values are written with seven significant digits."""
        row = {name: f"{float(value):.7g}" for name, value in values.items()}
        try:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns, restval="").writerow({"iteration": iteration, **row})
        except OSError as error:
            raise DataError(writing_problem(self._path, error)) from error


def write_units(folder: Path, units: Mapping[str, str]) -> None:
    """Writes the units of the logs' columns beside them; columns that are not named have none.

    Raises:
        DataError: If the file cannot be written.
    """
    write_text(folder / UNITS, json.dumps(dict(units), indent=1) + "\n")


def read_units(folder: Path) -> dict[str, str]:
    """Reads the units of the logs' columns; empty where the file is absent or damaged."""
    try:
        found = json.loads((folder / UNITS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(unit) for name, unit in found.items()} if isinstance(found, dict) else {}


class SilentLog:
    """Stands for either log in a process that does not write."""

    def write(self, iteration: int, values: Mapping[str, Any], prefix: str = "") -> None:
        """Writes nothing."""

    def flush(self) -> None:
        """Writes nothing."""


def read_log(path: Path) -> list[dict[str, str]]:
    """Reads the whole lines of a CSV log; a line that a kill cut short is left out.

    Raises:
        DataError: If the file is damaged.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: is damaged ({error}); remove it, and the log begins anew") from error
    if reader.fieldnames is not None and "iteration" not in reader.fieldnames:
        raise DataError(
            f"{path}: is damaged (its first line names no column 'iteration'); remove it, and the log begins anew"
        )
    return [row for row in rows if (row.get("iteration") or "").isdecimal() and None not in row.values()]


class TensorBoardLog:
    """Scalars as TensorBoard events; TensorBoard itself is needed to look at them, and not before.

    Args:
        folder: Where the event files go.

    Raises:
        DataError: If events cannot be written, when they are.
    """

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._folder = folder
        self._problem = tf.errors.OpError
        self._write = tf.summary.write
        # What marks a value as one of a curve; `tf.summary.scalar`, which says so too, is a part of TensorBoard.
        self._scalar = tf.compat.v1.SummaryMetadata(plugin_data={"plugin_name": "scalars"})
        self._writer = tf.summary.create_file_writer(str(folder))

    def write(self, iteration: int, values: Mapping[str, Any], prefix: str) -> None:
        """Writes one event per value, named `prefix/name`."""
        with self._naming(), self._writer.as_default(step=iteration):
            for name, value in values.items():
                self._write(f"{prefix}/{name}", np.float32(value), metadata=self._scalar)

    def flush(self) -> None:
        """Puts the events on the disk."""
        with self._naming():
            self._writer.flush()

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except self._problem as error:
            why = str(error.message).strip().splitlines()[0]
            raise DataError(f"{self._folder}: events cannot be written ({why}); free some space") from error


class RunLogs:
    """The logs of a training: a line and an event for each entry.

    Args:
        training: The log of training.
        validation: The log of validation.
        board: The events of both.
        start: The iteration that training goes on from.
        trackers: What takes the same scalars besides.
    """

    def __init__(
        self,
        training: CsvLog | SilentLog,
        validation: CsvLog | SilentLog,
        board: TensorBoardLog | SilentLog,
        start: int,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        self._training, self._validation = training, validation
        self._boards: list[TensorBoardLog | SilentLog | Tracker] = [board, *trackers]
        self._trackers = trackers
        self._start = start
        self._began = time.perf_counter()

    def write_training(self, iteration: int, values: Mapping[str, float]) -> None:
        """Writes the losses of an iteration, and how long iterations have taken on average since the start."""
        seconds = (time.perf_counter() - self._began) / (iteration - self._start)
        self._training.write(iteration, {**values, SECONDS: seconds})
        for board in self._boards:
            board.write(iteration, values, "training")

    def write_validation(self, iteration: int, scores: Mapping[str, float]) -> None:
        """Writes the scores of a validation."""
        self._validation.write(iteration, scores)
        for board in self._boards:
            board.write(iteration, scores, "validation")

    def flush(self) -> None:
        """Puts everything on the disk."""
        for board in self._boards:
            board.flush()

    def close(self) -> None:
        """Tells the trackers that the training has ended."""
        for tracker in self._trackers:
            tracker.close()
