"""What `sfgkeras export` writes gives the masked network's numbers, needs nothing of this package, and is whole."""

import json
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

from sfgkeras import cli
from sfgkeras.applications import run
from sfgkeras.applications.export import formats as export_formats
from sfgkeras.applications.export import hardened as exporting
from sfgkeras.applications.export.formats import FORMATS, replacing_path
from sfgkeras.applications.export.hardened import export_network
from sfgkeras.applications.inference.restored_network import restore_network
from sfgkeras.applications.records.checkpoints import CheckpointFolder, TrainingState, collect_arrays
from sfgkeras.applications.subjects.session import open_session
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.applications.training import fingerprint
from sfgkeras.applications.training import network as building
from sfgkeras.config import read_config
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.reporter import SilentReporter

pytest.importorskip("onnxruntime")

INI = """
[MR]
path_to_search = {cohort}
filename_contains = _mr
filename_removefromid = _(mr|ct|organs)$
spatial_window_size = 16, 16, 1
pixdim = 8, 8, 8

[CT]
path_to_search = {cohort}
filename_contains = _ct
filename_removefromid = _(mr|ct|organs)$
pixdim = 8, 8, 8
scaling = ct
padding_value = -1024

[ORGANS]
path_to_search = {cohort}
filename_contains = _organs
filename_removefromid = _(mr|ct|organs)$
pixdim = 8, 8, 8

[SYSTEM]
model_dir = {folder}/model
seed = 3

[NETWORK]
name = highresnet
width = 0.3
batch_size = 2
batch_norm = population
whitening = yes

[TRAINING]
lr = 0.02
max_iter = 2
save_every_n = 1
exclude_fraction_for_validation = 0.25
exclude_fraction_for_inference = 0.25

[INFERENCE]
masks = mean

[MULTITASK]
image = MR
tasks = ct, organs
loss_border = 2
random_p_init = yes

[TASK ct]
type = regression
target = CT
loss = rmse
scale = 2

[TASK organs]
type = segmentation
target = ORGANS
loss = dicecrossentropy
num_classes = 3
class_names = background, prostate, bladder
"""


@pytest.fixture(scope="module")
def labelled(cohort, tmp_path_factory):
    """The cohort with three labels."""
    import nibabel as nib

    folder = tmp_path_factory.mktemp("labelled")
    for path in cohort.glob("*.nii.gz"):
        image = nib.load(path)
        if path.name.endswith("_organs.nii.gz"):
            array = np.minimum(np.asarray(image.dataobj), 2).astype(np.uint8)
            image = nib.Nifti1Image(array, image.affine)
        nib.save(image, folder / path.name)
    return folder


def write_random_state(config, channels):
    """Saves a state of random weights and statistics as iteration 2."""
    network = building.build_network(config, build_tasks(config), channels)
    rng = np.random.default_rng(0)
    for variable in network.trainable_variables:
        variable.assign_add(0.2 * rng.normal(size=variable.shape))
    for layer in network.normalizations():
        layer.moving_mean.assign(rng.normal(size=layer.moving_mean.shape))
        layer.moving_variance.assign(rng.uniform(0.5, 2.0, size=layer.moving_mean.shape))
    record = {"iteration": 2, "fingerprint": fingerprint.network_fingerprint(config)}
    state = TrainingState(collect_arrays(network), record)
    CheckpointFolder(config.system.model_dir / "checkpoints").write(state)


@pytest.fixture(scope="module")
def configure(labelled, tmp_path_factory):
    """Reads the configuration of an SFG run that has one state of random weights, with overrides."""
    folder = tmp_path_factory.mktemp("export")
    path = folder / "tiny.ini"
    path.write_text(textwrap.dedent(INI).format(cohort=labelled, folder=folder))

    def configure(**overrides):
        return read_config(path, [(name.replace("__", "."), str(value)) for name, value in overrides.items()])

    write_random_state(configure(), 1)
    return configure


