"""The line from an INI file to results, written down: one function per verb of the command line."""

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sfgkeras.applications.folds import train_fold, train_folds
from sfgkeras.applications.inference.inferring import Hook, infer_subjects, no_hook
from sfgkeras.applications.records.checkpoints import CheckpointFolder
from sfgkeras.applications.records.files import (
    IN_EFFECT,
    RunFolder,
    keep_configuration,
    make_writable,
)
from sfgkeras.applications.records.lock import holding
from sfgkeras.applications.subjects.checks import refuse_missing_modules
from sfgkeras.applications.subjects.epochs import length_text
from sfgkeras.applications.subjects.folds import chosen_fold, has_all_folds
from sfgkeras.applications.subjects.image_record import write_image_record
from sfgkeras.applications.subjects.label_counts import describe_labels
from sfgkeras.applications.subjects.reads import files_read
from sfgkeras.applications.subjects.session import Session, data_lines, open_session, prepare_phase
from sfgkeras.applications.subjects.whole_images import refuse_partial_windows
from sfgkeras.applications.training.fingerprint import refuse_other_network
from sfgkeras.applications.workers.address import find_place
from sfgkeras.config import Config
from sfgkeras.data.prepared import PreparedSubject
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError
from sfgkeras.protection import protecting
from sfgkeras.reporter import Reporter, SilentReporter

if TYPE_CHECKING:
    from sfgkeras.applications.workers.team import Team


def train(config: Config, reporter: Reporter | None = None, restart: bool = False) -> Any:
    """Trains, from the newest saved state or from the beginning.

    Args:
        config: The configuration.
        reporter: Shows progress.
        restart: Whether what an earlier run saved in the same `model_dir` is removed first.

    Returns:
        The network after the last iteration, with recalibrated statistics where the configuration asks for them; None
        where all folds were trained, each of which lies in its own folder.

    Raises:
        ConfigError: If settings do not fit each other or the saved states.
        DataError: If files cannot be used; before any long work where possible.
    """
    reporter = reporter or SilentReporter()
    refuse_missing_modules(config)

    def one(run: Config) -> Any:
        return _train_one(run, reporter, restart)

    if has_all_folds(config):
        return train_folds(config, one, reporter, restart)
    own = chosen_fold(config)
    return one(config) if own is config else train_fold(config, own, one)


def _train_one(config: Config, reporter: Reporter, restart: bool) -> Any:
    """Trains one run, of all workers of a team."""
    from sfgkeras.applications.workers.team import form_team, reporter_of, settings_lines

    checkpoints = CheckpointFolder(RunFolder(config.system.model_dir).checkpoints, config.training.max_checkpoints)
    team = form_team(config, reporter)
    with team.watching(checkpoints), contextlib.ExitStack() as stack:
        team.agree(configuration=settings_lines(config))
        team.together(lambda: _hold_run(config, team, checkpoints, reporter, stack))
        return _train(config, team, checkpoints, reporter_of(team, reporter), restart)


def _hold_run(
    config: Config, team: "Team", checkpoints: CheckpointFolder, reporter: Reporter, stack: contextlib.ExitStack
) -> None:
    """Lets the chief hold `model_dir` for the whole team: it alone writes there."""
    if team.is_chief:
        make_writable(config.system.model_dir)
        lock = stack.enter_context(holding(config.system.model_dir, "train", reporter))
        checkpoints.before_writing = lock.confirm


def _train(config: Config, team: "Team", checkpoints: CheckpointFolder, reporter: Reporter, restart: bool) -> Any:
    """Trains as one worker of a team; of what is written, only the store of volumes is not the chief's."""
    session, phases = _prepare_training(config, team, checkpoints, reporter)
    with protecting(files_read(config, session.cohort)):
        return _train_prepared(session, phases, team, checkpoints, reporter, restart)


