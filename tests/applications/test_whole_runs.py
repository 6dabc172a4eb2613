"""A run from Python: what verbs left as tables, figures and images; and that the verbs get what they are given."""

import sys

import numpy as np
import pytest

import sfgkeras
from sfgkeras.applications import run as verbs
from sfgkeras.data.nifti import read_image
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.runs import Comparison, Run, keras_ready, open_run


@pytest.fixture
def done(finished):
    """A run that is done, opened by its folder."""
    return open_run(finished.system.model_dir, verbose=False)


def test_a_run_is_opened_by_its_folder_wherever_it_lies_now(finished, tmp_path):
    moved = finished.system.model_dir.rename(tmp_path / "elsewhere")
    run = open_run(moved, verbose=False)
    assert run.folder == moved
    assert list(run.history()["iteration"]) == [1, 2]
    assert repr(run) == f"Run('{moved}': ct, organs from MR; not trained yet)"


def test_settings_are_those_of_the_command_line_and_later_ones_join_them(finished):
    run = open_run(finished.path, {"TRAINING.max_iter": 7, "NETWORK.sharing": "sfg", "INFERENCE.border": (1, 1, 0)})
    assert (run.config.training.max_iter, run.config.inference.border) == (7, (1, 1, 0))
    later = run.with_settings({"TRAINING.lr": 0.5, "TRAINING.restore_best": False})
    assert (later.config.training.max_iter, later.config.training.lr, run.config.training.lr) == (7, 0.5, 1e-3)
    with pytest.raises(ConfigError, match=r"\[TRAINING\] has no option 'max_iters'"):
        open_run(finished.path, {"TRAINING.max_iters": 7})
    with pytest.raises(ConfigError, match="settings .* stand beside a configuration"):
        open_run(finished, {"TRAINING.max_iter": 7})


def test_logs_and_tables_are_data_frames(done):
    assert done.history()["organs"].tolist() == [2, 1.2]
    assert done.history("validation")["organs_dice"].tolist() == [0.4]
    metrics = done.metrics()
    assert metrics[["task", "region", "label", "measure"]].values.tolist() == [
        ["ct", "all", "", "mae"],
        ["organs", "", "bladder", "dice"],
    ]
    assert metrics["mean"].tolist() == [61.87, 0.73]
    assert done.metrics("subjects", task="ct")["mae"].tolist() == [61.5]
    assert done.split().groupby("phase").size().to_dict() == {"training": 2, "validation": 1, "inference": 1}
    sharing = done.sharing()
    assert sharing.query("stage == 'stage_1' and task == 'ct'")["shared"].item() == pytest.approx(0.75)
    grouping = done.grouping()
    assert list(grouping.columns) == ["layer", "filter", "ct", "organs", "shared"]
    assert len(grouping) == 2 * 4
    np.testing.assert_allclose(grouping[["ct", "organs", "shared"]].sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda run: run.metrics("summaries"), ConfigError, "unknown table 'summaries', did you mean 'summary'"),
        (lambda run: run.metrics(task="organ"), ConfigError, "did you mean 'organs'"),
        (lambda run: run.metrics("pairs"), DataError, "no tables of pairs of ct, organs; evaluate first"),
        (lambda run: run.history("train"), ConfigError, "did you mean 'training'"),
        (lambda run: run.candidates(), DataError, r"explore\.csv: there is no such table"),
        (lambda run: run.predictions.values(), DataError, r"values\.csv: there is no such table"),
        (lambda run: run.predictions.image("phantom_000", "ct"), DataError, "there are phantom_003 ct,"),
        (lambda run: run.predictions.image("phantom_003", "mr"), ConfigError, "unknown task 'mr'"),
        (lambda run: run.image("phantom_099"), ConfigError, "unknown subject 'phantom_099'"),
    ],
)
def test_what_is_not_there_is_a_clear_error(done, ask, error, message):
    with pytest.raises(error, match=message):
        ask(done)


