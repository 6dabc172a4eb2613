"""The log of an output folder, `preprocess.log`."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TextIO

LOG = "preprocess.log"

Write = Callable[[str], None]
"""Takes one sentence."""


class Log:
    """Appends sentences with their time to a file, made with the first of them, and passes them on.

    Args:
        path: The file.
        listener: Called with every sentence.
    """

    def __init__(self, path: Path, listener: Write | None) -> None:
        self._path, self._listener = path, listener
        self._stream: TextIO | None = None

    def __enter__(self) -> Write:
        return self._write

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def _write(self, text: str) -> None:
        if self._stream is None:
            self._stream = open(self._path, "a", encoding="utf-8")  # noqa: SIM115  closed in __exit__
        self._stream.write(f"{datetime.now().isoformat(timespec='seconds')} {text}\n")
        self._stream.flush()
        if self._listener is not None:
            self._listener(text)
