"""The terminal's side of a run: bars and tables where people watch, plain lines where a log is kept."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

SECONDS_BETWEEN_LINES = 10.0
PLAIN_WIDTH = 80  # columns of a log or a pipe
NARROWEST = 10  # columns; a terminal that says it has fewer is taken to have PLAIN_WIDTH


def column_blocks(widths: Sequence[int], room: int, gap: int) -> list[list[int]]:
    """Divides the columns of a table into blocks that fit; every block begins with the first column.

    Args:
        widths: Letters that each column needs.
        room: Letters on a line.
        gap: Letters that a column takes besides its own.

    Returns:
        The columns of each block, by number: as few blocks as can be, of about one width. A column without room even
        beside the first one alone has a block.
    """
    blocks = _filled_blocks(widths, room, gap)
    while room > 1 and len(narrower := _filled_blocks(widths, room - 1, gap)) == len(blocks):
        blocks, room = narrower, room - 1
    return blocks


def _filled_blocks(widths: Sequence[int], room: int, gap: int) -> list[list[int]]:
    """Puts into every block as many columns as fit."""
    first = widths[0] + gap if widths else 0
    blocks: list[list[int]] = [[0]] if widths else []
    used = first
    for number, width in enumerate(widths[1:], start=1):
        if used + width + gap > room and len(blocks[-1]) > 1:
            blocks.append([0])
            used = first
        blocks[-1].append(number)
        used += width + gap
    return blocks


def build_reporter(stream: TextIO | None = None) -> "PlainReporter | RichReporter":
    """Returns the reporter that fits the stream: rich on a terminal, plain otherwise."""
    stream = stream or sys.stdout
    return RichReporter(stream) if stream.isatty() else PlainReporter(stream)


class _PlainStage:
    """Writes a line at the start, at the end and every ten seconds between.

    The time left is reckoned from the end of the first step on: that one compiles, or fills a cache.
    """

    def __init__(self, reporter: "PlainReporter", title: str, total: int, done: int) -> None:
        self._reporter, self._title, self._total, self._done = reporter, title, total, done
        self._began = self._last = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._note = ""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Counts steps; says so when it is time or the work is done."""
        self._done += steps
        self._note = note or self._note
        now = time.monotonic()
        if self._first is None:
            self._first = now, self._done
        if now - self._last < SECONDS_BETWEEN_LINES and self._done < self._total:
            return
        self._last = now
        note = f" ({self._note})" if self._note else ""
        self._reporter.message(f"{self._title}: {self._done} of {self._total}{note}{self._remaining(now)}")

    def _remaining(self, now: float) -> str:
        if self._done >= self._total:
            return f" in {_duration(now - self._began)}"
        if self._first is None or self._first[1] == self._done:
            return ""
        began, done = self._first
        return f", {_duration((now - began) / (self._done - done) * (self._total - self._done))} left"


class PlainReporter:
    """One line per event, for logs and pipes.

    Args:
        stream: Where the lines go.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def message(self, text: str) -> None:
        """Writes one line."""
        print(text, file=self._stream, flush=True)

    def warning(self, text: str) -> None:
        """Writes one line that begins with `warning:`."""
        self.message(f"warning: {text}")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Writes an aligned table; one that is wider than a line goes on below, with its first column again."""
        cells = [list(columns), *([_cell(value) for value in row] for row in rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
        self.message(title)
        for number, block in enumerate(column_blocks(widths, PLAIN_WIDTH, 2)):
            if number:
                self.message("")
            for row in cells:
                first, *rest = (row[i].ljust(widths[i]) if i == 0 else row[i].rjust(widths[i]) for i in block)
                self.message("  ".join(["", first, *rest]).rstrip())

    @contextmanager
    def stage(self, title: str, total: int, done: int = 0) -> Iterator[_PlainStage]:
        """Writes lines while the work goes on."""
        self.message(f"{title}: {total - done} to do" + (f", {done} done before" if done else ""))
        yield _PlainStage(self, title, total, done)


class _RichStage:
    def __init__(self, progress: object, task: object) -> None:
        self._progress, self._task = progress, task

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Moves the bar."""
        fields = {"note": note} if note else {}
        self._progress.update(self._task, advance=steps, **fields)  # type: ignore[attr-defined]


class RichReporter:
    """Bars with the time left, and drawn tables.

    Args:
        stream: A terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        console = Console(file=stream)
        # COLUMNS=0 and terminals without a size would show nothing at all.
        self._console = console if console.width >= NARROWEST else Console(file=stream, width=PLAIN_WIDTH)

    def message(self, text: str) -> None:
        """Writes one line above the bar."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def warning(self, text: str) -> None:
        """Writes one yellow line above the bar."""
        self._console.print(f"warning: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Draws a table; one that is wider than the terminal goes on below, with its first column again."""
        from rich.cells import cell_len
        from rich.table import Table
        from rich.text import Text

        cells = [[_cell(value) for value in row] for row in rows]
        widths = [max(cell_len(row[i]) for row in (list(columns), *cells)) for i in range(len(columns))]
        # Each column has a space on both sides and a line; one more line closes the table.
        for number, block in enumerate(column_blocks(widths, self._console.width - 1, 3)):
            # As Text, because rich would read `[CT]` as markup.
            table = Table(title=None if number else Text(title))
            for i in block:
                table.add_column(Text(columns[i]), justify="left" if i == 0 else "right")
            for row in cells:
                table.add_row(*(Text(row[i]) for i in block))
            self._console.print(table)

    @contextmanager
    def stage(self, title: str, total: int, done: int = 0) -> Iterator[_RichStage]:
        """Draws a bar while the work goes on."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=self._console) as progress:
            yield _RichStage(progress, progress.add_task(title, total=total, completed=done, note=""))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.4g}"
    return str(value)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
