"""What the steps of a folder are fitted to: read and checked, or fitted on its training subjects before the rest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sfgkeras.data.volumes import file_fingerprint
from sfgkeras.errors import ConfigError, DataError, counted
from sfgkeras.preprocessing.fitted import DEFAULT_MODALITY, Fitted, image_identity
from sfgkeras.preprocessing.folder.job import Job, JobResult, hash_inputs
from sfgkeras.preprocessing.folder.manifest import FAILED, Record
from sfgkeras.preprocessing.folder.runners import Runner
from sfgkeras.preprocessing.pipeline import ConfiguredStep


@dataclass(frozen=True)
class CohortFit:
    """What a step was fitted to, for all subjects, and which subjects failed on the way to it.

    Attributes:
        fitted: What the step was fitted to.
        path: Its file.
        failed: Results of training subjects that could not be measured, by id.
    """

    fitted: Fitted
    path: Path
    failed: Mapping[str, JobResult] = field(default_factory=dict)


def fit_on_cohort(
    step: ConfiguredStep,
    jobs: Sequence[Job],
    training_subjects: Sequence[str] | None,
    runner: Runner,
    records: Mapping[str, Record],
    log: Callable[[str], None],
    progress: Callable[[int, int, str, str], None],
    fit: bool = True,
    complete: bool = False,
) -> CohortFit:
    """Returns what a step of a folder's pipeline is fitted to.

    With `ref_file` it is read from there, which must fit the settings. Without it, it is kept beside the
    output: read if it fits settings and training subjects, fitted if there is none yet and `fit` allows it.

    Args:
        step: The step.
        jobs: The jobs of all subjects, with what the fitted steps before it were fitted to.
        training_subjects: Ids of the training subjects; all if None.
        runner: Runs the measuring.
        records: Rows of the manifest by id.
        log: Takes sentences.
        progress: Takes done, total, id and status.
        fit: Whether it may be fitted; without, the training subjects need not be among the jobs.
        complete: Whether every training subject must be measured.

    Raises:
        DataError: If a file is missing, damaged or stale, or no training subject (with `complete`: not every one)
            could be measured.
        ConfigError: If none of the training subjects is in the folder.
    """
    preparation, what = jobs[0].pipeline.before(step.name).preparation_text(), step.step.file.what
    path, is_named = step.file_in(jobs[0].folder), step.settings.ref_file is not None
    if not fit:
        if not is_named and not path.exists():
            raise DataError(
                f"{path}: there are no {what}; train first, which fits them, or name {step.prefix}_ref_file"
            )
        return CohortFit(step.read_fitted(path, preparation), path)
    training = _training_jobs(jobs, training_subjects, log)
    if is_named or path.exists():
        is_expected = not is_named or training_subjects is not None
        expected = (lambda fitted: _expected_identities(training, fitted, records)) if is_expected else None
        return CohortFit(step.read_fitted(path, preparation, expected), path)
    if training_subjects is None:
        log(
            f"{what} are fitted on all {len(training)} subjects, for no training subjects were named; "
            "name them by a dataset_split file if some are for testing"
        )
    rows, failed = _measure(step, training, runner, progress)
    _refuse_incomplete(step, len(training), rows, failed, complete)
    measured = [job for job in training if job.subject_id in rows]
    fitted = step.fit(
        [rows[job.subject_id] for job in measured], DEFAULT_MODALITY, [_identity(job) for job in measured], preparation
    )
    step.step.file.write(path, {fitted.modality: fitted})
    log(f"{what} fitted on {counted(len(measured), 'training subject')}: {path}")
    return CohortFit(fitted, path, failed)


def _refuse_incomplete(
    step: ConfiguredStep, number: int, rows: Mapping[str, object], failed: Mapping[str, JobResult], complete: bool
) -> None:
    what = step.step.file.what
    if not rows:
        reason = next(iter(failed.values())).record.message
        raise DataError(f"no {what}: none of {number} training subjects could be measured; first: {reason}")
    if failed and complete:
        reasons = [result.record.message for result in failed.values()]
        raise DataError(
            "\n".join(reasons) + f"\n{len(failed)} of {number} training subjects cannot be used for the "
            f"{step.prefix} {what}; repair them, or take them out of the split"
        )


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


def _expected_identities(training: Sequence[Job], fitted: Fitted, records: Mapping[str, Record]) -> list[str]:
    """Names the training subjects, without those that were not measured because they are known to fail."""
    expected = []
    fitted_on = {image_identity(name) for name in fitted.fitted_on}
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


def _measure(
    step: ConfiguredStep, training: Sequence[Job], runner: Runner, progress: Callable[[int, int, str, str], None]
) -> tuple[dict[str, np.ndarray], dict[str, JobResult]]:
    rows: dict[str, np.ndarray] = {}
    failed: dict[str, JobResult] = {}
    jobs = [replace(job, measures=step.name) for job in training]
    progress(0, len(jobs), "", "measured")
    for number, result in enumerate(runner.run(jobs), start=1):
        subject_id = result.record.subject_id
        if result.measured is None:
            failed[subject_id] = result
        else:
            rows[subject_id] = np.asarray(result.measured)
        progress(number, len(jobs), subject_id, "measured")
    return rows, failed
