"""From subjects to results on disk: whatever is in the way is said before a network is built."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sfgkeras.applications.inference.class_maps import chosen_class, class_map_paths, class_tasks, infer_class_maps
from sfgkeras.applications.inference.ensemble import Choose, Ensemble, everyone, parts_of
from sfgkeras.applications.inference.passes import Passes, build_passes
from sfgkeras.applications.inference.results import (
    build_predictor,
    contents_of_results,
    infer_volumes,
    result_paths,
)
from sfgkeras.applications.inference.values import infer_values
from sfgkeras.applications.records.checkpoints import CheckpointFolder, TrainingState
from sfgkeras.applications.records.files import VALUES_FILE, Provenance, digest, make_writable
from sfgkeras.applications.records.lock import holding
from sfgkeras.applications.subjects.memory import refuse_large_window
from sfgkeras.applications.subjects.reads import files_read
from sfgkeras.applications.subjects.session import Session
from sfgkeras.applications.tasks.result_names import refuse_unusable_names
from sfgkeras.applications.training.fingerprint import same_settings
from sfgkeras.applications.workers.address import Place
from sfgkeras.config import Config
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import Problem, counted
from sfgkeras.protection import named, protecting
from sfgkeras.reporter import Reporter

Hook = Callable[[], None]


def no_hook() -> None:
    """Does nothing."""


@dataclass(frozen=True)
class Member:
    """One of the networks that predict together.

    Attributes:
        session: The run that it was trained in.
        checkpoints: Where its states lie.
        state: The state to use.
        load: Builds the network for images of so many channels; None takes `load_network` with the session.
    """

    session: Session
    checkpoints: CheckpointFolder
    state: TrainingState
    load: Callable[[int], Any] | None = None


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
    """Writes the results of one network; see `infer_together`, and `Member` for what it consists of."""
    member = Member(session, checkpoints, state, load)
    return infer_together(session, [member], subjects, reporter, place, overwrite, before_network)


def infer_together(
    session: Session,
    members: Sequence[Member],
    subjects: Sequence[Subject],
    reporter: Reporter,
    place: Place = Place(),  # noqa: B008  frozen
    overwrite: bool = False,
    before_network: Hook = no_hook,
    chosen: Choose = everyone,
) -> int:
    """Writes the results of subjects that have none yet from this state and these settings.

    Args:
        session: The run; of several members one whose images are those of all of them, see `ensemble.joined`.
        members: The networks whose mean is the result.
        subjects: The subjects of all workers.
        reporter: Shows progress.
        place: This worker among several, which share the subjects.
        overwrite: Whether results of other states, settings or images are replaced.
        before_network: Called before anything needs TensorFlow, e.g. to load it without a word.
        chosen: Says for a subject's id which of the members predict it, by their numbers.

    Returns:
        How many results are there in the end, of this worker's share.

    Raises:
        DataError: If the folder cannot be written, a foreign result is in the way or an image cannot be used.
    """
    mapped, listed = _share(session, subjects, place, reporter)
    if not mapped and not listed:
        return 0
    refuse_large_window(session.config, session.tasks, mapped or listed)
    folder = session.config.inference.save_seg_dir
    make_writable(folder)
    made_by = made_by_members([(member.session.config, member.state.record) for member in members])
    classified = class_tasks(session.config, session.tasks) if listed else {}
    if classified and len(members) > 1:
        raise Problem(
            "shows what one network looks at, and these are the networks of several folds",
            "write none, or add --fold 1",
            key="class_activation_maps",
            value=session.config.inference.class_activation_maps,
            section="INFERENCE",
            file=str(session.config.path),
        )
    for task in classified.values():
        chosen_class(session.config, task)  # refuses a class that there is not
    provenance = Provenance(folder, made_by, place.index, contents_of_results(session, subjects))
    paths = [path for subject in mapped for path in result_paths(session, subject)]
    paths += [folder / VALUES_FILE] if listed else []
    paths += class_map_paths(session.config, session.tasks, [subject.subject_id for subject in listed])
    refuse_unusable_names(session.config, session.tasks, (subject.subject_id for subject in mapped))
    reads = files_read(session.config, session.cohort)
    reads.refuse(paths, "choose another folder of results, or another output_postfix (--overwrite does not help)")
    _make_room(folder, provenance, paths, overwrite, reporter)
    if provenance.is_done(paths):
        reporter.message(
            f"nothing to infer: {'the result is' if len(paths) == 1 else f'all {len(paths)} results are'} in {folder}"
        )
        return len(paths)
    with holding(folder, "inference", reporter, f".lock_{place.index}.json"), protecting(reads):
        session.preprocess(listed or mapped, reporter)
        channels = session.preparation.image((listed or mapped)[0]).shape[-1] // parts_of(session)
        before_network()
        predictor, passes, network = _build(session, members, channels, reporter, chosen)
        if mapped:
            infer_volumes(session, predictor, mapped, provenance, reporter, passes)
        if listed:
            infer_values(session, predictor, listed, provenance, reporter, passes)
        if classified:
            infer_class_maps(session, network, listed, provenance, reporter)
    reporter.message(f"wrote {counted(len(paths), 'result')} to {folder}")
    return len(paths)


def _share(
    session: Session, subjects: Sequence[Subject], place: Place, reporter: Reporter
) -> tuple[list[Subject], list[Subject]]:
    """Returns whose images this worker writes, and whom it writes into the table; tells why where there is nobody."""
    writes = {task.writes for task in session.tasks.values()}
    # The images are shared by all workers; the one table has one writer.
    mapped = list(subjects[place.index :: place.count]) if "volume" in writes else []
    listed = list(subjects) if "row" in writes and place.index == 0 else []
    if not mapped and not listed:
        why = "there are fewer subjects than workers" if "volume" in writes else "worker 0 writes the table"
        reporter.message(f"nothing to infer for {place.name}: {why}")
    return mapped, listed


def _make_room(
    folder: Path, provenance: Provenance, paths: Sequence[Path], overwrite: bool, reporter: Reporter
) -> None:
    """Refuses results of other states, settings or images, or with `overwrite` forgets them."""
    if not overwrite:
        provenance.refuse_foreign(paths)
        return
    strangers = provenance.unknown(paths)
    if strangers:
        reporter.warning(f"{folder}: replaces files that no inference made there ({named(strangers)})")
    provenance.forget(paths)


def made_by_members(members: Sequence[tuple[Config, Mapping[str, Any]]]) -> str:
    """Returns a digest of what decides results: configuration and record of the state of every member."""
    found = [same_settings(config, record) for config, record in members]
    return digest(found[0] if len(found) == 1 else found)


def _build(
    session: Session, members: Sequence[Member], channels: int, reporter: Reporter, chosen: Choose
) -> tuple[Any, Passes, Any]:
    """Returns what predicts the subjects, how often, and the first of the networks."""
    built = []
    for each in members:
        of_member = (each.session, each.checkpoints, each.state, channels, reporter)
        network = each.load(channels) if each.load else _load(*of_member)
        # Windows and batches are those of the run that asks.
        own = session if len(members) == 1 else replace(each.session, config=session.config)
        built.append((network, build_predictor(own, network, channels, reporter)))
    passes = build_passes(session.config, *built[0], *built[1:])
    predictors = [predictor for _, predictor in built]
    flips, window = session.config.inference.flipping_axes, session.config.window_size
    if len(built) == 1 and not flips:
        return predictors[0], passes, built[0][0]
    return Ensemble(predictors, window, flips, channels, parts_of(session) > 1, chosen), passes, built[0][0]


def _load(
    session: Session, checkpoints: CheckpointFolder, state: TrainingState, channels: int, reporter: Reporter
) -> Any:
    from sfgkeras.applications.inference.restored_network import load_network

    return load_network(session, checkpoints, state, channels, reporter)
