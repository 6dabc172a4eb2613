"""A run in Python: what stands in its folder as tables and images, and verbs that hand on what they are told."""

from pathlib import Path

import keras
import nibabel
import numpy as np
import pandas as pd
import pytest

import sfgkeras
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.runs import Comparison, Run, open_run
from sfgkeras.runs.keras_ready import require_tensorflow
from sfgkeras.runs.run import overrides_of


@pytest.fixture
def run(tmp_path):
    places = {
        "SYSTEM.model_dir": tmp_path / "model",
        "SYSTEM.dataset_split_file": tmp_path / "split.csv",
        "INFERENCE.save_seg_dir": tmp_path / "results",
        "EVALUATION.save_csv_dir": tmp_path / "tables",
    }
    return open_run("demo", places, verbose=False)


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False)


def test_settings_are_texts_as_on_the_command_line():
    given = {"A.b": 5, "A.c": 0.5, "A.d": True, "A.e": (1, 2), "A.f": "as it is", "A.g": Path("x/y"), "A.h": None}
    assert overrides_of(given) == [
        ("A.b", "5"), ("A.c", "0.5"), ("A.d", "yes"), ("A.e", "1, 2"), ("A.f", "as it is"), ("A.g", "x/y"), ("A.h", "")
    ]  # fmt: skip
    assert overrides_of(None) == []


def test_a_run_knows_its_folder_its_tasks_and_its_state(run, tmp_path):
    assert run.folder == tmp_path / "model"
    assert run.tasks == list(run.config.tasks)
    assert repr(run) == (
        f"Run({str(tmp_path / 'model')!r}: {', '.join(run.tasks)} from {', '.join(run.config.image)}; not trained yet)"
    )


def test_other_settings_give_another_run_and_keep_those_of_the_first(run, tmp_path):
    other = run.with_settings({"TRAINING.max_iter": 12})
    assert (other.config.training.max_iter, other.folder) == (12, tmp_path / "model")
    third = other.with_settings({"TRAINING.lr": 0.5})
    assert (third.config.training.max_iter, third.config.training.lr) == (12, 0.5)
    assert run.config.training.max_iter != 12
    with pytest.raises(ConfigError, match="max_iter"):
        run.with_settings({"TRAINING.max_iter": "many"})


def test_a_configuration_that_was_read_takes_no_settings(run):
    assert open_run(run.config, verbose=False).config is run.config
    with pytest.raises(ConfigError, match=r"settings \(TRAINING.lr, A.b\) stand beside a configuration that has been"):
        open_run(run.config, {"TRAINING.lr": 1, "A.b": 2})


def test_the_folder_of_a_training_is_opened_where_it_lies_now(run, tmp_path):
    """Its configuration tells where it lay when it was trained."""
    from sfgkeras.applications.records.files import RunFolder

    folder = tmp_path / "moved"
    folder.mkdir()
    (folder / RunFolder(folder).configuration.name).write_text(run.config.path.read_text(encoding="utf-8"))
    assert open_run(folder, verbose=False).folder == folder
    assert open_run(str(folder), {"TRAINING.max_iter": 3}, verbose=False).config.training.max_iter == 3
    assert open_run(folder, {"SYSTEM.model_dir": tmp_path / "other"}, verbose=False).folder == tmp_path / "other"
    (folder / RunFolder(folder).configuration.name).unlink()
    with pytest.raises(ConfigError, match="is a folder"):
        open_run(folder, verbose=False)


def test_tables_of_the_evaluation_are_joined_with_the_name_of_the_task(run, tmp_path):
    first, second = run.tasks[:2]
    with pytest.raises(DataError, match=f"tables: there are no tables of summary of {', '.join(run.tasks)}; evaluate"):
        run.metrics()
    write_rows(tmp_path / "tables" / f"{first}_summary.csv", [{"measure": "mae", "mean": 5.5}])
    write_rows(tmp_path / "tables" / f"{second}_summary.csv", [{"measure": "dice", "label": "a", "mean": 0.5}])
    joined = run.metrics()
    assert joined["task"].tolist() == [first, second]
    assert joined["mean"].tolist() == [5.5, 0.5]
    assert joined["label"].tolist() == ["", "a"], "of tasks without labels it is empty, and no number"
    assert run.metrics(task=second)["measure"].tolist() == ["dice"]
    with pytest.raises(ConfigError, match="task 'nothing'"):
        run.metrics(task="nothing")
    with pytest.raises(ConfigError, match=r"table 'sumary'.*did you mean 'summary'"):
        run.metrics("sumary")
    with pytest.raises(DataError, match=f"no tables of pairs of {first}; evaluate first"):
        run.metrics("pairs", first)