def _train_prepared(
    session: Session,
    phases: dict[str, list[PreparedSubject]],
    team: "Team",
    checkpoints: CheckpointFolder,
    reporter: Reporter,
    restart: bool,
) -> Any:
    from sfgkeras.applications.inference.staleness import say_trained_subjects
    from sfgkeras.applications.training.build import (
        build_batches,
        build_learner,
        build_trainer,
        describe_run,
        prepare_devices,
        start_windows,
    )
    from sfgkeras.applications.training.exploration import clear_exploration, explore
    from sfgkeras.applications.training.exploring import Parts
    from sfgkeras.applications.training.output_ranges import set_output_ranges
    from sfgkeras.applications.training.trainer import naming_what_saves_memory
    from sfgkeras.applications.workers.strategies import missing_gpu
    from sfgkeras.applications.workers.team import array_lines

    config, held_out = session.config, phases.get("validation", [])
    strategy = prepare_devices(config, team)
    if missing := missing_gpu(config):
        reporter.warning(missing)
    if team.is_chief:
        kept = keep_configuration(config)
        if kept.name == IN_EFFECT:
            reporter.message(f"{kept}: every setting in effect (your own file beside it is kept)")
        write_image_record(session, phases["training"][0].image.shape[-1])
        if restart:
            # Not before everything has been found in order: a mistake must not cost an earlier run.
            checkpoints.clear()
            clear_exploration(RunFolder(config.system.model_dir))
    team.meet()
    explore(Parts(config, session.tasks, phases["training"], held_out, strategy, team, checkpoints, reporter))
    held_out = held_out if config.training.validates else []
    channels = phases["training"][0].image.shape[-1]
    ids = [subject.subject_id for subject in phases["training"]]
    settled = checkpoints.settled()
    begins = not checkpoints.iterations()
    learner = build_learner(config, session.tasks, channels, strategy, begins, reporter, settled)
    network = learner.network
    trainer = build_trainer(
        config,
        learner,
        session.tasks,
        strategy,
        bool(held_out),
        checkpoints,
        reporter,
        team.is_chief,
        ids,
        settled,
    )
    if settled is not None:
        reporter.message(f"groups of filters: those of candidate {settled.candidate}, fixed since {settled.iteration}")
    if trainer.progress.iteration == 0:
        set_output_ranges(network, session.tasks, phases["training"], reporter)
    if team.count > 1:
        team.agree(weights_to_start_from=array_lines(trainer.state().arrays))
    describe_run(
        network, config, channels, {name: len(found) for name, found in phases.items()}, strategy, reporter, team
    )
    if config.multitask.missing_targets == "allow":
        reporter.message(f"subjects with a target: {describe_labels(session.cohort, session.tasks, list(phases))}")
    say_trained_subjects(session, trainer.record, session.cohort.phase("validation", "inference"), reporter)
    progress = trainer.progress
    if trainer.is_done:
        why = progress.stopped or length_text(config, len(ids))
        reporter.message(f"nothing to train: iteration {progress.iteration} is reached ({why})")
        if progress.iteration == 0:
            trainer.save()
            reporter.message(f"saved the network as it begins: {checkpoints.path(0)}")
    else:
        batches = build_batches(config, session.tasks, phases["training"], held_out, strategy, progress.iteration, team)
        windows = start_windows(batches, config.system.seed)
        with batches.consumed(), naming_what_saves_memory(config):
            trainer.run(windows, batches.validation)
    return team.in_turn(
        lambda: _finished(session, team, checkpoints, network, phases["training"], progress.iteration, reporter)
    )


def _prepare_training(
    config: Config, team: "Team", checkpoints: CheckpointFolder, reporter: Reporter
) -> tuple[Session, dict[str, list[PreparedSubject]]]:
    """Finds and prepares all that a training reads: the chief first, then every worker its share of the subjects."""

    def find() -> Session:
        if team.is_chief:
            checkpoints.remove_leftovers()
        return open_session(config, reporter, training=True)

    session = team.in_turn(find)
    names = ["training", *(["validation"] if session.needs_validation else [])]
    if team.count > 1:
        team.agree(training_data=data_lines(session, names))
        own = team.share(session.cohort.phase(*names))
        team.together(lambda: [session.preparation.subject(subject) for subject in own])

    def prepare() -> dict[str, list[PreparedSubject]]:
        phases = {name: prepare_phase(session, name, reporter) for name in names}
        for subjects in phases.values():
            refuse_partial_windows(config, session.tasks, subjects)
        return phases

    return session, team.together(prepare)


def _finished(
    session: Session,
    team: "Team",
    checkpoints: CheckpointFolder,
    network: Any,
    subjects: Sequence[PreparedSubject],
    iteration: int,
    reporter: Reporter,
) -> Any:
    """Returns the trained network: the best one of validation, and with recalibrated statistics, where asked for."""
    from sfgkeras.applications.inference.restored_network import recalibrate_saved
    from sfgkeras.applications.records.checkpoints import read_record, read_state, restore_arrays
    from sfgkeras.applications.training.network import build_network

    config, best = session.config, checkpoints.path("best")
    takes_best = config.training.restore_best and best.is_file()
    if team.count > 1 and config.network.batch_norm == "recalibrated":
        # One worker measures alone, with variables that it shares with nobody.
        network = build_network(config, session.tasks, subjects[0].image.shape[-1], checkpoints.settled())
    if config.network.batch_norm == "recalibrated":
        saved: list[int | str] = [iteration, "best"] if takes_best else ["best", iteration]
        recalibrate_saved(session, checkpoints, network, subjects, saved, reporter)
    elif takes_best or config.training.ema_decay is not None:
        restore_arrays(read_state(best if takes_best else checkpoints.path(iteration)).arrays, network)
    if takes_best:
        found = read_record(best)["iteration"]
        reporter.message(f"restore_best = yes: the network is that of iteration {found}, the best in validation")
    return network


