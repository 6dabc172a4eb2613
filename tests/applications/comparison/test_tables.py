"""The main table of a study: what a row weighs, how long it was trained, what it reached, against the first row."""

import csv

import numpy as np
import pytest

from sfgkeras.analysis.comparison import Score
from sfgkeras.applications.comparison.plan import PlannedRun
from sfgkeras.applications.comparison.results import Result, collect_result, read_result, result_key, write_result
from sfgkeras.applications.comparison.tables import mean_settings, write_comparison

COSTS = {
    "parameters": 10,
    "multiplies in training": 20,
    "multiplies at inference": 15,
    "s / iteration": 0.5,
    "evaluation s": 1.0,
}
WEIGHTS = {"base": {"organs": 1.0}, "mtl": {"ct": 1e-5, "organs": 0.8}}


@pytest.fixture
def study(make_config, tmp_path):
    """Two rows over three seeds, with logs of their validations; `mtl` is better by 0.1 on every subject."""
    rng, results, plan = np.random.default_rng(0), {}, []
    for seed in range(3):
        dice = rng.uniform(0.5, 0.7, 8)
        for name in WEIGHTS:
            overrides = {"EVALUATION.evaluations": "voxel_accuracy, jaccard, dice, mae"}
            config = make_config(overrides, model_dir=tmp_path / "runs" / name / f"seed_{seed}")
            plan.append(PlannedRun(name, seed, config, is_row=True))
            values = dice + (rng.normal(0.1, 0.001, 8) if name == "mtl" else 0.0)
            scores = [
                Score(name, seed, "organs", "prostate", measure, float(value), f"s{subject}")
                for subject, value in enumerate(values)
                for measure in ("dice", "jaccard", "voxel_accuracy")
            ]
            scores += [Score(name, seed, "ct", "all", "mae", 50.0, "s0", unit="HU")] if name == "mtl" else []
            results[name, seed] = Result(scores, COSTS, WEIGHTS[name], 14.0 + seed)
            logs = config.system.model_dir / "logs"
            logs.mkdir(parents=True)
            (logs / "validation.csv").write_text(f"iteration,epoch,loss,organs_dice\n10,1,2.0,0.{seed}\n20,2,1.0,\n")
    return plan, results, tmp_path / "out"


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_weights_epochs_and_measures_of_every_row(study):
    plan, results, output = study
    output.mkdir()
    write_comparison(plan, results, output)
    base, mtl = read(output / "table.csv")
    assert list(base)[:4] == ["network", "weight organs", "weight ct", "epochs"]
    assert [base[name] for name in list(base)[:4]] == ["base", "1.0", "", "15.0"]
    assert [mtl[name] for name in list(base)[:4]] == ["mtl", "0.8", "1e-05", "15.0"]
    shown = [name for name in base if name.startswith(("organs", "ct")) and not name.endswith("std")]
    assert shown == ["organs prostate dice", "organs prostate jaccard", "organs prostate voxel_accuracy", "ct mae"]
    values = [score.value for seed in range(3) for score in results["base", seed].scores if score.measure == "dice"]
    assert float(base["organs prostate dice"]) == pytest.approx(np.mean(values))
    by_seed = np.mean(np.reshape(values, (3, 8)), axis=1)
    assert float(base["organs prostate dice std"]) == pytest.approx(by_seed.std(ddof=1))
    assert (base["ct mae"], mtl["ct mae"]) == ("", "50.0")
    text = (output / "comparison.md").read_text()
    assert text.startswith(
        "| network | weight organs | weight ct | epochs | organs prostate Dice ↑ | organs prostate IoU ↑ | "
        "organs prostate voxel accuracy ↑ | ct MAE [HU] ↓ |"
    )
    lines = [line for line in text.splitlines() if line.startswith(("| base", "| mtl"))]
    assert lines[0].startswith("| base | 1 | - | 15 |")
    assert lines[1].startswith("| mtl | 0.8 | 1e-05 | 15 | **")
    assert "*+**" in lines[1]
    assert "Against base, or the best row where that has no such task" in text
    assert "![curves](curves.png)" in text
    assert "weight organs" in (output / "comparison.html").read_text()


