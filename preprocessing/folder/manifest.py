"""What has been done in an output folder: one row per subject, read back when a run goes on."""

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from sfgkeras.errors import DataError
from sfgkeras.files import replacing, writing_problem

DONE, SKIPPED, FAILED = "done", "skipped", "failed"


@dataclass(frozen=True)
class Record:
    """One row of the manifest.

    Attributes:
        subject_id: Identifier.
        status: `done` or `failed`.
        input: Path of the image.
        input_hash: Hash over image, label maps and companion files.
        settings_hash: Hash over steps, settings, landmarks and the version of this package.
        output: Path of the result below the output folder.
        output_hash: Hash over all files written.
        seconds: Time it took.
        message: Why it failed, or the notes.
    """

    subject_id: str
    status: str
    input: str = ""
    input_hash: str = ""
    settings_hash: str = ""
    output: str = ""
    output_hash: str = ""
    seconds: str = ""
    message: str = ""


COLUMNS = tuple(each.name for each in fields(Record))


class Manifest:
    """The manifest of one output folder.

    Rows are appended as subjects end, so that a killed run loses none; the last row of a subject counts.
    `compact` leaves one row per subject.

    Args:
        path: The CSV file; made on the first `add`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_torn = False
        self.records = {record.subject_id: record for record in self._read()}

    def add(self, record: Record) -> None:
        """Appends the row of a subject; to a file that ends within a row, left by a killed run, nothing is appended."""
        self.records[record.subject_id] = record
        if self._is_torn:
            self.compact()
            return
        is_new = not self.path.exists()
        try:
            with open(self.path, "a", encoding="utf-8", newline="") as stream:
                stream.write(_rows([record], with_header=is_new))
        except OSError as error:
            raise DataError(writing_problem(self.path, error)) from error

    def compact(self) -> None:
        """Writes the file anew with one row per subject, in order."""
        text = _rows([self.records[name] for name in sorted(self.records)], with_header=True)
        with replacing(self.path) as stream:
            stream.write(text.encode())
        self._is_torn = False

    def _read(self) -> Iterable[Record]:
        if not self.path.is_file():
            return
        text = self.path.read_text(encoding="utf-8", errors="replace")
        self._is_torn = not text.endswith("\n")
        rows = csv.reader(io.StringIO(text, newline=""))
        if tuple(next(rows, ())) != COLUMNS:
            raise DataError(
                f"{self.path}: is no manifest of this version; move it away, or choose another output folder"
            )
        try:
            for row in rows:
                # The last row of a killed run may be cut short: that subject counts as not done.
                if len(row) == len(COLUMNS):
                    yield Record(*row)
        except csv.Error:
            return


def _rows(records: Iterable[Record], with_header: bool) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    if with_header:
        writer.writerow(COLUMNS)
    for record in records:
        writer.writerow(asdict(record).values())
    return stream.getvalue()
