"""Normalisation statistics for inference: measured once per saved state and kept beside it."""

from collections.abc import Callable, Sequence
from typing import Any

from sfgkeras.applications.records.checkpoints import (
    CheckpointFolder,
    TrainingState,
    collect_arrays,
    read_state,
    restore_arrays,
    write_state,
)
from sfgkeras.applications.records.settled import settled_of
from sfgkeras.applications.records.statistics_files import BATCHES, age_of, statistics_path
from sfgkeras.applications.subjects.session import Session, prepare_phase
from sfgkeras.applications.training.batches import build_window_source
from sfgkeras.applications.training.fingerprint import refuse_other_network
from sfgkeras.applications.training.network import build_network, set_arithmetic
from sfgkeras.config import Config
from sfgkeras.data.pipeline import validation_dataset
from sfgkeras.data.pipeline_threads import Owned
from sfgkeras.data.windows import PreparedSubject
from sfgkeras.errors import DataError
from sfgkeras.networks import group_network, recalibrate
from sfgkeras.reporter import Reporter


def load_network(
    session: Session,
    checkpoints: CheckpointFolder,
    state: TrainingState,
    image_channels: int,
    reporter: Reporter,
    elsewhere: Callable[[], Session] | None = None,
) -> Any:
    """Builds the network of a saved state for inference, with fixed groups where that gives the same results.

    Arguments are those of `restore_network`.
    """
    network = restore_network(session, checkpoints, state, image_channels, reporter, elsewhere)
    if session.config.inference.masks == "auto" and network.groupings():
        reporter.message(describe_masks(network))
    return _without_waste(session.config, network)


def describe_masks(network: Any) -> str:
    """Says which masks stand behind `auto`, and why."""
    share = f"{network.undecided_filters:.1%} of the filters are undecided"
    if network.settled_masks == "mode":
        return f"masks = auto: every filter's most probable group ({share})"
    temperature = float(network.temperature)
    return f"masks = auto: the mean of all draws at temperature {temperature:.2g} ({share}; more than 5 %)"


def restore_network(
    session: Session,
    checkpoints: CheckpointFolder,
    state: TrainingState,
    image_channels: int,
    reporter: Reporter,
    elsewhere: Callable[[], Session] | None = None,
) -> Any:
    """Builds the network of a saved state as it was trained, with the statistics for inference.

    With `batch_norm = recalibrated` the statistics beside the state are used; where there are none for the training
    subjects of today they are measured on these and kept.

    Args:
        session: The run.
        checkpoints: Where its states lie.
        state: The state.
        image_channels: Channels of the image.
        reporter: Shows progress.
        elsewhere: Opens the session of the training, where `session` is one of other subjects.
    """
    config = session.config
    set_arithmetic(config)
    refuse_other_network(config, state.record["fingerprint"], checkpoints.folder)
    network = build_network(config, session.tasks, image_channels, settled_of(state.record))
    restore_arrays(state.arrays, network)
    network.masks = config.inference.masks
    network.batch_norm = config.network.batch_norm
    if config.network.batch_norm == "recalibrated":
        _recalibrate(session, checkpoints, state, network, None, reporter, elsewhere)
    elif config.network.batch_norm == "batch":
        reporter.message("batch_norm = batch: results depend on which windows share a batch")
    return network


def _without_waste(config: Config, network: Any) -> Any:
    """Returns the network with fixed groups where it gives the same results: one-hot masks, fixed statistics.

    What it leaves out is multiplied by zero in the masked network: at the paper's width most of its time. `harden`
    would make it of Keras' own layers, whose dilated convolutions are slower.
    """
    return group_network(network) if hardens_exactly(config, network) else network


def hardens_exactly(config: Config, network: Any) -> bool:
    """Says whether a trained network's results are those of its groups, with no masks: then it is run hardened."""
    has_fixed_statistics = config.network.batch_norm != "batch"
    return bool(network.settled_masks == "mode" and config.network.mask_residual and has_fixed_statistics)


def recalibrate_saved(
    session: Session,
    checkpoints: CheckpointFolder,
    network: Any,
    subjects: Sequence[PreparedSubject],
    saved: Sequence[int | str],
    reporter: Reporter,
) -> None:
    """Measures the statistics of saved states, of iterations and of `best` where there is one; it ends as the last."""
    network.masks = session.config.inference.masks
    network.batch_norm = "recalibrated"
    for name in saved:
        if name == "best" and not checkpoints.path(name).is_file():
            continue
        state = checkpoints.read(name)
        restore_arrays(state.arrays, network)
        _recalibrate(session, checkpoints, state, network, subjects, reporter)


def _recalibrate(
    session: Session,
    checkpoints: CheckpointFolder,
    state: TrainingState,
    network: Any,
    subjects: Sequence[PreparedSubject] | None,
    reporter: Reporter,
    elsewhere: Callable[[], Session] | None = None,
) -> None:
    config = session.config
    if not network.normalizations():
        return  # nothing to measure
    path = statistics_path(config, checkpoints.folder, state.record, training_images(session))
    try:
        restore_arrays(read_state(path).arrays, network)
        network.masks = config.inference.masks
        network.record_statistics()
        return
    except DataError:
        pass  # none yet, or damaged: measured (again) below
    if subjects is None:
        trained = session if elsewhere is None else elsewhere()
        path = statistics_path(config, checkpoints.folder, state.record, training_images(trained))
        subjects = prepare_phase(trained, "training", reporter)
    measure_statistics(session, network, subjects, state.record["iteration"], reporter)
    for old in _superseded(checkpoints):
        old.unlink(missing_ok=True)
    write_state(path, TrainingState(collect_arrays(network), state.record))


def measure_statistics(
    session: Session, network: Any, subjects: Sequence[PreparedSubject], iteration: int, reporter: Reporter
) -> None:
    """Measures the normalisation statistics of a network on windows of training subjects."""
    config = session.config
    source = build_window_source(config, session.tasks, subjects, augment=False)
    dataset = validation_dataset(source, config.network.batch_size, BATCHES * config.network.batch_size)
    with reporter.stage(f"recalibrating iteration {iteration}", 1) as stage:
        recalibrate(network, Owned(dataset.map(_images_only)), BATCHES)
        stage.advance()


def training_images(session: Session) -> list[list[Any]]:
    """Returns what tells the images of the training subjects from others: subject, source, size and time of each file.

    Not their content, which inference would otherwise have to read whole.
    """
    found = []
    for subject in session.cohort.phase("training"):
        for source in session.config.image:
            found.append([subject.subject_id, source, *subject.images[source].stamp()])
    return found


def _images_only(images: Any, targets: Any, weights: Any) -> Any:
    return images


def _superseded(checkpoints: CheckpointFolder, keep: int = 7) -> list[Any]:
    found = sorted(checkpoints.folder.glob("recalibrated_*.npz"), key=age_of)
    return found[:-keep]
