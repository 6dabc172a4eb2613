"""The landmarks of a folder: read and checked, or fitted on its training subjects before the others go on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sfgkeras.data.volumes import file_fingerprint
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing.folder.job import MEASURE, Job, JobResult, hash_inputs
from sfgkeras.preprocessing.folder.manifest import FAILED, Record
from sfgkeras.preprocessing.folder.runners import Runner
from sfgkeras.preprocessing.histogram import HistogramSettings, NyulLandmarks, mean_landmarks
from sfgkeras.preprocessing.landmark_file import (
    DEFAULT_MODALITY,
    check_landmarks,
    choose_modality,
    image_identity,
    read_landmarks,
    write_landmarks,
)

LANDMARKS = "landmarks.json"


@dataclass(frozen=True)
class CohortLandmarks:
    """Landmarks for all subjects, and which subjects failed on the way to them.

    Attributes:
        landmarks: The landmarks.
        path: Their file.
        failed: Results of training subjects that could not be measured, by id.
    """

    landmarks: NyulLandmarks
    path: Path
    failed: Mapping[str, JobResult] = field(default_factory=dict)


def cohort_landmarks(
    jobs: Sequence[Job],
    training_subjects: Sequence[str] | None,
    runner: Runner,
    records: Mapping[str, Record],
    log: Callable[[str], None],
    progress: Callable[[int, int, str, str], None],
    fit: bool = True,
    complete: bool = False,
) -> CohortLandmarks:
    """Returns the landmarks that a folder's pipeline asks for.

    With `ref_file` they are read from there, which must fit the settings. Without it they are kept in
    `landmarks.json` of the output: read if they fit settings and training subjects, fitted if there are none
    yet and `fit` allows it.

    Args:
        jobs: The jobs of all subjects.
        training_subjects: Ids of the training subjects; all if None.
        runner: Runs the measuring.
        records: Rows of the manifest by id.
        log: Takes sentences.
        progress: Takes done, total, id and status.
        fit: Whether landmarks may be fitted; without, the training subjects need not be among the jobs.
        complete: Whether every training subject must be measured.

    Raises:
        DataError: If a file is missing, damaged or stale, or no training subject (with `complete`: not every one)
            could be measured.
        ConfigError: If none of the training subjects is in the folder.
    """
    pipeline, folder = jobs[0].pipeline, jobs[0].folder
    settings = pipeline.histogram
    assert settings is not None
    preparation = pipeline.before_histogram().preparation_text()
    path = settings.ref_file or folder / LANDMARKS
    if not fit:
        if settings.ref_file is None and not path.exists():
            raise DataError(f"{path}: there are no landmarks; train first, which fits them, or name histogram_ref_file")
        return CohortLandmarks(_read(path, settings, preparation, None, records), path)
    training = _training_jobs(jobs, training_subjects, log)
    if settings.ref_file is not None:
        expected = None if training_subjects is None else training
        return CohortLandmarks(_read(path, settings, preparation, expected, records), path)
    if path.exists():
        return CohortLandmarks(_read(path, settings, preparation, training, records), path)
    if training_subjects is None:
        log(
            f"landmarks are fitted on all {len(training)} subjects, for no training subjects were named; "
            "name them by a dataset_split file if some are for testing"
        )
    rows, failed = _measure(training, runner, progress)
    if not rows:
        reason = next(iter(failed.values())).record.message
        raise DataError(f"no landmarks: none of {len(training)} training subjects could be measured; first: {reason}")
    if failed and complete:
        reasons = [result.record.message for result in failed.values()]
        raise DataError(
            "\n".join(reasons) + f"\n{len(failed)} of {len(training)} training subjects cannot be used for the "
            "histogram landmarks; repair them, or take them out of the split"
        )
    measured = [job for job in training if job.subject_id in rows]
    landmarks = replace(
        mean_landmarks((rows[job.subject_id] for job in measured), settings.cutoff),
        modality=settings.modality or DEFAULT_MODALITY,
        foreground=settings.rule,
        fitted_on=tuple(_identity(job) for job in measured),
        preparation=preparation,
    )
    write_landmarks(path, {landmarks.modality: landmarks})
    log(f"landmarks fitted on {len(measured)} training subjects: {path}")
    return CohortLandmarks(landmarks, path, failed)


def _training_jobs(
    jobs: Sequence[Job], training_subjects: Sequence[str] | None, log: Callable[[str], None]
) -> list[Job]:
    if training_subjects is None:
        return list(jobs)
    present = {job.subject_id for job in jobs}
    missing = sorted(set(training_subjects) - present)
    if len(missing) == len(set(training_subjects)):
        raise ConfigError(
            f"none of {len(missing)} training subjects ({', '.join(missing[:3])}) is in the folder, whose "
            f"subjects are {', '.join(sorted(present)[:3])}; the ids of the split must be the names of files"
        )
    if missing:
        log(f"{len(missing)} training subjects are not in the folder: {', '.join(missing[:5])}")
    return [job for job in jobs if job.subject_id in set(training_subjects)]


def _identity(job: Job) -> str:
    """Names a subject by id and content, so that an exchanged image is noticed."""
    return f"{job.subject_id}@{file_fingerprint(job.image)[:8]}"


def _expected_identities(training: Sequence[Job], landmarks: NyulLandmarks, records: Mapping[str, Record]) -> list[str]:
    """Names the training subjects, without those that were not measured because they are known to fail."""
    expected = []
    fitted_on = {image_identity(name) for name in landmarks.fitted_on}
    for job in training:
        identity = _identity(job)
        if image_identity(identity) in fitted_on or not _is_known_failure(job, records.get(job.subject_id)):
            expected.append(identity)
    return expected


def _is_known_failure(job: Job, record: Record | None) -> bool:
    """Says whether a subject failed as it is now; one that was repaired since must be fitted on."""
    if record is None or record.status != FAILED:
        return False
    # A worker that died could not tell the hash.
    return record.input_hash in ("", hash_inputs(job))


def _read(
    path: Path,
    settings: HistogramSettings,
    preparation: str,
    training: Sequence[Job] | None,
    records: Mapping[str, Record],
) -> NyulLandmarks:
    found = read_landmarks(path, settings.cutoff)
    landmarks = choose_modality(path, found, settings.modality)
    fitted_on = None if training is None else _expected_identities(training, landmarks, records)
    check_landmarks(path, landmarks, settings.cutoff, settings.rule, fitted_on, preparation)
    return landmarks


def _measure(
    training: Sequence[Job], runner: Runner, progress: Callable[[int, int, str, str], None]
) -> tuple[dict[str, np.ndarray], dict[str, JobResult]]:
    rows: dict[str, np.ndarray] = {}
    failed: dict[str, JobResult] = {}
    jobs = [replace(job, purpose=MEASURE) for job in training]
    progress(0, len(jobs), "", "measured")
    for number, result in enumerate(runner.run(jobs), start=1):
        subject_id = result.record.subject_id
        if result.percentiles is None:
            failed[subject_id] = result
        else:
            rows[subject_id] = np.asarray(result.percentiles)
        progress(number, len(jobs), subject_id, "measured")
    return rows, failed
