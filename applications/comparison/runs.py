"""Trains all runs of a comparison that are not done, on the same data, and tabulates what they reach."""

import dataclasses
import gc
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sfgkeras.analysis.feature_maps import write_feature_maps
from sfgkeras.applications import run
from sfgkeras.applications.comparison.plan import PlannedRun, reason_of
from sfgkeras.applications.comparison.results import (
    RESULT,
    Result,
    collect_result,
    read_result,
    window_shape,
    write_result,
)
from sfgkeras.applications.comparison.tables import FEATURES, main_lines, write_comparison
from sfgkeras.applications.records.files import make_writable
from sfgkeras.applications.records.lock import holding
from sfgkeras.applications.report.features import collect_features
from sfgkeras.applications.subjects.session import Session, open_session
from sfgkeras.applications.training.fine_tuning import freeze_variables, learned_shapes, taken_over
from sfgkeras.applications.training.network import build_network
from sfgkeras.config import Config
from sfgkeras.errors import ConfigError, Problem, suggestion
from sfgkeras.networks import count_multiplies, count_parameters
from sfgkeras.reporter import Reporter, SilentReporter


def compare(
    plan: Sequence[PlannedRun],
    output: Path,
    reporter: Reporter | None = None,
    features: Sequence[str] = (),
    refused: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Trains, infers and evaluates every planned run that is not done yet; writes all tables after each.

    Files in `output`: see `write_comparison`. The network, traced steps and subjects of a run are freed before the next
    one begins; what TensorFlow keeps of it as long as the process lives are small functions of its data sets.

    Args:
        plan: The runs; see `plan_rows`, `plan_sharing` and `plan_files`.
        output: Folder of the tables.
        reporter: Shows progress.
        features: Networks of the plan whose feature maps are drawn side by side, those of their first seed.
        refused: Networks that the plan has to do without, with the reason; see `plan_sharing`. Where it is given,
            networks that cannot be built, and runs that cannot be trained, are left out, too, and not an error.

    Returns:
        The rows of `comparison.csv`.

    Raises:
        ConfigError: If settings do not fit, or there is no such network.
        DataError: If files cannot be used.
    """
    reporter = reporter or SilentReporter()
    spread = next((planned.config for planned in plan if planned.config.system.strategy == "multi_worker"), None)
    if spread is not None:
        raise Problem(
            "trains one network per process, and a comparison several in one",
            "use auto, or train, infer and evaluate each INI file on its own",
            key="strategy",
            value=spread.system.strategy,
            section="SYSTEM",
            file=str(spread.path),
        )
    networks = list(dict.fromkeys(planned.network for planned in plan))
    for name in features:
        if name not in networks:
            hint = suggestion(name, networks) or f"; they are {', '.join(networks)}"
            raise ConfigError(f"--features {name!r} is none of the networks that are compared{hint}")
    make_writable(output)
    with holding(output, "compare", reporter):
        return _compare(plan, output, reporter, features, refused)


def _compare(
    plan: Sequence[PlannedRun],
    output: Path,
    reporter: Reporter,
    features: Sequence[str],
    refused: Mapping[str, str] | None,
) -> list[dict[str, Any]]:
    not_built = _show_sizes(plan, reporter, is_strict=refused is None)
    plan = [planned for planned in plan if planned.network not in not_built]
    features = [name for name in features if name not in not_built]
    left_out = {**(refused or {}), **not_built}
    for name, reason in left_out.items():
        reporter.warning(f"{name} is not compared: {reason}")
    results: dict[tuple[str, int], Result] = {}
    rows: list[dict[str, Any]] = []
    for number, planned in enumerate(plan, start=1):
        reporter.message(f"run {number} of {len(plan)}: {planned.network}, seed {planned.seed}")
        try:
            results[planned.network, planned.seed] = run_once(planned, reporter)
        except ConfigError as error:
            # What only a training finds out, e.g. that a loss is no number any more.
            if refused is None:
                raise
            run = f"{planned.network}, seed {planned.seed},"
            left_out[run] = reason_of(error, planned.config.path)
            reporter.warning(f"{run} is not compared: {left_out[run]}")
            continue
        finally:
            # A network and its traced step hold each other: Python frees them when it next looks for such cycles, which
            # may be after the next run has begun.
            gc.collect()
        rows = write_comparison(plan, results, output, left_out)
    if not results:
        raise ConfigError(f"{plan[0].config.path}: no network can be trained: {'; '.join(left_out.values())}")
    if left_out:
        rows = write_comparison(plan, results, output, left_out)
    features = [name for name in features if any(network == name for network, _ in results)]
    if features:
        shown = {planned.network: planned.config for planned in reversed(plan) if planned.network in features}
        maps = collect_features({name: shown[name] for name in dict.fromkeys(features)}, reporter)
        write_feature_maps(output / FEATURES, maps)
        rows = write_comparison(plan, results, output, left_out)
    lines = main_lines(plan, results, rows)
    columns = list(lines[0])
    reporter.table("comparison", columns, [[str(line.get(name, "-")) for name in columns] for line in lines])
    reporter.message(f"wrote {output / 'comparison.html'}")
    return rows


def run_once(planned: PlannedRun, reporter: Reporter) -> Result:
    """Returns the result of a run, which is made only where it does not exist; a killed one goes on."""
    config = planned.config
    known = read_result(planned)
    if known is not None:
        reporter.message(f"{config.system.model_dir / RESULT} was done")
        return known
    network = run.train(config, reporter)
    run.infer(config, reporter, overwrite=True)
    began = time.perf_counter()
    run.evaluate(config, reporter)
    session = open_session(config, SilentReporter(), training=False)
    result = collect_result(planned, session, network, time.perf_counter() - began)
    write_result(planned, result)
    return result


def _show_sizes(plan: Sequence[PlannedRun], reporter: Reporter, is_strict: bool) -> dict[str, str]:
    """Shows what every network costs before any is trained; this also finds most mistakes.

    Returns:
        The networks that cannot be built, with the reason; of a strict comparison none.

    Raises:
        ConfigError: If a network of a strict comparison cannot be built, or none of another.
    """
    lines, not_built = [], {}
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    sessions: dict[tuple[Path, tuple[str, ...]], tuple[Session, int]] = {}
    for planned in {planned.network: planned for planned in reversed(plan)}.values():
        config = planned.config
        place = config.system.dataset_split_file, tuple(config.tasks)
        if place not in sessions:
            session = open_session(_without_start(planned), SilentReporter(), training=True)
            subject = session.cohort.phase("training")[0]
            session.preprocess([subject], SilentReporter())
            sessions[place] = session, session.preparation.image(subject).shape[-1]
        session, channels = sessions[place]
        try:
            network = build_network(config, session.tasks, channels)
        except ConfigError as error:
            if is_strict:
                raise
            not_built[planned.network] = reason_of(error, config.path)
            continue
        multiplies = count_multiplies(network, (*window_shape(config), channels))
        lines.append([planned.network, f"{count_parameters(network):,}", f"{multiplies:,}"])
        shapes[planned.network] = learned_shapes(network)
        freeze_variables(network, config.training.vars_to_freeze, SilentReporter())
    not_built |= _refuse_other_starts(plan, shapes, not_built)
    if not lines:
        raise ConfigError(f"{plan[0].config.path}: no network can be built: {'; '.join(not_built.values())}")
    reporter.table("networks", ["network", "parameters", "multiplies per window"], lines[::-1])
    # In the order of the plan: the sizes were found from its end.
    return dict(reversed(not_built.items()))


def _without_start(planned: PlannedRun) -> Config:
    """Returns the configuration of a run without the run that it starts from, which is to be trained yet."""
    config = planned.config
    if not planned.start:
        return config
    return dataclasses.replace(config, training=config.training.model_copy(update={"restore_from": None}))


def _refuse_other_starts(
    plan: Sequence[PlannedRun],
    shapes: Mapping[str, Mapping[str, tuple[int, ...]]],
    not_built: Mapping[str, str],
) -> dict[str, str]:
    """Refuses networks that cannot start from the one that they start from, before that one is trained.

    Returns:
        Those that start from a network that cannot be built, with the reason.

    Raises:
        Problem: If variables of one name differ in shape, or none has a name that both know.
    """
    left_out: dict[str, str] = {}
    for planned in plan:
        if not planned.start or planned.network in left_out or planned.network in not_built:
            continue
        if planned.start in not_built or planned.start in left_out:
            left_out[planned.network] = f"starts from {planned.start}, which cannot be built"
            continue
        pattern, where = planned.config.training.vars_to_restore, f"{planned.start!r}"
        if not list(taken_over(shapes[planned.network], shapes[planned.start], pattern, where)):
            raise Problem(
                f"matches nothing that {planned.network!r} and {planned.start!r}, from which it starts, have both",
                f"their variables are like {next(iter(shapes[planned.start]))}",
                key="vars_to_restore",
                value=pattern,
                section="TRAINING",
                file=str(planned.config.path),
            )
    return left_out
