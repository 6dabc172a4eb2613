"""Keeps log lines of TensorFlow's libraries out of descriptor 2, to which they write past Python's streams.

Settings of the environment stop most of them, but not what the libraries log before they have read these settings.
"""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PROGRAM = Path(__file__).with_name("line_filter.py")
LONGEST_FAREWELL = 0.5
"""Seconds to wait for the last lines; a process that was started meanwhile may hold the pipe open for longer."""


@contextlib.contextmanager
def without_library_lines() -> Iterator[None]:
    """Leads descriptor 2 through `line_filter.py` while the block runs; `sys.stderr` goes on to write past it.

    Whatever is not a log line of these libraries arrives where it would have: warnings of other libraries, what
    processes started meanwhile write, and the last words of a crash. Where no process can be started for it, nothing
    is left out.
    """
    try:
        kept = os.dup(2)
    except OSError:
        yield  # there is no descriptor 2
        return
    reads, writes = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(PROGRAM)], stdin=reads, stdout=subprocess.DEVNULL, stderr=kept
        )
    except OSError:
        for descriptor in (kept, reads, writes):
            os.close(descriptor)
        yield
        return
    stderr = sys.stderr
    if _descriptor(stderr) == 2:
        stderr.flush()
        binary = os.fdopen(kept, "wb", 0, closefd=False)
        sys.stderr = io.TextIOWrapper(binary, stderr.encoding, stderr.errors, write_through=True)
    os.dup2(writes, 2)
    os.close(reads)
    os.close(writes)
    try:
        yield
    finally:
        if sys.stderr is not stderr:
            sys.stderr.flush()
            sys.stderr = stderr
        os.dup2(kept, 2)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LONGEST_FAREWELL)
        os.close(kept)


def _descriptor(stream: object) -> int | None:
    try:
        return stream.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):
        return None
