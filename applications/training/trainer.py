"""Trains a run: resumes it, steps, validates, logs, saves, and knows when to stop."""

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sfgkeras.applications.records.checkpoints import CheckpointFolder, TrainingState, collect_arrays, restore_arrays
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.records.logs import (
    EPOCH,
    SECONDS,
    CsvLog,
    RunLogs,
    SilentLog,
    TensorBoardLog,
    write_units,
)
from sfgkeras.applications.records.settled import Settled
from sfgkeras.applications.records.trackers import Tracker, open_tracker
from sfgkeras.applications.records.training_record import TrainingClock, accelerator_names
from sfgkeras.applications.training.averages import WeightAverages
from sfgkeras.applications.training.fingerprint import (
    compare_training,
    network_fingerprint,
    refuse_other_network,
    training_settings,
)
from sfgkeras.applications.training.loss_balance import describe_imbalance
from sfgkeras.applications.training.optimizers import Optimizers
from sfgkeras.applications.training.progress import Progress
from sfgkeras.applications.training.step import LABELLED, TOTAL, TrainingStep, ValidationPass
from sfgkeras.applications.training.stopping import Decision, StoppingRule
from sfgkeras.applications.training.timetable import Timetable
from sfgkeras.applications.workers.address import find_place
from sfgkeras.config import Config
from sfgkeras.errors import ConfigError, Problem, lookup
from sfgkeras.networks.splitting import Splitting, describe_tree, find_splitting
from sfgkeras.reporter import Reporter
from sfgkeras.tables.tasks import for_type


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


class Diverged(ConfigError):
    """A training that has failed: a loss is no finite number."""


