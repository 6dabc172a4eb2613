"""Puts a training run together: devices, network, optimiser, step, data, log."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sfgkeras.applications import building, windows
from sfgkeras.applications.base import TaskType
from sfgkeras.applications.checkpoints import CheckpointFolder, TrainingState
from sfgkeras.applications.distribution import build_strategy, configure_devices
from sfgkeras.applications.files import RunFolder, write_text
from sfgkeras.applications.finetuning import freeze_variables, restore_variables
from sfgkeras.applications.reporter import Reporter
from sfgkeras.applications.steps import TrainingStep, ValidationPass, build_optimizer, split_variables
from sfgkeras.applications.training import Trainer
from sfgkeras.callbacks import GroupingConvergence, GroupingHistory
from sfgkeras.config import Config
from sfgkeras.data.pipeline import training_dataset, validation_dataset
from sfgkeras.data.windows import PreparedSubject
from sfgkeras.errors import ConfigError
from sfgkeras.networks import count_multiplies, count_parameters


def prepare_devices(config: Config) -> Any:
    """Sets devices and precision; returns the strategy.

    Raises:
        ConfigError: If the batch cannot be shared by the devices.
    """
    configure_devices(config.system.cuda_devices)
    building.set_precision(config)
    strategy = build_strategy(config.system.strategy, config.system.num_gpus)
    batch_size, devices = config.network.batch_size, strategy.num_replicas_in_sync
    if batch_size % devices:
        raise ConfigError(
            f"[NETWORK] batch_size = {batch_size} cannot be shared by {devices} devices; it counts the "
            f"windows over all of them: make it a multiple of {devices}"
        )
    return strategy


def build_trainer(
    config: Config,
    tasks: Mapping[str, TaskType],
    image_channels: int,
    strategy: Any,
    has_validation: bool,
    checkpoints: CheckpointFolder,
    reporter: Reporter,
) -> tuple[Trainer, Any]:
    """Builds network, optimiser, step and log under the strategy, restored from the newest saved state.

    Returns:
        The trainer and its network.
    """
    with strategy.scope():
        network = building.build_network(config, tasks, image_channels)
        if not checkpoints.iterations():
            restore_variables(network, config.training, reporter)
        freeze_variables(network, config.training.vars_to_freeze, reporter)
        optimizer = build_optimizer(config.training.optimiser, config.training.lr, config.system.mixed_precision)
        grouping_optimizer = None
        if config.training.grouping_lr is not None and split_variables(network, separate=True)[1]:
            grouping_optimizer = build_optimizer(config.training.optimiser, config.training.grouping_lr)
        variables, logits = split_variables(network, separate=grouping_optimizer is not None)
        optimizer.build(variables)
        if grouping_optimizer is not None:
            grouping_optimizer.build(logits)
        metrics = {name: task.build_metrics() for name, task in tasks.items()}
    use_validation_statistics(network, config)
    losses = {name: task.build_loss() for name, task in tasks.items()}
    weights = {name: task.settings.weight for name, task in tasks.items()}
    step = TrainingStep(
        network,
        optimizer,
        losses,
        weights,
        strategy,
        config.network.batch_size,
        config.system.jit_compile,
        grouping_optimizer,
    )
    validate = ValidationPass(network, losses, weights, metrics, strategy) if has_validation else None
    history = GroupingHistory(
        RunFolder(config.system.model_dir).grouping, config.training.tensorboard_every_n, GroupingConvergence()
    )
    trainer = Trainer(config, network, [optimizer, grouping_optimizer], step, validate, history, reporter)
    resume(trainer, checkpoints, config.training.starting_iter, reporter)
    return trainer, network


def use_validation_statistics(network: Any, config: Config) -> None:
    """Lets validation during training normalise with batch statistics, unless moving averages are asked for.

    Recalibrated statistics exist only after training, and the moving averages lag behind the kernels (Bragman et al.
    2019, supplement 1.4).
    """
    network.batch_norm = "population" if config.network.batch_norm == "population" else "batch"


def resume(trainer: Trainer, checkpoints: CheckpointFolder, starting_iter: int, reporter: Reporter) -> None:
    """Restores the newest state that loads, or the one of `starting_iter` where it is positive."""
    state: TrainingState | None
    if starting_iter > 0:
        state = checkpoints.read(starting_iter)
    else:
        state, warnings = checkpoints.read_newest()
        for warning in warnings:
            reporter.warning(warning)
    if state is not None:
        trainer.restore(state)
        reporter.message(f"resumed from iteration {trainer.progress.iteration} ({checkpoints.folder})")


def build_batches(
    config: Config,
    tasks: Mapping[str, TaskType],
    subjects: Sequence[PreparedSubject],
    held_out: Sequence[PreparedSubject],
    strategy: Any,
    start_iteration: int,
) -> tuple[Any, Any]:
    """Builds the training batches from an iteration on, and the fixed validation batches (empty without subjects)."""
    batch_size = config.network.batch_size
    source = windows.build_window_source(config, tasks, subjects, augment=True)
    training = training_dataset(source, batch_size, start_iteration, num_threads=config.system.num_threads)
    training = training.prefetch(config.network.queue_length)
    batches = strategy.experimental_distribute_dataset(training)
    if not held_out:
        return batches, ()
    held_out_source = windows.build_window_source(config, tasks, held_out, augment=False, validation=True)
    validation = validation_dataset(held_out_source, batch_size, config.training.validation_max_iter * batch_size)
    return batches, strategy.experimental_distribute_dataset(validation)


def describe_run(
    network: Any,
    config: Config,
    image_channels: int,
    num_subjects: Mapping[str, int],
    strategy: Any,
    reporter: Reporter,
) -> None:
    """Says what will be trained on what: size, cost, devices, subjects; keeps size and cost for the report."""
    shape = [size + 2 * config.multitask.loss_border for size in config.window_size if size != 1]
    parameters, multiplies = count_parameters(network), count_multiplies(network, (*shape, image_channels))
    size = {"parameters": parameters, "multiplies": multiplies, "window": shape, "image_channels": image_channels}
    write_text(RunFolder(config.system.model_dir).network_size, json.dumps(size) + "\n")
    tasks = ", ".join(f"{name} ({task.type})" for name, task in config.tasks.items())
    subjects = ", ".join(f"{count} {phase}" for phase, count in num_subjects.items())
    reporter.message(f"tasks: {tasks}")
    reporter.message(
        f"network: {config.network.name}, sharing {config.network.sharing}, {parameters:,} parameters, "
        f"{multiplies:,} multiplies per window of {' x '.join(map(str, shape))}"
    )
    reporter.message(f"subjects: {subjects}; devices: {strategy.num_replicas_in_sync}")
    if config.network.batch_norm == "batch":
        reporter.message("batch_norm = batch: results depend on which windows share a batch")
