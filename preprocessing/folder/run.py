"""The one loop over a folder: NIfTI files or DICOM series in, NIfTI files of the same names out.

An output folder holds the images, `manifest.csv` (what is done, with hashes), `preprocess.log`,
`overview.html`, `provenance/` and `pictures/` with one file per subject, what steps were fitted to (`landmarks.json`),
and `labels/`, `bias_field/`, `transforms/` where asked for.
"""

import contextlib
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from sfgkeras.data.subjects import read_split
from sfgkeras.errors import ConfigError, DataError, counted
from sfgkeras.files import writing_problem
from sfgkeras.preprocessing.folder.cluster import ClusterRunner
from sfgkeras.preprocessing.folder.fitting import fit_on_cohort
from sfgkeras.preprocessing.folder.inputs import MANIFEST, find_inputs, output_name
from sfgkeras.preprocessing.folder.job import WORK, Job, JobResult, skip_job
from sfgkeras.preprocessing.folder.manifest import DONE, FAILED, SKIPPED, Manifest
from sfgkeras.preprocessing.folder.outputs import OutputFolder, refuse_foreign, refuse_other_steps
from sfgkeras.preprocessing.folder.overview import OVERVIEW, write_overview
from sfgkeras.preprocessing.folder.runners import ProcessRunner, Runner, SerialRunner, available_cores
from sfgkeras.preprocessing.pipeline import Pipeline, build_pipeline
from sfgkeras.preprocessing.volume import StepContext
from sfgkeras.protection import ReadFiles, inside

LABELS, LOG, LOCK = "labels", "preprocess.log", ".lock"

Fitting = Literal["fit", "fit on all", "require"]
Progress = Callable[[int, int, str, str], None]


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
    files, ignored, left_out = _find(inputs, output, labels)
    label_files, strangers = _find_labels(labels, files)
    runner: Runner = ClusterRunner(scheduler) if scheduler else _local_runner(workers)
    if split is not None:
        training_subjects = read_split(split)["training"]
    read = ReadFiles([*files.values(), *label_files.values(), *strangers, *reads, *_companions(pipeline, files, split)])

    refitted = [step.file_in(output) for step in pipeline.fitted if restart and step.settings.ref_file is None]

    def plan() -> tuple[Manifest, list[Job], OutputFolder, list[Path]]:
        manifest = Manifest(output / MANIFEST)
        jobs = [
            _job(subject_id, image, label_files.get(subject_id), output, pipeline, manifest, pictures, loader)
            for subject_id, image in files.items()
        ]
        owned = OutputFolder(output, manifest, (OVERVIEW, LOG, MANIFEST, *(path.name for path in refitted)))
        read.refuse(owned.planned(jobs), "choose another output folder")
        foreign = owned.foreign(jobs)
        if not overwrite:
            refuse_foreign(output, foreign)
        return manifest, jobs, owned, foreign

    plan()  # before the folder of somebody else gets as much as a lock
    _make_folder(output)
    with _alone(output, wait), _Log(output / LOG, log) as write_log:
        manifest, jobs, owned, foreign = plan()
        owned.claim(jobs)
        for path in foreign:
            write_log(f"replaced, made by something else: {path}")
        if restart:
            manifest.records.clear()
            for path in refitted:
                path.unlink(missing_ok=True)
            jobs = [replace(job, recorded=None) for job in jobs]
        write_log(f"{counted(len(jobs), 'subject')}, steps: {pipeline.text()}")
        for path in ignored:
            write_log(f"ignored, not a volume: {path}")
        for path in left_out:
            write_log(f"left out, holds label maps or what an earlier run wrote: {path}")
        for path in strangers:
            write_log(f"ignored, a label map without an image: {path}")
        run = _Run(manifest, write_log, progress or _no_progress, fitting, overwrite)
        fitted = run.work(jobs, training_subjects, runner)
        manifest.compact()
        shutil.rmtree(output / WORK, ignore_errors=True)
        # Files by subject may be a part of those that the folder is for: one phase of a split.
        is_part = isinstance(inputs, Mapping)
        present = {name: record for name, record in manifest.records.items() if is_part or name in files}
        overview = write_overview(output, present, pipeline, fitted)
        write_log(f"{len(run.done)} done, {len(run.skipped)} skipped, {len(run.failed)} failed; see {overview}")
    succeeded = [job for job in jobs if job.subject_id not in run.failed]
    return FolderResult(
        tuple(run.done),
        tuple(run.skipped),
        dict(run.failed),
        {job.subject_id: output / job.output for job in succeeded},
        {job.subject_id: output / name for job in succeeded for name in job.label_outputs.values()},
        ignored,
        fitted,
        overview,
        left_out,
    )


