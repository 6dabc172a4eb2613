"""One subject's work, from file to file: what worker processes and cluster workers run."""

import contextlib
import hashlib
import json
import os
import platform
import time
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras import __version__
from sfgkeras.data.nifti import Header, read_header, write_image
from sfgkeras.data.volumes import file_fingerprint
from sfgkeras.errors import ConfigError, DataError, naming
from sfgkeras.files import replacing
from sfgkeras.preprocessing.fitted import Fitted
from sfgkeras.preprocessing.folder.half_way import read_volume, write_volume
from sfgkeras.preprocessing.folder.inputs import read_subject
from sfgkeras.preprocessing.folder.manifest import DONE, FAILED, SKIPPED, Record
from sfgkeras.preprocessing.folder.picture import draw_quality
from sfgkeras.preprocessing.pipeline import Pipeline
from sfgkeras.preprocessing.volume import SideResult, StepContext, Volume

PROVENANCE, PICTURES, WORK = "provenance", "pictures", ".work"
SOFTWARE = ("sfgkeras", "numpy", "scipy", "SimpleITK", "antspyx", "nibabel")


@dataclass(frozen=True)
class Job:
    """Everything that the work on one subject needs; travels to other processes and machines.

    Attributes:
        subject_id: Identifier; may contain slashes.
        image: Input file or DICOM folder.
        labels: Label maps by name.
        folder: Output folder.
        output: Result below `folder`.
        label_outputs: Results of the label maps below `folder`, by name.
        pipeline: All steps.
        fitted: What steps were fitted to on the cohort, by their names.
        measures: The fitted step before which the subject is measured; empty to run all steps and write the result.
        recorded: What the manifest tells of the subject.
        threads: Threads that ITK may use; None leaves the setting alone.
        picture: Whether to draw the quality picture.
        loader: What reads the image; None chooses by its ending.
    """

    subject_id: str
    image: Path
    labels: Mapping[str, Path]
    folder: Path
    output: str
    label_outputs: Mapping[str, str]
    pipeline: Pipeline
    fitted: Mapping[str, Fitted] = field(default_factory=dict)
    measures: str = ""
    recorded: Record | None = None
    threads: int | None = None
    picture: bool = True
    loader: str | None = None

    def settings_hash(self) -> str:
        """Returns a hash over steps, settings, what steps were fitted to, and the version of this package."""
        fitted = [numbers for each in self.fitted.values() for numbers in each.described().values()]
        return _digest([__version__, self.pipeline.digest(), fitted])


@dataclass(frozen=True)
class JobResult:
    """How the work on one subject ended.

    Attributes:
        record: Row for the manifest; its status is `done`, `skipped` or `failed`.
        notes: Sentences for the log.
        measured: What was measured for a fit.
        details: Traceback of an unexpected error.
    """

    record: Record
    notes: tuple[str, ...] = ()
    measured: tuple[float, ...] | None = None
    details: str = ""


@dataclass
class _Clock:
    """Seconds by step."""

    began: float = field(default_factory=time.perf_counter)
    steps: dict[str, float] = field(default_factory=dict)

    def note(self, step: str, seconds: float) -> None:
        self.steps[step] = round(seconds, 3)

    def total(self) -> float:
        return round(time.perf_counter() - self.began, 3)


def run_job(job: Job) -> JobResult:
    """Does the work on one subject; whatever goes wrong becomes a failed result, never an exception.

    A subject whose record tells the same inputs and settings, and whose outputs are unchanged, is skipped.
    """
    clock = _Clock()
    input_hash = ""
    try:
        _limit_threads(job.threads)
        input_hash = hash_inputs(job)
        if job.measures:
            return _measure(job, input_hash, clock)
        if skipped := _skipped(job, input_hash):
            return skipped
        return _finish(job, input_hash, clock)
    except (DataError, ConfigError) as error:
        return _failed(job, input_hash, clock, str(error))
    except MemoryError:
        return _failed(job, input_hash, clock, f"{job.image}: memory is exhausted; use fewer workers")
    except Exception as error:  # one subject must not stop the others; the traceback goes to the log
        reason = str(error).splitlines()[0] if str(error) else "no message"
        text = f"{job.image}: unexpected {type(error).__name__}: {reason}"
        return _failed(job, input_hash, clock, text, traceback.format_exc())


