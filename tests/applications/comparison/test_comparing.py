"""Comparisons: every run gets the same subjects and windows, is made once, and lands in the tables."""

import csv
import gc
import json
import weakref

import numpy as np
import pytest

from sfgkeras.analysis.comparison import Score
from sfgkeras.applications.comparison import plan as plan_module
from sfgkeras.applications.comparison import runs as runs_module
from sfgkeras.applications.comparison.plan import folder_names, plan_files, plan_rows, plan_sharing
from sfgkeras.applications.comparison.results import Result
from sfgkeras.applications.comparison.runs import compare
from sfgkeras.applications.subjects.preprocessing_settings import read_run
from sfgkeras.data.subjects import read_split
from sfgkeras.errors import ConfigError, Problem
from sfgkeras.tables.sharing import SHARING

SMALL = [("TRAINING.max_iter", "1"), ("TRAINING.validation_every_n", "-1"), ("TRAINING.save_every_n", "0")]


@pytest.fixture
def ini(make_config):
    """The tiny INI file."""
    return make_config().path


def test_runs_of_one_seed_differ_in_their_masks_only(ini, tmp_path):
    plan = plan_sharing(ini, [], 2, tmp_path / "out", SMALL)
    assert {planned.network for planned in plan} == set(SHARING)
    assert len(plan) == 2 * len(SHARING)
    assert len({planned.config.system.model_dir for planned in plan}) == len(plan)
    assert len({planned.config.system.dataset_split_file for planned in plan}) == 1
    by_name = {planned.network: planned.config for planned in plan if planned.seed == 0}
    assert {config.training for config in by_name.values()} == {by_name["sfg"].training}
    for name, config in by_name.items():
        assert config.network == by_name["sfg"].network.model_copy(update={"sharing": name})
        assert config.multitask.init_categorical == (
            pytest.approx((1 / 3, 1 / 3, 1 / 3)) if name in ("constant_mask", "constant_p") else None
        )


@pytest.fixture
def two_mechanisms(monkeypatch):
    """Only these are known, so that not all have to be built; runs are not trained."""
    known = {name: SHARING[name] for name in ("hard_sharing", "single_task")}
    monkeypatch.setattr(plan_module, "SHARING", known)
    score = ("ct", "all", "mae", 50.0, "phantom_003")
    costs = {"parameters": 1, "multiplies in training": 1, "multiplies at inference": 1, "s / iteration": 1.0}
    monkeypatch.setattr(
        runs_module,
        "run_once",
        lambda planned, reporter: Result([Score(planned.network, planned.seed, *score)], costs, {"ct": 1.0}, 1.0),
    )


NARROW = [*SMALL, ("NETWORK.width", "0.0625")]


def test_mechanisms_that_cannot_be_used_are_named_and_the_others_compared(ini, tmp_path, reporter, two_mechanisms):
    output, refused = tmp_path / "out", {}
    plan = plan_sharing(ini, ["all"], 2, output, NARROW, refused=refused)
    rows = compare(plan, output, reporter, refused=refused)
    assert {row["network"] for row in rows} == {"hard_sharing"}
    said = (
        "single_task is not compared: [NETWORK] name = 'highresnet': a layer has 1 filters for 2 tasks; raise the width"
    )
    assert any(said in text for text in reporter.warnings)
    assert said in (output / "comparison.md").read_text()
    assert "single_task is not compared" in (output / "comparison.html").read_text()


def test_a_run_that_cannot_be_trained_is_named_and_the_others_compared(
    ini, tmp_path, reporter, two_mechanisms, monkeypatch
):
    trained = runs_module.run_once

    def fail(planned, reporter):
        if (planned.network, planned.seed) == ("single_task", 1):
            raise ConfigError("the loss is nan")
        return trained(planned, reporter)

    monkeypatch.setattr(runs_module, "run_once", fail)
    output, refused = tmp_path / "out", {}
    plan = plan_sharing(ini, ["all"], 2, output, SMALL, refused=refused)
    rows = compare(plan, output, reporter, refused=refused)
    assert {row["network"] for row in rows} == {"hard_sharing", "single_task"}
    assert "single_task, seed 1, is not compared: the loss is nan" in (output / "comparison.md").read_text()
    with pytest.raises(ConfigError, match="the loss is nan"):
        compare(plan, output, reporter)


def test_a_named_mechanism_that_cannot_be_used_is_an_error(ini, tmp_path, reporter, two_mechanisms):
    plan = plan_sharing(ini, ["hard_sharing", "single_task"], 1, tmp_path / "out", NARROW)
    with pytest.raises(ConfigError, match="a layer has 1 filters for 2 tasks"):
        compare(plan, tmp_path / "out", reporter)


