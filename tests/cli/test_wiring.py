"""Every option of a verb arrives where it is meant: the function behind it is replaced by one that notes its call."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from sfgkeras.cli.process import commands
from sfgkeras.config import Config
from sfgkeras.errors import ConfigError


@pytest.fixture(autouse=True)
def without_tensorflow(monkeypatch):
    """Verbs load it before they call what is replaced here."""
    for module in ("sfgkeras.cli.runs", "sfgkeras.cli.files"):
        monkeypatch.setattr(importlib.import_module(module), "load_tensorflow", lambda: None)


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Runs a verb in an empty folder and returns its output; what it raises comes through."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, code=0):
        result = CliRunner().invoke(commands, [str(each) for each in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.output

    return run


def demo(*more):
    return ["-c", "demo", "--SYSTEM.model_dir", "model", *more]


@pytest.mark.parametrize(("option", "restart"), [([], False), (["--restart"], True)])
def test_train(option, restart, noted, call):
    found = noted("sfgkeras.applications.run", "train")
    after = noted("sfgkeras.cli.runs", "after_training")
    call("train", *demo("--TRAINING.max_iter", "7", *option))
    config = found.arguments[0]
    assert isinstance(config, Config)
    assert (config.training.max_iter, config.system.model_dir.name) == (7, "model")
    assert found.options == {"restart": restart}
    assert after.arguments[0] is config


def test_a_fold_is_a_setting_of_the_training(noted, call):
    found = noted("sfgkeras.applications.run", "train")
    noted("sfgkeras.cli.runs", "after_training")
    call("train", *demo("--TRAINING.folds", "3", "--TRAINING.exclude_fraction_for_validation", "0", "--fold", "2"))
    assert (found.arguments[0].training.folds, found.arguments[0].training.fold) == (3, 2)


@pytest.mark.parametrize(
    ("options", "dataset", "overwrite"),
    [([], None, False), (["--dataset", "validation", "--overwrite"], "validation", True)],
)
def test_inference(options, dataset, overwrite, noted, call):
    found, after = noted("sfgkeras.applications.run", "infer"), noted("sfgkeras.cli.runs", "after_inference")
    call("inference", *demo(*options))
    assert {key: found.options[key] for key in ("dataset", "overwrite")} == {"dataset": dataset, "overwrite": overwrite}
    assert callable(found.options["before_network"])
    assert after.arguments[2] == dataset


@pytest.mark.parametrize("verb", ["evaluate", "evaluation"])
def test_evaluate_under_both_names(verb, noted, call):
    found, after = noted("sfgkeras.applications.run", "evaluate"), noted("sfgkeras.cli.runs", "after_evaluation")
    call(verb, *demo("--dataset", "all"))
    assert found.options == {"dataset": "all"}
    assert after.arguments[0] is found.arguments[0]


def test_a_data_set_that_there_is_not_is_a_wrong_call(call):
    assert "'test' is not one of 'training', 'validation', 'inference', 'all'" in call(
        "inference", *demo("--dataset", "test"), code=2
    )


def test_predict(noted, call):
    run = SimpleNamespace(config=SimpleNamespace(system=SimpleNamespace(strategy="default")))
    read = noted("sfgkeras.applications.inference.trained_run", "read_trained_run", run)
    found = noted("sfgkeras.applications.predict", "predict")
    told = call(
        "predict", "-c", "model", "--input", "MR=a.nii", "b.nii", "--input", "c.nii", "--output", "out",
        "--INFERENCE.masks", "sample", "--overwrite",
    )  # fmt: skip
    assert read.arguments == ("model", [("INFERENCE.masks", "sample")])
    assert found.arguments[:3] == (run, ["MR=a.nii", "c.nii", "b.nii"], Path("out"))
    assert found.arguments[4] is True
    assert "next: open the files in out over their images" in told


def test_report(noted, call, tmp_path):
    found = noted("sfgkeras.applications.report.page", "write_report", tmp_path / "report.html")
    told = call("report", *demo("--output", "o", "--subjects", "5", "--slice", "p:3", "--slice", "q:0", "--overwrite"))
    assert found.arguments[2:] == (Path("o"), 5, False, [("p", 3), ("q", 0)], True, {})
    assert f"next: open {(tmp_path / 'report.html').as_uri()} in a browser" in told
    call("report", *demo("--activations"))
    assert found.arguments[2:] == (None, 3, True, [], False, {})


def test_export(noted, call, tmp_path):
    found = noted("sfgkeras.applications.export.hardened", "export_network", tmp_path / "n.onnx")
    told = call("export", *demo("--task", "ct", "--format", "onnx", "--output", "n.onnx", "--overwrite"))
    options = {name: value for name, value in found.options.items() if name != "before_network"}
    assert options == {"task": "ct", "file_format": "onnx", "output": Path("n.onnx"), "overwrite": True}
    assert "onnxruntime.InferenceSession" in told
    assert "n.onnx.json says how images are prepared" in told


def test_compare(noted, call):
    choose = noted("sfgkeras.applications.comparison.plan", "choose_plan", ("plan", "refused"))
    found = noted("sfgkeras.applications.comparison.runs", "compare")
    call(
        "compare", *demo("--sharing", "sfg,hard_sharing", "--rows", "a", "--seeds", "5", "--fractions", "1,0.25"),
        "--features", "a,b",
    )  # fmt: skip
    paths, rows, sharing, seeds, output, overrides, fractions = choose.arguments
    assert [path.stem for path in paths] == ["demo"]
    assert (rows, sharing, seeds, fractions) == (["a"], ["sfg", "hard_sharing"], 5, [1.0, 0.25])
    assert (output.name, overrides) == ("comparison", [("SYSTEM.model_dir", "model")])
    assert found.arguments[0] == "plan"
    assert found.arguments[3:] == (["a", "b"], "refused")


@pytest.mark.parametrize(("passes", "code"), [(True, 0), (False, 2)])
def test_check(passes, code, noted, call):
    found = noted("sfgkeras.applications.check", "check_run", passes)
    told = call("check", *demo("--headers-only"), code=code)
    assert found.arguments[2] is False
    assert ("next: sfgkeras train -c demo --SYSTEM.model_dir model" in told) == passes
    call("check", *demo(), code=code)
    assert found.arguments[2] is True


@pytest.mark.parametrize("code", [0, 1])
def test_preprocess_of_a_file(code, noted, call):
    found = noted("sfgkeras.applications.subjects.preprocessed", "preprocess", code)
    told = call("preprocess", *demo("--restart", "--overwrite"), code=code)
    assert found.options == {"restart": True, "overwrite": True}
    assert ("next: sfgkeras check" in told) == (code == 0)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (["--workers", "2"], "workers"),
        (["--input", "x"], "input"),
        (["--no-pictures"], "pictures"),
        (["--steps", "n4"], "steps"),
    ],
)
def test_preprocess_of_a_file_takes_no_option_of_a_folder(options, name, call):
    with pytest.raises(ConfigError, match=f"--{name} stands beside -c; give an INI file, or --input, --output"):
        call("preprocess", *demo(*options))


def test_preprocess_of_a_folder(noted, call, tmp_path):
    result = SimpleNamespace(
        done=("a", "b"), skipped=("c",), failed={"d": "d.nii: is broken"}, left_out=(Path("labels"),),
        overview=tmp_path / "overview.html", exit_code=1,
    )  # fmt: skip
    found = noted("sfgkeras.preprocessing.folder", "run_folder", result)
    told = call(
        "preprocess", "--input", "in", "--output", "out", "--steps", "n4,whiten", "--n4_engine", "antspyx",
        "--workers", "3", "--no-pictures", "--restart", "--labels", "l", "--split", "s.csv", code=1,
    )  # fmt: skip
    assert found.arguments == (Path("in"), Path("out"), "n4,whiten", {"n4_engine": "antspyx"})
    options = {name: value for name, value in found.options.items() if name != "progress"}
    assert options == {
        "labels": Path("l"), "split": Path("s.csv"), "workers": 3, "scheduler": None, "pictures": False,
        "restart": True, "overwrite": False,
    }  # fmt: skip
    assert "2 done, 1 done before, 1 failed: out" in told
    assert "d: d.nii: is broken" in told
    assert "labels: left out" in told


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ([], "--input and --output and --steps"),
        (["--input", "a"], "--output and --steps"),
        (["--steps", "n4"], "--input and --output"),
    ],
)
def test_preprocess_of_a_folder_says_what_is_missing(given, missing, call):
    with pytest.raises(ConfigError, match=f"^{missing} missing; give an INI file with -c FILE, or --input DIR"):
        call("preprocess", *given)


def test_demo(noted, call):
    found = noted("sfgkeras.applications.demo", "run_demo")
    told = call("demo", "--output", "d", "--seed", "4")
    assert (found.arguments[0], found.options) == (Path("d"), {"seed": 4})
    assert "d/model/report/report.html in a browser" in told


def test_phantom_writes_the_layout_that_was_chosen_and_names_the_check(call):
    told = call("phantom", "--kind", "shapes", "--output", "p", "--subjects", "2", "--layout", "folder")
    assert sorted(path.name for path in Path("p").iterdir()) == ["images", "masks", "split.csv", "subjects.csv"]
    assert "wrote 2 subjects to p" in told
    assert "next:" not in told, "the shipped file reads another layout"
    told = call("phantom", "--kind", "fundus", "--output", "f", "--subjects", "1")
    assert "next: sfgkeras check -c playout --FUNDUS.path_to_search f/images --RED.path_to_search f/red" in told
    with pytest.raises(ConfigError, match="--layout 'hdf5' is none of --kind fundus; choose folder"):
        call("phantom", "--kind", "fundus", "--output", "f", "--layout", "hdf5")
    with pytest.raises(ConfigError, match="did you mean 'folder'"):
        call("phantom", "--kind", "shapes", "--output", "f", "--layout", "foldr")


def test_configs_are_listed_by_paper(call):
    told = call("configs").splitlines()
    assert "Of no paper" in told
    assert any(line.startswith("  demo ") for line in told)
    assert told[-1] == "next: sfgkeras configs NAME copies one into this folder"


def test_plan_does_not_replace_a_file_unasked(noted, call):
    Path("run.ini").write_text("mine")
    with pytest.raises(ConfigError, match=r"run\.ini exists; choose another --output, or add --overwrite"):
        call("plan", "--input", ".")
    planned = SimpleNamespace(
        lines=SimpleNamespace(rows=lambda: [("TRAINING", "lr", "1", "usual"), ("A", "b", "c", "")]), doubts=["look"],
        lists=SimpleNamespace(files=[Path("list.csv")]),
    )  # fmt: skip
    found = noted("sfgkeras.applications.planning.plan", "plan_folder", planned)
    noted("sfgkeras.applications.planning.plan", "sources_table", [])
    written = noted("sfgkeras.applications.planning.plan", "write_plan")
    told = call("plan", "--input", "x", "--image", "T1, FLAIR", "--target", "CT,", "--explain", "--overwrite")
    assert (found.arguments[0], found.arguments[1]) == (Path("x"), Path("run.ini"))
    assert found.arguments[3:] == (("T1", "FLAIR"), ("CT",))
    assert written.arguments == (planned, Path("run.ini"), True)
    assert "[TRAINING] lr = 1: usual\n[A] b = c\n" in told
    assert "wrote run.ini, list.csv" in told
    assert "next: sfgkeras check -c run.ini" in told


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ([], (None, None, None, None, None)),
        (["--size", "256,192", "--foreground", "1,3", "--compression", "0"], (None, (256, 192), (1, 3), 0, None)),
        (["--size", "64x64", "--split", "s.csv", "--box-of", "all"], (Path("s.csv"), (64, 64), None, None, "all")),
    ],
)
def test_convert(options, settings, noted, call):
    found = noted("sfgkeras.applications.convert.conversion", "convert")
    call("convert", "old", "new.h5", *options)
    assert found.arguments[:2] == (Path("old"), Path("new.h5"))
    assert found.arguments[3] is False
    assert tuple(vars(found.arguments[4]).values()) == settings


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("256", "give rows and columns"),
        ("1,2,3", "give rows and columns"),
        ("a", "no list of whole numbers"),
        ("-1,2", "negative"),
    ],
)
def test_convert_refuses_sizes_that_are_none(size, message, call):
    assert message in call("convert", "old", "new.h5", f"--size={size}", code=2)


def test_schema_is_printed_or_written(call):
    printed = call("schema")
    assert printed.startswith("{")
    assert "wrote s.json" in call("schema", "--output", "s.json")
    assert Path("s.json").read_text() == printed


def test_dicom(noted, call):
    found = noted("sfgkeras.applications.dicom.write", "write_dicom")
    call("dicom", "--series", "s", "--ct", "c.nii", "--names", "a, b", "--output", "o", "--overwrite")
    assert found.arguments[:6] == (Path("s"), Path("o"), Path("c.nii"), None, ["a", "b"], True)
