"""What a report says in words: each fact against the file that it is read from, and nothing where there is none."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sfgkeras.applications.records.checkpoints import CheckpointFolder, TrainingState
from sfgkeras.applications.records.files import VALUES_FILE, Provenance, RunFolder, digest, prediction_path
from sfgkeras.applications.records.logs import write_units
from sfgkeras.applications.records.training_record import TrainingRecord
from sfgkeras.applications.report import facts
from sfgkeras.applications.report.tables import read_json, read_rows, run_facts, spread_summary

SECTION = SimpleNamespace


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "model")
    folder.logs.mkdir(parents=True)
    return folder


@pytest.fixture
def config(tmp_path):
    return SECTION(
        system=SECTION(seed=7, model_dir=tmp_path / "model"),
        inference=SECTION(save_seg_dir=tmp_path / "out", output_postfix=""),
        training=SECTION(max_iter=2000, max_epochs=None, best_metric=None),
        network=SECTION(name="highresnet", sharing="sfg"),
        tasks={"ct": SECTION(type="regression"), "organs": SECTION(type="segmentation")},
    )


def save(run, iteration, best=False, **progress):
    state = TrainingState({"a": np.zeros(1)}, {"iteration": iteration, "progress": progress})
    CheckpointFolder(run.checkpoints).write(state, best)


def test_a_run_that_wrote_nothing_down_is_told_by_its_seed(run, config):
    assert facts.training_facts(config, run) == {"Seed": "7"}
    assert facts.read_progress(run) == {}
    assert facts.best_iteration(run) is None
    assert facts.validation_rows(run, None) == ([], [])
    assert facts.epoch_of(run, 5) is None


def test_a_training_is_told_by_its_record(run, config):
    record = TrainingRecord("sfgkeras train -c 'my file.ini'", "then", "now", 3700.0, 2, {"keras": "3.1"}, 4, "EPYC")
    run.training_record.write_text(json.dumps(vars(record)), encoding="utf-8")
    assert facts.training_facts(config, run) == {
        "Seed": "7",
        "Trained": "then to now",
        "Duration of training": "1 h 1 min, in 2 starts",
        "Machine": "4 cores of EPYC, no GPU",
        "Trained with": "keras 3.1",
        "Trained by": "sfgkeras train -c 'my file.ini'",
    }
    run.training_record.write_text(json.dumps({**vars(record), "starts": 1}), encoding="utf-8")
    assert facts.training_facts(config, run)["Duration of training"] == "1 h 1 min"


def test_the_best_iteration_is_what_the_newest_state_says(run):
    save(run, 10, best_score=0.5, best_iteration=5)
    save(run, 20, best_score=0.25, best_iteration=20)
    assert facts.best_iteration(run) == 20
    save(run, 30, best_score=None, best_iteration=None)
    assert facts.best_iteration(run) is None
    CheckpointFolder(run.checkpoints).path(30).write_bytes(b"damaged")
    assert facts.read_progress(run) == {}


def test_validations_are_rows_with_units_and_the_best_is_marked(run):
    (run.logs / "validation.csv").write_text("iteration,epoch,ct_mae,dice\n500,1.5,60.5,\n1000,3,55,0.75\n")
    write_units(run.logs, {"ct_mae": "HU"})
    rows, marked = facts.validation_rows(run, 1000)
    assert rows == [
        {"iteration": "500", "epoch": 1.5, "ct_mae [HU]": 60.5},
        {"iteration": "1,000 (best)", "epoch": 3.0, "ct_mae [HU]": 55.0, "dice": 0.75},
    ]
    assert marked == [1]
    assert facts.validation_rows(run, 700)[1] == []
    assert (facts.epoch_of(run, 500), facts.epoch_of(run, 700), facts.epoch_of(run, None)) == (1.5, None, None)


@pytest.fixture
def predicting(run, config, monkeypatch):
    """Returns a function: digests of settings by iteration, and what made each subject's results -> the words."""
    monkeypatch.setattr(facts, "same_settings", lambda _, record: record["iteration"])
    tasks = {"ct": SECTION(writes="volume"), "grade": SECTION(writes="row")}
    config.inference.save_seg_dir.mkdir()

    def predict(made_by, row_by=None):
        for subject, maker in made_by.items():
            path = prediction_path(config, subject, "ct")
            path.touch()
            Provenance(config.inference.save_seg_dir, maker).record([path])
        if row_by is not None:
            Provenance(config.inference.save_seg_dir, row_by).record([config.inference.save_seg_dir / VALUES_FILE])
        return facts.predicting_checkpoint(config, run, tasks, list(made_by))

    return predict