def test_what_the_file_refuses_a_mechanism_for_is_the_reason(ini, tmp_path, two_mechanisms, monkeypatch):
    def read(path, overrides=(), row=None):
        if ("NETWORK.sharing", "single_task") in overrides:
            raise ConfigError(f"{path}:7: [NETWORK] sharing = 'single_task' has no use\n  here")
        return read_run(path, overrides, row)

    monkeypatch.setattr(plan_module, "read_run", read)
    refused = {}
    plan = plan_sharing(ini, [], 1, tmp_path / "out", SMALL, refused=refused)
    assert [planned.network for planned in plan] == ["hard_sharing"]
    assert refused == {"single_task": "7: [NETWORK] sharing = 'single_task' has no use here"}
    with pytest.raises(ConfigError, match="has no use"):
        plan_sharing(ini, ["single_task"], 1, tmp_path / "out", SMALL, refused=refused)


def test_settings_go_to_the_mechanisms_that_have_them(ini, tmp_path):
    stitch = [*SMALL, ("NETWORK.sharing", "cross_stitch")]
    given = [*stitch, ("SHARING.weight", "0.75")]
    stitched, hard = plan_sharing(ini, ["cross_stitch", "hard_sharing"], 1, tmp_path / "out", given)
    assert stitched.config.sharing.weight == 0.75
    assert hard.config.sharing.values() == {}
    with pytest.raises(ConfigError, match=r"\[SHARING\] has no option 'wait'"):
        plan_sharing(ini, ["cross_stitch"], 1, tmp_path / "out", [*stitch, ("SHARING.wait", "1")])


def test_a_fraction_keeps_some_of_the_training_subjects_and_all_others(ini, tmp_path):
    plan = plan_sharing(ini, ["sfg"], 1, tmp_path / "out", SMALL, fractions=[1, 0.5])
    whole, half = (read_split(planned.config.system.dataset_split_file) for planned in plan)
    assert set(half["training"]) < set(whole["training"])
    assert len(half["training"]) == len(whole["training"]) // 2
    assert half["inference"] == whole["inference"]


ROWS = """
[COMPARE]
both = tasks: ct, organs; weights: 0.25, 0.75
organs-only = tasks: organs; training.lr: 0.5
"""


def test_rows_are_planned_on_the_same_subjects_with_what_they_change(make_config, tmp_path):
    path = make_config(extra=ROWS).path
    plan = plan_rows(path, [], 2, tmp_path / "out", SMALL)
    assert [(planned.network, planned.seed) for planned in plan] == [
        ("both", 0), ("organs-only", 0), ("both", 1), ("organs-only", 1),
    ]  # fmt: skip
    assert len({planned.config.system.model_dir for planned in plan}) == 4
    assert len({planned.config.system.dataset_split_file for planned in plan}) == 1
    assert [planned.config.system.seed for planned in plan] == [0, 0, 1, 1]
    both, organs = plan[0].config, plan[1].config
    assert {name: task.weight for name, task in both.tasks.items()} == {"ct": 0.25, "organs": 0.75}
    assert (tuple(organs.tasks), organs.training.lr) == (("organs",), 0.5)
    assert organs.training.max_iter == 1
    assert [planned.network for planned in plan_rows(path, ["organs-only"], 1, tmp_path / "out", SMALL, [1, 0.5])] == [
        "organs-only", "organs-only, 0.5 of the data",
    ]  # fmt: skip


TUNED = """
[COMPARE]
tuned = tasks: organs; from: ct-only; freeze: trunk/convolution_(1|2)_
last = tasks: organs; from: tuned
ct-only = tasks: ct
"""


def test_a_row_comes_behind_the_one_that_it_starts_from_and_brings_it(make_config, tmp_path):
    path = make_config(extra=TUNED).path
    plan = plan_rows(path, ["last"], 2, tmp_path / "out", SMALL, [1, 0.5])
    half = ", 0.5 of the data"
    assert [(planned.network, planned.start) for planned in plan if planned.seed == 1] == [
        ("ct-only", ""), ("tuned", "ct-only"), ("last", "tuned"),
        (f"ct-only{half}", ""), (f"tuned{half}", f"ct-only{half}"), (f"last{half}", f"tuned{half}"),
    ]  # fmt: skip
    folders = {(planned.network, planned.seed): planned.config.system.model_dir for planned in plan}
    for planned in plan:
        expected = folders.get((planned.start, planned.seed))
        assert planned.config.training.restore_from == (expected and expected.resolve())


