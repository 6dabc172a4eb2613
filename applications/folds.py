"""Trains the runs of all folds, one after the other or on several machines at a time."""

import gc
from collections.abc import Callable
from dataclasses import replace

from sfgkeras.applications.records.checkpoints import CheckpointFolder, read_record
from sfgkeras.applications.records.files import RunFolder, keep_configuration
from sfgkeras.applications.records.lock import Held
from sfgkeras.applications.subjects.epochs import last_iteration
from sfgkeras.applications.subjects.folds import fold_config, has_all_folds, prepare_folds
from sfgkeras.applications.training.fingerprint import compare_training, refuse_other_network
from sfgkeras.config import Config
from sfgkeras.errors import ConfigError, DataError, Problem
from sfgkeras.reporter import Reporter

Train = Callable[[Config], object]
"""Trains one run."""


def train_folds(config: Config, train: Train, reporter: Reporter, restart: bool = False) -> None:
    """Trains every fold that is not done; what another process trains meanwhile is left to it.

    Args:
        config: The configuration of all folds.
        train: Trains the run of one of them.
        reporter: Shows progress.
        restart: Whether all begin anew; who is in which fold stays.

    Raises:
        ConfigError: If settings do not fit each other or the saved states.
        DataError: If files or folds cannot be used.
    """
    _refuse_teams(config)
    folds = prepare_folds(config)
    keep_configuration(config)
    left = []
    for fold in range(1, config.training.folds + 1):
        own = fold_config(config, fold)
        held_out = sum(number == fold for number in folds.values())
        place = f"fold {fold} of {config.training.folds}"
        if not restart and is_trained(own, len(folds) - held_out):
            reporter.message(f"{place}: was done ({own.system.model_dir})")
            continue
        reporter.message(f"{place}: {held_out} of {len(folds)} subjects are held out ({own.system.model_dir})")
        try:
            train(own)
        except Held as error:
            reporter.message(f"{place} is left to the process that trains it: {error}")
            left.append(fold)
        gc.collect()
    if left:
        names = ", ".join(map(str, left))
        reporter.message(f"trained by other processes: fold {names}; once they are done, all can be used together")


def train_fold(config: Config, own: Config, train: Train) -> object:
    """Trains the run of one fold, whose configuration is `own`, after the folds have been drawn and written."""
    prepare_folds(replace(config, training=config.training.model_copy(update={"fold": None})))
    return train(own)


def is_trained(config: Config, num_subjects: int) -> bool:
    """Says whether the run of a fold has reached its end, with these settings.

    Raises:
        ConfigError: If it was trained with settings that must stay.
    """
    checkpoints = CheckpointFolder(RunFolder(config.system.model_dir).checkpoints)
    iterations = checkpoints.iterations()
    if not iterations:
        return False
    try:
        record = read_record(checkpoints.path(iterations[-1]))
    except DataError:
        return False  # training goes on from the one before
    if record["iteration"] < last_iteration(config, num_subjects) and not record["progress"].get("stopped"):
        return False
    refuse_other_network(config, record["fingerprint"], checkpoints.folder)
    compare_training(config, record.get("training"), checkpoints.folder)
    return True


def refuse_all_folds(config: Config, verb: str) -> None:
    """Refuses what can be done with the run of one fold only.

    Raises:
        ConfigError: If the configuration stands for all folds.
    """
    if has_all_folds(config):
        raise ConfigError(
            f"{config.path}: [TRAINING] folds = {config.training.folds} has as many runs, and {verb} takes one: add "
            f"--fold 1, ..., --fold {config.training.folds}"
        )


def _refuse_teams(config: Config) -> None:
    if config.system.strategy == "multi_worker":
        raise Problem(
            "trains one network per process, and all folds are several",
            "add --fold 1, then --fold 2, ...; or, with strategy = auto, start this command on each machine: every "
            "process takes folds that no other one trains",
            key="strategy",
            value=config.system.strategy,
            section="SYSTEM",
            file=str(config.path),
        )
