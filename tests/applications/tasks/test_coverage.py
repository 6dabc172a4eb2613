"""Outside a target's field of view there is air, and nothing is learned or measured: one definition for all."""

import nibabel as nib
import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.evaluation import read_pair
from sfgkeras.applications.records.files import prediction_path
from sfgkeras.applications.subjects.session import open_session
from sfgkeras.applications.training.batches import build_window_source
from sfgkeras.config import read_config
from sfgkeras.data.nifti import write_image
from sfgkeras.errors import ConfigError
from sfgkeras.preprocessing.ct import describe_ct, padding_value
from sfgkeras.reporter import SilentReporter

INI = """
[MR]
path_to_search = {folder}
filename_contains = _mr
spatial_window_size = 16, 16, 1
pixdim = {pixdim}

[CT]
path_to_search = {folder}
filename_contains = _ct
pixdim = {pixdim}
scaling = ct

[SYSTEM]
model_dir = {folder}/model

[NETWORK]
name = highresnet
width = 0.25
sharing = hard_sharing
batch_size = 2

[TRAINING]
max_iter = 1

[MULTITASK]
image = MR
tasks = ct

[TASK ct]
type = regression
target = CT
"""
SHAPE = (24, 24, 6)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def circle():
    """The field of view of a scanner, `(x, y, z)`: everything within 10 voxels of the axis."""
    x, y = np.meshgrid(np.arange(24) - 11.5, np.arange(24) - 11.5, indexing="ij")
    return np.repeat((x**2 + y**2 <= 100)[..., None], SHAPE[2], axis=2)


def write(folder, name, array, affine=AFFINE):
    nib.save(nib.Nifti1Image(array, affine), folder / f"s0_{name}.nii.gz")


def configure(folder, *overrides, pixdim=""):
    path = folder / "run.ini"
    path.write_text(INI.format(folder=folder, pixdim=pixdim))
    return read_config(path, overrides)


@pytest.fixture
def folder(tmp_path):
    """One subject: soft tissue of 100 HU in a round field of view, around it -3024."""
    write(tmp_path, "mr", np.random.default_rng(0).normal(100, 9, SHAPE).astype(np.float32))
    write(tmp_path, "ct", np.where(circle(), 100, -3024).astype(np.int16))
    return tmp_path


def prepared(config):
    session = open_session(config, SilentReporter(), training=True)
    (subject,) = session.cohort.subjects.values()
    return session, session.preparation.subject(subject)


def evaluated(config):
    """Truth in HU and what counts of it, in evaluation and report."""
    session = open_session(config, SilentReporter(), training=False)
    (subject,) = session.cohort.subjects.values()
    grid = session.preparation.native_grid(subject)
    config.inference.save_seg_dir.mkdir(parents=True, exist_ok=True)
    write_image(prediction_path(config, "s0", "ct"), np.zeros(grid.shape, np.float32), grid.affine)
    truth, _, valid, _ = read_pair(config, session.tasks["ct"], subject)
    return truth, valid


def test_what_the_scanner_fills_in_is_air_and_counts_nowhere(folder):
    config = configure(folder)
    _, subject = prepared(config)
    np.testing.assert_array_equal(subject.known["ct"], circle())
    np.testing.assert_allclose(subject.targets["ct"][..., 0], np.where(circle(), 1 + 100 / 1024, 0), atol=1e-6)
    truth, valid = evaluated(config)
    np.testing.assert_array_equal(valid, circle())
    np.testing.assert_array_equal(truth, np.where(circle(), 100, -1024))


def test_windows_give_what_is_not_known_no_weight(folder):
    config = configure(folder, ("TRAINING.rotation_angle", "-30, 30"))
    session, subject = prepared(config)
    plain = build_window_source(config, session.tasks, [subject], augment=False)
    turned = build_window_source(config, session.tasks, [subject], augment=True)
    for source in (plain, turned):
        for number in range(8):
            _, targets, weights = source.window(number)
            weight, target = weights["ct"], targets["ct"][..., 0]
            assert 0 < weight.mean() < 1
            assert set(np.unique(weight)) == {0, 1}
            # Wherever it counts the truth is tissue, without a breath of the air around it.
            np.testing.assert_allclose(target[weight > 0], 1 + 100 / 1024, rtol=2e-3)
    assert plain.window(0)[2]["ct"].sum() > 0.9 * (plain.window(0)[1]["ct"] > 0.5).sum()


def test_resampling_lets_nothing_of_the_padding_in(folder):
    config = configure(folder, pixdim="1.7, 1.7, 2.9")
    _, subject = prepared(config)
    known, target = subject.known["ct"], subject.targets["ct"]
    assert known.shape == target.shape[:3]
    np.testing.assert_allclose(target[known], 1 + 100 / 1024, rtol=1e-4)
    assert target.min() == pytest.approx(0, abs=1e-6)
    volume = circle().sum() * 2 * 2 * 3
    assert 0.7 < known.sum() * 1.7 * 1.7 * 2.9 / volume <= 1.01


def test_beyond_the_ct_there_is_air_and_not_water(folder):
    shifted = AFFINE.copy()
    shifted[2, 3] = 6.0  # the CT begins two slices above the MR and ends two above it
    write(folder, "ct", np.full(SHAPE, 40, np.int16), shifted)
    config = configure(folder, pixdim="2, 2, 3")
    _, subject = prepared(config)
    expected = np.arange(6) >= 2
    np.testing.assert_array_equal(subject.known["ct"].all(axis=(0, 1)), expected)
    np.testing.assert_array_equal(subject.known["ct"].any(axis=(0, 1)), expected)
    np.testing.assert_allclose(subject.targets["ct"][0, 0, :2], 0, atol=1e-6)
    truth, valid = evaluated(config)
    np.testing.assert_array_equal(valid, subject.known["ct"])
    np.testing.assert_array_equal(truth[..., :2], -1024)