def infer(
    config: Config,
    reporter: Reporter | None = None,
    dataset: str | None = None,
    overwrite: bool = False,
    before_network: Hook = no_hook,
) -> None:
    """Writes predictions for the subjects of a phase; of several workers each infers its own share of them.

    Args:
        config: The configuration.
        reporter: Shows progress.
        dataset: `training`, `validation`, `inference` or `all`; None takes the INI's `dataset_to_infer`.
        overwrite: Whether results of another checkpoint, other settings or other images are replaced.
        before_network: Called before anything needs TensorFlow, e.g. to load it without a word.

    Raises:
        ConfigError: If the checkpoint is of another network.
        DataError: If there is no checkpoint, no subject, or a foreign result is in the way.
    """
    from sfgkeras.applications.inference.staleness import say_trained_subjects

    reporter, place = reporter or SilentReporter(), find_place(config, required=False)
    if has_all_folds(config):
        from sfgkeras.applications.inference.folds import infer_folds

        infer_folds(config, reporter, dataset, overwrite, before_network, place)
        return
    config = chosen_fold(config)
    checkpoints = CheckpointFolder(RunFolder(config.system.model_dir).checkpoints)
    state = checkpoints.read(config.inference.inference_iter, warn=reporter.warning)
    refuse_other_network(config, state.record["fingerprint"], checkpoints.folder)
    session = open_session(config, reporter, training=False)
    subjects = select_subjects(session, dataset)
    say_trained_subjects(session, state.record, subjects, reporter)
    infer_subjects(session, checkpoints, state, subjects, reporter, place, overwrite, before_network)


def evaluate(config: Config, reporter: Reporter | None = None, dataset: str | None = None) -> dict[str, Any]:
    """Compares predictions with the truth; writes CSV files and shows the summary.

    Of several workers each compares its own share of the subjects; they wait for each other, and the chief writes.

    Args:
        config: The configuration.
        reporter: Shows progress and tables.
        dataset: As in `infer`.

    Returns:
        Summary rows by task: `region` or `label`, `measure`, `mean`, `std`, `median`, `n` and `n_missing`; of several
        workers the chief has them, and the others have none.

    Raises:
        ConfigError: If the workers have not the same settings or subjects, or another one met a `DataError`.
        DataError: If a prediction is missing, or no subject has a target.
        WorkerLost: If another worker is gone.
    """
    from sfgkeras.applications.workers.team import Team, form_team, reporter_of, settings_lines

    reporter, config = reporter or SilentReporter(), chosen_fold(config)
    # Without the variables that say who the workers are, one process does all, as in inference.
    team = form_team(config, reporter) if find_place(config, required=False).count > 1 else Team()
    with team.watching():
        team.agree(configuration=settings_lines(config))
        return _evaluate(config, team, reporter_of(team, reporter), dataset)


def _evaluate(config: Config, team: "Team", reporter: Reporter, dataset: str | None) -> dict[str, Any]:
    """Evaluates as one worker of a team."""
    from sfgkeras.applications.evaluation import TABLES, evaluate_task, refuse_foreign_tables
    from sfgkeras.applications.inference.folds import choose_subjects, open_folds
    from sfgkeras.applications.inference.staleness import say_older_predictions

    def find() -> tuple[Session, Sequence[Subject]]:
        if has_all_folds(config):
            runs = open_folds(config, reporter)
            session, found = runs.session, choose_subjects(runs, dataset)
        else:
            session = open_session(config, reporter, training=False)
            found = select_subjects(session, dataset)
        if team.is_chief:
            make_writable(config.evaluation.save_csv_dir)
        return session, found

    session, subjects = team.together(find)
    team.agree(subjects_to_evaluate=[subject.subject_id for subject in subjects])
    reads, folder = files_read(config, session.cohort), config.evaluation.save_csv_dir
    tables = [folder / f"{name}_{table}.csv" for name in session.tasks for table in TABLES]
    reads.refuse(tables, "choose another [EVALUATION] save_csv_dir")
    refuse_foreign_tables(tables)
    if team.is_chief:
        say_older_predictions(session, subjects, reporter)
    with protecting(reads):
        summaries = {
            name: evaluate_task(session, task, subjects, reporter, team) for name, task in session.tasks.items()
        }
    return summaries if team.is_chief else {}


def select_subjects(session: Session, dataset: str | None) -> Sequence[Subject]:
    """Returns the subjects of a phase, or of all.

    Raises:
        DataError: If there are none.
    """
    phase = dataset or session.config.inference.dataset_to_infer
    subjects = list(session.cohort.subjects.values()) if phase == "all" else session.cohort.phase(phase)
    if not subjects:
        raise DataError(
            f"{session.config.system.dataset_split_file}: no subject has the phase {phase!r}; choose another "
            "with --dataset, or set exclude_fraction_for_inference in [TRAINING] before the split is drawn"
        )
    return subjects
