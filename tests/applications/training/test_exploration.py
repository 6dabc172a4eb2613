"""`schedule = auto`: candidates, who of them goes on, and a run that goes on from the winner's state."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.export.hardened import export_network
from sfgkeras.applications.records.candidates_file import Candidate, read_candidates, write_candidates
from sfgkeras.applications.records.checkpoints import CheckpointFolder
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.records.logs import read_log
from sfgkeras.applications.records.settled import settled_of
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.applications.training import exploration, exploring
from sfgkeras.applications.training.build import build_learner, build_optimizers
from sfgkeras.applications.training.candidates import candidate_config
from sfgkeras.applications.training.exploration import decide
from sfgkeras.applications.training.network import build_network
from sfgkeras.applications.workers.team import Team
from sfgkeras.architecture.stage import Stage
from sfgkeras.callbacks.grouping_file import read_grouping_history
from sfgkeras.errors import ConfigError
from sfgkeras.networks import MultiTaskNetwork
from sfgkeras.sharing.judging import missed_shares
from sfgkeras.tables import networks as network_table

AUTO = {
    "NETWORK.name": "pair", "NETWORK.sharing": "sfg", "NETWORK.width": 1.0, "TRAINING.max_iter": 24,
    "TRAINING.auto_rungs": "0.25, 0.5", "TRAINING.auto_windows": 6, "TRAINING.validation_every_n": 10,
    "TRAINING.save_every_n": 4,
}  # fmt: skip


@keras.saving.register_keras_serializable(package="tests")
class Pair(MultiTaskNetwork):
    """Two convolutions."""

    stages = (Stage(6), Stage(5))


@pytest.fixture(scope="module", autouse=True)
def table():
    """The line of the table."""
    network_table.NETWORKS["pair"] = network_table.NetworkEntry(lambda: Pair, "two convolutions")
    yield
    del network_table.NETWORKS["pair"]


def arrays_of(config, iteration=-1):
    return dict(CheckpointFolder(config.system.model_dir / "checkpoints").read(iteration).arrays)


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(two[name], value, err_msg=name)


@pytest.fixture(scope="module")
def explored(config_maker, tmp_path_factory):
    """A finished run with two candidates, what it said, and its network."""
    from tests.applications.conftest import RecordingReporter

    reporter = RecordingReporter()
    config = config_maker(tmp_path_factory.mktemp("explored"))(
        {**AUTO, "TRAINING.auto_candidates": "learned, shared", "TRAINING.ema_decay": 0.9}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exploring, "build_learner", lambda *given: BUILT.append(given[0]) or build_learner(*given))
        return config, reporter, run.train(config, reporter)


BUILT = []
"""Configurations of the candidates of `explored` for which something was built."""

WHOLE = (pytest.mark.slow, pytest.mark.ci_sample)


def whole(test):
    """Marks a test of a whole run."""
    for mark in WHOLE:
        test = mark(test)
    return test


@whole
def test_the_winner_of_the_last_rung_goes_on_with_fixed_groups_to_the_last_iteration(explored):
    config, reporter, network = explored
    table = read_candidates(RunFolder(config.system.model_dir).candidates)
    assert [(each.rung, each.name, each.iterations) for each in table] == [
        (1, "learned", 6), (1, "shared", 6), (2, "learned", 12), (2, "shared", 12),
    ]  # fmt: skip
    assert [each.chosen for each in table[:2]] == [True, True]
    (winner,) = [each for each in table[2:] if each.chosen]
    assert not network.groupings()
    record = CheckpointFolder(config.system.model_dir / "checkpoints").read(24).record
    settled = settled_of(record)
    assert (settled.candidate, settled.iteration) == (winner.name, 12)
    assert [list(stage) for stage in network.trunk.connections.allocation] == [list(stage) for stage in settled.groups]
    # By the run's own names, whatever dense network a candidate was cut to.
    assert all(key.startswith(("network/", "optimizer", "balancing", "random")) for key in arrays_of(config, 12))
    assert [key for key in arrays_of(config, 12) if "_grouped" in key] == []
    # Averages of weights begin with the groups that stay.
    kept = [any(key.startswith("average/") for key in arrays_of(config, iteration)) for iteration in (12, 24)]
    assert kept == [False, True]
    (told,) = [text for text in reporter.messages if text.startswith(f"schedule = auto: {winner.name} goes on")]
    assert "from iteration 12; share of the improvement that each misses (6 windows of validation sub" in told


@whole
def test_what_learns_is_compiled_once_where_the_groups_are_fixed(explored):
    folders = [
        config.system.model_dir.relative_to(RunFolder(explored[0].system.model_dir).exploration) for config in BUILT
    ]
    assert [str(folder) for folder in folders] == ["rung_1/learned", "rung_1/shared", "rung_2/learned"]


@whole
def test_what_was_compiled_learns_as_what_is_compiled_anew(explored, make_config, tmp_path, monkeypatch):
    result = exploring.candidate_result
    monkeypatch.setattr(exploration, "candidate_result", lambda parts, entrant, compiled: result(parts, entrant, {}))
    options = {"TRAINING.auto_candidates": "learned, shared", "TRAINING.ema_decay": 0.9}
    anew = make_config({**AUTO, **options}, model_dir=tmp_path / "anew")
    run.train(anew)
    assert_equal(arrays_of(explored[0]), arrays_of(anew))


@whole
def test_scores_are_those_of_the_losses_in_the_table(explored):
    table = read_candidates(RunFolder(explored[0].system.model_dir).candidates)
    (untrained,) = [each.untrained for each in table if each.untrained]
    for rung in (1, 2):
        losses = {each.name: each.losses for each in table if each.rung == rung}
        scores = {each.name: each.score for each in table if each.rung == rung}
        assert missed_shares(untrained, losses) == pytest.approx(scores, abs=1e-4)
        assert all(losses["shared"][task] < untrained[task] for task in ("ct", "organs"))


@whole
def test_the_logs_of_the_run_are_those_of_the_winner_from_the_first_iteration_on(explored):
    config, _, _ = explored
    folder = RunFolder(config.system.model_dir)
    assert [int(row["iteration"]) for row in read_log(folder.logs / "training.csv")] == list(range(1, 25))
    assert [int(row["iteration"]) for row in read_log(folder.logs / "validation.csv")] == [20]
    history = read_grouping_history(folder.grouping)
    assert history["iterations"][-1] == 24
    assert set(np.unique(history["sfg_2"][-1])) <= {0.0, 1.0}
    seconds = json.loads(folder.training_record.read_text())["seconds"]
    assert seconds > sum(each.seconds for each in read_candidates(folder.candidates)) - 0.2
    assert not list(folder.exploration.rglob("*.npz")) or all(
        "logs" in str(p) for p in folder.exploration.rglob("*.npz")
    )


@whole
def test_other_verbs_find_the_groups_in_the_state(explored, reporter):
    config, _, network = explored
    run.infer(config, reporter=reporter)
    assert export_network(config, reporter).is_file()
    assert not any("undecided" in text for text in [*reporter.warnings, *reporter.messages])
    run.evaluate(config, reporter)
    run.train(config, reporter)
    assert any(text.startswith("nothing to train: iteration 24") for text in reporter.messages)


def test_a_run_that_is_too_short_follows_the_paper(make_config, reporter):
    config = make_config({**AUTO, "TRAINING.max_iter": 2})
    network = run.train(config, reporter)
    assert network.groupings()
    assert any("leaves a candidate fewer than 5 iterations" in text for text in reporter.messages)


def candidate(name, ct, organs, multiplies=1, untrained=None):
    return Candidate(1, name, 6, {"ct": ct, "organs": organs}, untrained or {}, multiplies, 1.0)


UNTRAINED = [{"ct": 1.0, "organs": 3.0}, {"ct": 3.0, "organs": 1.0}]


def test_the_better_ones_go_on_and_in_the_end_one():
    # Shares of the improvement from 2.0, 2.0 to the lowest, 1.0, 1.0: 0.5, 0.0, 0.25, infinite.
    found = [
        candidate("a", 1.5, 1.5), candidate("b", 1.0, 1.0), candidate("c", 1.5, 1.0), candidate("d", np.nan, 1.0)
    ]  # fmt: skip
    kept = decide(found, UNTRAINED, 2, 0.0)
    assert [each.score for each in kept] == [0.5, 0.0, 0.25, np.inf]
    assert [each.name for each in kept if each.chosen] == ["b", "c"]
    assert [each.name for each in decide(found, UNTRAINED, 1, 0.0) if each.chosen] == ["b"]
    assert [each.name for each in decide(found, UNTRAINED, 1, 0.25) if each.chosen] == ["b"]
    cheap = [candidate("b", 1.0, 1.0, 2), candidate("c", 1.5, 1.0, 1)]
    assert [each.name for each in decide(cheap, UNTRAINED, 1, 0.26) if each.chosen] == ["c"]


@pytest.fixture
def climb(make_config, tmp_path, reporter, monkeypatch):
    """Returns a function: options of `[TRAINING]` -> who is judged at each rung, and who goes on.

    Candidates lose what `losses` says of them, whatever they are.
    """

    def climb(losses, multiplies, **options):
        def of_candidate(parts, entrant, compiled):
            loss = losses[entrant.name]
            untrained = {"ct": 2.0, "organs": 2.0 + 2 * list(losses).index(entrant.name)}
            return candidate(entrant.name, 2.0 * loss, 2.0 * loss, multiplies[entrant.name], untrained)

        monkeypatch.setattr(exploration, "candidate_result", of_candidate)
        monkeypatch.setattr(
            exploration, "candidate_groups", lambda config, tasks, channels, names, reporter: dict.fromkeys(names)
        )
        monkeypatch.setattr(exploration, "_groups", lambda path: ())
        config = make_config({**AUTO, **{f"TRAINING.{key}": value for key, value in options.items()}})
        parts = SimpleNamespace(
            config=config, tasks={}, channels=1, reporter=reporter, held_out=[], team=Team(),
            folder=RunFolder(tmp_path),
        )  # fmt: skip
        ends = config.training.chosen_settings("schedule").rung_ends(24)
        table = exploration._climb(parts, ends)
        return ends, [each.name for each in table], [each.name for each in table if each.chosen], table

    return climb


def test_candidates_and_rungs_are_those_of_the_file_and_as_many_leave_at_each_rung(climb):
    losses = {"learned": 0.1, "shared": 0.4, "tapered": 0.3, "separate": 0.2}
    ends, judged, chosen, table = climb(
        losses, dict.fromkeys(losses, 1), auto_candidates="learned, shared, tapered, separate",
        auto_rungs="0.25, 0.5, 0.75",
    )  # fmt: skip
    assert list(ends) == [6, 12, 18]
    assert judged == [*losses, "learned", "tapered", "separate", "learned", "separate"]
    assert chosen == ["learned", "tapered", "separate", "learned", "separate", "learned"]
    # From the mean over all untrained networks, (2 + 4 + 6 + 8) / 4 for organs, to the lowest.
    missed = [(0.8 - 0.2) / (2.0 - 0.2), (0.8 - 0.2) / (5.0 - 0.2)]
    assert table[1].score == pytest.approx(sum(missed) / 2)


def test_rungs_are_the_fractions_of_the_training_that_the_file_says(make_config, reporter, monkeypatch):
    climbed = []
    monkeypatch.setattr(exploration, "_begin", lambda parts, ends: None)
    monkeypatch.setattr(exploration, "_climb", lambda parts, ends: climbed.append(list(ends)))
    monkeypatch.setattr(exploration, "_adopt", lambda parts, table: None)
    config = make_config(AUTO | {"TRAINING.max_iter": 40, "TRAINING.auto_rungs": "0.25, 0.75"})
    nothing_yet = SimpleNamespace(iterations=list)
    exploration.explore(exploring.Parts(config, {}, [], [], None, Team(), nothing_yet, reporter))
    assert climbed == [[10, 30]]


@pytest.mark.parametrize(("tolerance", "winner"), [(0.0, "learned"), (0.3, "shared")])
def test_within_the_tolerance_of_the_file_the_cheaper_one_wins(climb, tolerance, winner):
    losses, multiplies = {"learned": 0.1, "shared": 0.3}, {"learned": 20, "shared": 10}
    options = {"auto_candidates": "learned, shared", "auto_rungs": "0.5", "auto_tolerance": tolerance}
    assert climb(losses, multiplies, **options)[2] == [winner]


def test_a_candidate_trains_to_its_rung_whatever_would_end_or_slow_the_run(make_config, tmp_path):
    ended = {"TRAINING.patience": 3, "TRAINING.ema_decay": 0.9, "TRAINING.validation_every_n": 2}
    learned = candidate_config(make_config(AUTO | ended), None, tmp_path, 16)
    assert (learned.training.patience, learned.training.ema_decay, learned.training.validation_every_n) == (0, None, -1)
    assert learned.training.grouping_lr == 8 / 16
    assert learned.system.model_dir == tmp_path
    own = candidate_config(make_config(AUTO | {"TRAINING.grouping_lr": 0.125}), None, tmp_path, 16)
    assert own.training.grouping_lr == 0.125


@pytest.mark.parametrize(("held_out", "judges"), [(["v"], ["v"]), ([], ["t"])])
def test_candidates_are_judged_by_whole_batches_of_held_out_windows(make_config, monkeypatch, held_out, judges):
    asked = []

    def batches(config, tasks, subjects, strategy, team, count):
        asked.append((list(subjects), count))
        return SimpleNamespace(validation=(), consumed=nullcontext)

    monkeypatch.setattr(exploring, "build_losses", lambda tasks, network: {})
    monkeypatch.setattr(exploring, "ValidationPass", lambda *arguments: lambda windows: {"ct_loss": 0.5})
    monkeypatch.setattr(exploring, "validation_batches", batches)
    config = make_config(AUTO | {"TRAINING.auto_windows": 10, "NETWORK.batch_size": 4})
    parts = SimpleNamespace(
        config=config, tasks={"ct": None}, training=["t"], held_out=held_out, strategy=None, team=Team()
    )
    assert exploring.build_judge(parts, SimpleNamespace(balancer=None))() == {"ct": 0.5}
    assert asked == [(judges, 12)]


def test_what_the_optimiser_has_gathered_goes_over_to_the_dense_network_of_a_candidate(make_config):
    import tensorflow as tf

    config = make_config(AUTO | {"TRAINING.optimiser": "momentum", "TRAINING.lr": 0.5})
    tasks = build_tasks(config)
    network = build_network(config, tasks, 1)
    optimizers = build_optimizers(config).build(network)
    optimizers.apply([tf.ones_like(variable) for variable in optimizers.variables])
    one = object.__new__(exploring._Exploring)
    one._parts = SimpleNamespace(config=config, tasks=tasks, channels=1, strategy=tf.distribute.get_strategy())
    one._entrant, one._network = SimpleNamespace(name="learned"), network
    one._trainer = SimpleNamespace(
        optimizers=optimizers, record={}, progress=SimpleNamespace(iteration=6),
        state=lambda: SimpleNamespace(arrays={}),
    )  # fmt: skip
    state, dense = one._settle()
    assert not dense.groupings()
    moments = [value for key, value in state.arrays.items() if key.startswith("optimizer") and value.ndim > 1]
    assert moments
    for moment in moments:
        np.testing.assert_allclose(moment, -0.5)


def test_a_search_in_which_all_have_diverged_says_what_to_do():
    with pytest.raises(ConfigError, match="every candidate of schedule = auto has diverged; lower"):
        decide([candidate("a", np.nan, 1.0), candidate("b", np.inf, 1.0)], UNTRAINED, 2, 0.0)


def test_the_table_comes_back_as_it_was_written(tmp_path):
    table = [
        Candidate(1, "learned", 6, {"ct": 0.5, "organs": np.inf}, {}, 10, 2.5, np.inf, False),
        Candidate(1, "shared", 6, {"ct": 0.25, "organs": 1.0}, {"ct": 1.0, "organs": 2.0}, 20, 0.5, None, True),
    ]
    write_candidates(tmp_path / "explore.csv", table)
    assert read_candidates(tmp_path / "explore.csv") == table
    assert read_candidates(tmp_path / "none.csv") == []


@pytest.mark.slow
@pytest.mark.ci_sample
@pytest.mark.parametrize(("candidate", "baseline"), [("shared", "hard_sharing"), ("separate", "single_task")])
def test_a_fixed_candidate_alone_is_the_baseline_to_the_bit(candidate, baseline, make_config, tmp_path):
    auto = make_config({**AUTO, "TRAINING.auto_candidates": candidate}, model_dir=tmp_path / "auto")
    run.train(auto)
    plain = make_config({**AUTO, "NETWORK.sharing": baseline}, model_dir=tmp_path / "plain")
    run.train(plain)
    one, two = arrays_of(auto), arrays_of(plain)
    assert one.keys() == two.keys()
    assert_equal(one, two)


class Killed(BaseException):
    """What a killed process does not live to see."""


@pytest.fixture
def kill_after(monkeypatch):
    """Returns a function: number -> the process ends when that many states have been written."""
    writing = exploring.write_state

    def arrange(count):
        left = [count]

        def write(path, state):
            if not left[0]:
                raise Killed
            left[0] -= 1
            writing(path, state)

        monkeypatch.setattr("sfgkeras.applications.records.checkpoints.write_state", write)
        monkeypatch.setattr(exploring, "write_state", write)

    return arrange


@pytest.mark.slow
# States: 0, 4, 6 of learned, its dense one; 0, 4, 6, dense of shared; 6, 8, 12, dense of each; 12, 16, 20, best, 24.
@pytest.mark.parametrize(
    "count",
    [
        2,
        pytest.param(3, marks=pytest.mark.ci_sample),
        4,
        6,
        8,
        10,
        13,
        16,
        pytest.param(17, marks=pytest.mark.ci_sample),
        18,
    ],
)
def test_a_search_that_is_killed_anywhere_ends_as_if_it_had_not_been(
    count, explored, make_config, tmp_path, kill_after
):
    whole, _, _ = explored
    config = make_config(
        {**AUTO, "TRAINING.auto_candidates": "learned, shared", "TRAINING.ema_decay": 0.9},
        model_dir=tmp_path / "killed",
    )
    kill_after(count)
    with pytest.raises(Killed):
        run.train(config)
    kill_after(1000)
    run.train(config)
    assert_equal(arrays_of(whole), arrays_of(config))
    tables = [read_candidates(RunFolder(each.system.model_dir).candidates) for each in (whole, config)]
    results = [[(row.name, row.losses, row.untrained, row.score, row.chosen) for row in table] for table in tables]
    assert results[0] == results[1]
