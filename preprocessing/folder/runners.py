"""Where jobs run: in this process, or over worker processes that share its cores."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import connection
from typing import Protocol

from sfgkeras.errors import ConfigError
from sfgkeras.preprocessing.folder.job import Job, JobResult, failed_result, run_job

THREAD_VARIABLES = (
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)


class Runner(Protocol):
    """Runs jobs and yields their results in the order in which they end."""

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Runs the jobs, each once."""
        ...


class SerialRunner:
    """Runs jobs one after the other in this process, with all its threads."""

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Runs the jobs in order."""
        for job in jobs:
            yield run_job(job)


class ProcessRunner:
    """Runs jobs over fresh worker processes whose threads together fill the cores once.

    A worker that dies (memory, a crash of a library) takes the pool with it: the jobs it may have had are
    repeated one by one, and the one that kills again has failed; the others go on.

    Args:
        workers: Number of processes.

    Raises:
        ConfigError: If there is no worker.
    """

    def __init__(self, workers: int) -> None:
        if workers < 1:
            raise ConfigError(f"workers = {workers} must be 1 or more")
        self.workers = workers
        self.threads = max(1, available_cores() // workers)

    def run(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """Runs the jobs, as many at a time as there are workers."""
        waiting = deque(replace(job, threads=self.threads) for job in jobs)
        running: dict[Future[JobResult], Job] = {}
        with limited_threads(self.threads):
            pool = self._pool(self.workers)
            try:
                while waiting or running:
                    suspects: list[Job] = []
                    try:
                        while waiting and len(running) <= self.workers:
                            running[pool.submit(run_job, waiting[0])] = waiting[0]
                            waiting.popleft()
                    except BrokenProcessPool:
                        suspects += running.values()
                        running.clear()
                    ended = wait(running, return_when=FIRST_COMPLETED).done if running else set()
                    for future in ended:
                        job = running.pop(future)
                        if isinstance(future.exception(), BrokenProcessPool):
                            suspects.append(job)
                        else:
                            yield future.result()
                    if suspects:
                        suspects += running.values()
                        running.clear()
                        pool.shutdown()
                        yield from self._one_by_one(suspects)
                        pool = self._pool(self.workers)
            finally:
                pool.shutdown(cancel_futures=True)

    def _one_by_one(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        for job in jobs:
            with self._pool(1) as pool:
                try:
                    yield pool.submit(run_job, job).result()
                except BrokenProcessPool:
                    yield failed_result(
                        job, "its worker process died twice, perhaps for want of memory; use fewer workers"
                    )

    def _pool(self, workers: int) -> ProcessPoolExecutor:
        # Forked children would inherit the thread pools of TensorFlow and ITK in an undefined state.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent)


def end_with_parent() -> None:
    """Makes a worker end as soon as its parent is gone, however that ended: a pool does not, and keeps its memory."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def available_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Sets what numerical libraries read when they start, for the processes started meanwhile."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
