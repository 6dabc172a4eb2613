"""What the machine has for a training: memory, on a GPU where there is one."""

import subprocess
from dataclasses import dataclass

from sfgkeras.applications.subjects.memory import GIB, has_gpu, total_memory

SHARE = 0.25
"""Part of the memory that a batch may take by the estimate of `check`, which is the least that it can need."""


@dataclass(frozen=True)
class Machine:
    """What a training runs on.

    Attributes:
        memory: Bytes that it has.
        on_gpu: Whether these are a GPU's.
    """

    memory: int
    on_gpu: bool

    @property
    def budget(self) -> int:
        """Bytes that a batch may need by the estimate."""
        return int(SHARE * self.memory)

    def describe(self) -> str:
        """Words the memory, e.g. `a GPU with 24.0 GiB`."""
        what = "a GPU" if self.on_gpu else "no GPU, and a processor"
        return f"{what} with {self.memory / GIB:.1f} GiB"


def find_machine() -> Machine:
    """Returns what this machine has; a GPU counts if NVIDIA's tool says how much memory it has."""
    if has_gpu() and (memory := _gpu_memory()):
        return Machine(memory, True)
    return Machine(total_memory() or 8 * GIB, False)


def _gpu_memory() -> int:
    """Returns the memory of the smallest GPU in bytes; 0 where it is not known."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
        return min(int(line) for line in output.split()) << 20
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0