class Trainer:
    """Runs the iterations of one network.

    Args:
        config: The configuration.
        network: Built under the strategy.
        optimizers: Built on the network.
        step: One training step.
        validate: One validation pass, or None where there is no validation.
        monitor: Grouping probabilities over time, a `GroupingHistory`.
        timetable: What is due when.
        rules: What may end the training.
        reporter: Shows progress.
        writes: Whether this process writes states and logs; of several workers only the chief does.
        units: Units of validation scores, by column; those that are not named have none.
        trained_on: Ids of the training subjects; those of the states that it goes on from are added.
        settled: The groups that the run has settled on, where it has.
        title: What the progress shown is that of.
        averages: Averages of the network's weights, which `step` updates; None where none are kept.
    """

    def __init__(
        self,
        config: Config,
        network: Any,
        optimizers: Optimizers,
        step: TrainingStep,
        validate: ValidationPass | None,
        monitor: Any,
        timetable: Timetable,
        rules: Sequence[StoppingRule],
        reporter: Reporter,
        writes: bool = True,
        units: Mapping[str, str] | None = None,
        trained_on: Iterable[str] = (),
        settled: Settled | None = None,
        title: str = "training",
        averages: WeightAverages | None = None,
    ) -> None:
        self._config = config
        self._units = dict(units or {})
        self._writes = writes
        self._network = network
        self._optimizers = optimizers
        self._step = step
        self._averages = averages
        self._validate = validate
        self._monitor = monitor
        self.timetable = timetable
        self._rules = tuple(rules)
        self._reporter = reporter
        self.folder = RunFolder(config.system.model_dir)
        self.checkpoints = CheckpointFolder(self.folder.checkpoints, config.training.max_checkpoints)
        self.progress = Progress()
        # Once: landmarks that somebody edits meanwhile are not those that this run learns with.
        self._fingerprint = network_fingerprint(config)
        self._trained_on = set(trained_on)
        self._settled, self._title = settled, title
        self._clock: TrainingClock | None = None
        self._splitting: Splitting | None = None
        self._unread: list[Mapping[str, Any]] = []
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
        restore_arrays(state.arrays, self._network, list(self._optimizers))
        if self._averages is not None:
            self._averages.restore(state.arrays)
        self._network.masks = self._config.inference.masks
        self.progress = Progress.from_values(state.record["progress"])
        self._network.balancer.stop(self.progress.stopped_tasks)

    @property
    def optimizers(self) -> Optimizers:
        """The optimisers."""
        return self._optimizers

    @property
    def record(self) -> dict[str, Any]:
        """What is told of a state besides its arrays, as plain values."""
        return {
            "iteration": self.progress.iteration,
            "progress": self.progress.values(),
            "fingerprint": self._fingerprint,
            "training": training_settings(self._config),
            "trained_on": sorted(self._trained_on),
            **({} if self._settled is None else self._settled.values()),
        }

    def state(self) -> TrainingState:
        """Returns everything that a resumed run needs."""
        arrays = collect_arrays(self._network, list(self._optimizers))
        return TrainingState(arrays | ({} if self._averages is None else self._averages.arrays()), self.record)

    @property
    def is_done(self) -> bool:
        """Whether the last iteration is reached, or a rule has stopped the run."""
        return bool(self.progress.stopped) or self.progress.iteration >= self.timetable.last

    def run(self, batches: Iterator[Any], validation_batches: Any) -> Progress:
        """Trains from the current iteration until the last one or until a rule stops the run.

        Args:
            batches: Training batches from the current iteration on.
            validation_batches: The fixed set of validation batches; iterated at each validation.
        """
        start = self.progress.iteration
        self._splitting = self._plan_splits()
        if self._writes:
            self._clock = TrainingClock(
                self.folder.training_record, start, accelerator_names(), find_place(self._config, required=False).count
            )
        logs = self._open_logs(start)
        if start == 0:
            # The state at step 0 is saved, so that even the first iterations can be resumed and drawn.
            self.save()
        self._monitor.start(start, self._network)
        if self._monitor.warning:
            self._reporter.warning(self._monitor.warning)
        with self._reporter.stage(self._title, self.timetable.last, start) as stage:
            self._reporter.message("compiling the training step ...")
            while not self.is_done:
                self._optimizers.scale_rates(self.timetable.rate_factor(self.progress.iteration + 1))
                parts = self._step.take(next(batches), self.progress.iteration, self.progress.memory)
                self.progress.iteration += 1
                stage.advance(1, self._after_step(parts, validation_batches, logs))
        logs.close()
        if self._network.balancer.is_learned:
            weights = self._network.balancer.current_weights().items()
            learned = ", ".join(f"{name} {weight:.4g}" for name, weight in weights)
            self._reporter.message(f"balancing: {self._config.training.balancing}, learned weights: {learned}")
        if picked := self.progress.memory.get("picked"):
            often = ", ".join(f"{name} {count}" for name, count in sorted(picked.items(), key=lambda item: -item[1]))
            self._reporter.message(f"curriculum: tasks by how often they were picked: {often}")
        if self.progress.stopped_at:
            since = ", ".join(f"{name} (iteration {iteration})" for name, iteration in self.progress.stopped_at.items())
            self._reporter.message(f"tasks that stopped early: {since}")
        if self._splitting is not None:
            self._reporter.message(f"tree of tasks: {describe_tree(self._network)}")
        if self.progress.stopped:
            self._reporter.message(f"stopped at iteration {self.progress.iteration}: {self.progress.stopped}")
        return self.progress

    def _after_step(self, parts: Mapping[str, Any], validation_batches: Any, logs: "RunLogs") -> str:
        """Does what is due after an iteration: splits, logs, notes, validates, decides, saves; returns the losses."""
        iteration, due = self.progress.iteration, self.timetable
        self._split(iteration)
        validates = self._validate is not None and due.validates(iteration)
        values, note = {}, ""
        self._unread.append(parts)
        if due.logs(iteration) or due.saves(iteration) or validates:
            values = {name: float(part) for name, part in parts.items() if not name.endswith(LABELLED)}
            self._obey(self._decide(values, False), only_failures=True)
        if iteration == 1:
            self._warn_of_imbalance(values)
        if values:
            self._read()
        if due.logs(iteration):
            note = ", ".join(f"{name} {values[name]:.4g}" for name in self._loss_names)
            logs.write_training(iteration, {EPOCH: due.epoch(iteration), **values})
        converged = self._monitor.observe(iteration, self._network)
        if validates:
            self._validation(iteration, validation_batches, logs)
        if values or converged:
            self._obey(self._decide(values, converged))
        if self._writes and (due.saves(iteration) or self.progress.stopped):
            # The logs first: a run killed in between drops from them what it will do again.
            self._monitor.write(complete=self.is_done)
            logs.flush()
            self.save()
        return note

    def _read(self) -> None:
        """Notes the losses of all steps since it was last done: reading waits for a step, so it is not done at each."""
        for parts in self._unread:
            losses = {name: float(parts[name]) for name in self._loss_names}
            self.progress.note_training(losses, _shares(self._config.tasks, parts))
        self._unread.clear()

    def _plan_splits(self) -> Splitting | None:
        """Returns what splits the network at its iterations, if it is one that splits.

        Raises:
            Problem: If a stage would be split behind the last iteration.
        """
        try:
            return find_splitting(self._network, 0, self.timetable.iterations)
        except Problem as problem:
            raise problem.at(section="SHARING", file=str(self._config.path)) from problem

    def _split(self, iteration: int) -> None:
        """Lets tasks part whose branches are due."""
        if self._splitting is not None and self._splitting.is_due(iteration):
            for line in self._splitting.split(iteration, self._optimizers):
                self._reporter.message(f"iteration {iteration}: {line}")
                if self._averages is not None:
                    self._averages.restart()  # a branch that has just begun has no past of its own

    @property
    def _loss_names(self) -> list[str]:
        return [TOTAL, *self._config.tasks]

    def _decide(self, logged: Mapping[str, float], converged: bool) -> list[Decision]:
        record = self.progress.record(list(self._config.tasks), logged, converged)
        return [rule.observe(record) for rule in self._rules]

    def _obey(self, decisions: Iterable[Decision], only_failures: bool = False) -> None:
        """Does what rules want.

        Raises:
            Diverged: If one of them says that the training has failed.
        """
        for decision in decisions:
            if decision.is_failure:
                raise Diverged(
                    f"{decision.stop_run}; lower [TRAINING] lr or the task weights and start again (states before are "
                    f"in {self.folder.checkpoints})"
                )
            if only_failures:
                continue
            new = sorted(decision.stop_tasks - set(self.progress.stopped_tasks))
            if new:
                self._network.balancer.stop(new)
                self.progress.stopped_tasks += new
                self.progress.stopped_at |= dict.fromkeys(new, self.progress.iteration)
                verb, why = "is" if len(new) == 1 else "are", f" ({decision.why_tasks})" if decision.why_tasks else ""
                which = f"{', '.join(new)} {verb} trained no longer{why}"
                self._reporter.message(f"iteration {self.progress.iteration}: {which}")
            everything = set(self.progress.stopped_tasks) == set(self._config.tasks)
            why = decision.stop_run or ("every task has been stopped" if everything else "")
            self.progress.stopped = self.progress.stopped or why

    def _warn_of_imbalance(self, values: Mapping[str, float]) -> None:
        imbalance = describe_imbalance(self._config, {name: values[name] for name in self._config.tasks})
        if imbalance:
            self._reporter.warning(imbalance)

    def _open_logs(self, start: int) -> "RunLogs":
        scores = None if self._validate is None else self._validate.columns
        if not self._writes:
            return RunLogs(SilentLog(), SilentLog(), SilentLog(), start)
        if scores is not None:
            write_units(self.folder.logs, self._units)
        columns = [EPOCH, *self._step.columns, SECONDS]
        return RunLogs(
            CsvLog(self.folder.logs / "training.csv", columns, start),
            SilentLog() if scores is None else CsvLog(self.folder.logs / "validation.csv", [EPOCH, *scores], start),
            TensorBoardLog(self.folder.logs / "tensorboard"),
            start,
            self._open_trackers(),
        )

    def _open_trackers(self) -> list[Tracker]:
        """Opens what `trackers` names, with the settings of this run."""
        settings = training_settings(self._config)
        told = {"network": self._config.network.name, "sharing": self._config.network.sharing} | {
            # What MLflow takes for a name.
            key.replace("[", "").replace("] ", "."): str(value)
            for part in settings.values()
            for key, value in part.items()
        }
        name = self._config.system.model_dir.resolve().name
        return [open_tracker(kind, self.folder.logs, name, told) for kind in self._config.training.trackers]

    def save(self, best: bool = False) -> None:
        """Saves the present state, if this process is the one that writes."""
        if self._writes:
            self.checkpoints.write(self.state(), best)
            if self._clock is not None:
                self._clock.note()

    def _validation(self, iteration: int, batches: Any, logs: "RunLogs") -> None:
        with contextlib.nullcontext() if self._averages is None else self._averages.in_use():
            scores = self._validate(batches) if self._validate is not None else {}
        shares = _shares(self._config.tasks, scores)
        scores = {name: score for name, score in scores.items() if not name.endswith(LABELLED)}
        logs.write_validation(iteration, {EPOCH: self.timetable.epoch(iteration), **scores})
        tasks = {
            name: scores[f"{name}_loss"] / share if (share := shares.get(name, 1.0)) else math.nan
            for name in self._config.tasks
        }
        self.progress.note_validation({TOTAL: scores[TOTAL], **tasks})
        score = scores[self._watch]
        best = self.progress.best_score
        # A score that is not a number (no voxel to measure) is worse than any.
        if best is None or best != best or (score > best if self._higher_is_better else score < best):
            self.progress.best_score, self.progress.best_iteration = score, iteration
            self.save(best=True)
        shown = ", ".join(f"{name} {value:.4g} {self._units.get(name, '')}".rstrip() for name, value in scores.items())
        self._reporter.message(f"validation at iteration {iteration}: {shown}")


def _shares(tasks: Iterable[str], told: Mapping[str, Any]) -> dict[str, float]:
    """Returns what part of the windows had a label of each task, for those tasks of which it is told."""
    return {name: float(told[f"{name}{LABELLED}"]) for name in tasks if f"{name}{LABELLED}" in told}


def _watched_score(config: Config) -> tuple[str, bool]:
    """Returns the validation column that decides which iteration is best, and whether more is better."""
    from sfgkeras.metrics import METRICS

    name = config.training.best_metric or TOTAL
    columns = {TOTAL: False}
    for task, settings in config.tasks.items():
        columns[f"{task}_loss"] = False
        known = for_type(METRICS, settings.type)
        columns |= {f"{task}_{metric}": kind.higher_is_better for metric, kind in known.items()}
    return name, bool(lookup(columns, name, "[TRAINING] best_metric"))
