"""One run at a time in an output folder."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sfgkeras.errors import ConfigError

LOCK = ".lock"


@contextmanager
def alone(folder: Path, wait: bool) -> Iterator[None]:
    """Holds the folder against a second run; the lock goes with this process, however it ends.

    Args:
        folder: The output folder.
        wait: Wait for another run that is writing there, instead of refusing.

    Raises:
        ConfigError: If another run is writing there; says which.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with open(folder / LOCK, "a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            stream.seek(0)
            who = stream.read().strip()
            raise ConfigError(
                f"{folder}: another run is writing there{f' ({who})' if who else ''}; wait for it, or choose another "
                "folder"
            ) from None
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now():%Y-%m-%d %H:%M:%S}\n")
        stream.flush()
        yield
