"""Maps and values in one network, through the whole line: each result against what the network says by hand."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from scipy.special import softmax

from sfgkeras.applications import run
from sfgkeras.applications.check import check_run
from sfgkeras.applications.export.hardened import export_network
from sfgkeras.applications.inference.restored_network import restore_network
from sfgkeras.applications.inference.staleness import say_older_predictions
from sfgkeras.applications.inference.trained_run import read_trained_run
from sfgkeras.applications.predict import predict
from sfgkeras.applications.records.checkpoints import CheckpointFolder
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.report.page import write_report
from sfgkeras.applications.subjects.session import open_session
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.applications.training.network import build_network
from sfgkeras.config import read_config
from sfgkeras.data.aggregators import grid_starts
from sfgkeras.data.interpolation import resize_linear
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.reporter import SilentReporter

INI = """
[MR]
path_to_search = {data}
filename_contains = _mr
spatial_window_size = 16, 12, 1

[CT]
path_to_search = {data}
filename_contains = _ct

[ORGANS]
path_to_search = {data}
filename_contains = _organs

[CLINICAL]
loader = table
csv_file = {data}/clinical.csv

[SYSTEM]
model_dir = {model}
seed = 2

[NETWORK]
name = highresnet
sharing = sfg
width = 0.125
batch_size = 3
batch_norm = population
window_sampling = resize
whitening = yes

[TRAINING]
max_iter = 2
save_every_n = 2
validation_every_n = 0
exclude_fraction_for_validation = 0.25
exclude_fraction_for_inference = 0.25

[INFERENCE]
inference_iter = -1
masks = mode

[EVALUATION]
evaluations = dice, mae, accuracy

[MULTITASK]
image = MR

[TASK organs]
type = segmentation
target = ORGANS
num_classes = 3

[TASK ct]
type = regression
target = CT

[TASK stage]
type = classification
target = CLINICAL
num_classes = 2
tap = stage_4
head_layers = 5

[TASK age]
type = regression
target = CLINICAL
scale = 0.01
"""
NAMES = [f"p{number}" for number in range(8)]
SHAPE = (20, 18, 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight slices of two squares, their labels, a quantity that follows them, and a table of classes and ages."""
    folder = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(1)
    lines = ["subject_id,stage,age"]
    for number, name in enumerate(NAMES):
        organs = np.zeros(SHAPE, np.uint8)
        organs[3 + number % 3 : 9, 4:10] = 1
        organs[12:17, 5 : 9 + number] = 2
        image = organs * 40.0 + rng.normal(0, 5, SHAPE)
        for kind, array in (("mr", image), ("ct", 3 * image + 1), ("organs", organs)):
            dtype = np.uint8 if kind == "organs" else np.float32
            nib.save(nib.Nifti1Image(array.astype(dtype), np.diag([2.0, 2, 2, 1])), folder / f"{name}_{kind}.nii.gz")
        lines.append(f"{name},{number % 2},{30 + 5 * number}")
    (folder / "clinical.csv").write_text("\n".join(lines) + "\n")
    return folder


def configure(data, folder, overrides=(), model=None):
    path = folder / "mixed.ini"
    path.write_text(INI.format(data=data, model=model or folder / "model"))
    return read_config(path, [(name, str(value)) for name, value in dict(overrides).items()])