def test_an_image_without_marks_is_known_everywhere(folder):
    write(folder, "ct", np.where(circle(), 100, -1024).astype(np.int16))
    _, subject = prepared(configure(folder))
    assert subject.known == {}


@pytest.mark.parametrize(("value", "expected"), [("none", False), ("-1024", True), ("-3024", False)])
def test_the_mark_can_be_named(folder, value, expected):
    write(folder, "ct", np.where(circle(), 100, -1024).astype(np.int16))
    _, subject = prepared(configure(folder, ("CT.outside", value)))
    assert ("ct" in subject.known) == expected


def test_none_keeps_what_scanners_fill_in(folder):
    _, subject = prepared(configure(folder, ("CT.outside", "none")))
    assert subject.known == {}


def test_the_mark_of_a_map_without_units_can_be_named(folder):
    write(folder, "ct", np.where(circle(), 900, 0).astype(np.int16))
    config = configure(folder, ("CT.scaling", "none"), ("CT.outside", "0"))
    _, subject = prepared(config)
    np.testing.assert_array_equal(subject.known["ct"], circle())
    np.testing.assert_array_equal(evaluated(config)[1], circle())


def test_a_word_that_is_no_mark_is_refused(folder):
    with pytest.raises(ConfigError, match=r"outside = 'air' is neither auto, none nor a value; write e\.g\. -3024"):
        configure(folder, ("CT.outside", "air"))


def test_scores_do_not_count_what_is_outside(folder):
    """A prediction that is right where the scanner saw something and far off elsewhere has no error."""
    config = configure(folder)
    session = open_session(config, SilentReporter(), training=True)
    config.inference.save_seg_dir.mkdir(parents=True)
    wrong = np.where(circle(), 100, 700).astype(np.float32)
    write_image(prediction_path(config, "s0", "ct"), wrong, AFFINE)
    assert session.tasks
    (row, *_) = run.evaluate(config, dataset="all")["ct"]
    assert (row["measure"], row["mean"]) == ("mae", 0)


def test_a_ct_is_air_where_nothing_was_predicted(folder):
    image = np.random.default_rng(0).normal(5, 1, SHAPE).astype(np.float32)
    image[3:-3, 3:-3] += 300
    write(folder, "mr", image)
    text = INI + "\n[PREPROCESSING]\nsteps = crop\ncrop_margin = 0\npictures = no\n"
    path = folder / "cropped.ini"
    path.write_text(text.format(folder=folder, pixdim=""))
    run.train(read_config(path))
    for constant, expected in (("", -1024.0), ("7", 7.0)):
        config = read_config(path, [("INFERENCE.fill_constant", constant)])
        run.infer(config, dataset="all", overwrite=True)
        written = nib.load(prediction_path(config, "s0", "ct")).get_fdata()
        assert (written[:3] == expected).all()
        assert (written[3:-3, 3:-3] != expected).all()


def test_padding_is_what_lies_below_air_and_fills_some_of_the_volume():
    values = np.full(10_000, -1000.0)
    assert padding_value(values) is None
    values[:10] = -2000
    assert padding_value(values) == -2000
    assert "padding outside the field of view" in describe_ct(values)[0]
    values[:9] = -1207  # an overshoot of single voxels beside metal
    values[9] = -1200
    assert padding_value(values) is None
    values[:60] = np.repeat(np.arange(-1100, -1095), 12)  # many voxels, but of many values
    assert padding_value(values) is None
    assert padding_value(np.empty(0)) is None


@pytest.mark.real_data
def test_a_real_ct_with_a_round_field_of_view(real_data, tmp_path):
    """The pelvis with its corners filled as scanners fill them, on the grid of an image turned against it."""
    image = nib.load(real_data / "ct_pelvis/pelvis_crop_ct.nii.gz")
    hu = np.asarray(image.dataobj)[::2, ::2, ::4]
    affine = image.affine @ np.diag([2.0, 2.0, 4.0, 1.0])
    x, y = np.meshgrid(*(np.linspace(-1, 1, n) for n in hu.shape[:2]), indexing="ij")
    inside = np.repeat((x**2 + y**2 <= 1)[..., None], hu.shape[2], axis=2)
    write(tmp_path, "ct", np.where(inside, hu, -3024).astype(np.int16), affine)
    turn = np.eye(4)
    angle = np.radians(8)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    write(tmp_path, "mr", np.random.default_rng(0).normal(100, 9, (40, 40, 12)).astype(np.float32), turn @ affine)
    config = configure(tmp_path, pixdim="6, 6, 12")
    _, subject = prepared(config)
    truth, valid = evaluated(config)
    known = subject.known["ct"]
    assert 0.3 < known.mean() < 0.95
    assert truth.min() >= -1207
    # The network's grid is the image's own here: what is learned and what is measured are the same voxels.
    np.testing.assert_array_equal(known, valid)
    np.testing.assert_allclose(
        (subject.targets["ct"][known][..., 0] - 1) * 1024, np.clip(truth[valid], -1024, 2500), atol=0.1
    )
