"""`[TRAINING] schedule = auto`: candidates train side by side, and the best one on held-out windows goes on.

The candidates climb rungs: at each one they are judged, and the better ones go on. On its way to a rung each is a
training of its own in `model_dir/explore/rung_N/<candidate>`, on the same windows from the same seeds, with states and
logs as any run's: it is resumed wherever it is killed (`training.exploring`). Learned groups are fixed at the first
rung. The winner's state becomes the first state of the run, which is then trained like one that is resumed; the record
of the state says which groups the filters have for good (`records.settled`).
"""

import gc
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from sfgkeras.applications.records.candidates_file import Candidate, write_candidates
from sfgkeras.applications.records.checkpoints import CheckpointFolder, read_record, read_state
from sfgkeras.applications.records.files import RunFolder, write_text
from sfgkeras.applications.records.settled import settled_of
from sfgkeras.applications.records.training_record import read_training_record
from sfgkeras.applications.subjects.epochs import last_iteration, length_text
from sfgkeras.applications.training.candidates import Groups, candidate_groups
from sfgkeras.applications.training.exploring import SETTLED, Compiled, Entrant, Parts, candidate_result
from sfgkeras.applications.training.fingerprint import (
    compare_training,
    network_fingerprint,
    refuse_other_network,
    training_settings,
)
from sfgkeras.config import Config
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.reporter import OnceReporter
from sfgkeras.sharing.judging import missed_shares, select, survivors
from sfgkeras.tables.grouping_schedules import FEWEST_STEPS
from sfgkeras.tables.sharing import SHARING

PLAN = "plan.json"
"""In the folder of the candidates: what they are trained by, and for how long."""


def explores(config: Config) -> bool:
    """Says whether a training begins with a search for the groups of its filters."""
    return SHARING[config.network.sharing].learned and config.training.schedule == "auto"


def explore(parts: Parts) -> None:
    """Trains and judges the candidates, and leaves the winner's state as the run's first one.

    Nothing is done where the run has states already, or is too short; one that is too short follows `paper`.

    Raises:
        ConfigError: If the search was begun with other settings, or every candidate has diverged.
    """
    config, reporter = parts.config, parts.reporter
    if not explores(config) or config.training.starting_iter > 0:
        return
    if parts.checkpoints.iterations():
        if parts.team.is_chief:
            _remove_states(parts.folder)  # a kill may have left them
        if parts.checkpoints.settled() is None:
            reporter.message("schedule = auto: the run was begun with drawn masks, and goes on with them")
        return
    auto = config.training.chosen_settings("schedule")
    ends = auto.rung_ends(last_iteration(config, len(parts.training)))
    if not ends:
        reporter.message(
            f"schedule = auto: {length_text(config, len(parts.training))} leaves a candidate fewer than {FEWEST_STEPS} "
            "iterations, too few to judge it by; the run follows schedule = paper"
        )
        return
    # Every candidate would say the same: that the step is compiled, that losses differ in size.
    parts = replace(parts, reporter=OnceReporter(reporter))
    parts.team.together(lambda: _begin(parts, ends))
    parts.team.meet()
    table = _climb(parts, ends)
    gc.collect()  # networks of candidates, which refer to themselves
    parts.team.together(lambda: _adopt(parts, table))
    parts.team.meet()


def _climb(parts: Parts, ends: Sequence[int]) -> list[Candidate]:
    """Trains the candidates from rung to rung; returns what all came to, that of the winner last chosen."""
    auto = parts.config.training.chosen_settings("schedule")
    standing = candidate_groups(parts.config, parts.tasks, parts.channels, auto.candidates, parts.reporter)
    table: list[Candidate] = []
    compiled: Compiled = {}
    for rung, end in enumerate(ends, start=1):
        entrants = [Entrant(name, groups, rung, end, len(standing) > 1) for name, groups in standing.items()]
        found = []
        for entrant in entrants:
            found.append(candidate_result(parts, entrant, compiled))
            parts.team.meet()
            gc.collect()
        keep = survivors(len(found), len(ends) - rung + 1)
        untrained = [each.untrained for each in [*table, *found] if each.untrained]
        found = decide(found, untrained, keep, auto.tolerance)
        table += found
        _tell(parts, found)
        if keep == 1:
            break
        states = {entrant.name: entrant.folder(parts.folder).path / SETTLED for entrant in entrants}
        standing = {each.name: _groups(states[each.name]) for each in found if each.chosen}
        for name in compiled.keys() - standing.keys():
            del compiled[name]
    return table


def _groups(path: Path) -> Groups:
    """Returns the groups of a state that has settled."""
    settled = settled_of(read_record(path))
    if settled is None:
        raise DataError(f"{path}: is no state of fixed groups; begin anew with --restart")
    return settled.groups