def test_comparison_csv_keeps_its_columns(study):
    plan, results, output = study
    output.mkdir()
    write_comparison(plan, results, output)
    rows = read(output / "comparison.csv")
    assert {"network", "task", "region", "label", "measure", "mean", "std", "n", "p_seeds", "p_subjects"} <= set(
        rows[0]
    )
    assert {(row["task"], row["region"], row["label"]) for row in rows} == {
        ("organs", "", "prostate"),
        ("ct", "all", ""),
    }
    row = next(row for row in rows if row["network"] == "mtl" and row["measure"] == "dice")
    values = [score.value for seed in range(3) for score in results["mtl", seed].scores if score.measure == "dice"]
    assert float(row["mean"]) == pytest.approx(np.mean(values))
    assert (row["n"], row["seeds"], row["subjects"], row["baseline"]) == ("24", "3", "8", "base")
    assert float(row["p_seeds"]) < 1e-3
    assert float(row["p_subjects"]) == pytest.approx(2 / 2**8)


def test_curves_of_all_runs_are_kept(study):
    plan, results, output = study
    output.mkdir()
    del results["mtl", 2]  # not done yet
    write_comparison(plan, results, output)
    rows = read(output / "curves.csv")
    assert len(rows) == 5 * 2 * 2
    found = {
        (row["network"], row["seed"]): row["value"]
        for row in rows
        if row["measure"] == "organs_dice"
        if row["epoch"] == "1.0"
    }
    assert found["base", "2"] == "0.2"
    assert ("mtl", "2") not in found
    assert (output / "curves.png").stat().st_size > 1000


def test_the_text_says_how_many_seeds_the_means_are_over_while_it_goes_on(study):
    plan, results, output = study
    output.mkdir()

    def text():
        write_comparison(plan, results, output)
        return (output / "comparison.md").read_text()

    assert "deviation over 3 seeds. Against base" in text()
    del results["mtl", 2]
    # Only what both have is compared; the error of CT is of `mtl` alone.
    assert "deviation over 2 seeds, those that all networks have values for (runs: base 3, mtl 2). Against" in text()
    del results["base", 0]
    assert "deviation over 1 to 2 seeds, those that all networks have values for (runs: base 2, mtl 2)." in text()


def test_equal_weights_are_not_shown():
    same = Result([], COSTS, {"a": 1.0}, float("nan"))
    assert mean_settings({("x", 0): same, ("y", 0): same}) == {"x": {}, "y": {}}
    other = Result([], COSTS, {"a": 3.0}, 7.0)
    assert mean_settings({("x", 0): same, ("y", 0): same, ("y", 1): other}) == {
        "x": {"weight a": 1.0, "epochs": None},
        "y": {"weight a": 2.0, "epochs": 7.0},
    }


def test_a_result_is_read_back_for_the_same_settings_only(make_config, tmp_path):
    planned = PlannedRun("base", 0, make_config())
    result = Result([Score("base", 0, "ct", "all", "mae", 5.0, "s")], COSTS, {"ct": 2.0}, 3.5)
    assert read_result(planned) is None
    write_result(planned, result)
    assert read_result(planned) == result
    renamed = read_result(PlannedRun("other", 0, planned.config))
    assert renamed.scores[0].network == "other"
    changed = make_config({"TRAINING.lr": 0.5})
    assert result_key(changed) != result_key(planned.config)
    assert read_result(PlannedRun("base", 0, changed)) is None


def test_learned_weights_are_the_last_that_were_logged(make_config, monkeypatch):
    from sfgkeras.applications.comparison import results

    planned = PlannedRun("learned", 0, make_config({"TASK.ct.weight": 0.25}))
    logs = planned.config.system.model_dir / "logs"
    logs.mkdir(parents=True)
    (logs / "training.csv").write_text("iteration,epoch,loss,weight_organs\n1,0.5,3,1\n2,1,2,0.125\n")
    monkeypatch.setattr(results, "measure_costs", lambda session, network: dict(COSTS))
    monkeypatch.setattr(results, "_read_scores", lambda session, planned: iter(()))
    found = collect_result(planned, None, None, 2.0)
    assert (found.weights, found.epochs) == ({"ct": 0.25, "organs": 0.125}, 1.0)