def test_predictions_are_nibabel_images_on_the_subjects_grid(done):
    files = done.predictions.files()
    assert files[["subject_id", "task", "kind"]].values.tolist() == [
        ["phantom_003", "ct", ""],
        ["phantom_003", "ct", "std"],
        ["phantom_003", "organs", ""],
    ]
    ct, mr, spread = (
        done.predictions.image("phantom_003", "ct"),
        done.image("phantom_003"),
        done.predictions.image("phantom_003", "ct", "std"),
    )
    np.testing.assert_allclose(ct.affine, mr.affine)
    assert ct.shape == mr.shape == spread.shape
    truth = read_image(done.config.sources["CT"].path_to_search[0] / "phantom_003_ct.nii.gz")
    np.testing.assert_allclose(done.image("phantom_003", "CT").get_fdata(), truth.array)


def test_figures_are_those_that_there_are_data_for(done):
    figures = done.figures()
    assert {"curves", "simplex_density", "group_shares", "sharing", "sharing_course", "learned"} <= set(figures)
    assert {axes.get_title() for axes in figures["curves"].axes} >= {"loss", "ct", "organs"}
    (done.folder / "logs" / "grouping.npz").unlink()
    (done.folder / "logs" / "training.csv").unlink()
    (done.folder / "logs" / "validation.csv").unlink()
    assert set(done.figures()) == {"sharing", "sharing_course", "learned"}


def test_verbs_do_what_the_command_line_does_and_return_the_run(finished, monkeypatch):
    calls = []
    monkeypatch.setattr(verbs, "train", lambda config, reporter, restart: calls.append((config, restart)))
    monkeypatch.setattr(verbs, "infer", lambda config, reporter, *more: calls.append((config, *more[:2])))
    monkeypatch.setattr(verbs, "evaluate", lambda config, reporter, dataset: calls.append((config, dataset)))
    run = sfgkeras.train(finished, restart=True, verbose=False).infer("all", overwrite=True)
    assert isinstance(sfgkeras.evaluate(run, dataset="all"), Run)
    assert calls == [(finished, True), (finished, "all", True), (finished, "all")]
    assert sfgkeras.applications.train is sfgkeras.train


def test_another_backend_of_keras_is_refused_before_anything_is_done(finished, monkeypatch):
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(
        ConfigError, match="train needs Keras on TensorFlow, and here it runs on jax; set KERAS_BACKEND"
    ):
        sfgkeras.train(finished, verbose=False)
    monkeypatch.undo()
    monkeypatch.setattr(keras.config, "floatx", lambda: "float16")
    with pytest.raises(ConfigError, match="float16"):
        keras_ready.require_tensorflow("train")


RUNS = """network,seed,task,group,measure,value,subject_id,num_missed,unit
sfg,0,ct,all,mae,10.0,a,0,HU
sfg,0,ct,all,mae,20.0,b,0,HU
sfg,1,ct,all,mae,30.0,a,0,HU
sfg,1,ct,all,mae,inf,b,0,HU
hard_sharing,0,ct,all,mae,1.0,a,0,HU
hard_sharing,1,ct,all,mae,2.0,a,0,HU
"""


def test_a_comparison_is_summarised_group_by_group(tmp_path):
    (tmp_path / "runs.csv").write_text(RUNS)
    comparison = Comparison(tmp_path)
    by_seed = comparison.statistics().set_index("network")
    assert by_seed.loc["sfg", ["mean", "n"]].tolist() == [22.5, 2]  # 15 and 30
    assert by_seed.loc["sfg", "std"] == pytest.approx(15 / np.sqrt(2))
    by_subject = comparison.statistics(["network"], over="subject_id").set_index("network")
    assert by_subject.loc["sfg", "mean"] == 20  # of a 20, of b 20
    single = comparison.statistics(["network"], over="").set_index("network")
    assert single.loc["sfg", ["mean", "n", "n_missing"]].tolist() == [20, 3, 1]


def test_the_package_says_what_it_has_without_loading_it():
    assert "train" in dir(sfgkeras)
    assert "sfgkeras.runs" in sys.modules
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = sfgkeras.trian