@pytest.fixture(scope="module")
def masked(configure):
    """The network of the newest state, masks in mode."""
    config = configure(INFERENCE__masks="mode")
    checkpoints = CheckpointFolder(config.system.model_dir / "checkpoints")
    session = open_session(config, SilentReporter(), training=False)
    network = restore_network(session, checkpoints, checkpoints.read(-1), 1, SilentReporter())
    chosen = {group for p in network.grouping_probabilities().values() for group in p.argmax(-1)}
    assert chosen == {0, 1, 2}
    return network


@pytest.fixture(scope="module")
def prepared(configure):
    """Loads and hardens once for all exports of the whole network."""
    made = exporting.prepare_export(configure(), None, FORMATS["keras"], SilentReporter())
    return lambda *_: made


@pytest.fixture(scope="module")
def exported(configure, prepared):
    """One export of each format."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "prepare_export", prepared)
        return {name: export_network(configure(), file_format=name) for name in FORMATS}


def random_images(*shape):
    return np.random.default_rng(7).normal(size=shape).astype("float32")


def assert_same(outputs, expected):
    for name, output in outputs.items():
        reference = np.asarray(expected[name])
        assert reference.std() > 0
        np.testing.assert_allclose(output, reference, atol=1e-4 * np.abs(reference).max())


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_reloaded_export_gives_the_numbers_of_the_masked_network_in_mode(name, exported, masked):
    predict = FORMATS[name].load(exported[name])
    for shape in ((2, 20, 20, 1), (3, 11, 8, 1)):
        outputs = predict(random_images(*shape))
        assert set(outputs) == {"ct", "organs"}
        assert_same(outputs, masked(random_images(*shape)))


def test_groups_that_no_training_fixed_are_given_suitable_sizes(configure, masked):
    class Reporter(SilentReporter):
        def warning(self, text):
            warnings.append(text)

    warnings: list[str] = []
    config = configure(MULTITASK__group_multiple=2)
    made = exporting.prepare_export(config, None, FORMATS["keras"], Reporter())  # verifies that hardening is exact
    assert list(made.networks) == ["masked", "in groups of 2", "hardened", "hardened, folded"]
    counts = [p.sum(axis=0) for p in made.networks["in groups of 2"].grouping_probabilities().values()]
    assert all((count % 2).sum() == count.sum() % 2 for count in counts)
    assert any((p.sum(axis=0) % 2).sum() > 1 for p in masked.grouping_probabilities().values())
    (message,) = [text for text in warnings if text.startswith("group_multiple = 2: ")]
    assert "filters leave their most probable group, which the training has not healed" in message


def test_exports_lie_in_the_model_folder_each_with_its_record(exported, configure):
    folder = configure().system.model_dir / "export"
    assert sorted(path.name for path in folder.iterdir()) == [
        "hardened.keras",
        "hardened.keras.json",
        "hardened.onnx",
        "hardened.onnx.json",
        "hardened_saved_model",
        "hardened_saved_model.json",
    ]


def test_the_record_says_what_a_user_of_the_bare_file_must_know(exported):
    path = exported["onnx"]
    record = json.loads(path.with_name(f"{path.name}.json").read_text())
    assert record["checkpoint"]["iteration"] == 2
    assert record["checkpoint"]["network"]["sharing"] == "sfg"
    assert record["masks"] == "mode"
    assert record["input"]["axes"] == ["batch", "x", "y", "channel"]
    assert record["input"]["frame_of_zeros"] == 2
    assert record["input"]["preparation"]["whitening"] is True
    assert record["input"]["sources"]["MR"]["pixdim"] == [8, 8, 8]
    ct, organs = record["outputs"]["ct"], record["outputs"]["organs"]
    # scale = 2: the network learns 2 (HU / 1024 + 1), so water, 2, must come out as 0 HU.
    assert ct["multiply"] * 2.0 + ct["add"] == 0.0
    assert ct["unit"] == "HU"
    assert organs["classes"] == ["background", "prostate", "bladder"]
    assert organs["channels"] == 3


@pytest.mark.slow
@pytest.mark.ci_sample
def test_a_fresh_process_without_this_package_gives_the_same_numbers(exported, masked, tmp_path):
    images = random_images(2, 12, 10, 1)
    np.savez(tmp_path / "expected.npz", images=images, **{k: np.asarray(v) for k, v in masked(images).items()})
    script = f"""
        import sys

        import keras
        import numpy as np
        import onnxruntime
        import tensorflow as tf

        expected = np.load(r"{tmp_path / "expected.npz"}")
        images = expected["images"]
        served = tf.saved_model.load(r"{exported["saved_model"]}").signatures["serving_default"]
        session = onnxruntime.InferenceSession(r"{exported["onnx"]}", providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        for outputs in (
            served(image=tf.constant(images)),
            keras.saving.load_model(r"{exported["keras"]}", safe_mode=True)(images),
            dict(zip(names, session.run(names, {{"image": images}}))),
        ):
            assert set(outputs) == {{"ct", "organs"}}
            for name, output in outputs.items():
                reference = expected[name]
                np.testing.assert_allclose(output, reference, atol=1e-4 * np.abs(reference).max())
        assert not [name for name in sys.modules if name.startswith("sfgkeras")]
        """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.ci_sample
def test_the_command_cuts_one_task_out_and_shows_what_hardening_gains(configure, masked, tmp_path, capsys):
    output = tmp_path / "part.keras"
    cli.main(["export", "-c", str(configure().path), "--task", "organs", "--output", str(output)])
    said = capsys.readouterr().out
    outputs = FORMATS["keras"].load(output)(random_images(1, 9, 9, 1))
    assert list(outputs) == ["organs"]
    assert_same(outputs, masked(random_images(1, 9, 9, 1)))
    assert "wrote" in said
    lines = [line.strip() for line in said.splitlines()]
    rows = {line.split("  ")[0]: line for line in lines if line.startswith(("masked", "hardened"))}
    multiplies = {name: int(line.split()[-3].replace(",", "")) for name, line in rows.items()}
    assert multiplies["hardened"] == multiplies["hardened, folded"] < 0.5 * multiplies["masked"]


@pytest.mark.slow
def test_a_trained_and_recalibrated_network_of_mixed_precision_is_exported_in_float32(labelled, tmp_path):
    path = tmp_path / "half.ini"
    path.write_text(textwrap.dedent(INI).format(cohort=labelled, folder=tmp_path))
    config = read_config(path, [("SYSTEM.mixed_precision", "bfloat16"), ("NETWORK.batch_norm", "recalibrated")])
    run.train(config)
    outputs = FORMATS["onnx"].load(export_network(config, file_format="onnx"))(random_images(1, 9, 9, 1))
    assert {value.dtype for value in outputs.values()} == {np.dtype("float32")}


FACES = """
[FACES]
path_to_search = {folder}/photos
loader = pillow
filename_attributes = age, gender, race, date
spatial_window_size = 32, 32, 1

[SYSTEM]
model_dir = {folder}/model

[NETWORK]
name = vgg11
width = 0.06
batch_size = 2
batch_norm = population
window_sampling = resize

[MULTITASK]
image = FACES
tasks = age, gender
random_p_init = yes

[TASK age]
type = regression
target = FACES
scale = 0.01

[TASK gender]
type = classification
target = FACES
num_classes = 2
"""


@pytest.mark.slow
@pytest.mark.ci_sample
def test_a_network_of_values_is_exported_with_its_units(tmp_path):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for i in range(4):
        pixels = np.random.default_rng(i).integers(255, size=(40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{20 + i}_{i % 2}_0_20170101.png")
    path = tmp_path / "faces.ini"
    path.write_text(textwrap.dedent(FACES).format(folder=tmp_path))
    config = read_config(path)
    write_random_state(config, 3)
    exported = export_network(config, file_format="onnx")
    outputs = FORMATS["onnx"].load(exported)(random_images(2, 32, 32, 3))
    assert {name: value.shape for name, value in outputs.items()} == {"age": (2, 1), "gender": (2, 2)}
    record = json.loads(exported.with_name(f"{exported.name}.json").read_text())
    assert record["input"]["window"] == [32, 32]
    assert record["outputs"]["age"]["multiply"] == 100.0
    assert record["outputs"]["gender"]["per"] == "image"


def test_an_existing_export_stays_unless_overwriting_is_asked_for(exported, configure):
    path = exported["keras"]
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"hardened\.keras exists; add --overwrite"):
        export_network(configure())
    assert path.read_bytes() == before


def test_a_file_that_does_not_give_the_same_numbers_is_not_left_behind(exported, configure, prepared, monkeypatch):
    path = exported["saved_model"]
    before = sorted((file, file.stat().st_mtime_ns) for file in path.rglob("*"))

    def write_another(network, to):
        keras.models.clone_model(network).export(to, format="tf_saved_model", verbose=False)

    form = FORMATS["saved_model"]
    broken = export_formats.ExportFormat(form.name, form.ending, write_another, form.load)
    monkeypatch.setattr(exporting, "FORMATS", {"saved_model": broken})
    monkeypatch.setattr(exporting, "prepare_export", prepared)
    with pytest.raises(DataError, match="the reloaded saved_model differs from the network of iteration 2"):
        export_network(configure(), file_format="saved_model", overwrite=True)
    assert sorted((file, file.stat().st_mtime_ns) for file in path.rglob("*")) == before
    assert not [entry for entry in path.parent.iterdir() if entry.name.startswith(".")]


def test_a_folder_is_replaced_whole_and_comes_back_if_the_writer_fails(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(DataError), replacing_path(target) as temporary:
        (temporary / "a folder that was never made" / "part").write_text("part")
    assert [path.name for path in target.iterdir()] == ["old"]
    with replacing_path(target) as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("new")
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"task": "organ"}, ConfigError, "unknown task 'organ', did you mean 'organs'"),
        ({"file_format": "tflite"}, ConfigError, "unknown format 'tflite'; known are keras, onnx, saved_model"),
        ({"output": "model.h5"}, ConfigError, r"is called \*\.keras; write .*model\.keras"),
        ({"output": "taken.keras", "overwrite": True}, DataError, r"taken\.keras exists and is a folder"),
        (
            {"output": "photos", "file_format": "saved_model", "overwrite": True},
            DataError,
            "photos exists and is no SavedModel",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused_before_anything_is_loaded(
    arguments, error, message, configure, tmp_path, monkeypatch
):
    (tmp_path / "taken.keras").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "only_copy.jpg").write_text("precious")
    monkeypatch.setattr(exporting, "prepare_export", None)
    if "output" in arguments:
        arguments = {**arguments, "output": tmp_path / arguments["output"]}
    with pytest.raises(error, match=message):
        export_network(configure(), **arguments)
    assert (tmp_path / "photos" / "only_copy.jpg").is_file()


def test_batch_statistics_are_refused_with_the_remedy(configure):
    with pytest.raises(ConfigError, match=r"add --NETWORK\.batch_norm recalibrated"):
        export_network(configure(NETWORK__batch_norm="batch"))


def test_a_missing_package_is_named_with_the_command_that_installs_it(configure, monkeypatch):
    monkeypatch.setattr("sfgkeras.extras.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'onnx and onnxruntime.*pip install "sfgkeras\[onnx\]"'):
        export_network(configure(), file_format="onnx")


def test_an_iteration_that_was_not_kept_is_refused(configure, tmp_path):
    with pytest.raises(DataError, match="inference_iter may be one of: 2"):
        export_network(configure(INFERENCE__inference_iter=7), output=tmp_path / "a.keras")
    assert not list(tmp_path.iterdir())