def test_fine_tuning_is_a_chain_of_networks_of_one_task(ini, tmp_path):
    plan = plan_sharing(ini, ["hard_sharing", "fine_tuning"], 1, tmp_path / "out", SMALL)
    assert [(planned.network, planned.start, tuple(planned.config.tasks)) for planned in plan] == [
        ("hard_sharing", "", ("ct", "organs")), ("ct alone", "", ("ct",)), ("organs after ct", "ct alone", ("organs",)),
    ]  # fmt: skip
    assert {planned.config.network.sharing for planned in plan} == {"hard_sharing"}
    assert not any(planned.is_row for planned in plan)
    assert plan[2].config.training.restore_from == plan[1].config.system.model_dir.resolve()
    assert "ct alone" not in {planned.network for planned in plan_sharing(ini, ["all"], 1, tmp_path / "out", SMALL)}


def test_what_cannot_be_taken_over_is_refused_before_anything_is_trained(make_config, tmp_path, reporter):
    for changes, message in (
        ("network.width: 0.5", r"vars_to_restore takes .*, which has shape .* in 'ct-only' and .* here; exclude it"),
        ("restore: decoder", "vars_to_restore = 'decoder' matches nothing that 'tuned' and 'ct-only', from which"),
        ("freeze: decoder", "vars_to_freeze = 'decoder' matches no trainable variable"),
    ):
        rows = f"[COMPARE]\nct-only = tasks: ct\ntuned = tasks: organs; from: ct-only; {changes}\n"
        plan = plan_rows(make_config(extra=rows).path, [], 1, tmp_path / "out", SMALL)
        with pytest.raises(Problem, match=message):
            compare(plan, tmp_path / "out", reporter)
        assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.slow
def test_a_fine_tuned_row_starts_equal_keeps_what_is_frozen_and_is_made_once(
    make_config, tmp_path, reporter, network_arrays
):
    path = make_config({"NETWORK.batch_norm": "population"}, extra=TUNED).path
    plan = plan_rows(path, ["tuned"], 1, tmp_path / "out", [*SMALL, ("TRAINING.max_iter", "2"), ("TRAINING.lr", "0.1")])
    compare(plan, tmp_path / "out", reporter)
    first, tuned = (planned.config.system.model_dir for planned in plan)

    def values(folder, iteration):
        arrays = network_arrays(folder, iteration)
        return {key.split("/", 2)[2]: value for key, value in arrays.items() if key.startswith("network/")}

    before, start, end = values(first, 2), values(tuned, 0), values(tuned, 2)
    kernels = [name for name in start if "trunk" in name and name.endswith("kernel")]
    for name in kernels:
        np.testing.assert_array_equal(start[name], before[name], err_msg=name)
    assert any((values(first, 0)[name] != before[name]).any() for name in kernels)
    kept = [name for name in kernels if (start[name] == end[name]).all()]
    assert len(kept) == 2
    assert all("trunk/convolution_1_" in name or "trunk/convolution_2_" in name for name in kept)
    compare(plan, tmp_path / "out", reporter)
    assert sum("was done" in text for text in reporter.messages) == 2