def test_logs_are_tables_of_what_was_noted(run, tmp_path):
    with pytest.raises(DataError, match=r"training\.csv: there is no such log yet; train first$"):
        run.history()
    with pytest.raises(DataError, match="train first, with validation_every_n or validation_every_epochs in"):
        run.history("validation")
    with pytest.raises(ConfigError, match="log 'test'"):
        run.history("test")
    write_rows(
        tmp_path / "model" / "logs" / "training.csv", [{"iteration": 1, "loss": 2.5}, {"iteration": 2, "loss": 1}]
    )
    assert run.history()["loss"].tolist() == [2.5, 1.0]
    assert run.history()["iteration"].tolist() == [1, 2]


def test_the_split_is_a_table_of_subjects_and_phases(run, tmp_path):
    (tmp_path / "split.csv").write_text("a,training\n007,inference\n")
    found = run.split()
    assert found.to_dict("list") == {"subject_id": ["a", "007"], "phase": ["training", "inference"]}


def save_image(path, value=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.full((2, 2, 2), value, np.float32), np.eye(4)), path)


def test_predictions_are_found_by_subject_task_and_kind(run):
    task, other = run.tasks[:2]
    postfix = run.config.inference.output_postfix
    folder = run.predictions.folder
    assert run.predictions.files().empty
    with pytest.raises(DataError, match=f"no image of p1 {task}; run inference first"):
        run.predictions.image("p1", task)
    save_image(folder / f"p1_{task}{postfix}.nii.gz", 3)
    save_image(folder / f"p1_{task}{postfix}_std.nii.gz", 4)
    save_image(folder / f"p_{other}_2_{other}{postfix}.nii.gz", 5)
    save_image(folder / "something_else.nii.gz")
    save_image(folder / f"_{task}{postfix}.nii.gz")
    found = run.predictions.files()
    assert sorted(found[["subject_id", "task", "kind"]].itertuples(index=False, name=None)) == sorted(
        [("p1", task, ""), ("p1", task, "std"), (f"p_{other}_2", other, "")]
    )
    assert run.predictions.image("p1", task).get_fdata().max() == 3
    assert run.predictions.image("p1", task, "std").get_fdata().max() == 4
    assert repr(run.predictions) == f"Predictions({str(folder)!r}: 3 images)"
    with pytest.raises(DataError, match=f"no image of p9 {task}; there are p1 {task}, p1 {task} std, p_{other}_2"):
        run.predictions.image("p9", task)
    with pytest.raises(ConfigError, match="task 'nothing'"):
        run.predictions.image("p1", "nothing")


def test_of_many_predictions_the_first_are_named(run):
    task = run.tasks[0]
    for number in range(7):
        save_image(run.predictions.folder / f"p{number}_{task}{run.config.inference.output_postfix}.nii.gz")
    with pytest.raises(DataError, match=rf"there are p0 {task}, .*p4 {task}, \.\.\. \(7 in all\)"):
        run.predictions.image("p9", task)


def test_scores_of_a_comparison_are_averaged_by_seed_before_they_are_summarised(tmp_path):
    """Else a seed with many subjects would count more than another one."""
    quantity = {"network": "sfg", "task": "ct", "group": "", "measure": "mae"}
    rows = [
        {**quantity, "seed": seed, "subject_id": f"p{n}", "value": value}
        for seed, values in ((0, (1.0, 2.0, 3.0)), (1, (10.0,)))
        for n, value in enumerate(values)
    ]  # fmt: skip
    write_rows(tmp_path / "runs.csv", rows)
    compared = Comparison(tmp_path)
    (row,) = compared.statistics().to_dict("records")
    assert (row["mean"], row["n"], row["min"], row["max"]) == (6.0, 2, 2.0, 10.0)
    (row,) = compared.statistics(over="").to_dict("records")
    assert (row["mean"], row["n"]) == (4.0, 4)
    by_seed = compared.statistics(["network", "seed"])
    assert by_seed["mean"].tolist() == [2.0, 10.0]
    with pytest.raises(DataError, match="nothing"):
        compared.statistics(["nothing"])


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("quantities", "comparison"),
        ("table", "table"),
        ("scores", "runs"),
        ("curves", "curves"),
        ("sharing", "sharing"),
    ],
)
def test_every_table_of_a_comparison_is_its_file(method, name, tmp_path):
    write_rows(tmp_path / f"{name}.csv", [{"network": name, "value": 1.5}])
    assert getattr(Comparison(str(tmp_path)), method)().to_dict("records") == [{"network": name, "value": 1.5}]
    assert Comparison(tmp_path).page == tmp_path / "comparison.html"
    assert repr(Comparison(tmp_path)) == f"Comparison({str(tmp_path)!r})"
    with pytest.raises(DataError):
        getattr(Comparison(tmp_path / "empty"), method)()


