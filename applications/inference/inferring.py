"""From subjects to results on disk: whatever is in the way is said before a network is built."""

from collections.abc import Callable, Sequence
from typing import Any

from sfgkeras.applications.inference.passes import build_passes
from sfgkeras.applications.inference.results import (
    build_predictor,
    contents_of_results,
    infer_values,
    infer_volumes,
    result_paths,
)
from sfgkeras.applications.records.checkpoints import CheckpointFolder, TrainingState
from sfgkeras.applications.records.files import VALUES_FILE, Provenance, digest, make_writable
from sfgkeras.applications.records.lock import holding
from sfgkeras.applications.subjects.memory import refuse_large_window
from sfgkeras.applications.subjects.reads import files_read
from sfgkeras.applications.subjects.session import Session
from sfgkeras.applications.tasks.result_names import refuse_unusable_names
from sfgkeras.applications.training.fingerprint import same_settings
from sfgkeras.applications.workers.address import Place
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import counted
from sfgkeras.protection import named, protecting
from sfgkeras.reporter import Reporter

Hook = Callable[[], None]


def no_hook() -> None:
    """Does nothing."""


def infer_subjects(
    session: Session,
    checkpoints: CheckpointFolder,
    state: TrainingState,
    subjects: Sequence[Subject],
    reporter: Reporter,
    place: Place = Place(),  # noqa: B008  frozen
    overwrite: bool = False,
    before_network: Hook = no_hook,
    load: Callable[[int], Any] | None = None,
) -> int:
    """Writes the results of subjects that have none yet from this state and these settings.

    Args:
        session: The run.
        checkpoints: Where its states lie.
        state: The state to use.
        subjects: The subjects of all workers.
        reporter: Shows progress.
        place: This worker among several, which share the subjects.
        overwrite: Whether results of other states, settings or images are replaced.
        before_network: Called before anything needs TensorFlow, e.g. to load it without a word.
        load: Builds the network for images of so many channels; None takes `load_network` with this session.

    Returns:
        How many results are there in the end, of this worker's share.

    Raises:
        DataError: If the folder cannot be written, a foreign result is in the way or an image cannot be used.
    """
    config, scalar = session.config, all(task.writes == "row" for task in session.tasks.values())
    if not scalar:
        subjects = subjects[place.index :: place.count]
    if not subjects or (scalar and place.index):
        why = "worker 0 writes the table" if scalar else "there are fewer subjects than workers"
        reporter.message(f"nothing to infer for {place.name}: {why}")
        return 0
    refuse_large_window(config, session.tasks, subjects)
    folder = config.inference.save_seg_dir
    make_writable(folder)
    made_by = digest(same_settings(config, state.record))
    provenance = Provenance(folder, made_by, place.index, contents_of_results(session, subjects))
    paths = [folder / VALUES_FILE]
    if not scalar:
        paths = [path for subject in subjects for path in result_paths(session, subject)]
    refuse_unusable_names(config, session.tasks, (subject.subject_id for subject in subjects))
    reads = files_read(config, session.cohort)
    reads.refuse(paths, "choose another folder of results, or another output_postfix (--overwrite does not help)")
    if overwrite:
        strangers = provenance.unknown(paths)
        if strangers:
            reporter.warning(f"{folder}: replaces files that no inference made there ({named(strangers)})")
        provenance.forget(paths)
    else:
        provenance.refuse_foreign(paths)
    if provenance.is_done(paths):
        reporter.message(
            f"nothing to infer: {'the result is' if len(paths) == 1 else f'all {len(paths)} results are'} in {folder}"
        )
        return len(paths)
    with holding(folder, "inference", reporter, f".lock_{place.index}.json"), protecting(reads):
        session.preprocess(subjects, reporter)
        channels = session.preparation.image(subjects[0]).shape[-1]
        before_network()
        network = load(channels) if load else _load(session, checkpoints, state, channels, reporter)
        predictor = build_predictor(session, network, channels, reporter)
        infer_all = infer_values if scalar else infer_volumes
        passes = build_passes(config, network, predictor)
        infer_all(session, predictor, subjects, provenance, reporter, passes)
    reporter.message(f"wrote {counted(len(paths), 'result')} to {folder}")
    return len(paths)


def _load(
    session: Session, checkpoints: CheckpointFolder, state: TrainingState, channels: int, reporter: Reporter
) -> Any:
    from sfgkeras.applications.inference.restored_network import load_network

    return load_network(session, checkpoints, state, channels, reporter)