def _measure(job: Job, input_hash: str, clock: _Clock) -> JobResult:
    (step,) = (each for each in job.pipeline.fitted if each.name == job.measures)
    kept, left = _half_way(job, input_hash, step.name)
    volume = read_subject(job.image, job.labels, job.loader) if kept is None else kept
    if kept is None or left.steps:
        with naming(job.image):
            volume = left.apply(volume, StepContext(job.subject_id), clock.note, job.fitted)
        write_volume(_half_way_file(job, input_hash, step.name), volume)
    with naming(job.image), naming(f"step {step.name}"):
        measured = step.measure(volume)
    record = Record(job.subject_id, DONE, str(job.image), input_hash, seconds=str(clock.total()))
    return JobResult(record, measured=tuple(float(number) for number in measured))


def _finish(job: Job, input_hash: str, clock: _Clock) -> JobResult:
    header = read_header(job.image, job.loader)
    before = read_subject(job.image, job.labels, job.loader)
    kept, left = _half_way(job, input_hash)
    with naming(job.image):
        after = left.apply(before if kept is None else kept, StepContext(job.subject_id), clock.note, job.fitted)
        if not np.all(np.isfinite(after.array)):
            raise DataError("the result has values that are not finite; look at the steps and the image")
    written = _write_outputs(job, header, after)
    if job.picture:
        steps = ", ".join(job.pipeline.names)
        draw_quality(_side_path(job, PICTURES, ".png"), before, after, f"{job.subject_id}: {steps}")
    hashes = {name: file_fingerprint(job.folder / name) for name in written}
    _write_provenance(job, input_hash, before, after, hashes, clock)
    for step in job.pipeline.fitted:
        with contextlib.suppress(OSError):
            _half_way_file(job, input_hash, step.name).unlink(missing_ok=True)
    record = Record(
        job.subject_id, DONE, str(job.image), input_hash, job.settings_hash(), job.output,
        _digest(sorted(hashes.items())), str(clock.total()), "; ".join(after.all_notes),
    )  # fmt: skip
    return JobResult(record, after.all_notes)


def _failed(job: Job, input_hash: str, clock: _Clock, message: str, details: str = "") -> JobResult:
    record = Record(
        job.subject_id, FAILED, str(job.image), input_hash, job.settings_hash(), seconds=str(clock.total()),
        message=" ".join(message.split()),
    )  # fmt: skip
    return JobResult(record, details=details)


def failed_result(job: Job, message: str) -> JobResult:
    """Returns the result of a subject whose worker could not report itself."""
    return _failed(job, "", _Clock(), f"{job.image}: {message}")


def _limit_threads(threads: int | None) -> None:
    if threads is not None:
        import SimpleITK as sitk

        # ANTs has an ITK of its own, which looks here when it is first used.
        os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def hash_inputs(job: Job) -> str:
    """Returns a hash over everything that is read for the subject, whatever the names of the files."""
    hashes = {"image": file_fingerprint(job.image)}
    if job.loader is not None:
        hashes["loader"] = job.loader
    hashes |= {f"label {name}": file_fingerprint(path) for name, path in job.labels.items()}
    context = StepContext(job.subject_id)
    for step in job.pipeline.steps:
        for each in fields(step.settings):
            place = getattr(step.settings, each.name)
            # What a step was fitted to belongs to the cohort; settings_hash has it by value.
            if isinstance(place, Path) and not (step.is_fitted and each.name == "ref_file"):
                with naming(job.image), naming(f"step {step.name}"):
                    hashes[f"{step.name} {each.name}"] = file_fingerprint(context.companion(place))
    return _digest(sorted(hashes.items()))


def skip_job(job: Job) -> JobResult | None:
    """Returns the result of a subject that was done before, or None; costs no more than reading its files.

    Nothing is read where the settings are others already; a file that cannot be read is `run_job`'s to report.
    """
    recorded = job.recorded
    if recorded is None or recorded.status != DONE or recorded.settings_hash != job.settings_hash():
        return None
    with contextlib.suppress(DataError):
        return _skipped(job, hash_inputs(job))
    return None


