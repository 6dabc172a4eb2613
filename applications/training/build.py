"""Puts a training run together: devices, network, optimiser, step, data, log."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sfgkeras.applications.records.checkpoints import CheckpointFolder, TrainingState
from sfgkeras.applications.records.files import RunFolder, write_text
from sfgkeras.applications.records.settled import Settled
from sfgkeras.applications.tasks.task import Task
from sfgkeras.applications.training.averages import WeightAverages
from sfgkeras.applications.training.batches import build_window_source
from sfgkeras.applications.training.fine_tuning import freeze_variables, restore_variables
from sfgkeras.applications.training.network import build_network, set_arithmetic
from sfgkeras.applications.training.optimizers import Optimizers, build_optimizer
from sfgkeras.applications.training.rules import build_rules
from sfgkeras.applications.training.step import ValidationPass
from sfgkeras.applications.training.timetable import build_timetable
from sfgkeras.applications.training.trainer import Trainer
from sfgkeras.applications.workers.strategies import (
    build_strategy,
    configure_devices,
    repeat_bit_for_bit,
    repeat_no_longer,
)
from sfgkeras.applications.workers.team import Team
from sfgkeras.callbacks import GroupingConvergence, GroupingHistory, Histories, SharingHistory
from sfgkeras.config import Config
from sfgkeras.data.pipeline import close, original_errors, training_dataset, validation_dataset
from sfgkeras.data.pipeline_threads import Owned
from sfgkeras.data.windows import PreparedSubject, WindowSource
from sfgkeras.errors import Problem
from sfgkeras.losses.likelihood import likelihood_of
from sfgkeras.networks import count_multiplies, count_parameters
from sfgkeras.reporter import Reporter
from sfgkeras.tables.meta_learning import META_LEARNING


def prepare_devices(config: Config, team: Team | None = None) -> Any:
    """Sets devices and precision; returns the strategy, which is the team's where it has several workers.

    Raises:
        ConfigError: If the batch cannot be shared by the devices.
    """
    if team is not None and team.strategy is not None:
        strategy = team.strategy
    else:
        configure_devices(config.system.cuda_devices)
        strategy = build_strategy(config.system.strategy, config.system.num_gpus)
    set_arithmetic(config)
    batch_size, devices = config.network.batch_size, strategy.num_replicas_in_sync
    if batch_size % devices:
        where = f" of {team.count} workers" if team is not None and team.count > 1 else ""
        raise Problem(
            f"cannot be shared by {devices} devices{where}",
            f"it counts the windows over all of them: make it a multiple of {devices}",
            key="batch_size",
            value=batch_size,
            section="NETWORK",
        )
    return strategy


@dataclass(frozen=True)
class Learner:
    """What is trained, with its step compiled once for all trainings that go on with it.

    Attributes:
        network: Built under the strategy.
        optimizers: Built on the network.
        losses: Loss of each task.
        step: One training step.
        averages: Averages of the network's weights, which `step` updates; None where none are kept.
    """

    network: Any
    optimizers: Optimizers
    losses: Mapping[str, Any]
    step: Any
    averages: WeightAverages | None


def build_learner(
    config: Config,
    tasks: Mapping[str, Task],
    image_channels: int,
    strategy: Any,
    begins: bool,
    reporter: Reporter,
    settled: Settled | None = None,
) -> Learner:
    """Builds network, optimiser and step under the strategy.

    Args:
        config: The configuration.
        tasks: The tasks by name.
        image_channels: Channels of the images.
        strategy: Where it is trained.
        begins: Whether there is no saved state, so that the weights of another network may be taken.
        reporter: Says which.
        settled: The groups that the run has settled on.
    """
    with strategy.scope():
        network = build_network(config, tasks, image_channels, settled)
        if begins:
            restore_variables(network, config.training, reporter)
        freeze_variables(network, config.training.vars_to_freeze, reporter)
        optimizers = build_optimizers(config).build(network)
    use_validation_statistics(network, config)
    losses, balancer = build_losses(tasks, network), network.balancer
    batch_size = config.network.batch_size
    decay = config.training.ema_decay
    averages = None if decay is None else WeightAverages(network, decay, strategy)
    jit_compile = config.system.jit_compile
    build_step = META_LEARNING[config.training.meta_learning].load()
    step = build_step(
        *_meta_settings(config), network, optimizers, losses, balancer, strategy, batch_size, jit_compile, averages
    )
    return Learner(network, optimizers, losses, step, averages)


def build_trainer(
    config: Config,
    learner: Learner,
    tasks: Mapping[str, Task],
    strategy: Any,
    has_validation: bool,
    checkpoints: CheckpointFolder,
    reporter: Reporter,
    writes: bool = True,
    trained_on: Sequence[str] = (),
    settled: Settled | None = None,
    until: int | None = None,
    title: str = "training",
) -> Trainer:
    """Builds what trains a learner, restored from the newest saved state.

    `writes` is false for all workers but the chief; `trained_on` are the ids of the training subjects;
    `settled` the groups that the run has settled on; `until` ends it before the last iteration.
    """
    network = learner.network
    validate = None
    if has_validation:
        with strategy.scope():
            metrics = {name: task.build_metrics() for name, task in tasks.items()}
        validate = ValidationPass(network, learner.losses, network.balancer, metrics, strategy)
    timetable = build_timetable(config, len(trained_on), until)
    folder, interval = RunFolder(config.system.model_dir), grouping_interval(config, timetable.iterations)
    grouping = GroupingHistory(folder.grouping, interval, GroupingConvergence())
    history = Histories([grouping, SharingHistory(folder.sharing, interval)])
    units = {f"{name}_{metric}": unit for name, task in tasks.items() for metric, unit in task.metric_units().items()}
    trainer = Trainer(
        config,
        network,
        learner.optimizers,
        learner.step,
        validate,
        history,
        timetable,
        build_rules(config),
        reporter,
        writes,
        units,
        trained_on,
        settled,
        title,
        learner.averages,
    )
    trainer.checkpoints = checkpoints
    resume(trainer, checkpoints, config.training.starting_iter, reporter)
    return trainer


def _meta_settings(config: Config) -> tuple[Any, ...]:
    """Returns the settings of meta-training and the seed of its curriculum; nothing where there is none."""
    settings = META_LEARNING[config.training.meta_learning].settings_class()
    return () if settings is None else (settings(**config.training.settings_of("meta_learning")), config.system.seed)


def build_losses(tasks: Mapping[str, Task], network: Any) -> dict[str, Any]:
    """Builds the loss of each task, and tells the network's balancing rule what they are likelihoods of."""
    losses = {name: task.build_loss() for name, task in tasks.items()}
    network.balancer.learn_of({name: likelihood_of(loss) for name, loss in losses.items()})
    return losses


