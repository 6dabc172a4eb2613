"""How applications tell what they are doing: the command line shows it, Python users may ignore it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol


class Stage(Protocol):
    """One long piece of work under way."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Says that `steps` more steps are done; `note` is a short text such as the current loss."""


class Reporter(Protocol):
    """Receives progress, messages and tables; never decides anything."""

    def message(self, text: str) -> None:
        """Says one thing."""

    def warning(self, text: str) -> None:
        """Says one thing that the user should look into."""

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Shows a table."""

    @contextmanager
    def stage(self, title: str, total: int, done: int = 0) -> Iterator[Stage]:
        """Shows the progress of `total` steps, of which `done` were done by an earlier run."""
        ...


class _SilentStage:
    def advance(self, steps: int = 1, note: str = "") -> None:
        """Says nothing."""


class WarningReporter:
    """Passes warnings on and keeps all else to itself.

    Args:
        reporter: Gets the warnings.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def message(self, text: str) -> None:
        """Says nothing."""

    def warning(self, text: str) -> None:
        """Passes it on."""
        self._reporter.warning(text)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Says nothing."""

    @contextmanager
    def stage(self, title: str, total: int, done: int = 0) -> Iterator[Stage]:
        """Says nothing."""
        yield _SilentStage()


class OnceReporter:
    """Passes everything on, but the same words only once: for work that is done several times over.

    Args:
        reporter: Gets it.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._said: set[str] = set()

    def _is_new(self, text: str) -> bool:
        is_new = text not in self._said
        self._said.add(text)
        return is_new

    def message(self, text: str) -> None:
        """Passes it on, once."""
        if self._is_new(text):
            self._reporter.message(text)

    def warning(self, text: str) -> None:
        """Passes it on, once."""
        if self._is_new(text):
            self._reporter.warning(text)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Passes it on."""
        self._reporter.table(title, columns, rows)

    @contextmanager
    def stage(self, title: str, total: int, done: int = 0) -> Iterator[Stage]:
        """Passes it on."""
        with self._reporter.stage(title, total, done) as stage:
            yield stage


class SilentReporter:
    """Says nothing."""

    def message(self, text: str) -> None:
        """Says nothing."""

    def warning(self, text: str) -> None:
        """Says nothing."""

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Says nothing."""

    @contextmanager
    def stage(self, title: str, total: int, done: int = 0) -> Iterator[Stage]:
        """Says nothing."""
        yield _SilentStage()
