"""The line from an INI file to results, written down: one function per verb of the command line."""

from collections.abc import Sequence
from typing import Any

from sfgkeras.applications.checkpoints import CheckpointFolder
from sfgkeras.applications.files import (
    VALUES_FILE,
    Provenance,
    RunFolder,
    digest,
    make_writable,
    same_settings,
    write_text,
)
from sfgkeras.applications.reporter import Reporter, SilentReporter
from sfgkeras.applications.session import Session, open_session, prepare_phase
from sfgkeras.config import Config
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError


def train(config: Config, reporter: Reporter | None = None, restart: bool = False) -> Any:
    """Trains, from the newest saved state or from the beginning.

    Args:
        config: The configuration.
        reporter: Shows progress.
        restart: Whether what an earlier run saved in the same `model_dir` is removed first.

    Returns:
        The network after the last iteration, with recalibrated statistics where the configuration asks for them.

    Raises:
        ConfigError: If settings do not fit each other or the saved states.
        DataError: If files cannot be used; before any long work where possible.
    """
    from sfgkeras.applications import assembly
    from sfgkeras.applications.distribution import repeat_bit_for_bit
    from sfgkeras.applications.recalibration import recalibrate_saved

    reporter = reporter or SilentReporter()
    folder = RunFolder(config.system.model_dir)
    make_writable(folder.path)
    checkpoints = CheckpointFolder(folder.checkpoints, config.training.max_checkpoints)
    checkpoints.remove_leftovers()
    session = open_session(config, reporter, training=True)
    phases = {"training": prepare_phase(session, "training", reporter)}
    if config.training.validation_every_n > 0:
        phases["validation"] = prepare_phase(session, "validation", reporter)
    held_out = phases.get("validation", [])
    write_text(folder.configuration, config.effective_text())

    strategy = assembly.prepare_devices(config)
    if restart:
        # Not before everything has been found in order: a mistake must not cost an earlier run.
        checkpoints.clear()
    channels = phases["training"][0].image.shape[-1]
    trainer, network = assembly.build_trainer(
        config, session.tasks, channels, strategy, bool(held_out), checkpoints, reporter
    )
    assembly.describe_run(
        network, config, channels, {name: len(found) for name, found in phases.items()}, strategy, reporter
    )
    progress = trainer.progress
    if progress.stopped or progress.iteration >= config.training.max_iter:
        why = progress.stopped or f"max_iter = {config.training.max_iter}"
        reporter.message(f"nothing to train: iteration {progress.iteration} is reached ({why})")
    else:
        batches, validation_batches = assembly.build_batches(
            config, session.tasks, phases["training"], held_out, strategy, progress.iteration
        )
        windows = iter(batches)
        repeat_bit_for_bit(config.system.seed)
        trainer.run(windows, validation_batches)
    if config.network.batch_norm == "recalibrated":
        recalibrate_saved(session, checkpoints, network, phases["training"], reporter)
    return network


def infer(
    config: Config, reporter: Reporter | None = None, dataset: str | None = None, overwrite: bool = False
) -> None:
    """Writes predictions for the subjects of a phase.

    Args:
        config: The configuration.
        reporter: Shows progress.
        dataset: `training`, `validation`, `inference` or `all`; None takes the INI's `dataset_to_infer`.
        overwrite: Whether results of another checkpoint or other settings are replaced.

    Raises:
        DataError: If there is no checkpoint, no subject, or a foreign result is in the way.
    """
    from sfgkeras.applications.inference import infer_values, infer_volumes, result_paths
    from sfgkeras.applications.monte_carlo import build_passes
    from sfgkeras.applications.predictor import Predictor
    from sfgkeras.applications.recalibration import load_network

    reporter = reporter or SilentReporter()
    checkpoints = CheckpointFolder(RunFolder(config.system.model_dir).checkpoints)
    state = checkpoints.read(config.inference.inference_iter)
    session = open_session(config, reporter, training=False)
    subjects = select_subjects(session, dataset)
    folder = config.inference.save_seg_dir
    make_writable(folder)
    provenance = Provenance(folder, digest(same_settings(config, state.record)))
    scalar = all(task.is_scalar for task in session.tasks.values())
    paths = [folder / VALUES_FILE]
    if not scalar:
        paths = [path for subject in subjects for path in result_paths(session, subject)]
    if overwrite:
        provenance.forget(paths)
    else:
        provenance.refuse_foreign(paths)
    if provenance.is_done(paths):
        reporter.message(f"nothing to infer: all {len(paths)} results are in {folder}")
        return
    session.preprocess(subjects, reporter)
    channels = session.preparation.image(subjects[0]).shape[-1]
    network = load_network(session, checkpoints, state, channels, reporter)
    inference = config.inference
    window = inference.spatial_window_size or config.window_size
    predictor = Predictor(
        network,
        session.tasks,
        window,
        inference.border,
        inference.blending,
        config.network.batch_size,
        config.network.smaller_final_batch_mode == "pad",
        config.multitask.loss_border,
    )
    infer_all = infer_values if scalar else infer_volumes
    passes = build_passes(config, network, predictor)
    infer_all(session, predictor, subjects, provenance, reporter, passes)
    reporter.message(f"wrote {len(paths)} results to {folder}")


def evaluate(config: Config, reporter: Reporter | None = None, dataset: str | None = None) -> dict[str, Any]:
    """Compares predictions with the truth; writes CSV files and shows the summary.

    Args:
        config: The configuration.
        reporter: Shows progress and tables.
        dataset: As in `infer`.

    Returns:
        Summary rows by task: `region` or `label`, `measure`, `mean`, `std`, `median`, `n` and `n_missing`.

    Raises:
        DataError: If a prediction is missing, or no subject has a target.
    """
    from sfgkeras.applications.evaluation import evaluate_task

    reporter = reporter or SilentReporter()
    session = open_session(config, reporter, training=False)
    subjects = select_subjects(session, dataset)
    make_writable(config.evaluation.save_csv_dir)
    return {name: evaluate_task(session, task, subjects, reporter) for name, task in session.tasks.items()}


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