def build_optimizers(config: Config) -> Optimizers:
    """Builds the optimiser of `[TRAINING]`, and one of the grouping logits where they have a rate of their own."""
    training, precision = config.training, config.system.mixed_precision
    more, grouping = training.settings_of("optimiser"), None
    if training.grouping_lr is not None:
        grouping = build_optimizer(training.optimiser, training.grouping_lr, precision, more)
    main = build_optimizer(training.optimiser, training.lr, precision, more)
    return Optimizers(main, grouping, training.clip_norm)


def grouping_interval(config: Config, iterations: int) -> int:
    """Returns the iterations between two notes of p and of what tasks share, in a training of so many."""
    return config.training.grouping_every_n or max(1, min(100, iterations // 100))


def use_validation_statistics(network: Any, config: Config) -> None:
    """Lets validation during training normalise with batch statistics, unless moving averages are asked for.

    Recalibrated statistics exist only after training, and the moving averages lag behind the kernels (Bragman et al.
    2019, supplement 1.4).
    """
    network.batch_norm = "population" if config.network.batch_norm == "population" else "batch"


def resume(trainer: Trainer, checkpoints: CheckpointFolder, starting_iter: int, reporter: Reporter) -> None:
    """Restores the newest state that loads.

    Where `starting_iter` is positive, that is the newest one of a run that started from there; if there is none yet,
    this is such a run, and starts from it.
    """
    state: TrainingState | None
    if starting_iter > 0:
        state, warnings = checkpoints.read_continued(starting_iter)
    else:
        state, warnings = checkpoints.read_newest()
    for warning in warnings:
        reporter.warning(warning)
    if state is None and starting_iter > 0:
        trainer.restore(checkpoints.read(starting_iter, "[TRAINING] starting_iter"))
        trainer.progress.started_from = starting_iter
        reporter.message(f"starts from iteration {starting_iter} ({checkpoints.folder})")
        later = [iteration for iteration in checkpoints.iterations() if iteration > starting_iter]
        if later:
            reporter.warning(
                f"{checkpoints.path(later[-1])}: this state of an earlier run is kept until iteration {later[-1]} is "
                f"saved anew ({len(later)} later than starting_iter); -1 in [INFERENCE] inference_iter means the latest"
            )
    elif state is not None:
        trainer.restore(state)
        reporter.message(f"resumed from iteration {trainer.progress.iteration} ({checkpoints.folder})")


@dataclass(frozen=True)
class Batches:
    """The batches of a run.

    Attributes:
        training: Distributed training batches, without end.
        validation: Distributed validation batches, the same in every pass; empty without validation.
        sources: What makes their windows.
    """

    training: Any
    validation: Any
    sources: tuple[WindowSource, ...]

    @contextlib.contextmanager
    def consumed(self) -> Iterator[None]:
        """Surrounds whatever reads the batches: an error of a source comes out as itself; in the end none is made."""
        with contextlib.ExitStack() as stack:
            for source in self.sources:
                stack.callback(close, source)
                stack.enter_context(original_errors(source))
            yield


def build_batches(
    config: Config,
    tasks: Mapping[str, Task],
    subjects: Sequence[PreparedSubject],
    held_out: Sequence[PreparedSubject],
    strategy: Any,
    start_iteration: int,
    team: Team | None = None,
) -> Batches:
    """Builds the training batches from an iteration on, and the fixed validation batches (empty without subjects)."""
    batch_size, team = config.network.batch_size, team or Team()
    source = build_window_source(config, tasks, subjects, augment=True)

    def training(rows: tuple[int, int] | None) -> Any:
        return training_dataset(source, batch_size, start_iteration, rows, config.system.num_threads)

    queue_length = config.network.queue_length
    batches = _distribute(strategy, team, training, batch_size, queue_length)
    if not held_out:
        return Batches(batches, (), (source,))
    count = config.training.validation_max_iter * batch_size
    validation = validation_batches(config, tasks, held_out, strategy, team, count)
    return Batches(batches, validation.validation, (source, *validation.sources))


def validation_batches(
    config: Config,
    tasks: Mapping[str, Task],
    subjects: Sequence[PreparedSubject],
    strategy: Any,
    team: Team,
    count: int,
) -> Batches:
    """Builds the first `count` windows of the subjects that validation draws, the same in every pass."""
    batch_size = config.network.batch_size
    source = build_window_source(config, tasks, subjects, augment=False, validation=True)

    def validation(rows: tuple[int, int] | None) -> Any:
        return validation_dataset(source, batch_size, count, rows=rows)

    return Batches((), _distribute(strategy, team, validation, batch_size), (source,))


def start_windows(batches: Batches, seed: int) -> Iterator[Any]:
    """Returns the iterator over the training windows, and makes what follows repeat bit for bit."""
    repeat_no_longer()
    windows = iter(batches.training)
    repeat_bit_for_bit(seed)
    return windows


def _distribute(
    strategy: Any,
    team: Team,
    build: Callable[[tuple[int, int] | None], Any],
    batch_size: int,
    queue_length: int = 0,
) -> Any:
    """Spreads a data set over the devices; every worker makes only its own rows of each global batch.

    Args:
        strategy: Where it goes.
        team: The workers.
        build: Makes the data set of the rows `(worker, workers)`, or of all.
        batch_size: Windows per global batch.
        queue_length: Batches kept ready.
    """
    if team.count == 1:
        dataset = build(None)
        dataset = dataset.prefetch(queue_length) if queue_length else dataset
        return Owned(strategy.experimental_distribute_dataset(dataset))
    devices = strategy.num_replicas_in_sync

    def of_worker(context: Any) -> Any:
        dataset = build((context.input_pipeline_id, context.num_input_pipelines))
        if devices > team.count:
            # A worker with several devices gives each of them a batch of its own.
            dataset = dataset.rebatch(batch_size // devices, drop_remainder=True)
        return dataset.prefetch(queue_length) if queue_length else dataset

    return Owned(strategy.distribute_datasets_from_function(of_worker))


def describe_run(
    network: Any,
    config: Config,
    image_channels: int,
    num_subjects: Mapping[str, int],
    strategy: Any,
    reporter: Reporter,
    team: Team | None = None,
) -> None:
    """Says what will be trained on what: size, cost, devices, subjects; keeps size and cost for the report."""
    shape = [size + 2 * config.multitask.loss_border for size in config.window_size if size != 1]
    parameters, multiplies = count_parameters(network), count_multiplies(network, (*shape, image_channels))
    size = {"parameters": parameters, "multiplies": multiplies, "window": shape, "image_channels": image_channels}
    team = team or Team()
    if team.is_chief:
        write_text(RunFolder(config.system.model_dir).network_size, json.dumps(size) + "\n")
    tasks = ", ".join(f"{name} ({task.type})" for name, task in config.tasks.items())
    subjects = ", ".join(f"{count} {phase}" for phase, count in num_subjects.items())
    reporter.message(f"tasks: {tasks}")
    reporter.message(
        f"network: {config.network.name}, sharing {config.network.sharing}, {parameters:,} parameters, "
        f"{multiplies:,} multiplies per window of {' x '.join(map(str, shape))}"
    )
    weights = ", ".join(f"{name} {weight:.4g}" for name, weight in network.balancer.current_weights().items())
    kind = "weights, to be learned" if network.balancer.is_learned else "weights"
    reporter.message(f"balancing: {config.training.balancing}, {kind}: {weights}")
    workers = f" of {team.count} workers" if team.count > 1 else ""
    reporter.message(f"subjects: {subjects}; devices: {strategy.num_replicas_in_sync}{workers}")
    for task in config.tasks:
        if stages := network.deep_stages(task):
            told = ", ".join(f"{name} {weight:.3f}" for name, weight in stages.items())
            reporter.message(f"deep supervision of {task}, by weight: {told}")
    if config.network.batch_norm == "batch":
        reporter.message("batch_norm = batch: results depend on which windows share a batch")
    if config.training.ema_decay is not None:
        reporter.message(
            f"ema_decay = {config.training.ema_decay:g}: validation, best and inference use averages of the weights"
        )
