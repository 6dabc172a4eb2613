"""Says what results tell less than they seem to: subjects that were trained on, predictions of an older state."""

from collections.abc import Mapping, Sequence
from typing import Any

from sfgkeras.applications.inference.results import contents_of_results, result_paths
from sfgkeras.applications.records.checkpoints import CheckpointFolder, read_record
from sfgkeras.applications.records.files import VALUES_FILE, Provenance, RunFolder, digest
from sfgkeras.applications.subjects.session import Session
from sfgkeras.applications.tasks.table import image_tasks
from sfgkeras.applications.training.fingerprint import same_settings
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError, counted
from sfgkeras.protection import named
from sfgkeras.reporter import Reporter


def say_trained_subjects(
    session: Session, record: Mapping[str, Any], subjects: Sequence[Subject], reporter: Reporter
) -> None:
    """Warns of subjects that a state was trained on and that the split now holds out.

    Args:
        session: The run, with the split of now.
        record: The record of the state.
        subjects: The subjects that are asked for; those of the training phase are no surprise.
        reporter: Hears the warning.
    """
    trained_on, training = set(record.get("trained_on", ())), set(session.cohort.split.get("training", ()))
    seen = [each.subject_id for each in subjects if each.subject_id in trained_on and each.subject_id not in training]
    if seen:
        path, were = session.config.system.dataset_split_file, "was" if len(seen) == 1 else "were"
        reporter.warning(
            f"{path}: {counted(len(seen), 'subject')} held out now {were} trained on before, e.g. {seen[0]!r}: results "
            "on them are no test; restore the split, or begin anew with --restart"
        )


def say_older_predictions(session: Session, subjects: Sequence[Subject], reporter: Reporter) -> None:
    """Warns of predictions that this package made and that are not those of the present state and settings."""
    record = _present_record(session)
    if record is None:
        return
    say_trained_subjects(session, record, subjects, reporter)
    made_by = digest(same_settings(session.config, record))
    folder = session.config.inference.save_seg_dir
    provenance = Provenance(folder, made_by, content=contents_of_results(session, subjects))
    paths = [path for subject in subjects for path in result_paths(session, subject)]
    others = [path for path in paths if provenance.is_outdated(path)]
    # Of the table it is known which state made it; it may hold more subjects than these.
    table = folder / VALUES_FILE
    if image_tasks(session.tasks) and table.is_file() and provenance.settings_of(table) not in ("", made_by):
        others.append(table)
    if others:
        reporter.warning(
            f"{others[0]}: was made by another state than that of iteration {record['iteration']}, by other settings "
            f"or from other images ({named(others)}); run inference again, with --overwrite"
        )


def _present_record(session: Session) -> Mapping[str, Any] | None:
    """Returns the record of the state that inference would use, or None where there is none."""
    checkpoints = CheckpointFolder(RunFolder(session.config.system.model_dir).checkpoints)
    wanted = session.config.inference.inference_iter
    iterations = [wanted] if wanted != -1 else checkpoints.iterations()[::-1]
    for iteration in iterations:
        try:
            return read_record(checkpoints.path(iteration))
        except DataError:
            continue
    return None
