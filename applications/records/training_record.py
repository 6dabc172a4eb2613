"""What a training was: its command, when and for how long it ran, on what machine, with which versions."""

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import sfgkeras
from sfgkeras.applications.records.files import write_text

PACKAGES = ("tensorflow", "keras")


def command_line() -> str:
    """Returns the command that this process was started with, ready to be typed again."""
    name = Path(sys.argv[0]).name if sys.argv else ""
    program = ["python", "-m", "sfgkeras"] if name == "__main__.py" else [name or "python"]
    return shlex.join([*program, *sys.argv[1:]])


def software_versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Returns the versions of this package, of Python and of what else is installed; nothing is imported."""
    found = {"sfgkeras": sfgkeras.__version__}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # a package of that name may be there under another one, e.g. tensorflow-cpu
    return found | {"python": platform.python_version()}


def time_text(moment: datetime) -> str:
    """Returns a moment to the second, in universal time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def duration_text(seconds: float) -> str:
    """Returns a duration in its two largest units, e.g. `4 min 18 s`."""
    whole = round(seconds)
    parts = [(whole // 86_400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2])


@dataclass
class TrainingRecord:
    """Facts about a training, over all its starts.

    Attributes:
        command: The last command.
        began: When the first iteration began.
        ended: When the last state was saved.
        seconds: How long it took to get to that state; what a kill has undone does not count.
        starts: How often it was started.
        versions: Software.
        cores: Processor cores that the process may use.
        processor: Their name.
        devices: Accelerators by name; empty for none.
        workers: Processes that trained together.
    """

    command: str
    began: str
    ended: str = ""
    seconds: float = 0.0
    starts: int = 1
    versions: dict[str, str] = field(default_factory=dict)
    cores: int = 1
    processor: str = ""
    devices: list[str] = field(default_factory=list)
    workers: int = 1

    @property
    def machine(self) -> str:
        """Cores and accelerators, in words."""
        cores = f"{self.cores} {'core' if self.cores == 1 else 'cores'}"
        parts = [f"{cores} of {self.processor}" if self.processor else cores]
        parts += [
            f"{self.devices.count(name)} × {name}" if self.devices.count(name) > 1 else name
            for name in dict.fromkeys(self.devices)
        ]
        parts += [] if self.devices else ["no GPU"]
        return ", ".join(parts) + (f"; {self.workers} workers" if self.workers > 1 else "")


class TrainingClock:
    """Keeps the record of a training up to date on disk.

    Args:
        path: The file.
        iteration: Where training goes on; from 0 on, an earlier record is forgotten.
        devices: Names of the accelerators.
        workers: Processes that train together.
    """

    def __init__(self, path: Path, iteration: int, devices: Sequence[str] = (), workers: int = 1) -> None:
        self._path = path
        self._before = 0.0
        self._since = time.perf_counter()
        now = time_text(datetime.now(UTC))
        earlier = read_training_record(path) if iteration else None
        self.record = TrainingRecord(
            command_line(),
            began=earlier.began if earlier else now,
            starts=earlier.starts + 1 if earlier else 1,
            versions=software_versions(),
            cores=_usable_cores(),
            processor=_processor_name(),
            devices=list(devices),
            workers=workers,
        )
        if earlier:
            self._before = earlier.seconds
            self.record.ended = earlier.ended

    def note(self) -> None:
        """Writes down that a state has been saved now."""
        self.record.ended = time_text(datetime.now(UTC))
        self.record.seconds = round(self._before + time.perf_counter() - self._since, 1)
        write_text(self._path, json.dumps(asdict(self.record), indent=1) + "\n")


def read_training_record(path: Path) -> TrainingRecord | None:
    """Reads the record of a training; None where there is none, or none that can be read."""
    try:
        return TrainingRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def accelerator_names() -> list[str]:
    """Returns the names of the GPUs that TensorFlow sees."""
    import tensorflow as tf

    names = []
    for device in tf.config.list_physical_devices("GPU"):
        details: dict[str, Any] = tf.config.experimental.get_device_details(device)
        names.append(str(details.get("device_name", "GPU")))
    return names


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
