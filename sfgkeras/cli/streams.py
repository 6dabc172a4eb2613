"""The process's own streams: what becomes of output that is closed, full, read by nobody, or short of a character."""

import codecs
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

PLAIN = {"±": "+-", "×": "x", "…": "...", "–": "-", "µ": "u", "²": "2", "³": "3"}
"""What stands for a character that a stream cannot show; others are shown as their number."""


class ReaderGone(SystemExit):
    """Nobody reads the output any more, as after `| head -1`: no error, and nothing more to do."""


class Output:
    """Standard output that outlives a full disk: a long run must not be lost with its log.

    Args:
        stream: Where text goes.

    Attributes:
        problem: Why some of the text is missing; None while none is.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.problem: OSError | None = None

    def write(self, text: str) -> int:
        """Writes text; none from the first failure on.

        Raises:
            ReaderGone: If it is a pipe that nobody reads.
        """
        if self.problem is None:
            with self._noting():
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Makes sure that what was written has left.

        Raises:
            ReaderGone: If it is a pipe that nobody reads.
        """
        if self.problem is None:
            with self._noting():
                self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.problem = error
            _lead_nowhere(self._stream)
            if isinstance(error, BrokenPipeError):
                raise ReaderGone(0) from None


@contextlib.contextmanager
def guarded_streams() -> Iterator[Output]:
    """Guards `sys.stdout` while the block runs.

    A closed descriptor below 3 is given to the null device first: else the next file that is opened gets its number,
    and whatever a library logs goes into that file.

    Yields:
        The guarded stream.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number that is free
    sys.stdout = sys.stdout or _null_stream()
    sys.stderr = sys.stderr or _null_stream()
    stdout = sys.stdout
    if getattr(stdout, "errors", None) == "strict" and hasattr(stdout, "reconfigure"):
        codecs.register_error("sfgkeras.plain", _in_plain_characters)
        stdout.reconfigure(errors="sfgkeras.plain")
    output = Output(stdout)
    sys.stdout = output
    try:
        yield output
    finally:
        with contextlib.suppress(ReaderGone):
            output.flush()
        sys.stdout = stdout


def say(text: str) -> None:
    """Writes a line to standard error, if that can be written."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        # Else Python tries once more at its end, and makes 120 of the exit code.
        _lead_nowhere(sys.stderr)
    except ValueError:
        pass


def _null_stream() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(PLAIN.get(each) or each.encode("ascii", "backslashreplace").decode() for each in text), error.end


def _lead_nowhere(stream: TextIO) -> None:
    """Lets Python flush what is left at the end without another complaint."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
