"""Trains a run: resumes it, steps, validates, logs, saves, and knows when to stop."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sfgkeras.applications.records.checkpoints import CheckpointFolder, TrainingState, collect_arrays, restore_arrays
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.records.logs import CsvLog, SilentLog, TensorBoardLog, write_units
from sfgkeras.applications.records.training_record import TrainingClock, accelerator_names
from sfgkeras.applications.training.fingerprint import (
    compare_training,
    network_fingerprint,
    refuse_other_network,
    training_settings,
)
from sfgkeras.applications.training.loss_balance import describe_imbalance
from sfgkeras.applications.training.step import REGULARISATION, TOTAL, TrainingStep, ValidationPass
from sfgkeras.applications.training.stopping import EARLY_STOPPING, should_stop
from sfgkeras.applications.workers.address import find_place
from sfgkeras.config import Config
from sfgkeras.errors import ConfigError, lookup
from sfgkeras.reporter import Reporter


@contextlib.contextmanager
def naming_what_saves_memory(config: Config) -> Iterator[None]:
    """Turns TensorFlow's error about memory that a device has not into one line that says what to do.

    Raises:
        ConfigError: If a device runs out of memory.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        system, network = config.system, config.network
        again = {"none": "activations", "activations": "blocks"}.get(system.rematerialise)
        remedies = [f"[SYSTEM] rematerialise = {again}"] if again and not system.jit_compile else []
        remedies += [f"a [NETWORK] batch_size below {network.batch_size}"] if network.batch_size > 1 else []
        remedies += ["a smaller spatial_window_size", f"a [NETWORK] width below {network.width:g}"]
        raise ConfigError(
            f"the training step does not fit into the memory of the device ({str(error.message).splitlines()[0]}); "
            f"try {', '.join(remedies[:-1])} or {remedies[-1]}"
        ) from error


@dataclass
class Progress:
    """What changes from validation to validation and must survive a restart.

    Attributes:
        iteration: Finished optimiser steps.
        best_score: Best value of the watched validation score so far, or None.
        best_iteration: Where it was reached.
        validation_losses: All validation losses, for early stopping.
        stopped: Why the run ended before `max_iter`; empty while it has not.
        started_from: The `starting_iter` that the run began with; 0 for a run from the beginning.
    """

    iteration: int = 0
    best_score: float | None = None
    best_iteration: int = 0
    validation_losses: list[float] = field(default_factory=list)
    stopped: str = ""
    started_from: int = 0


