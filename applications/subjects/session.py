"""A configuration brought to life: its tasks, its subjects and what prepares them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sfgkeras.applications.subjects.checks import refuse_problems
from sfgkeras.applications.subjects.cohort import Cohort, find_cohort, keep_split
from sfgkeras.applications.subjects.histogram_landmarks import fit_missing_landmarks, read_required_landmarks
from sfgkeras.applications.subjects.label_fitting import fit_missing_mappings
from sfgkeras.applications.subjects.pace import describe_pace
from sfgkeras.applications.subjects.preparation import Preparation
from sfgkeras.applications.subjects.preprocessed import PreprocessedImages
from sfgkeras.applications.subjects.reads import files_read, refuse_own_places
from sfgkeras.applications.tasks.label_mapping import has_mapping, mapping_file
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.applications.tasks.task import Task
from sfgkeras.config import Config
from sfgkeras.data.subjects import Subject
from sfgkeras.data.windows import PreparedSubject
from sfgkeras.errors import DataError
from sfgkeras.reporter import Reporter
from sfgkeras.tables.sharing import SHARING


@dataclass(frozen=True)
class Session:
    """What every verb starts from.

    Attributes:
        config: The configuration.
        tasks: The tasks by name.
        cohort: The subjects.
        preparation: Prepares them.
        preprocessed: The images that `[PREPROCESSING]` makes.
    """

    config: Config
    tasks: dict[str, Task]
    cohort: Cohort
    preparation: Preparation
    preprocessed: PreprocessedImages

    @property
    def needs_validation(self) -> bool:
        """Whether a training looks at validation subjects: to validate, or to choose among candidates."""
        training, is_learned = self.config.training, SHARING[self.config.network.sharing].learned
        chooses = is_learned and training.schedule == "auto" and bool(self.cohort.phase("validation"))
        return training.validates or chooses

    def preprocess(self, subjects: Sequence[Subject], reporter: Reporter) -> None:
        """Makes what `[PREPROCESSING]` asks for, with progress; what is missing is made when it is read.

        Raises:
            DataError: If a subject cannot be preprocessed.
        """
        self.preprocessed.make(subjects, reporter)


def open_session(config: Config, reporter: Reporter, training: bool) -> Session:
    """Finds the subjects, and the histogram landmarks: fitted when `training`, required otherwise.

    Raises:
        ConfigError: If tasks and network do not fit.
        DataError: If files are missing or landmarks are missing or stale.
    """
    return open_session_of(config, find_cohort(config, needs_targets=training), reporter, training)


def open_session_of(config: Config, cohort: Cohort, reporter: Reporter, training: bool) -> Session:
    """Opens a session over subjects that have been found; see `open_session`."""
    tasks = build_tasks(config)
    for warning in (*config.warnings, *cohort.warnings):
        reporter.warning(warning)
    if training:
        for warning in describe_pace(config, len(cohort.phase("training"))):
            reporter.warning(warning)
        refuse_problems(config, cohort, reporter)
        refuse_own_places(config, files_read(config, cohort))
        keep_split(config, cohort)
    if has_mapping(config):
        tasks = _with_labels(config, tasks, cohort, reporter, training)
    preprocessed = PreprocessedImages(config, cohort, fit=training)
    preparation = Preparation(config, tasks, cohort, preprocessed=preprocessed, warn=reporter.warning)
    session = Session(config, tasks, cohort, preparation, preprocessed)
    if training:
        validation = ["validation"] if session.needs_validation else []
        session.preprocess(cohort.phase("training", *validation), reporter)
    if config.network.normalisation:
        obtain = fit_missing_landmarks if training else read_required_landmarks
        preparation.landmarks |= obtain(config, cohort, preparation, reporter)
    return session


def _with_labels(
    config: Config, tasks: dict[str, Task], cohort: Cohort, reporter: Reporter, training: bool
) -> dict[str, Task]:
    """Returns the tasks with the labels that `label_normalisation` numbers: found when `training`, else required."""
    if training:
        fit_missing_mappings(config, tasks, cohort, reporter)
        return build_tasks(config)
    for task in tasks.values():
        if task.settings.label_normalisation and not task.labels and task.settings.inferred is None:
            raise DataError(
                f"{mapping_file(config)}: no labels of task {task.name!r}, which training finds and writes; train first"
            )
    return tasks


def data_lines(session: Session, phases: Sequence[str]) -> list[str]:
    """Returns one line per file and value that a run learns from: phase, subject, source, and digest of the content.

    Raises:
        DataError: If a file cannot be read.
    """
    lines = []
    for phase in phases:
        for subject in session.cohort.phase(phase):
            name = f"{phase} {subject.subject_id}"
            lines += [f"{name} [{source}] = {image.fingerprint()}" for source, image in subject.images.items()]
            for source, rows in session.cohort.values.items():
                row = sorted(rows.get(subject.subject_id, {}).items())
                lines += [f"{name} [{source}] {attribute} = {text}" for attribute, text in row]
    return lines


def prepare_phase(session: Session, phase: str, reporter: Reporter) -> list[PreparedSubject]:
    """Prepares all subjects of a phase; each array is computed once and found in the store by later runs.

    Raises:
        DataError: If the phase is empty or a subject cannot be used.
    """
    subjects = session.cohort.phase(phase)
    if not subjects:
        path = session.config.system.dataset_split_file
        raise DataError(
            f"{path}: no subject has the phase {phase!r}; add one, or remove the file to have it drawn anew"
        )
    session.preprocess(subjects, reporter)
    prepared = []
    with reporter.stage(f"preparing {phase} subjects", len(subjects)) as stage:
        for subject in subjects:
            prepared.append(session.preparation.subject(subject))
            stage.advance(1, subject.subject_id)
    return prepared
