"""All folds of a run together: subjects by the networks that have not learned from them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sfgkeras.applications.inference.ensemble import joined
from sfgkeras.applications.inference.inferring import Hook, Member, infer_together, no_hook
from sfgkeras.applications.inference.staleness import say_trained_subjects
from sfgkeras.applications.records.checkpoints import CheckpointFolder
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.subjects.cohort import Cohort, find_cohort
from sfgkeras.applications.subjects.folds import find_folds, fold_config, folds_file, split_of
from sfgkeras.applications.subjects.session import Session, open_session_of
from sfgkeras.applications.tasks.label_mapping import has_mapping, mapping_file, read_mapping
from sfgkeras.applications.training.fingerprint import refuse_other_network
from sfgkeras.applications.workers.address import Place
from sfgkeras.config import Config
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError
from sfgkeras.reporter import Reporter


@dataclass(frozen=True)
class FoldedRun:
    """The runs of all folds.

    Attributes:
        session: What they have in common: in its split, the subjects of all folds are for validation.
        sessions: The run of each fold.
        folds: The fold that holds each subject out, from 1.
    """

    session: Session
    sessions: Sequence[Session]
    folds: dict[str, int]

    def chosen(self, subject_id: str) -> Sequence[int] | None:
        """Returns the number, from 0, of the run that holds a subject out; None for subjects of no fold: all runs."""
        fold = self.folds.get(subject_id)
        return None if fold is None else (fold - 1,)


def open_folds(config: Config, reporter: Reporter) -> FoldedRun:
    """Opens the runs of all folds, over one cohort, for inference and evaluation.

    Raises:
        DataError: If no folds have been drawn, they do not fit the subjects, or a run is not there.
    """
    if not folds_file(config).is_file():
        raise DataError(f"{folds_file(config)}: there are no folds yet; train first")
    cohort = find_cohort(config, needs_targets=False)
    folds = find_folds(config, cohort)
    sessions = []
    for fold in range(1, config.training.folds + 1):
        own = replace(cohort, split=split_of(fold, folds, cohort.split), warnings=cohort.warnings if fold == 1 else ())
        sessions.append(open_session_of(_quiet(fold_config(config, fold), fold), own, reporter, training=False))
    _refuse_other_labels(sessions)
    return FoldedRun(_of_all(config, sessions[0], cohort, folds), sessions, folds)


def _quiet(config: Config, fold: int) -> Config:
    """Returns the configuration of a fold, whose warnings are those of the first one."""
    return config if fold == 1 else replace(config, warnings=())


def _of_all(config: Config, first: Session, cohort: Cohort, folds: dict[str, int]) -> Session:
    """Returns a session of the first fold that writes where the configuration of all says."""
    split = {"training": [], "validation": sorted(folds), "inference": list(cohort.split.get("inference", ()))}
    return replace(
        first,
        config=replace(first.config, system=config.system, inference=config.inference, evaluation=config.evaluation),
        cohort=replace(cohort, split=split),
    )


def _refuse_other_labels(sessions: Sequence[Session]) -> None:
    """Refuses networks whose classes stand for different labels.

    Raises:
        DataError: Names the file of the first such fold.
    """
    if not has_mapping(sessions[0].config):
        return
    first = read_mapping(sessions[0].config)
    for session in sessions[1:]:
        for name, labels in read_mapping(session.config).items():
            if labels != first.get(name):
                raise DataError(
                    f"{mapping_file(session.config)}: task {name!r} has the labels {list(labels)} there, and "
                    f"{list(first.get(name, ()))} in fold 1: some are missing among the training subjects of a fold; "
                    "leave label_normalisation out and number the labels from 0, or spread them by fold_groups"
                )


def infer_folds(
    config: Config,
    reporter: Reporter,
    dataset: str | None,
    overwrite: bool = False,
    before_network: Hook = no_hook,
    place: Place = Place(),  # noqa: B008  frozen
) -> None:
    """Writes predictions of subjects by the networks of all folds that have not learned from them.

    Those for inference are predicted by all of them, whose outputs are averaged; those that a fold holds out, by its
    network.

    Raises:
        ConfigError: If a checkpoint is of another network.
        DataError: If a fold has no checkpoint, there is no subject, or a foreign result is in the way.
    """
    runs = open_folds(config, reporter)
    members = []
    for number, session in enumerate(runs.sessions, start=1):
        checkpoints = CheckpointFolder(RunFolder(session.config.system.model_dir).checkpoints)
        if not checkpoints.iterations():
            raise DataError(
                f"{checkpoints.folder}: no checkpoint of fold {number}; train it first, with --fold {number}"
            )
        state = checkpoints.read(config.inference.inference_iter, warn=reporter.warning)
        refuse_other_network(session.config, state.record["fingerprint"], checkpoints.folder)
        members.append(Member(session, checkpoints, state))
    subjects = choose_subjects(runs, dataset)
    for number, member in enumerate(members):
        own = [each for each in subjects if runs.chosen(each.subject_id) in (None, (number,))]
        say_trained_subjects(member.session, member.state.record, own, reporter)
    held_out = sum(each.subject_id in runs.folds for each in subjects)
    tested = len(subjects) - held_out
    told = [f"{tested} by the mean of all {len(members)} networks"] if tested else []
    told += [f"{held_out} by the network of the fold that holds each out"] if held_out else []
    reporter.message(f"subjects: {', '.join(told)}")
    session = joined(runs.session, runs.sessions)
    infer_together(session, members, subjects, reporter, place, overwrite, before_network, runs.chosen)


def choose_subjects(runs: FoldedRun, dataset: str | None) -> Sequence[Subject]:
    """Returns the subjects of a phase: `validation` are those of all folds.

    Raises:
        DataError: If there are none.
    """
    session = runs.session
    phase = dataset or session.config.inference.dataset_to_infer
    found = session.cohort.phase("validation", "inference") if phase == "all" else session.cohort.phase(phase)
    if not found:
        why = {
            "training": "every subject of a fold is learned from by the other folds; with --dataset validation each "
            "is predicted by the one that holds it out",
            "inference": "no subject is for inference; take --dataset validation for those that the folds hold out, or "
            "set exclude_fraction_for_inference before the split is drawn",
        }
        raise DataError(f"{folds_file(session.config)}: {why.get(phase, 'it holds no subject')}")
    return found