class Trainer:
    """Runs the iterations of one network.

    Args:
        config: The configuration.
        network: Built under the strategy.
        optimizers: Built under the strategy; None stands for one that is not there.
        step: One training step.
        validate: One validation pass, or None where there is no validation.
        monitor: Grouping probabilities over time, a `GroupingHistory`.
        reporter: Shows progress.
        writes: Whether this process writes states and logs; of several workers only the chief does.
        units: Units of validation scores, by column; those that are not named have none.
        trained_on: Ids of the training subjects; those of the states that it goes on from are added.
    """

    def __init__(
        self,
        config: Config,
        network: Any,
        optimizers: Sequence[Any],
        step: TrainingStep,
        validate: ValidationPass | None,
        monitor: Any,
        reporter: Reporter,
        writes: bool = True,
        units: Mapping[str, str] | None = None,
        trained_on: Iterable[str] = (),
    ) -> None:
        self._config = config
        self._units = dict(units or {})
        self._writes = writes
        self._network = network
        self._optimizers = [optimizer for optimizer in optimizers if optimizer is not None]
        self._step = step
        self._validate = validate
        self._monitor = monitor
        self._reporter = reporter
        self.folder = RunFolder(config.system.model_dir)
        self.checkpoints = CheckpointFolder(self.folder.checkpoints, config.training.max_checkpoints)
        self.progress = Progress()
        # Once: landmarks that somebody edits meanwhile are not those that this run learns with.
        self._fingerprint = network_fingerprint(config)
        self._trained_on = set(trained_on)
        self._clock: TrainingClock | None = None
        self._watch, self._higher_is_better = _watched_score(config)

    def restore(self, state: TrainingState) -> None:
        """Puts network, optimiser, generators and progress where a saved state left them.

        Raises:
            ConfigError: If the state was written by another configuration; names the setting.
        """
        refuse_other_network(self._config, state.record["fingerprint"], self.folder.checkpoints)
        for change in compare_training(self._config, state.record.get("training"), self.folder.checkpoints):
            self._reporter.message(f"resumes with other settings: {change}")
        self._trained_on |= set(state.record.get("trained_on", ()))
        restore_arrays(state.arrays, self._network, self._optimizers)
        self._network.masks = self._config.inference.masks
        self.progress = Progress(**state.record["progress"])

    @property
    def record(self) -> dict[str, Any]:
        """What is told of a state besides its arrays, as plain values."""
        return {
            "iteration": self.progress.iteration,
            "progress": vars(self.progress),
            "fingerprint": self._fingerprint,
            "training": training_settings(self._config),
            "trained_on": sorted(self._trained_on),
        }

    def state(self) -> TrainingState:
        """Returns everything that a resumed run needs."""
        return TrainingState(collect_arrays(self._network, self._optimizers), self.record)

    def run(self, batches: Iterator[Any], validation_batches: Any) -> Progress:
        """Trains from the current iteration until `max_iter` or a stopping rule.

        Args:
            batches: Training batches from the current iteration on.
            validation_batches: The fixed set of validation batches; iterated at each validation.
        """
        training, start = self._config.training, self.progress.iteration
        tasks = list(self._config.tasks)
        if self._writes:
            self._clock = TrainingClock(
                self.folder.training_record, start, accelerator_names(), find_place(self._config, required=False).count
            )
        train_log = self._open_log("training", [TOTAL, REGULARISATION, *tasks, "seconds_per_iteration"])
        validation_log = None
        if self._validate is not None:
            validation_log = self._open_log("validation", self._validate.columns)
            if self._writes:
                write_units(self.folder.logs, self._units)
        board = TensorBoardLog(self.folder.logs / "tensorboard") if self._writes else SilentLog()
        if start == 0:
            # The state at step 0 is saved, so that even the first iterations can be resumed and drawn.
            self.save()
        self._monitor.start(start, self._network)
        if self._monitor.warning:
            self._reporter.warning(self._monitor.warning)
        began = time.perf_counter()
        with self._reporter.stage("training", training.max_iter, start) as stage:
            self._reporter.message("compiling the training step ...")
            while self.progress.iteration < training.max_iter and not self.progress.stopped:
                parts = self._step(next(batches))
                self.progress.iteration += 1
                iteration = self.progress.iteration
                note = ""
                saves = _is_due(iteration, training.save_every_n) or iteration == training.max_iter
                logs = _is_due(iteration, training.tensorboard_every_n) or iteration in (1, training.max_iter)
                if logs or saves:
                    values = {name: float(part) for name, part in parts.items()}
                    _refuse_non_finite(values, iteration, self.folder.checkpoints)
                if iteration == 1:
                    imbalance = describe_imbalance(self._config, {name: values[name] for name in tasks})
                    if imbalance:
                        self._reporter.warning(imbalance)
                if logs:
                    note = ", ".join(f"{name} {values[name]:.4g}" for name in (TOTAL, *tasks))
                    elapsed = time.perf_counter() - began
                    train_log.write(iteration, {**values, "seconds_per_iteration": elapsed / (iteration - start)})
                    board.write(iteration, values, "training")
                converged = self._monitor.observe(iteration, self._network)
                if validation_log is not None and _is_due(iteration, training.validation_every_n):
                    self._validation(iteration, validation_batches, validation_log, board)
                if converged and training.stop_when_grouping_converges:
                    self.progress.stopped = "the grouping probabilities no longer move"
                if self._writes and (saves or self.progress.stopped):
                    # The logs first: a run killed in between drops from them what it will do again.
                    self._monitor.write(complete=iteration == training.max_iter or bool(self.progress.stopped))
                    board.flush()
                    self.save()
                stage.advance(1, note)
        if self.progress.stopped:
            self._reporter.message(f"stopped at iteration {self.progress.iteration}: {self.progress.stopped}")
        return self.progress

    def _open_log(self, name: str, columns: list[str]) -> CsvLog | SilentLog:
        path = self.folder.logs / f"{name}.csv"
        return CsvLog(path, columns, self.progress.iteration) if self._writes else SilentLog()

    def save(self, best: bool = False) -> None:
        """Saves the present state, if this process is the one that writes."""
        if self._writes:
            self.checkpoints.write(self.state(), best)
            if self._clock is not None:
                self._clock.note()

    def _validation(
        self, iteration: int, batches: Any, log: CsvLog | SilentLog, board: TensorBoardLog | SilentLog
    ) -> None:
        scores = self._validate(batches) if self._validate is not None else {}
        log.write(iteration, scores)
        board.write(iteration, scores, "validation")
        self.progress.validation_losses.append(scores[TOTAL])
        score = scores[self._watch]
        best = self.progress.best_score
        # A score that is not a number (no voxel to measure) is worse than any.
        if best is None or best != best or (score > best if self._higher_is_better else score < best):
            self.progress.best_score, self.progress.best_iteration = score, iteration
            self.save(best=True)
        shown = ", ".join(f"{name} {value:.4g} {self._units.get(name, '')}".rstrip() for name, value in scores.items())
        self._reporter.message(f"validation at iteration {iteration}: {shown}")
        rule = lookup(EARLY_STOPPING, self._config.training.early_stopping_mode, "early_stopping_mode")
        if should_stop(self.progress.validation_losses, self._config.training.patience, rule):
            self.progress.stopped = f"the validation loss no longer falls ({self._config.training.early_stopping_mode})"


def _is_due(iteration: int, every: int) -> bool:
    return every > 0 and iteration % every == 0


def _watched_score(config: Config) -> tuple[str, bool]:
    """Returns the validation column that decides which iteration is best, and whether more is better."""
    from sfgkeras.metrics import METRICS

    name = config.training.best_metric or TOTAL
    columns = {TOTAL: False}
    for task, settings in config.tasks.items():
        columns[f"{task}_loss"] = False
        columns |= {f"{task}_{metric}": kind.higher_is_better for metric, kind in METRICS[settings.type].items()}
    return name, bool(lookup(columns, name, "[TRAINING] best_metric"))


def _refuse_non_finite(values: Mapping[str, float], iteration: int, folder: Path) -> None:
    bad = [name for name, value in values.items() if value != value or abs(value) == float("inf")]
    if bad:
        raise ConfigError(
            f"the {bad[0]} is {values[bad[0]]} at iteration {iteration}: training has diverged; lower "
            f"[TRAINING] lr or the task weights and start again (states before are in {folder})"
        )
