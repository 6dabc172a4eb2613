"""Brain slabs: who tests when each subject is left out, the INI file of a run, and the tables of what came out."""

import json

import numpy as np
import pytest
from scipy.stats import ttest_rel

from sfgkeras.config import read_config


@pytest.fixture
def cohort(load_benchmark):
    return load_benchmark("brain_slabs_cohort")


@pytest.fixture
def slabs(load_benchmark):
    return load_benchmark("brain_slabs")


def row_of(network, subject, seed, dice, mae):
    """A row as `compare` returns it."""
    tissues = dict.fromkeys(["csf", "cortex", "white matter", "deep grey"], dice)
    scores = {**tissues, "mean Dice": dice, "MAE": mae, "RMSE": 2 * mae, "seconds": 0.1, "parameters": 7}
    return {"network": network, "subject": subject, "seed": seed, **scores}


@pytest.fixture
def rows(slabs):
    """Three networks, seven subjects of unequal difficulty, two seeds; MONAI is 0.02 behind, hard sharing level."""
    shift = {"sfg_auto": 0.0, "monai": -0.02, "hard_sharing": 0.0}
    wobble = np.random.default_rng(0).normal(0, 0.004, (3, 7, 2))
    return [
        row_of(name, subject, seed, 0.8 + 0.01 * place + gain + wobble[k, place, seed], 0.03 - gain / 10)
        for k, (name, gain) in enumerate(shift.items())
        for place, subject in enumerate(slabs.SUBJECTS)
        for seed in range(2)
    ]


def test_each_subject_tests_once_validates_once_and_trains_otherwise(cohort):
    splits = [cohort.split_without(subject) for subject in cohort.SUBJECTS]
    assert sorted(split["inference"][0] for split in splits) == sorted(cohort.SUBJECTS)
    assert sorted(split["validation"][0] for split in splits) == sorted(cohort.SUBJECTS)
    for split in splits:
        assert sorted(sum(split.values(), [])) == sorted(cohort.SUBJECTS)
        assert len(split["training"]) == 5


def test_a_run_of_auto_says_nothing_of_the_papers_schedule(slabs, tmp_path):
    """The default is compared, without a setting for these data."""
    settings = slabs.Settings(iterations=200, threads=1)
    auto, paper = (slabs.write_config(settings, tmp_path, tmp_path, name, "13", seed=3) for name in ("sfg_auto", "sfg"))
    assert (auto.network.sharing, paper.network.sharing) == ("sfg", "sfg")
    assert (auto.training.schedule, paper.training.schedule) == ("auto", "paper")
    assert (auto.training.grouping_lr, paper.training.grouping_lr) == (None, 0.05)
    assert auto.system.model_dir != paper.system.model_dir
    assert auto.system.dataset_split_file == tmp_path / "cohort" / "split_13.csv"
    again = read_config(tmp_path / "sfg_auto_13_3" / "run.ini")
    assert (again.system.seed, again.training.max_iter, again.system.num_threads) == (3, 200, 1)


def test_a_peer_runs_by_the_ini_file_of_hard_sharing(slabs, tmp_path):
    peer = slabs.write_config(slabs.Settings(), tmp_path, tmp_path, "monai", "9", seed=0)
    assert peer.network.sharing == "hard_sharing"


def test_every_network_is_told_of_whitening_and_of_averages(slabs, tmp_path):
    """Peers read them from the same INI file."""
    plain, averaged = slabs.Settings(), slabs.Settings(whitening="no", ema_decay=0.98)
    for name in ("monai", "hard_sharing", "sfg_auto"):
        config = slabs.write_config(plain, tmp_path, tmp_path, name, "9", seed=0)
        assert (config.network.whitening, config.training.ema_decay) == (True, None)
        config = slabs.write_config(averaged, tmp_path, tmp_path, name, "9", seed=0)
        assert (config.network.whitening, config.training.ema_decay) == (False, 0.98)


