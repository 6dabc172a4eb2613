"""The jobs of a folder, done one by one or all at once, and the books about them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

from sfgkeras.preprocessing.folder.fitting import fit_on_cohort
from sfgkeras.preprocessing.folder.job import Job, JobResult, skip_job
from sfgkeras.preprocessing.folder.log import Write
from sfgkeras.preprocessing.folder.manifest import DONE, FAILED, SKIPPED, Manifest
from sfgkeras.preprocessing.folder.outputs import refuse_other_steps
from sfgkeras.preprocessing.folder.runners import Runner, available_cores

Fitting = Literal["fit", "fit on all", "require"]
Progress = Callable[[int, int, str, str], None]


class Books:
    """Who is done, skipped and failed: noted in the manifest and the log as it happens.

    Args:
        manifest: Gets the record of each subject.
        log: Takes sentences.
        progress: Called with done, total, subject id and status, after each; None for nobody.
        total: Number of subjects.
    """

    def __init__(self, manifest: Manifest, log: Write, progress: Progress | None, total: int) -> None:
        self.manifest, self.log = manifest, log
        self.progress = progress or _no_progress
        self._total = total
        self.done: list[str] = []
        self.skipped: list[str] = []
        self.failed: dict[str, str] = {}

    def note(self, result: JobResult) -> None:
        """Notes how a job ended."""
        record = result.record
        if record.status == SKIPPED:
            self.skipped.append(record.subject_id)
        else:
            self.manifest.add(record)
        if record.status == DONE:
            self.done.append(record.subject_id)
        if record.status == FAILED:
            self.failed[record.subject_id] = record.message
            self.log(f"failed: {record.message}")
        for note in result.notes:
            self.log(f"{record.subject_id}: {note}")
        if result.details:
            self.log(result.details)
        ended = len(self.done) + len(self.skipped) + len(self.failed)
        self.progress(ended, self._total, record.subject_id, record.status)

    def note_start(self) -> None:
        """Notes that everything is fitted, and the subjects' turn has come."""
        self.progress(len(self.failed), self._total, "", "started")


def do_jobs(
    jobs: Sequence[Job],
    training_subjects: Sequence[str] | None,
    runner: Runner,
    books: Books,
    fitting: Fitting,
    overwrite: bool,
) -> dict[str, Path]:
    """Fits the steps that need it, then does every subject.

    Args:
        jobs: One for each subject.
        training_subjects: Whom steps are fitted on; None for all.
        runner: Does jobs.
        books: Notes how they end.
        fitting: What happens where a step is not fitted yet; see `run_folder`.
        overwrite: Whether results of other steps are replaced.

    Returns:
        The files of what was fitted, by step.
    """
    files = {}
    waiting = list(jobs)
    for step in jobs[0].pipeline.fitted:
        found = fit_on_cohort(
            step, waiting, training_subjects, runner, books.manifest.records, books.log, books.progress,
            fit=fitting != "require", complete=fitting == "fit on all",
        )  # fmt: skip
        files[step.name] = found.path
        waiting = [
            replace(job, fitted={**job.fitted, step.name: found.fitted})
            for job in waiting
            if job.subject_id not in found.failed
        ]
        for result in found.failed.values():
            books.note(result)
    books.note_start()
    # What is done already needs no workers, whose start would take longer than to see it.
    with ThreadPoolExecutor(available_cores()) as pool:
        skipped = list(pool.map(skip_job, waiting))
    for seen in skipped:
        if seen is not None:
            books.note(seen)
    waiting = [job for job, seen in zip(waiting, skipped, strict=True) if seen is None]
    if not overwrite:
        refuse_other_steps(jobs[0].folder, waiting)
    for result in runner.run(waiting) if waiting else ():
        books.note(result)
    return files


def _no_progress(done: int, total: int, subject_id: str, status: str) -> None:
    pass