def _skipped(job: Job, input_hash: str) -> JobResult | None:
    if not _is_done(job, input_hash):
        return None
    assert job.recorded is not None
    return JobResult(replace(job.recorded, status=SKIPPED))


def _is_done(job: Job, input_hash: str) -> bool:
    recorded = job.recorded
    if recorded is None or recorded.status != DONE:
        return False
    if (recorded.input_hash, recorded.settings_hash) != (input_hash, job.settings_hash()):
        return False
    try:
        provenance = json.loads(_side_path(job, PROVENANCE, ".json").read_text(encoding="utf-8"))
        names = sorted(provenance["outputs"])
        hashes = [(name, file_fingerprint(job.folder / name)) for name in names]
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return False
    return job.output in names and recorded.output_hash == _digest(hashes)


def _half_way(job: Job, input_hash: str, until: str = "") -> tuple[Volume | None, Pipeline]:
    """Returns the subject as it was last kept before a fitted step, None where it was not, and the steps left.

    Args:
        job: The work on the subject.
        input_hash: What `hash_inputs` returned.
        until: The fitted step before which to stop; empty to go to the end.
    """
    names = job.pipeline.names
    wanted = job.pipeline.before(until) if until else job.pipeline
    for step in reversed(job.pipeline.fitted):
        place = names.index(step.name)
        if place <= len(wanted.steps):
            volume = read_volume(_half_way_file(job, input_hash, step.name))
            if volume is not None:
                return volume, Pipeline(wanted.steps[place:])
    return None, wanted


def _half_way_file(job: Job, input_hash: str, name: str) -> Path:
    """Names the file of the subject as it is before a fitted step, by content."""
    before = job.pipeline.before(name)
    fitted = [job.fitted[step.name].described() for step in before.fitted]
    return job.folder / WORK / f"{_digest([input_hash, before.digest(), fitted])}.npz"


def _side_path(job: Job, folder: str, suffix: str) -> Path:
    return job.folder / folder / f"{job.subject_id}{suffix}"


def _write_outputs(job: Job, header: Header, volume: Volume) -> list[str]:
    written = [job.output]
    _write(job.folder / job.output, volume.array, volume.affine, header)
    for name, label_map in volume.labels.items():
        written.append(job.label_outputs[name])
        _write(job.folder / job.label_outputs[name], label_map, volume.affine, None)
    for side in volume.side_results:
        path = _side_path(job, side.folder, side.suffix)
        written.append(path.relative_to(job.folder).as_posix())
        _write_side(path, side)
    return written


def _write(path: Path, array: np.ndarray, affine: np.ndarray, header: Header | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, array, affine, header)


def _write_side(path: Path, side: SideResult) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if side.array is not None and side.affine is not None:
        write_image(path, side.array, side.affine)
        return
    with replacing(path) as stream:
        stream.write(side.content)


def _write_provenance(
    job: Job, input_hash: str, before: Volume, after: Volume, hashes: Mapping[str, str], clock: _Clock
) -> None:
    content: dict[str, Any] = {
        "subject_id": job.subject_id,
        "input": str(job.image),
        "input_sha256": file_fingerprint(job.image),
        "labels": {name: str(path) for name, path in job.labels.items()},
        "input_hash": input_hash,
        "steps": job.pipeline.describe(),
        "fitted": {name: fitted.described() for name, fitted in job.fitted.items()},
        "settings_hash": job.settings_hash(),
        "outputs": dict(sorted(hashes.items())),
        "before": _geometry(before),
        "after": _geometry(after),
        "notes": list(after.all_notes),
        "seconds": {**clock.steps, "total": clock.total()},
        "software": {"python": platform.python_version(), **_versions(SOFTWARE)},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    path = _side_path(job, PROVENANCE, ".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(f"{json.dumps(content, indent=2)}\n".encode())


def _geometry(volume: Volume) -> dict[str, Any]:
    return {
        "shape": list(volume.array.shape),
        "spacing": [round(size, 6) for size in volume.spacing],
        "range": [float(volume.array.min()), float(volume.array.max())],
        "labels": {name: [int(label) for label in np.unique(label_map)] for name, label_map in volume.labels.items()},
    }


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = __version__ if package == "sfgkeras" else version(package)
        except PackageNotFoundError:
            continue
    return found


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
