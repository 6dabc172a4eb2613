"""The processes that train one network together: how they wait for each other, compare notes, and miss a lost one.

Every worker runs the same program; only the chief, worker 0, writes. What they must do in step is built on one
collective: everybody gives some bytes, everybody gets those of all. A run of one process is a team of one, for which
nothing here costs or changes anything.
"""

import atexit
import contextlib
import hashlib
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from sfgkeras.applications.records.checkpoints import CheckpointFolder
from sfgkeras.applications.workers.address import Place, find_place
from sfgkeras.applications.workers.strategies import build_multi_worker_strategy, configure_devices
from sfgkeras.config import Config
from sfgkeras.errors import ConfigError, DataError, WorkerLost
from sfgkeras.reporter import Reporter, WarningReporter

Item = TypeVar("Item")
Result = TypeVar("Result")

OWN_SETTINGS = frozenset({"[SYSTEM] cuda_devices", "[SYSTEM] num_threads"})
"""Settings that may differ from machine to machine: they change no result."""

USERS_MISTAKE, FAILURE = b"m", b"f"

LONGEST_FAREWELL = 60.0
"""Seconds for which the chief stays for workers that have done their work and do not end."""


class Team:
    """The processes that train one network.

    Args:
        place: Which of them this process is.
        strategy: Their tf.distribute strategy; None for a single process, which builds its own later.

    Attributes:
        index: Number of this worker, from 0.
        count: Number of workers.
        strategy: See above.
    """

    def __init__(self, place: Place | None = None, strategy: Any = None) -> None:
        self.place = place or Place()
        self.index, self.count = self.place.index, self.place.count
        self.strategy = strategy

    @property
    def is_chief(self) -> bool:
        """Whether this is the worker who writes."""
        return self.index == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Returns this worker's part of the items: every n-th."""
        return items[self.index :: self.count]

    def gather(self, content: bytes) -> list[bytes]:
        """Gives the others some bytes and returns those of all workers, in their order. Everybody must call it."""
        if self.count == 1:
            return [content]
        lengths = self._sum_of_rows(np.asarray([len(content)], np.float32))[:, 0].astype(int)
        row = np.zeros(max(1, lengths.max()), np.float32)
        row[: len(content)] = np.frombuffer(content, np.uint8)
        rows = self._sum_of_rows(row).astype(np.uint8)
        return [rows[worker, :length].tobytes() for worker, length in enumerate(lengths)]

    def _sum_of_rows(self, row: np.ndarray) -> np.ndarray:
        """Returns one row per worker, `(workers, numbers)`; numbers must be whole and below 2^24, and not none."""
        import tensorflow as tf

        rows = np.zeros((self.count, len(row)), np.float32)
        rows[self.index] = row
        per_worker = self.strategy.num_replicas_in_sync // self.count

        def of_replica(context: Any) -> Any:
            is_first = context.replica_id_in_sync_group % per_worker == 0
            return tf.constant(rows if is_first else np.zeros_like(rows))

        values = self.strategy.experimental_distribute_values_from_function(of_replica)
        return np.rint(self.strategy.reduce("SUM", values, axis=None).numpy())

    def meet(self) -> None:
        """Waits until every worker is here."""
        self.gather(b"")

    def together(self, work: Callable[[], Result]) -> Result:
        """Does work that every worker does, and returns its result; if it fails for one, all end, and say why.

        Raises:
            ConfigError: If another worker met a mistake of the user's; own errors are raised as they are.
            RuntimeError: If another worker failed.
        """
        if self.count == 1:
            return work()
        result, failure = self._attempt(work)
        self._refuse_failures(failure)
        return result  # type: ignore[return-value]  # without a failure there is a result

    def in_turn(self, work: Callable[[], Result]) -> Result:
        """Does work that writes what it does not find: the chief first, then the others, who find it.

        Raises:
            ConfigError: As `together`.
            RuntimeError: As `together`.
        """
        if self.is_chief:
            result = self.together(work)
            self.together(_nothing)
            return result
        self.together(_nothing)
        return self.together(work)

    def _attempt(self, work: Callable[[], Result]) -> tuple[Result | None, Exception | None]:
        import tensorflow as tf

        try:
            return work(), None
        except tf.errors.OpError:
            raise  # perhaps the others are gone: nobody would answer
        except Exception as error:
            return None, error

    def _refuse_failures(self, failure: Exception | None) -> None:
        kind = USERS_MISTAKE if isinstance(failure, (ConfigError, DataError)) else FAILURE
        reports = self.gather(b"" if failure is None else kind + (str(failure) or repr(failure)).encode())
        if failure is not None:
            raise failure
        for worker, report in enumerate(reports):
            if report:
                text = f"worker {worker} of {self.count}: {report[1:].decode()}"
                raise ConfigError(text) if report[:1] == USERS_MISTAKE else RuntimeError(text)

    def agree(self, **lines: Sequence[str]) -> None:
        """Makes sure that all workers have the same of something.

        Args:
            lines: By what it is (underscores are read as spaces), lines `name = value`.

        Raises:
            ConfigError: If a worker has another line; raised by every worker, and names the worker and the line.
        """
        if self.count == 1:
            return
        texts = {what.replace("_", " "): "\n".join(content) for what, content in lines.items()}
        digests = self.gather(hashlib.sha256("\0".join(texts.values()).encode()).digest())
        if len(set(digests)) == 1:
            return
        for what, text in texts.items():
            of_all = [content.decode().split("\n") for content in self.gather(text.encode())]
            for worker, other in enumerate(of_all):
                if other != of_all[0]:
                    raise ConfigError(
                        f"the workers have not the same {what}: {_difference(worker, other, of_all[0])}; give all "
                        "workers the same INI file, options and files, then start them again (nothing was overwritten)"
                    )

    @contextlib.contextmanager
    def watching(self, checkpoints: CheckpointFolder | None = None) -> Iterator[None]:
        """Turns TensorFlow's error about a lost worker into one line that says what to do.

        Where all went well, the chief's process will end last.

        Args:
            checkpoints: The states that a training goes on from; None where nothing is trained.

        Raises:
            WorkerLost: If another worker is gone.
        """
        if self.count == 1:
            yield
            return
        import tensorflow as tf

        try:
            yield
        except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
            text = f"another worker is gone (this is {self.place.name})"
            if checkpoints is None:
                raise WorkerLost(f"{text}; start all workers again") from error
            saved = checkpoints.iterations()
            kept = f"states up to iteration {saved[-1]} are kept" if saved else "no state was saved yet"
            raise WorkerLost(f"{text}; {kept}; start all workers again, they resume") from error
        if self.is_chief:
            # TensorFlow ends, with an error, every process that still runs when the chief's service is gone.
            atexit.register(wait_until_gone, self.place.addresses[1:], LONGEST_FAREWELL)


