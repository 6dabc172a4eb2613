"""Memory of a process, from what Linux says of it."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessMemory:
    """Memory of one process at one moment, in bytes.

    Attributes:
        private: What the process has made itself. Pages of mapped files are left out: they count as memory of whoever
            has looked at them, and the system takes them back when others need room.
        resident: Everything that is in memory for it.
        peak: The most that was ever resident.
    """

    private: int = 0
    resident: int = 0
    peak: int = 0


def memory_of(process: int | str = "self") -> ProcessMemory:
    """Returns the memory of a process now; nothing of one that has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return ProcessMemory()
    sizes = re.findall(r"^(RssAnon|VmRSS|VmHWM):\s+(\d+) kB$", status, re.MULTILINE)
    found = {name: int(size) * 1024 for name, size in sizes}
    return ProcessMemory(found.get("RssAnon", 0), found.get("VmRSS", 0), found.get("VmHWM", 0))