def test_predictions_are_of_the_checkpoint_whose_settings_made_them(run, predicting):
    for iteration in (1000, 2000):
        save(run, iteration, best_score=0.5, best_iteration=1000)
    assert predicting({}) == ""
    assert predicting({"a": digest(2000), "b": digest(2000)}) == "by iteration 2,000"
    assert predicting({"a": digest(1000), "b": digest(1000)}) == "by iteration 1,000, the best in validation"
    assert (
        predicting({"a": digest(1), "b": digest(1)})
        == "by a checkpoint that is gone, or with other settings than these"
    )
    assert predicting({"a": digest(1000), "b": digest(2000)}).startswith(
        "by 2 different checkpoints or settings: infer"
    )
    # A table of values, too, was made by something.
    assert predicting({"a": digest(2000)}, row_by=digest(1000)).startswith("by 2 different")


def test_the_best_state_predicts_when_its_numbered_one_is_gone(run, predicting):
    save(run, 500, best=True, best_score=0.5, best_iteration=500)
    save(run, 1000, best_score=0.5, best_iteration=500)
    assert predicting({"a": digest(500)}) == "by iteration 500, the best in validation"
    CheckpointFolder(run.checkpoints).path(1000).write_bytes(b"damaged")
    assert predicting({"a": digest(500)}) == "by iteration 500"  # which one is best stood in the damaged one


def test_a_run_is_told_by_its_size_split_and_progress(run, config):
    run.network_size.write_text('{"parameters": 12345, "multiplies": 67890123, "window": [28, 28, 1]}')
    save(run, 1500, best_score=54.321, best_iteration=1000, stopped="nothing improved", stopped_at={"ct": 1200})
    (run.logs / "training.csv").write_text(
        "iteration,loss,epoch,weight_ct,seconds_per_iteration\n1500,1,2.5,0.333333,0.0123456\n"
    )
    write_units(run.logs, {"ct_mae": "HU"})
    config.training.best_metric = "ct_mae"
    found = run_facts(config, run, {"training": ["a", "b"], "validation": [], "inference": ["c"]})
    assert found == {
        "Tasks": "ct (regression), organs (segmentation)",
        "Network": "highresnet",
        "Sharing": "sfg",
        "Parameters": "12,345",
        "Multiplies per window": "67,890,123",
        "Window seen by the network": "28 × 28 × 1",
        "Subjects": "2 training, 1 inference",
        "Iterations": "1,500 of 2,000",
        "Stopped because": "nothing improved",
        "Tasks that stopped early": "ct at 1,200",
        "Best in validation": "ct_mae 54.32 HU at 1,000",
        "Epochs": "2.5",
        "Task weights": "ct 0.333",
        "Time per iteration": "0.0123 s",
    }


def test_a_run_that_has_not_begun_or_whose_state_is_damaged_is_told_as_far_as_it_can_be(run, config):
    assert run_facts(config, run, {})["Iterations"] == "none of 2,000"
    save(run, 500)
    CheckpointFolder(run.checkpoints).path(500).write_bytes(b"damaged")
    run.network_size.write_text("{")
    config.training.max_iter = None
    found = run_facts(config, run, {})
    assert list(found) == ["Tasks", "Network", "Sharing", "Iterations"]
    assert found["Iterations"] == "500"


@pytest.mark.parametrize("text", ["", "[1]", "3", "null", None])
def test_small_files_that_are_damaged_say_nothing(tmp_path, text):
    if text is not None:
        (tmp_path / "x.json").write_text(text)
    assert read_json(tmp_path / "x.json") == {}


def test_cells_are_numbers_but_for_ids_and_groups(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("subject_id,label,region,dice,count,note\n007,1,2,0.5,3,x\n008,1,,nan,,1e3\n", encoding="utf-8")
    first, second = read_rows(path)
    assert first == {"subject_id": "007", "label": "1", "region": "2", "dice": 0.5, "count": 3, "note": "x"}
    assert np.isnan(second.pop("dice"))
    assert second == {"subject_id": "008", "label": "1", "region": "", "count": "", "note": 1000.0}
    assert read_rows(Path(tmp_path / "none.csv")) == []


def entry(measure, mean, std=0.1, n=3, n_missing=0, **group):
    return {**group, "measure": measure, "mean": mean, "std": std, "n": n, "n_missing": n_missing}


def test_a_summary_has_a_line_for_each_group_and_a_column_for_each_measure_in_its_unit():
    summary = [
        entry("dice", 0.5, label="bladder"),
        {**entry("hausdorff", 4.0, n_missing=1, label="bladder"), "unit": "mm", "n_missed": 1},
        entry("dice", 0.25, label="prostate"),
    ]
    assert spread_summary(summary) == [
        {"label": "bladder", "dice": "0.5 ± 0.1", "hausdorff [mm]": "4 ± 0.1 (1 missed)"},
        {"label": "prostate", "dice": "0.25 ± 0.1"},
    ]
    assert spread_summary([entry("mae", 2.0, n=1)]) == [{"": "all subjects", "mae": "2"}]
