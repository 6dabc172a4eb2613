"""One candidate of `schedule = auto`: trained like any run, made dense, and judged on held-out windows."""

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from sfgkeras.applications.records.candidates_file import Candidate
from sfgkeras.applications.records.checkpoints import (
    CheckpointFolder,
    TrainingState,
    collect_arrays,
    read_state,
    restore_arrays,
    write_state,
)
from sfgkeras.applications.records.files import RunFolder, write_text
from sfgkeras.applications.records.settled import Settled
from sfgkeras.applications.records.training_record import read_training_record
from sfgkeras.applications.tasks.task import Task
from sfgkeras.applications.training.build import (
    Learner,
    build_batches,
    build_learner,
    build_losses,
    build_optimizers,
    build_trainer,
    start_windows,
    validation_batches,
)
from sfgkeras.applications.training.candidates import Groups, candidate_config
from sfgkeras.applications.training.fingerprint import network_fingerprint, training_settings
from sfgkeras.applications.training.network import build_network
from sfgkeras.applications.training.output_ranges import set_output_ranges
from sfgkeras.applications.training.step import ValidationPass
from sfgkeras.applications.training.trainer import Diverged, naming_what_saves_memory
from sfgkeras.applications.workers.strategies import repeat_bit_for_bit
from sfgkeras.applications.workers.team import Team
from sfgkeras.config import Config
from sfgkeras.data.windows import PreparedSubject
from sfgkeras.networks import count_multiplies
from sfgkeras.networks.settling import carry_moments, settle
from sfgkeras.reporter import Reporter

RESULT, UNTRAINED, SETTLED = "result.json", "untrained.json", "settled.npz"
"""What lies in a candidate's folder besides states and logs: what it came to, and the state that would go on."""


@dataclass(frozen=True)
class Parts:
    """What all trainings of a run have in common.

    Attributes:
        config: The run's configuration.
        tasks: The tasks by name.
        training: Prepared training subjects.
        held_out: Prepared validation subjects; may be empty.
        strategy: Where it runs.
        team: The workers.
        checkpoints: The run's states.
        reporter: Shows progress.
    """

    config: Config
    tasks: Mapping[str, Task]
    training: Sequence[PreparedSubject]
    held_out: Sequence[PreparedSubject]
    strategy: Any
    team: Team
    checkpoints: CheckpointFolder
    reporter: Reporter

    @property
    def folder(self) -> RunFolder:
        """The run's folder."""
        return RunFolder(self.config.system.model_dir)

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return int(self.training[0].image.shape[-1])


@dataclass(frozen=True)
class Entrant:
    """A candidate at a rung.

    Attributes:
        name: Its name.
        groups: The group of every filter; None where they are learned at this rung.
        rung: Number of the rung, from 1.
        end: The iteration at which it is judged.
        is_judged: Whether there is another one to compare it with.
    """

    name: str
    groups: Groups | None
    rung: int
    end: int
    is_judged: bool

    def folder(self, run: RunFolder, rung: int | None = None) -> RunFolder:
        """Returns where it is trained, at this rung or at another one, laid out as a run's."""
        return RunFolder(run.exploration / f"rung_{self.rung if rung is None else rung}" / self.name)


Judge = Callable[[], dict[str, float]]
"""Returns the mean loss of each task on the held-out windows, for the network as it is."""

Compiled = dict[str, tuple[Learner, Judge]]
"""What learns and what judges it, by candidate."""


def candidate_result(parts: Parts, entrant: Entrant, compiled: Compiled) -> Candidate:
    """Trains and judges a candidate, or reads what it came to.

    Args:
        parts: What all have in common.
        entrant: The candidate.
        compiled: Of rungs before, where groups were fixed; taken again with the weights of today. What is built here
            comes to it: at each rung it would be compiled anew otherwise.

    Returns:
        The candidate, without a score; its `SETTLED` state lies in its folder, unless it has diverged.
    """
    path = entrant.folder(parts.folder).path / RESULT
    try:
        known = Candidate(**json.loads(path.read_text(encoding="utf-8")))
        if path.with_name(SETTLED).is_file() or not all(map(math.isfinite, known.losses.values())):
            return known
    except (OSError, ValueError, TypeError):
        pass  # none yet, or damaged: it is trained, or only judged, now
    parts.team.together(lambda: _take_over(parts, entrant))
    parts.team.meet()
    result = _Exploring(parts, entrant, compiled).result()
    parts.team.meet()
    if parts.team.is_chief:
        write_text(path, json.dumps(asdict(result), indent=1) + "\n")
    return result


def _take_over(parts: Parts, entrant: Entrant) -> None:
    """Puts the state and the logs of the rung before where those of this one are looked for."""
    own, before = entrant.folder(parts.folder), entrant.folder(parts.folder, entrant.rung - 1)
    checkpoints = CheckpointFolder(own.checkpoints, 1)
    if not parts.team.is_chief or entrant.rung == 1 or checkpoints.iterations():
        return
    config = candidate_config(parts.config, entrant.groups, own.path, entrant.end)
    state = read_state(before.path / SETTLED)
    shutil.copytree(before.logs, own.logs, dirs_exist_ok=True)
    # Last, for a kill's sake: what has a state is gone on with.
    checkpoints.write(TrainingState(state.arrays, {**state.record, **_marks(config)}))


