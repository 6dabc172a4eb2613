"""Reconstruction: the network predicts the image that it sees, with all of its channels."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from sfgkeras.applications import run
from sfgkeras.applications.records.files import prediction_path
from sfgkeras.applications.tasks.reconstruction import ReconstructionTask
from sfgkeras.config import read_config
from sfgkeras.config.task_sections import InputSource, Task
from sfgkeras.data.augmentation import Augmentation
from sfgkeras.data.nifti import read_channels, write_image
from sfgkeras.data.prepared import PreparedSubject
from sfgkeras.data.samplers import UniformSampler
from sfgkeras.data.windows import WindowSource
from sfgkeras.errors import ConfigError


def task():
    return ReconstructionTask("rec", "MR", Task(type="reconstruction", target="MR", loss="mse"), InputSource())


@pytest.mark.parametrize("loss_border", [0, 2])
def test_the_target_of_a_window_is_the_window_itself(loss_border):
    image = np.random.default_rng(0).normal(size=(20, 18, 1, 3)).astype(np.float32)
    drawn = Augmentation((-30, 30), (-10, 10), flip_axes=(0,), bias_field_range=(-0.3, 0.3))
    source = WindowSource(
        [PreparedSubject("p", image, {})], (12, 10, 1), UniformSampler((12, 10, 1)), drawn, {"rec": "image"},
        loss_border=loss_border,
    )  # fmt: skip
    assert source.target_shapes["rec"] == source.image_shape
    for index in range(5):
        window, targets, weights = source.window(index)
        np.testing.assert_array_equal(targets["rec"], window)
        # Beyond the image and in the border there is nothing to learn.
        assert weights["rec"].shape == window.shape[:-1]
        assert not np.any(window[weights["rec"] == 0])


def test_it_has_the_channels_of_the_image_and_writes_them_all():
    assert task().outputs_for(3) == 3
    assert task().outputs_for(1) == 1
    values = np.random.default_rng(0).normal(size=(4, 5, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(task().finish_map(values, lambda v, *_: v, 1, 0.0)[""], values)
    single = task().finish_map(values[..., :1], lambda v, *_: v, 1, 0.0)[""]
    np.testing.assert_array_equal(single, values[..., 0])
    assert task().describe_output()["channels"] == "those of the input"


def test_channels_are_read_as_they_were_written(tmp_path):
    values = np.random.default_rng(0).normal(size=(4, 5, 1, 3)).astype(np.float32)
    affine = np.diag([2.0, 3.0, 1.0, 1.0])
    write_image(tmp_path / "rgb.nii.gz", values, affine)
    found = read_channels(tmp_path / "rgb.nii.gz")
    np.testing.assert_array_equal(found.array, values)
    np.testing.assert_array_equal(found.affine, affine)
    write_image(tmp_path / "grey.nii.gz", values[..., 0], affine)
    assert read_channels(tmp_path / "grey.nii.gz").array.shape == (4, 5, 1)


SECTIONS = """
[TRAINING]
lr = 1e-2
max_iter = 25
save_every_n = 25
tensorboard_every_n = 5
validation_every_n = 0
exclude_fraction_for_inference = 0.2
[EVALUATION]
evaluations = rmse, mae
[TASK rec]
type = reconstruction
"""


@pytest.fixture(scope="module")
def ini(tmp_path_factory, write_photo_run):
    """Ten photographs of two colours."""
    folder = tmp_path_factory.mktemp("reconstruction")
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(10):
        photo = rng.integers(0, 30, (16, 16, 3))
        photo[: rng.integers(4, 12)] += [150, 50, 200]
        Image.fromarray(photo.astype(np.uint8)).save(folder / "photos" / f"p{number}.png")
    return write_photo_run(folder, SECTIONS)


def test_a_file_needs_no_target_and_comes_back_as_it_was(ini, tmp_path):
    config = read_config(ini)
    assert (config.tasks["rec"].target, config.tasks["rec"].loss) == ("PHOTOS", "mse")
    assert config.warnings == ()
    (tmp_path / "again.ini").write_text(config.effective_text())
    assert read_config(tmp_path / "again.ini") == config


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("target", "CT", "names no input source"),
        ("num_classes", "3", "has no meaning for a reconstruction"),
        ("scale", "2", "only a regression is scaled"),
        ("loss", "dice", "belongs to segmentation, not reconstruction"),
        ("units", "fractions", "has no meaning for a reconstruction"),
        ("inferred", "PHOTOS", "is measured against what the network sees"),
    ],
)
def test_keys_of_other_types_are_refused(ini, key, value, message):
    with pytest.raises(ConfigError, match=message):
        read_config(ini, [(f"TASK rec.{key}", value)])


def test_another_source_is_no_target_of_a_reconstruction(ini, tmp_path):
    path = tmp_path / "other.ini"
    path.write_text(ini.read_text() + "target = OTHER\n[OTHER]\npath_to_search = .\n")
    with pytest.raises(ConfigError, match=r"\[TASK rec\] target = 'OTHER' is no image, and a reconstruction predicts"):
        read_config(path)


def test_photographs_are_reconstructed_written_and_measured(ini, reporter):
    config = read_config(ini)
    run.train(config, reporter)
    run.infer(config, reporter, dataset="all")
    scores = {row["measure"]: row["mean"] for row in run.evaluate(config, reporter, dataset="all")["rec"]}
    # The photographs are whitened, so that a constant has an error of 1.
    assert scores["rmse"] < 0.5
    measured = []
    for number in range(10):
        photo = np.asarray(Image.open(ini.parent / "photos" / f"p{number}.png"), np.float64)
        whitened = (photo - photo.mean(axis=(0, 1))) / photo.std(axis=(0, 1))
        written = nibabel.load(prediction_path(config, f"p{number}", "rec")).get_fdata()
        assert written.shape == (16, 16, 1, 3)
        measured.append(np.sqrt(np.mean((written[:, :, 0] - whitened) ** 2)))
    np.testing.assert_allclose(scores["rmse"], np.mean(measured), rtol=1e-3)
