"""Passes standard input on to standard error, line by line, without the log lines of TensorFlow's libraries.

A program of its own, run by `descriptor.py`: as another process it still passes on what a crash says last. It imports
nothing of the package, so that it starts at once.
"""

import re
import signal
import sys
from typing import BinaryIO

LIBRARY_LINE = re.compile(
    rb"[IWE]\d{4} [\d:.]+ +\d+ \S+:\d+\] "  # absl: E0000 00:00:1795275116.776613   14725 cuda_platform.cc:52] ...
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:[\d.]+: [IWE] \S+:\d+\] "  # TensorFlow: 2026-01-31 09:00:00.123456: I file.cc:32] ...
    rb"|WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|To enable the following instructions: "
)
"""What a line starts with that is left out: information, warnings and errors, which come as exceptions as well; fatal
errors (F) are passed on."""


def pass_on(source: BinaryIO, target: BinaryIO) -> None:
    """Copies every line but those of the libraries, until the source ends; what the target cannot take is dropped."""
    for line in source:
        if LIBRARY_LINE.match(line):
            continue
        try:
            target.write(line)
            target.flush()
        except OSError:
            continue  # a full or closed target must not stop the process that writes


if __name__ == "__main__":
    # Ctrl-C reaches every process of a terminal; this one has to outlive the one that it listens to.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with open(2, "wb", buffering=0, closefd=False) as stderr:
        pass_on(sys.stdin.buffer, stderr)