class _Exploring:
    """The training and judging of one candidate at one rung."""

    def __init__(self, parts: Parts, entrant: Entrant, compiled: Compiled) -> None:
        self._parts, self._entrant, self._compiled = parts, entrant, compiled
        self._folder = entrant.folder(parts.folder)
        self._config = candidate_config(parts.config, entrant.groups, self._folder.path, entrant.end)
        checkpoints = CheckpointFolder(self._folder.checkpoints, 1)
        checkpoints.before_writing = parts.checkpoints.before_writing
        self._judge: Judge | None = None
        if entrant.name in compiled:
            self._learner, self._judge = compiled[entrant.name]
        else:
            begins = not checkpoints.iterations()
            self._learner = build_learner(
                self._config, parts.tasks, parts.channels, parts.strategy, begins, parts.reporter
            )
        self._network = self._learner.network
        self._trainer = build_trainer(
            self._config,
            self._learner,
            parts.tasks,
            parts.strategy,
            False,
            checkpoints,
            parts.reporter,
            parts.team.is_chief,
            [subject.subject_id for subject in parts.training],
            until=entrant.end,
            title=f"exploring: {entrant.name}",
        )
        if self._trainer.progress.iteration == 0:
            set_output_ranges(self._network, parts.tasks, parts.training, parts.reporter)

    def result(self) -> Candidate:
        """Trains, makes dense, judges."""
        parts, entrant, judge = self._parts, self._entrant, self._judge
        if entrant.groups is not None and entrant.is_judged:
            judge = judge or build_judge(parts, self._network)
            # Only here: groups that are learned are fixed at the next rung, in another network.
            self._compiled[entrant.name] = self._learner, judge
        untrained, losses = self._train(judge)
        dense = self._network
        if not losses:
            state, dense = self._settle()
            if parts.team.is_chief:
                write_state(self._folder.path / SETTLED, state)
            if entrant.is_judged:
                repeat_bit_for_bit(self._config.system.seed)
                losses = (judge or build_judge(parts, dense))()
        frame = 2 * self._config.multitask.loss_border
        shape = [size + frame for size in self._config.window_size if size != 1]
        return Candidate(
            rung=entrant.rung,
            name=entrant.name,
            iterations=self._trainer.progress.iteration,
            losses=losses,
            untrained=untrained,
            multiplies=count_multiplies(dense, (*shape, parts.channels)),
            seconds=round(self._seconds(entrant.rung) - self._seconds(entrant.rung - 1), 1),
        )

    def _seconds(self, rung: int) -> float:
        """Returns how long it has trained by the end of a rung, the ones before included."""
        record = read_training_record(self._entrant.folder(self._parts.folder, rung).training_record)
        return record.seconds if record is not None else 0.0

    def _train(self, judge: Judge | None) -> tuple[dict[str, float], dict[str, float]]:
        """Returns the losses of the untrained network, where it is judged; and those of one that has diverged."""
        parts, trainer, config = self._parts, self._trainer, self._config
        start, path = trainer.progress.iteration, self._folder.path / UNTRAINED
        asks = judge is not None and self._entrant.rung == 1
        untrained = _read(path) if asks and start else {}
        if trainer.is_done:
            return untrained, {}
        batches = build_batches(config, parts.tasks, parts.training, [], parts.strategy, start, parts.team)
        windows = start_windows(batches, config.system.seed)
        with batches.consumed(), naming_what_saves_memory(config):
            if asks and judge is not None and start == 0:
                untrained = judge()
                if parts.team.is_chief:
                    write_text(path, json.dumps(untrained) + "\n")
            try:
                trainer.run(windows, ())
            except Diverged as error:
                parts.reporter.warning(f"candidate {self._entrant.name}: {error}")
                return untrained, dict.fromkeys(parts.tasks, math.inf)
        return untrained, {}

    def _settle(self) -> tuple[TrainingState, Any]:
        """Returns the state that the run would go on from, and the dense network that it is one of."""
        parts, trainer, network = self._parts, self._trainer, self._network
        dense = settle(network)
        groups = [[int(group) for group in stage] for stage in dense.trunk.connections.allocation]
        settled = Settled(self._entrant.name, trainer.progress.iteration, groups)
        arrays = trainer.state().arrays
        if dense is not network:
            made, own = collect_arrays(dense), dense.balancer.lasting_variables
            # Under the strategy, where it is judged, and with the names of the run's variables.
            with parts.strategy.scope():
                dense = build_network(parts.config, parts.tasks, parts.channels, settled)
                optimizers = build_optimizers(parts.config).build(dense)
            restore_arrays(made, dense)
            for variable, value in zip(dense.balancer.lasting_variables, own, strict=True):
                variable.assign(keras.ops.convert_to_numpy(value))
            carry_moments(network, dense, next(iter(trainer.optimizers)), next(iter(optimizers)))
            arrays = collect_arrays(dense, list(optimizers))
        return TrainingState(arrays, trainer.record | _marks(parts.config) | settled.values()), dense


def _marks(config: Config) -> dict[str, Any]:
    """Returns what the record of a state says of the configuration that it belongs to."""
    return {"fingerprint": network_fingerprint(config), "training": training_settings(config)}


def build_judge(parts: Parts, network: Any) -> Judge:
    """Builds what judges a network by statistics of the batch, as validation in training does.

    The windows are the same for every candidate: of the validation subjects where there are any; else of the training
    subjects, but drawn by another seed than those of training.
    """
    config = parts.config
    # Whatever inference takes: after a few iterations moving averages still lag far behind.
    network.batch_norm = "batch"
    losses = build_losses(parts.tasks, network)
    validate = ValidationPass(network, losses, network.balancer, {}, parts.strategy)
    batch_size = config.network.batch_size
    count = -(-config.training.settings_of("schedule")["windows"] // batch_size) * batch_size

    def judge() -> dict[str, float]:
        subjects = parts.held_out or parts.training
        batches = validation_batches(config, parts.tasks, subjects, parts.strategy, parts.team, count)
        with batches.consumed():
            scores = validate(batches.validation)
        return {task: scores[f"{task}_loss"] for task in parts.tasks}

    return judge


def _read(path: Path) -> dict[str, float]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