def test_options_of_the_command_line_are_settings(slabs, tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(slabs, "write_cohort", lambda *arguments: None)
    monkeypatch.setattr(slabs, "compare", lambda names, subjects, seeds, settings, *others: found.append(settings))
    monkeypatch.setattr(slabs, "write_results", lambda rows, settings, *others: slabs.markdown([], settings, 0.0))
    options = ["--window", "48", "--threads", "1", "--whitening", "no", "--ema_decay", "0.98", "--iterations", "9"]
    slabs.main(["--output", str(tmp_path), "--networks", "hard_sharing", *options])
    wanted = {"window": 48, "threads": 1, "whitening": "no", "ema_decay": 0.98, "iterations": 9}
    assert {name: getattr(found[0], name) for name in wanted} == wanted
    assert found[0].width == slabs.Settings().width


def test_averages_of_a_peer_follow_the_rule_of_ours(load_benchmark):
    torch = pytest.importorskip("torch")
    network = torch.nn.BatchNorm1d(1)
    averages = load_benchmark("peer_run").TorchAverages(network, 0.25)
    values, expected = [3.0, -1.0, 4.0, 2.0], None
    for count, value in enumerate(values):
        with torch.no_grad():
            network.weight.fill_(value)
            network.running_mean.fill_(10 * value)
            network.num_batches_tracked.fill_(count)
        averages.update()
        decay = min(0.25, count / (count + 9))
        expected = value if expected is None else decay * expected + (1 - decay) * value
    assert (network.weight.item(), network.running_mean.item()) == (2.0, 20.0)
    averages.use()
    assert network.weight.item() == pytest.approx(expected, rel=1e-6)
    assert network.running_mean.item() == pytest.approx(10 * expected, rel=1e-6)
    assert network.num_batches_tracked.item() == len(values) - 1


def test_differences_are_paired_over_subjects_and_corrected_together(slabs, rows):
    table = slabs.paired_table(rows)
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table[3:]]
    assert {(cell[0], cell[1]) for cell in cells} == {
        (measure, name) for measure in ("mean Dice", "MAE") for name in ("monai", "hard_sharing")
    }
    by_hand = {
        name: [
            np.mean([row["mean Dice"] for row in rows if row["network"] == name and row["subject"] == subject])
            for subject in slabs.SUBJECTS
        ]
        for name in ("sfg_auto", "monai")
    }
    (against_monai,) = [cell for cell in cells if cell[:2] == ["mean Dice", "monai"]]
    assert against_monai[2] == "7"
    assert float(against_monai[3]) == pytest.approx(np.subtract(*by_hand.values()).mean(), abs=1e-4)
    assert float(against_monai[4]) == pytest.approx(ttest_rel(*by_hand.values()).pvalue, rel=0.06)
    assert against_monai[6] == "better"
    (level,) = [cell for cell in cells if cell[:2] == ["mean Dice", "hard_sharing"]]
    assert level[6] == "level"
    assert float(level[5]) >= float(level[4])


def test_less_error_is_better(slabs, rows):
    (cell,) = [line.split("|") for line in slabs.paired_table(rows) if line.startswith("| MAE | monai")]
    assert float(cell[4]) > 0


def test_two_subjects_are_not_tested(slabs, rows):
    assert slabs.paired_table([row for row in rows if row["subject"] in ("1", "9")]) == []


def test_runs_that_are_done_are_not_made_again_and_those_of_other_settings_are_not_replaced(slabs, tmp_path):
    settings = slabs.Settings(iterations=7)
    done = {"settings": {**vars(settings)}, "runs": [row_of("monai", "1", 0, 0.8, 0.03)]}
    assert slabs.earlier_rows(settings, tmp_path) == []
    (tmp_path / "results.json").write_text(json.dumps(done))
    assert [row["network"] for row in slabs.earlier_rows(settings, tmp_path)] == ["monai"]
    with pytest.raises(SystemExit, match="holds runs with iterations = 7, not 8: give another --output"):
        slabs.earlier_rows(slabs.Settings(iterations=8), tmp_path)


def test_the_table_names_the_test_subjects_and_what_is_behind_the_peer(slabs, rows):
    text = slabs.markdown(rows, slabs.Settings(iterations=7), untouched=0.0586)
    assert "Test subjects 1, 13, 2, 4, 5, 57, 9; 7 iterations" in text
    assert text.count("met.") == 2
    assert "0.0586" in text
    assert "whitened images; last weights; seeds: 2" in text
    text = slabs.markdown(rows, slabs.Settings(whitening="no", ema_decay=0.98), untouched=0.0586)
    assert "images in their own units; averages of weights (0.98); seeds: 2" in text