def _begin(parts: Parts, ends: Sequence[int]) -> None:
    """Goes on with a search of the same settings and rungs, or begins one.

    Raises:
        ConfigError: If one was begun with other settings.
    """
    config, folder = parts.config, parts.folder
    try:
        plan = json.loads((folder.exploration / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        plan = None
    if plan is not None and plan["rungs"] == list(ends):
        refuse_other_network(config, plan["fingerprint"], folder.exploration)
        for change in compare_training(config, plan["training"], folder.exploration):
            parts.reporter.message(f"resumes with other settings: {change}")
        return
    if plan is not None:
        parts.reporter.message(f"explores anew: judges at iterations {list(ends)}, not {plan['rungs']}")
    if parts.team.is_chief:
        clear_exploration(folder)
        plan = {"rungs": list(ends), "fingerprint": network_fingerprint(config), "training": training_settings(config)}
        write_text(folder.exploration / PLAN, json.dumps(plan, indent=1) + "\n")


def clear_exploration(folder: RunFolder) -> None:
    """Removes all that a search has left."""
    _remove_states(folder)
    shutil.rmtree(folder.exploration, ignore_errors=True)
    folder.candidates.unlink(missing_ok=True)


def _remove_states(folder: RunFolder) -> None:
    """Removes the states of candidates; what they came to, and their logs, stay."""
    for states in folder.exploration.glob("*/*/checkpoints"):
        CheckpointFolder(states).clear()
        states.rmdir()
    for state in folder.exploration.glob(f"*/*/{SETTLED}"):
        state.unlink(missing_ok=True)


def decide(
    candidates: Sequence[Candidate], untrained: Sequence[Mapping[str, float]], keep: int, tolerance: float
) -> list[Candidate]:
    """Returns the candidates of a rung with their scores, and those chosen that go on; one alone has no score.

    Args:
        candidates: The candidates.
        untrained: Losses by task of untrained networks; their mean is taken.
        keep: How many go on: the best ones, or one, for which `sharing.judging.select` knows ties.
        tolerance: See there.

    Raises:
        ConfigError: If every candidate has diverged.
    """
    if len(candidates) == 1:
        return [replace(candidates[0], chosen=True)]
    means = {task: sum(losses[task] for losses in untrained) / len(untrained) for task in untrained[0]}
    scores = missed_shares(means, {each.name: each.losses for each in candidates})
    if not any(map(math.isfinite, scores.values())):
        raise ConfigError("every candidate of schedule = auto has diverged; lower [TRAINING] lr or the task weights")
    chosen = select(scores, {each.name: each.multiplies for each in candidates}, keep, tolerance)
    return [replace(each, score=scores[each.name], chosen=each.name in chosen) for each in candidates]


def _adopt(parts: Parts, candidates: Sequence[Candidate]) -> None:
    """Writes the table, and makes the winner's logs and state those of the run; the state last, for a kill's sake."""
    if not parts.team.is_chief:
        return
    folder, winner = parts.folder, [each for each in candidates if each.chosen][-1]
    own = RunFolder(folder.exploration / f"rung_{winner.rung}" / winner.name)
    state = read_state(own.path / SETTLED)
    write_candidates(folder.candidates, candidates)
    # A log of an earlier run that was begun anew would be gone on with.
    (folder.logs / "validation.csv").unlink(missing_ok=True)
    shutil.copytree(own.logs, folder.logs, dirs_exist_ok=True)
    record = read_training_record(own.training_record)
    if record is not None:
        # All of the search is the run's; its next start is counted when it begins.
        record.seconds = round(sum(each.seconds for each in candidates), 1)
        record.starts -= 1
        write_text(folder.training_record, json.dumps(asdict(record), indent=1) + "\n")
    parts.checkpoints.write(state)
    _remove_states(folder)


def _tell(parts: Parts, candidates: Sequence[Candidate]) -> None:
    """Says in one line who goes on, and why."""
    going = [each for each in candidates if each.chosen]
    names = " and ".join(each.name for each in going)
    verb = "goes" if len(going) == 1 else "go"
    text = f"schedule = auto: {names} {verb} on from iteration {going[0].iterations}"
    if going[0].score is not None:
        by_score = sorted(candidates, key=lambda each: each.score or 0.0)
        scores = ", ".join(f"{each.name} {each.score:.3f}" for each in by_score)
        whose = "validation subjects" if parts.held_out else "training subjects, for there are none of validation"
        count = parts.config.training.settings_of("schedule")["windows"]
        text += f"; share of the improvement that each misses ({count} windows of {whose}): {scores}"
    parts.reporter.message(text)
