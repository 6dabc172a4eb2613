"""The one loop over a folder: NIfTI files or DICOM series in, NIfTI files of the same names out.

An output folder holds the images, `manifest.csv` (what is done, with hashes), `preprocess.log`,
`overview.html`, `provenance/` and `pictures/` with one file per subject, what steps were fitted to (`landmarks.json`),
and `labels/`, `bias_field/`, `transforms/` where asked for.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfgkeras.data.subjects import read_split
from sfgkeras.errors import DataError, counted
from sfgkeras.files import writing_problem
from sfgkeras.preprocessing.folder.books import Books, Fitting, Progress, do_jobs
from sfgkeras.preprocessing.folder.cluster import ClusterRunner
from sfgkeras.preprocessing.folder.job import WORK
from sfgkeras.preprocessing.folder.lock import alone
from sfgkeras.preprocessing.folder.log import LOG, Log
from sfgkeras.preprocessing.folder.overview import write_overview
from sfgkeras.preprocessing.folder.plan import Order
from sfgkeras.preprocessing.folder.runners import ProcessRunner, Runner, SerialRunner
from sfgkeras.preprocessing.folder.subjects import find_subjects
from sfgkeras.preprocessing.pipeline import Pipeline, build_pipeline
from sfgkeras.protection import ReadFiles

__all__ = ["Fitting", "FolderResult", "run_folder"]


@dataclass(frozen=True)
class FolderResult:
    """How a run over a folder ended.

    Attributes:
        done: Ids of the subjects that were processed.
        skipped: Ids of those that were done before with the same settings and inputs.
        failed: Why the others failed, by id.
        outputs: Image written for every subject done or skipped.
        label_outputs: Label map written, for those that have one.
        ignored: Files of the input folder that are no volumes.
        fitted: File of what a step was fitted to, by the names of the fitted steps.
        overview: The overview page.
        left_out: Folders below the input that hold label maps, or what an earlier run wrote.
    """

    done: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: Mapping[str, str]
    outputs: Mapping[str, Path]
    label_outputs: Mapping[str, Path]
    ignored: tuple[Path, ...]
    fitted: Mapping[str, Path]
    overview: Path
    left_out: tuple[Path, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 if a subject failed, else 0."""
        return 1 if self.failed else 0


def run_folder(
    inputs: str | Path | Mapping[str, Path],
    output: str | Path,
    steps: str | Sequence[str] | Pipeline,
    settings: Mapping[str, Any] | None = None,
    labels: str | Path | Mapping[str, Path] | None = None,
    split: str | Path | None = None,
    training_subjects: Sequence[str] | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    pictures: bool = True,
    restart: bool = False,
    progress: Progress | None = None,
    log: Callable[[str], None] | None = None,
    fitting: Fitting = "fit",
    loader: str | None = None,
    wait: bool = False,
    overwrite: bool = False,
    reads: Sequence[Path] = (),
) -> FolderResult:
    """Preprocesses every subject of a folder.

    A subject that was done with the same inputs, steps and settings is skipped; one that fails is reported
    and does not stop the others.

    Args:
        inputs: Folder of NIfTI files or DICOM series, searched to its depths; or files by subject id.
        output: Folder of the results; made if missing, never the input folder.
        steps: Steps in order, e.g. `"n4, resample, nyul, whiten"`; see `table.STEPS`. Or a pipeline of them, with
            its settings.
        settings: Settings by `<step>_<setting>`, e.g. `{"resample_spacing": "1, 1, 1"}`.
        labels: Folder of label maps named as their images, or files by subject id; written to `labels/`.
        split: File `subject_id,phase`; its training subjects are those that steps are fitted on.
        training_subjects: The same as ids; used if `split` is None.
        workers: Processes on this machine; their threads together fill its cores once.
        scheduler: Address of a dask scheduler to run on instead.
        pictures: Draw the quality pictures.
        restart: Do all subjects again, and fit the steps again.
        progress: Called with done, total, subject id and status (`done`, `skipped`, `failed`; `measured`
            while that is for a fit; `started` with no id when their phase begins).
        log: Called with every sentence that goes to `preprocess.log`.
        fitting: What happens where a step is not fitted yet: it is fitted on those training subjects that can be
            measured; on all of them, or it is an error; or it is an error anyway, and the training subjects need not
            be among the inputs.
        loader: What reads the images: `nibabel`, `simpleitk`; None chooses by their ending.
        wait: Wait for another run that is writing there, instead of refusing.
        overwrite: Replace files of the same names that no run of preprocessing made, and results of other steps.
        reads: Files besides the inputs that must never be written over.

    Returns:
        Who is done, skipped and failed; `exit_code` for the command line.

    Raises:
        ConfigError: If steps, settings or folders cannot be used: every mistake of the settings at once.
        DataError: If what a step was fitted to is missing or stale, a step cannot be fitted, or the output not be
            written.
    """
    pipeline = steps if isinstance(steps, Pipeline) else build_pipeline(steps, settings)
    output = Path(output).resolve()
    found = find_subjects(inputs, output, labels)
    runner: Runner = ClusterRunner(scheduler) if scheduler else _local_runner(workers)
    if split is not None:
        training_subjects = read_split(split)["training"]
    read = ReadFiles([*found.files_read(pipeline, split), *reads])
    order = Order(output, found, pipeline, read, pictures, loader, restart, overwrite)
    order.plan()  # before the folder of somebody else gets as much as a lock
    _make_folder(output)
    with alone(output, wait), Log(output / LOG, log) as write_log:
        plan = order.begin(write_log)
        for text in (f"{counted(len(plan.jobs), 'subject')}, steps: {pipeline.text()}", *found.passed_over()):
            write_log(text)
        books = Books(plan.manifest, write_log, progress, len(plan.jobs))
        fitted = do_jobs(plan.jobs, training_subjects, runner, books, fitting, overwrite)
        plan.manifest.compact()
        shutil.rmtree(output / WORK, ignore_errors=True)
        # Files by subject may be a part of those that the folder is for: one phase of a split.
        is_part, records = isinstance(inputs, Mapping), plan.manifest.records
        present = {name: record for name, record in records.items() if is_part or name in found.images}
        overview = write_overview(output, present, pipeline, fitted)
        write_log(f"{len(books.done)} done, {len(books.skipped)} skipped, {len(books.failed)} failed; see {overview}")
    succeeded = [job for job in plan.jobs if job.subject_id not in books.failed]
    return FolderResult(
        tuple(books.done),
        tuple(books.skipped),
        dict(books.failed),
        {job.subject_id: output / job.output for job in succeeded},
        {job.subject_id: output / name for job in succeeded for name in job.label_outputs.values()},
        found.ignored,
        fitted,
        overview,
        found.left_out,
    )


def _local_runner(workers: int) -> Runner:
    return SerialRunner() if workers == 1 else ProcessRunner(workers)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(writing_problem(folder, error)) from error