def test_verbs_that_work_hand_on_their_options_and_return_the_run(run, noted):
    train = noted("sfgkeras.applications.run", "train")
    infer = noted("sfgkeras.applications.run", "infer")
    evaluate = noted("sfgkeras.applications.run", "evaluate")
    assert sfgkeras.train(run, restart=True) is run
    assert (train.arguments[0], train.options) == (run.config, {"restart": True})
    assert sfgkeras.infer(run, dataset="all", overwrite=True) is run
    assert infer.arguments[2:4] == ("all", True)
    assert callable(infer.arguments[4])
    assert sfgkeras.evaluate(run, dataset="training") is run
    assert evaluate.arguments[2] == "training"
    assert sfgkeras.evaluate(run, {"TRAINING.max_iter": 3}).config.training.max_iter == 3, "a run of its own"


@pytest.mark.parametrize("headers_only", [False, True])
def test_a_check_says_whether_training_can_start(headers_only, run, noted):
    found = noted("sfgkeras.applications.check", "check_run", "passes")
    assert sfgkeras.check(run, headers_only=headers_only) == "passes"
    assert found.arguments[2] == (not headers_only)


def test_preprocessing_that_failed_is_an_error_in_python(run, noted):
    found = noted("sfgkeras.applications.subjects.preprocessed", "preprocess", 0)
    assert sfgkeras.preprocess(run, restart=True) is run
    assert found.options == {"restart": True, "overwrite": False}
    found.result = 1
    with pytest.raises(DataError, match="a subject has failed"):
        run.preprocess()


def test_report_and_export_hand_on_their_options(run, noted, tmp_path):
    report = noted("sfgkeras.applications.report.page", "write_report", tmp_path / "r.html")
    page = sfgkeras.report(run, output=str(tmp_path), subjects=2, slices=[("p", 1)], overwrite=True)
    assert page == tmp_path / "r.html"
    assert report.arguments[2:] == (tmp_path, 2, False, [("p", 1)], True)
    export = noted("sfgkeras.applications.export.hardened", "export_network", tmp_path / "n.keras")
    assert sfgkeras.export(run, file_format="onnx", task="ct", overwrite=True) == tmp_path / "n.keras"
    assert export.arguments[2:] == ("ct", "onnx", None, True)


def test_predictions_lie_in_the_folder_that_was_asked_for(run, noted, tmp_path):
    read = noted("sfgkeras.applications.inference.trained_run", "read_trained_run", run)
    predict = noted("sfgkeras.applications.predict", "predict")
    found = sfgkeras.predict(run, "a.nii", tmp_path / "new", {"INFERENCE.masks": "sample"}, overwrite=True)
    assert found.folder == tmp_path / "new"
    assert read.arguments == (str(run.folder), [("INFERENCE.masks", "sample")])
    assert predict.arguments[1:3] == (["a.nii"], tmp_path / "new")
    assert predict.arguments[4] is True
    sfgkeras.predict(run, [Path("a.nii"), "MR=b.nii"], tmp_path / "new")
    assert predict.arguments[1] == ["a.nii", "MR=b.nii"]


def test_a_comparison_lies_beside_the_run_unless_another_folder_is_named(run, noted, tmp_path):
    choose = noted("sfgkeras.applications.comparison.plan", "choose_plan", ("plan", "refused"))
    found = noted("sfgkeras.applications.comparison.runs", "compare")
    settings = {"SYSTEM.model_dir": tmp_path / "model"}
    compared = sfgkeras.compare("demo", settings, sharing=["sfg"], seeds=2, features=["a"], verbose=False)
    assert compared.folder == tmp_path / "model" / "comparison"
    paths, rows, sharing, seeds, folder, overrides, fractions = choose.arguments
    assert ([path.stem for path in paths], rows, sharing, seeds) == (["demo"], (), ["sfg"], 2)
    assert (folder, overrides, fractions) == (compared.folder, [("SYSTEM.model_dir", str(tmp_path / "model"))], (1.0,))
    assert found.arguments == ("plan", folder, None, ["a"], "refused")
    assert sfgkeras.compare(["demo", "demo"], output=tmp_path / "x", verbose=False).folder == tmp_path / "x"


def test_a_run_that_is_open_keeps_its_way_of_telling(run):
    from sfgkeras.runs.verbs import _run

    assert _run(run, None, True) is run
    assert isinstance(_run("demo", None, False), Run)


def test_training_needs_keras_as_the_files_mean_it():
    require_tensorflow("train")
    before = keras.config.floatx(), keras.config.image_data_format()
    try:
        keras.config.set_floatx("float64")
        with pytest.raises(ConfigError, match="train needs Keras' float32 and channels_last, and it is set to float64"):
            require_tensorflow("train")
        keras.config.set_floatx("float32")
        keras.config.set_image_data_format("channels_first")
        with pytest.raises(ConfigError, match="set to float32 and channels_first; call"):
            require_tensorflow("train")
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_image_data_format(before[1])


def test_another_backend_is_refused_with_what_to_set(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ConfigError, match="infer needs Keras on TensorFlow, and here it runs on jax; set KERAS"):
        require_tensorflow("infer")
