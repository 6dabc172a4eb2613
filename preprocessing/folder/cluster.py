"""The same work on an existing dask.distributed cluster, whose workers see the same folders."""

import queue
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from sfgkeras import __version__
from sfgkeras.errors import ConfigError
from sfgkeras.extras import require_extra
from sfgkeras.preprocessing.folder.job import Job, JobResult, failed_result, run_job

SECONDS_TO_CONNECT = 20
SECONDS_TO_FIND = 5
SECONDS_OF_GRACE = 2


class ClusterRunner:
    """Runs jobs on the workers of a dask scheduler.

    A job whose worker dies is given to another by the scheduler; since outputs are written whole and rows of
    the manifest by this process alone, nothing is lost and nothing is there twice.

    Args:
        address: The scheduler, e.g. `tcp://head:8786`.

    Raises:
        ConfigError: If dask is not installed.
    """

    def __init__(self, address: str) -> None:
        require_extra("cluster", f"scheduler = {address}")
        self.address = address

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Runs the jobs; every thread of a worker does one at a time, on one core.

        Raises:
            ConfigError: If no scheduler answers, it has no worker, or a worker has another version.
        """
        self.find()
        from distributed import as_completed

        client = self._connect()
        with client, client.as_current():
            self._check_workers(client)
            futures = {client.submit(run_job, replace(job, threads=1), pure=False): job for job in jobs}
            for future in as_completed(list(futures)):
                job = futures.pop(future)
                problem = future.exception()
                if problem is None:
                    yield future.result()
                else:
                    yield failed_result(job, f"the cluster gave it up ({type(problem).__name__}: {problem})")
                future.release()

    def _connect(self) -> Any:
        """Returns a client of the scheduler.

        It is made in a thread of its own: where somebody listens who is no scheduler, dask waits for ever, whatever
        limit it is given.

        Raises:
            ConfigError: If no scheduler answers in time.
        """
        from distributed import Client

        made: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def make() -> None:
            try:
                made.put(Client(self.address, timeout=SECONDS_TO_CONNECT, set_as_default=False))
            except (OSError, TimeoutError, ValueError) as error:
                made.put(error)

        threading.Thread(target=make, daemon=True, name="dask client").start()
        try:
            found = made.get(timeout=SECONDS_TO_CONNECT + SECONDS_OF_GRACE)
        except queue.Empty:
            raise ConfigError(self._without_answer("somebody listens there who is no scheduler")) from None
        if isinstance(found, Exception):
            why = (str(found).strip().splitlines() or [type(found).__name__])[0]
            raise ConfigError(self._without_answer(why)) from found
        return found

    def find(self) -> None:
        """Looks whether anybody listens at the address: dask itself would try for long, and log every attempt.

        Raises:
            ConfigError: If the address is none, or nobody listens there.
        """
        form, _, place = self.address.rpartition("://")
        if form not in ("", "tcp", "tls"):
            return  # what only dask knows how to reach
        try:
            parts = urlsplit(f"//{place}")
            if not parts.hostname or not parts.port:
                raise ValueError("it has no host or no port")
            socket.create_connection((parts.hostname, parts.port), SECONDS_TO_FIND).close()
        except ValueError as error:
            raise ConfigError(
                f"scheduler = {self.address!r} is no address ({error}); write e.g. tcp://head:8786"
            ) from error
        except OSError as error:
            raise ConfigError(self._without_answer(error.strerror or str(error))) from error

    def _without_answer(self, why: str) -> str:
        return f"scheduler = {self.address!r} does not answer ({why}); start one with 'dask scheduler', or leave it out"

    def _check_workers(self, client: object) -> None:
        versions = client.run(installed_version)  # type: ignore[attr-defined]
        if not versions:
            raise ConfigError(
                f"scheduler = {self.address!r} has no workers; start some with 'dask worker {self.address}'"
            )
        others = {worker: found for worker, found in versions.items() if found != __version__}
        if others:
            worker, found = next(iter(others.items()))
            raise ConfigError(
                f"scheduler = {self.address!r}: worker {worker} has sfgkeras {found}, this process has "
                f"{__version__}; install the same version everywhere"
            )


def installed_version() -> str:
    """Returns the version of this package where it runs."""
    return __version__