SMALL = {
    "NETWORK.name": "unet", "NETWORK.unet_levels": 1, "NETWORK.unet_convolutions": 1, "TASK stage.tap": "encoding",
}  # fmt: skip
"""A network that is built in no time; those that are not trained here are HighResNets."""


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A run of all four tasks, trained, inferred and evaluated."""
    config = configure(data, tmp_path_factory.mktemp("run"), SMALL)
    run.train(config)
    run.infer(config, dataset="all")
    summary = run.evaluate(config, dataset="all")
    return config, summary


def table(config):
    with (config.inference.save_seg_dir / "values.csv").open(newline="") as file:
        return {
            row.pop("subject_id"): {key: float(value) for key, value in row.items()} for row in csv.DictReader(file)
        }


def network_of(config):
    """Returns the network of the last state as it was trained, and the session."""
    session = open_session(config, SilentReporter(), training=False)
    checkpoints = CheckpointFolder(RunFolder(config.system.model_dir).checkpoints)
    state = checkpoints.read(config.inference.inference_iter)
    return restore_network(session, checkpoints, state, 1, SilentReporter()), session


def prepared(session, name):
    return np.asarray(session.preparation.image(session.cohort.subjects[name]))


def plain(network, windows):
    return {name: np.asarray(value) for name, value in network(windows.astype(np.float32), training=False).items()}


def test_each_task_writes_what_it_is_a_volume_or_columns_of_one_table(trained):
    config, _ = trained
    folder = config.inference.save_seg_dir
    written = {path.name for path in folder.glob("*.nii.gz")}
    assert written == {f"{name}_{task}_predicted.nii.gz" for name in NAMES for task in ("organs", "ct")}
    found = table(config)
    assert list(found) == NAMES
    assert list(found["p0"]) == ["stage", "stage_probability_0", "stage_probability_1", "age"]


def test_values_are_those_of_the_network_for_the_whole_image_resized_to_the_window(trained):
    config, _ = trained
    network, session = network_of(config)
    found = table(config)
    for name in NAMES:
        image = prepared(session, name)[:, :, 0]
        outputs = plain(network, resize_linear(image, (16, 12))[None])
        chances = softmax(outputs["stage"][0])
        assert found[name]["stage_probability_1"] == pytest.approx(chances[1], abs=1e-5)
        assert found[name]["stage"] == chances.argmax()
        assert found[name]["age"] == pytest.approx(outputs["age"][0, 0] / 0.01, rel=1e-4, abs=1e-4)


def test_maps_are_those_of_the_resized_image_brought_back_to_its_size(trained):
    config, _ = trained
    network, session = network_of(config)
    for name in NAMES[:3]:
        outputs = plain(network, resize_linear(prepared(session, name)[:, :, 0], (16, 12))[None])
        ct, organs = (
            nib.load(config.inference.save_seg_dir / f"{name}_{task}_predicted.nii.gz") for task in ("ct", "organs")
        )
        np.testing.assert_array_equal(ct.affine, np.diag([2.0, 2, 2, 1]))
        np.testing.assert_allclose(
            ct.get_fdata()[..., 0], resize_linear(outputs["ct"][0], SHAPE[:2])[..., 0], atol=1e-4
        )
        chances = resize_linear(softmax(outputs["organs"][0], axis=-1), SHAPE[:2])
        np.testing.assert_array_equal(organs.get_fdata()[..., 0], chances.argmax(axis=-1))


def test_every_task_has_its_own_tables_of_evaluation(trained):
    config, summary = trained
    folder, found = config.evaluation.save_csv_dir, table(config)
    tables = {path.name for path in folder.glob("*.csv")}
    kinds = {"organs": "volume", "ct": "volume", "stage": "row", "age": "row"}
    assert tables == {f"{task}_{what}.csv" for task in kinds for what in ("subjects", "summary")} | {
        f"{task}_pairs.csv" for task, kind in kinds.items() if kind == "row"
    }
    right = np.mean([found[name]["stage"] == number % 2 for number, name in enumerate(NAMES)])
    error = np.mean([abs(found[name]["age"] - (30 + 5 * number)) for number, name in enumerate(NAMES)])
    by_measure = {task: {row["measure"]: row["mean"] for row in rows} for task, rows in summary.items()}
    assert by_measure["stage"]["accuracy"] == pytest.approx(right)
    assert by_measure["age"]["mae"] == pytest.approx(error)
    errors = [
        np.abs(
            nib.load(config.inference.save_seg_dir / f"{name}_ct_predicted.nii.gz").get_fdata()
            - nib.load(config.sources["CT"].path_to_search[0] / f"{name}_ct.nii.gz").get_fdata()
        ).mean()
        for name in NAMES
    ]
    assert by_measure["ct"]["mae"] == pytest.approx(np.mean(errors), rel=1e-5)


def test_what_is_missing_is_inferred_again_and_nothing_else(trained, reporter):
    config, _ = trained
    folder = config.inference.save_seg_dir
    gone, kept, values = folder / "p3_ct_predicted.nii.gz", folder / "p2_ct_predicted.nii.gz", folder / "values.csv"
    before, content = {path: path.stat().st_mtime_ns for path in (kept, values)}, nib.load(gone).get_fdata()
    gone.unlink()
    run.infer(config, reporter, dataset="all")
    np.testing.assert_array_equal(nib.load(gone).get_fdata(), content)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    values.unlink()
    old = {path: path.stat().st_mtime_ns for path in (kept, gone)}
    run.infer(config, reporter, dataset="all")
    assert values.is_file()
    assert {path: path.stat().st_mtime_ns for path in old} == old
    run.infer(config, reporter, dataset="all")
    assert "nothing to infer: all 17 results are in" in reporter.messages[-1]


def test_a_table_of_another_state_is_told(trained, data, tmp_path, reporter):
    config, _ = trained
    folder = tmp_path / "table"
    folder.mkdir()
    for name in ("values.csv", "provenance.json"):
        (folder / name).write_bytes((config.inference.save_seg_dir / name).read_bytes())
    for state, warnings in ((-1, 0), (0, 1)):
        settings = {**SMALL, "INFERENCE.save_seg_dir": folder, "INFERENCE.inference_iter": state}
        session = open_session(configure(data, tmp_path, settings, model=config.system.model_dir), reporter, False)
        say_older_predictions(session, list(session.cohort.subjects.values()), reporter)
        told = [text for text in reporter.warnings if "values.csv: was made by another state" in text]
        assert len(told) == warnings


def test_of_several_workers_each_infers_its_images_and_the_first_the_table(trained, data, tmp_path, monkeypatch):
    config, _ = trained
    settings = {**SMALL, "INFERENCE.save_seg_dir": tmp_path / "spread", "SYSTEM.strategy": "multi_worker"}
    spread = configure(data, tmp_path, settings, model=config.system.model_dir)
    for worker in (1, 0):
        cluster = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": worker}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
        run.infer(spread, dataset="all")
        images = {path.name.split("_")[0] for path in (tmp_path / "spread").glob("*_ct_*.nii.gz")}
        assert images == set(NAMES if worker == 0 else NAMES[1::2])
        assert (tmp_path / "spread" / "values.csv").is_file() == (worker == 0)
    assert table(spread) == table(config)


def test_the_report_shows_images_of_maps_and_tables_of_values(trained, tmp_path):
    config, _ = trained
    page = write_report(config, output=tmp_path / "report").read_text("utf-8")
    for text in ("organs: outlines", "ct: prediction", "stage (classification)", "age: predicted and true values"):
        assert text in page
    assert "one value per subject: there are no predicted images" not in page


def test_an_export_has_outputs_of_both_kinds(trained, tmp_path):
    config, _ = trained
    path = export_network(config, output=tmp_path / "net.keras")
    record = json.loads((tmp_path / "net.keras.json").read_text())
    assert {name: output["per"] for name, output in record["outputs"].items()} == {
        "organs": "voxel", "ct": "voxel", "stage": "image", "age": "image"
    }  # fmt: skip
    import keras

    windows = np.random.default_rng(0).normal(size=(2, 16, 12, 1)).astype(np.float32)
    exported = keras.saving.load_model(path, compile=False)(windows)
    expected = plain(network_of(config)[0], windows)
    assert {name: tuple(value.shape) for name, value in exported.items()} == {
        "organs": (2, 16, 12, 3), "ct": (2, 16, 12, 1), "stage": (2, 2), "age": (2, 1)
    }  # fmt: skip
    for name, value in exported.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-3, atol=1e-4)


def test_new_images_get_images_and_a_table(trained, data, tmp_path):
    config, _ = trained
    (tmp_path / "new").mkdir()
    for name in ("p1", "p4"):
        (tmp_path / "new" / f"{name}_mr.nii.gz").write_bytes((data / f"{name}_mr.nii.gz").read_bytes())
    trained_run = read_trained_run(str(config.system.model_dir))
    predict(trained_run, [str(tmp_path / "new")], tmp_path / "out")
    with (tmp_path / "out" / "values.csv").open(newline="") as file:
        rows = {row.pop("subject_id"): row for row in csv.DictReader(file)}
    known = table(config)
    assert set(rows) == {"p1", "p4"}
    for name, row in rows.items():
        assert float(row["age"]) == pytest.approx(known[name]["age"], rel=1e-5)
        new, old = (
            nib.load(folder / f"{name}_ct_predicted.nii.gz").get_fdata()
            for folder in (tmp_path / "out", config.inference.save_seg_dir)
        )
        np.testing.assert_allclose(new, old, atol=1e-4)


NOT_TRAINED = {"TRAINING.max_iter": 0, "TRAINING.validation_every_n": 0}
WINDOWS = {
    "NETWORK.window_sampling": "uniform", "MR.spatial_window_size": "12, 10, 1", "MULTITASK.loss_border": 2,
    "TASK stage.per": "window", "TASK age.per": "window", "INFERENCE.border": "2, 1, 0", **NOT_TRAINED,
}  # fmt: skip


def test_values_per_window_are_means_over_the_windows_of_the_image(data, tmp_path):
    config = configure(data, tmp_path, WINDOWS)
    run.train(config)
    run.infer(config, dataset="all")
    network, session = network_of(config)
    found = table(config)
    for name in NAMES[:3]:
        image = prepared(session, name)
        starts = grid_starts(SHAPE, (12, 10, 1), (2, 1, 0))
        assert len(starts) > 3
        windows = np.stack([image[x : x + 12, y : y + 10, 0] for x, y, _ in starts])
        outputs = plain(network, np.pad(windows, [(0, 0), (2, 2), (2, 2), (0, 0)]))
        chances = softmax(outputs["stage"], axis=-1).mean(axis=0)
        assert found[name]["stage_probability_1"] == pytest.approx(chances[1], abs=1e-5)
        assert found[name]["age"] == pytest.approx(outputs["age"].mean() / 0.01, rel=1e-4)


def test_slices_that_are_resized_are_averaged_per_window(tmp_path):
    folder = tmp_path / "volumes"
    folder.mkdir()
    rng = np.random.default_rng(5)
    for name in ("a", "b", "c", "d"):
        nib.save(
            nib.Nifti1Image(rng.normal(size=(9, 8, 3)).astype(np.float32), np.eye(4)), folder / f"{name}_mr.nii.gz"
        )
    (folder / "clinical.csv").write_text("subject_id,age\na,1\nb,2\nc,3\nd,4\n")
    whole = {"MULTITASK.tasks": "age", "EVALUATION.evaluations": "mae", **NOT_TRAINED}
    with pytest.raises(DataError, match=r"9 x 8 x 3 voxels .*others likewise.* per = window"):
        run.train(configure(folder, tmp_path, whole))
    config = configure(folder, tmp_path, {**whole, "TASK age.per": "window"})
    run.train(config)
    run.infer(config, dataset="all")
    network, session = network_of(config)
    image = prepared(session, "b")
    slices = np.stack([resize_linear(image[:, :, number], (16, 12)) for number in range(3)])
    expected = plain(network, slices)["age"].mean() / 0.01
    assert table(config)["b"]["age"] == pytest.approx(expected, rel=1e-4)


def test_a_part_of_the_image_does_not_tell_a_value_per_image(data, tmp_path, reporter):
    parts = {**WINDOWS, "TASK age.per": "image"}
    with pytest.raises(DataError, match=r"_mr.nii.gz: .* 20 x 18 x 1 voxels .*a window 12 x 10 x 1: .*\[TASK age\]"):
        run.train(configure(data, tmp_path, parts))
    assert not check_run(configure(data, tmp_path, parts), reporter)
    assert any("per = window there" in text for text in reporter.messages)
    covering = {**parts, "MR.spatial_window_size": "20, 18, 1", "INFERENCE.border": "0, 0, 0"}
    assert check_run(configure(data, tmp_path, covering), reporter)


def test_passes_spread_values_and_maps_alike(trained, data, tmp_path):
    config, _ = trained
    folder = tmp_path / "passes"
    drawn = {**SMALL, "INFERENCE.masks": "sample", "INFERENCE.monte_carlo": 3, "INFERENCE.save_seg_dir": folder}
    sampled = configure(data, tmp_path, drawn, model=config.system.model_dir)
    run.infer(sampled)
    network, session = network_of(sampled)
    (name, *_), found = [subject.subject_id for subject in session.cohort.phase("inference")], table(sampled)
    window = resize_linear(prepared(session, name)[:, :, 0], (16, 12))[None]
    ages = []
    for number in range(3):
        network.seed_inference(number)
        ages.append(float(plain(network, np.repeat(window, 3, axis=0))["age"][0, 0]) / 0.01)
    assert found[name]["age"] == pytest.approx(np.mean(ages), rel=1e-3)
    assert found[name]["age_std"] == pytest.approx(np.std(ages, ddof=1), rel=1e-2)
    assert np.std(ages) > 0
    assert (folder / f"{name}_ct_predicted_std.nii.gz").is_file()


UNET = {"NETWORK.name": "unet", "NETWORK.unet_levels": 2, "TASK stage.tap": "encoding", "NETWORK.width": 1 / 32}


@pytest.mark.parametrize("network", [{}, UNET], ids=["highresnet", "unet"])
@pytest.mark.parametrize("names", ["stage", "organs, age", "ct, stage, age", "organs, ct, stage, age"])
def test_one_to_four_tasks_of_both_kinds_have_outputs_of_their_kinds(names, network, data, tmp_path):
    config = configure(data, tmp_path, {"MULTITASK.tasks": names, "EVALUATION.evaluations": "", **network})
    tasks = build_tasks(config)
    outputs = build_network(config, tasks, 1)(np.zeros((2, 16, 12, 1), np.float32))
    channels = {"stage": (2,), "age": (1,), "organs": (16, 12, 3), "ct": (16, 12, 1)}
    assert {name: tuple(value.shape[1:]) for name, value in outputs.items()} == {
        name: channels[name] for name in names.split(", ")
    }


def test_a_head_sits_where_and_has_the_layers_that_the_file_says(data, tmp_path):
    config = configure(data, tmp_path, {"TASK organs.head_layers": "6, 4", "TASK age.head_pooling": "flatten"})
    network = build_network(config, build_tasks(config), 1)
    heads = dict(zip(network.tasks, network.heads, strict=True))
    architecture = network.trunk.architecture
    assert [architecture.names[tap] for tap in architecture.taps] == ["stage_5", "stage_5", "stage_4", "stage_5"]
    assert [layer.kernel.shape[-1] for layer in heads["stage"].products] == [5, 2]
    assert [layer.kernel.shape[-1] for layer in heads["organs"].products] == [6, 4, 3]
    # Features of all voxels of the window, two streams of the last stage.
    assert heads["age"].projection.kernel.shape[0] % (16 * 12) == 0
    assert heads["age"].projection.kernel.shape[0] > 16 * 12


def test_a_section_of_one_task_says_the_same_of_its_head(data, tmp_path):
    text = INI.format(data=data, model=tmp_path / "model").replace("dice, mae, accuracy", "mae")
    own = "[REGRESSION]\nimage = MR\noutput = CLINICAL\nattribute = age\nper = window\ntap = stage_4\nhead_layers = 5\n"
    (tmp_path / "one.ini").write_text(text[: text.index("[MULTITASK]")] + own)
    config = read_config(tmp_path / "one.ini")
    tasks = build_tasks(config)
    network = build_network(config, tasks, 1)
    assert tasks["regression"].is_per_window
    assert network.trunk.architecture.names[-1] == "stage_4"
    assert [layer.kernel.shape[-1] for layer in network.heads[0].products] == [5, 1]
    (tmp_path / "one.ini").write_text(text[: text.index("[MULTITASK]")] + own.replace("stage_4", "stage_9"))
    config = read_config(tmp_path / "one.ini")
    with pytest.raises(ConfigError, match=r"\[REGRESSION\] tap = 'stage_9' is no stage of highresnet"):
        build_network(config, build_tasks(config), 1)


def test_a_head_on_no_stage_is_refused_with_the_stages_that_there_are(data, tmp_path, reporter):
    config = configure(data, tmp_path, {"TASK stage.tap": "stage_9"})
    message = r"mixed.ini: \[TASK stage\] tap = 'stage_9' is no stage of highresnet; the stages are stage_1, stage_2, "
    with pytest.raises(ConfigError, match=message):
        build_network(config, build_tasks(config), 1)
    assert not check_run(config, reporter)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"TASK ct.per": "window"}, r"per = 'window' has no meaning for a task with a target per voxel, \[CT\]"),
        ({"TASK ct.head_pooling": "flatten"}, "has no meaning for a task with a target per voxel"),
        ({"TASK age.head_layers": "8, 0"}, "has a layer without outputs"),
        ({"NETWORK.name": "vgg11"}, r"gives one output per window, and task 'organs' has a volume; use highresnet"),
        (
            {**WINDOWS, "TASK age.head_pooling": "flatten", "INFERENCE.spatial_window_size": "20, 18, 1"},
            r"must be 12, 10, 1, the size of training, with head_pooling = flatten in \[TASK age\]",
        ),
    ],
)
def test_heads_that_cannot_be_are_refused(overrides, message, data, tmp_path):
    with pytest.raises(ConfigError, match=message):
        configure(data, tmp_path, overrides)


@pytest.mark.parametrize(
    ("key", "value"),
    [("tap", "decoder_1"), ("head_layers", "7"), ("head_pooling", "flatten"), ("per", "window")],
)
def test_a_state_is_not_used_with_another_head(key, value, trained, data, tmp_path):
    config, _ = trained
    other = configure(data, tmp_path, {**SMALL, f"TASK stage.{key}": value}, model=config.system.model_dir)
    with pytest.raises(ConfigError, match="was trained with heads = "):
        run.infer(other)