class _Run:
    """Runs the jobs of a folder and keeps the books."""

    def __init__(
        self, manifest: Manifest, log: Callable[[str], None], progress: Progress, fitting: Fitting, overwrite: bool
    ) -> None:
        self._manifest, self._log, self._progress, self._fitting = manifest, log, progress, fitting
        self._overwrite = overwrite
        self.done: list[str] = []
        self.skipped: list[str] = []
        self.failed: dict[str, str] = {}

    def work(self, jobs: Sequence[Job], training_subjects: Sequence[str] | None, runner: Runner) -> dict[str, Path]:
        """Fits the steps that need it, then does every subject; returns the files of what was fitted, by step."""
        files = {}
        waiting = list(jobs)
        for step in jobs[0].pipeline.fitted:
            found = fit_on_cohort(
                step, waiting, training_subjects, runner, self._manifest.records, self._log, self._progress,
                fit=self._fitting != "require", complete=self._fitting == "fit on all",
            )  # fmt: skip
            files[step.name] = found.path
            waiting = [
                replace(job, fitted={**job.fitted, step.name: found.fitted})
                for job in waiting
                if job.subject_id not in found.failed
            ]
            for result in found.failed.values():
                self._book(result, len(jobs))
        self._progress(len(self.failed), len(jobs), "", "started")
        # What is done already needs no workers, whose start would take longer than to see it.
        with ThreadPoolExecutor(available_cores()) as pool:
            skipped = list(pool.map(skip_job, waiting))
        for seen in skipped:
            if seen is not None:
                self._book(seen, len(jobs))
        waiting = [job for job, seen in zip(waiting, skipped, strict=True) if seen is None]
        if not self._overwrite:
            refuse_other_steps(jobs[0].folder, waiting)
        for result in runner.run(waiting) if waiting else ():
            self._book(result, len(jobs))
        return files

    def _book(self, result: JobResult, total: int) -> None:
        record = result.record
        if record.status == SKIPPED:
            self.skipped.append(record.subject_id)
        else:
            self._manifest.add(record)
        if record.status == DONE:
            self.done.append(record.subject_id)
        if record.status == FAILED:
            self.failed[record.subject_id] = record.message
            self._log(f"failed: {record.message}")
        for note in result.notes:
            self._log(f"{record.subject_id}: {note}")
        if result.details:
            self._log(result.details)
        ended = len(self.done) + len(self.skipped) + len(self.failed)
        self._progress(ended, total, record.subject_id, record.status)


class _Log:
    """Appends sentences with their time to a file, made with the first of them, and passes them on."""

    def __init__(self, path: Path, listener: Callable[[str], None] | None) -> None:
        self._path, self._listener = path, listener
        self._stream: TextIO | None = None

    def __enter__(self) -> Callable[[str], None]:
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


def _no_progress(done: int, total: int, subject_id: str, status: str) -> None:
    pass


def _local_runner(workers: int) -> Runner:
    return SerialRunner() if workers == 1 else ProcessRunner(workers)


def _find(
    inputs: str | Path | Mapping[str, Path], output: Path, labels: str | Path | Mapping[str, Path] | None
) -> tuple[dict[str, Path], tuple[Path, ...], tuple[Path, ...]]:
    """Returns the images by subject, other files, and folders that are no inputs."""
    if isinstance(inputs, Mapping):
        if not inputs:
            raise ConfigError("there is no subject to preprocess; look at path_to_search and the csv_file")
        files = {subject_id: Path(path).resolve() for subject_id, path in sorted(inputs.items())}
        if any(path.parent == output for path in files.values()):
            raise ConfigError(f"{output}: holds the input itself; choose another output folder")
        return files, (), ()
    folder = Path(inputs).resolve()
    if folder == output:
        raise ConfigError(f"{output}: is the input folder itself; choose another output folder")
    label_folder = [] if labels is None or isinstance(labels, Mapping) else [Path(labels).resolve()]
    if folder in label_folder:
        raise ConfigError(f"{folder}: is named as the folder of images and of label maps; give each its own")
    found = find_inputs(folder, [output, *label_folder])
    return dict(found.files), found.ignored, found.left_out


def _find_labels(
    labels: str | Path | Mapping[str, Path] | None, files: Mapping[str, Path]
) -> tuple[dict[str, Path], list[Path]]:
    """Returns label maps by subject, and those without an image."""
    if labels is None:
        return {}, []
    if isinstance(labels, Mapping):
        found = {subject_id: Path(path).resolve() for subject_id, path in labels.items()}
    else:
        found = dict(find_inputs(Path(labels).resolve()).files)
    matched = {subject_id: path for subject_id, path in found.items() if subject_id in files}
    if not matched:
        raise ConfigError(
            f"no label map has the name of an image (labels {', '.join(sorted(found)[:3])}, images "
            f"{', '.join(sorted(files)[:3])}); name both alike, or list them by subject"
        )
    return matched, [path for subject_id, path in found.items() if subject_id not in files]


def _companions(pipeline: Pipeline, files: Mapping[str, Path], split: str | Path | None) -> list[Path]:
    """Returns what is read besides images and labels: the split, and files of steps, shared or one per subject."""
    found = [] if split is None else [Path(split)]
    places = [value for step in pipeline.steps for value in vars(step.settings).values() if isinstance(value, Path)]
    for place in places:
        found.append(place)
        for subject_id in files if place.is_dir() else ():
            with contextlib.suppress(DataError):
                found.append(StepContext(subject_id).companion(place))
    return found


def _job(
    subject_id: str,
    image: Path,
    label_map: Path | None,
    output: Path,
    pipeline: Pipeline,
    manifest: Manifest,
    picture: bool,
    loader: str | None,
) -> Job:
    labels = {} if label_map is None else {LABELS: label_map}
    outputs = {name: f"{LABELS}/{output_name(subject_id, path)}" for name, path in labels.items()}
    inside(output, output_name(subject_id, image))
    return Job(
        subject_id, image, labels, output, output_name(subject_id, image), outputs, pipeline,
        recorded=manifest.records.get(subject_id), picture=picture, loader=loader,
    )  # fmt: skip


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(writing_problem(folder, error)) from error


@contextmanager
def _alone(folder: Path, wait: bool) -> Iterator[None]:
    """Holds the folder against a second run; the lock goes with this process, however it ends."""
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