def test_rows_that_are_not_there_are_refused(ini, make_config, tmp_path):
    with pytest.raises(Problem, match=r"has no \[COMPARE\] with rows to compare; add one") as caught:
        plan_rows(ini, [], 1, tmp_path / "out")
    assert caught.value.file == str(ini)
    with pytest.raises(ConfigError, match=r"\[COMPARE\] has no row 'organ', did you mean 'organs-only'"):
        plan_rows(make_config(extra=ROWS).path, ["organ"], 1, tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sharing": ["sgf"]}, "--sharing 'sgf' is not known, did you mean 'sfg'"),
        ({"sharing": ["sfg"], "fractions": [0.0]}, "--fractions 0 is no part"),
        ({"sharing": ["sfg"], "fractions": [0.5, 0.5 + 1e-9]}, "--fractions has two parts that are 0.5 to six digits"),
    ],
)
def test_what_cannot_be_compared_is_refused(ini, tmp_path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        plan_sharing(ini, seeds=1, output=tmp_path / "out", **arguments)


def test_two_files_of_one_name_are_refused(ini, tmp_path):
    with pytest.raises(ConfigError, match="have one name"):
        plan_files([ini, ini], 1, tmp_path / "out")


def test_the_runs_of_every_network_have_a_folder_of_their_own():
    names = ["sfg", "sfg, 0.5 of the data", "sfg, 0.25 of the data", "SFG two"]
    assert folder_names(names) == {
        "sfg": "sfg",
        "sfg, 0.5 of the data": "sfg_0.5_of_the_data",
        "sfg, 0.25 of the data": "sfg_0.25_of_the_data",
        "SFG two": "SFG_two",
    }


@pytest.mark.parametrize(
    "names",
    [
        ["pets", "Pets"],
        ["a b", "a_b"],
        ["a_0.5_of_the_data", "a, 0.5 of the data"],
        ["stra\N{LATIN SMALL LETTER SHARP S}e", "STRASSE"],
        ["e\N{COMBINING ACUTE ACCENT}", "\N{LATIN SMALL LETTER E WITH ACUTE}"],
    ],
)
def test_two_networks_that_would_share_a_folder_are_refused_by_name(names):
    with pytest.raises(Problem) as caught:
        folder_names(names)
    assert str(caught.value).startswith(f"{names[0]!r} and {names[1]!r} would have one folder of runs")
    assert caught.value.remedy == "rename one of them"


@pytest.mark.parametrize("name", ["..", ".", "a.", "a/b", "../a", "a\\b", "C:", "", "a\nb"])
def test_a_name_that_leaves_the_folder_or_is_none_of_a_folder_everywhere_is_refused(name):
    with pytest.raises(Problem, match="cannot be the name of its runs' folder everywhere; rename it"):
        folder_names(["fine", name])


def test_files_that_would_share_folders_are_refused_before_anything_is_written(ini, tmp_path):
    other = ini.with_name(ini.name.upper())
    other.write_text(ini.read_text())
    with pytest.raises(ConfigError, match="'tiny' and 'TINY' would have one folder"):
        plan_files([ini, other], 1, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def what_is_held(monkeypatch):
    """Notes at the start of every run how many of the networks trained before, and of all traced steps, are left."""
    from tensorflow.python.framework.func_graph import FuncGraph

    train, networks, held = runs_module.run.train, [], []
    others = {id(each) for each in gc.get_objects() if isinstance(each, FuncGraph)}

    def watched(config, reporter):
        steps = [each for each in gc.get_objects() if isinstance(each, FuncGraph) and each.name == "step"]
        held.append((sum(network() is not None for network in networks), sum(id(each) not in others for each in steps)))
        network = train(config, reporter)
        networks.append(weakref.ref(network))
        return network

    monkeypatch.setattr(runs_module.run, "train", watched)
    return held


@pytest.mark.slow
def test_all_runs_land_in_the_tables_are_made_once_and_freed(ini, tmp_path, reporter, monkeypatch):
    output = tmp_path / "out"
    plan = plan_sharing(ini, ["hard_sharing", "cross_stitch"], 2, output, SMALL)
    held = what_is_held(monkeypatch)
    with pytest.raises(ConfigError, match="--features 'hard' is none of the networks that are compared"):
        compare(plan, output, reporter, ["hard"])
    rows = compare(plan, output, reporter, ["hard_sharing", "cross_stitch"])
    assert held == [(0, 0)] * 4
    assert "networks" in reporter.tables
    assert {row["network"] for row in rows} == {"hard_sharing", "cross_stitch"}
    assert {(row["task"], row["measure"]) for row in rows} >= {("ct", "mae"), ("ct", "psnr"), ("organs", "dice")}
    with (output / "runs.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {(line["network"], line["seed"]) for line in lines} == {
        (name, seed) for name in ("hard_sharing", "cross_stitch") for seed in "01"
    }
    names = ("comparison.csv", "comparison.md", "comparison.png", "table.csv", "features_1.png", "features_2.png")
    for name in (*names, "sharing.png"):
        assert (output / name).stat().st_size > 100
    with (output / "sharing.csv").open() as file:
        shared = [line for line in csv.DictReader(file) if (line["seed"], line["stage"]) == ("1", "stage_1")]
    assert [(line["network"], line["task"], line["other"]) for line in shared] == [
        (name, *tasks) for name in ("hard_sharing", "cross_stitch") for tasks in (("ct", "organs"), ("organs", "ct"))
    ]
    # Of weights that start at 0.9 and 0.1 and have hardly moved.
    assert [float(line["shared"]) for line in shared] == pytest.approx([1, 1, 0.2, 0.2], abs=0.02)
    page = (output / "comparison.html").read_text(encoding="utf-8")
    assert "Feature maps" in page
    assert "Which tasks share what" in page
    assert "cross_stitch" in page
    assert 'src="http' not in page
    assert 'href="http' not in page

    # A damaged result is made again from the run's files, the others are taken as they are.
    path = plan[0].config.system.model_dir / "result.json"
    expected = json.loads(path.read_text())["scores"]
    path.write_text("{")
    again = compare(plan, output, reporter)
    # As text, in which undefined values are equal too.
    assert str(again) == str(rows)
    assert str(json.loads(path.read_text())["scores"]) == str(expected)
    assert sum("was done" in message for message in reporter.messages) == 3