def form_team(config: Config, reporter: Reporter) -> Team:
    """Finds the other workers and waits for them; with other strategies than `multi_worker` there are none.

    It must come before anything else that TensorFlow does.

    Raises:
        ConfigError: If the environment does not say who the workers are, or the devices cannot be used.
    """
    place = find_place(config)
    if place.count == 1:
        return Team()
    configure_devices(config.system.cuda_devices, config.system.num_gpus)
    others = ", ".join(address for index, address in enumerate(place.addresses) if index != place.index)
    reporter.message(f"{place.name} ({place.addresses[place.index]}) waits for {others}")
    return Team(place, build_multi_worker_strategy(place.index, place.addresses))


def reporter_of(team: Team, reporter: Reporter) -> Reporter:
    """Returns the reporter of a worker: all but the chief tell only what looks wrong."""
    return reporter if team.is_chief else WarningReporter(reporter)


def settings_lines(config: Config) -> list[str]:
    """Returns every setting that all workers must share, as `[SECTION] key = value`."""
    section, lines = "", []
    for line in config.effective_text().splitlines():
        if line.startswith("["):
            section = line
        elif line:
            lines.append(f"{section} {line}".strip())
    return [line for line in lines if _name(line) not in OWN_SETTINGS]


def array_lines(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Returns one line per array with the digest of its content."""
    return [
        f"{key} = {hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:16]}"
        for key, value in arrays.items()
    ]


def wait_until_gone(addresses: Sequence[str], longest: float) -> None:
    """Waits until nobody listens at the addresses `host:port` any more, but no longer than `longest` seconds."""
    end = time.monotonic() + longest
    for address in addresses:
        host, _, port = address.rpartition(":")
        with contextlib.suppress(OSError):
            while time.monotonic() < end:
                socket.create_connection((host, int(port)), timeout=1.0).close()
                time.sleep(0.1)


def _difference(worker: int, other: Sequence[str], chiefs: Sequence[str]) -> str:
    """Words the first line that a worker has and the chief has not, or the other way round."""
    known, own = set(chiefs), set(other)
    extra = next((line for line in other if line not in known), None)
    if extra is None:
        missing = next((line for line in chiefs if line not in own), None)
        return f"worker {worker} has no {missing!r}" if missing else f"worker {worker} has them in another order"
    same_name = next((line for line in chiefs if _name(line) == _name(extra)), None)
    return f"worker {worker} has {extra!r}, worker 0 {repr(same_name) if same_name else 'has no such line'}"


def _name(line: str) -> str:
    return line.split(" = ")[0].removesuffix(" =")


def _nothing() -> None:
    pass
