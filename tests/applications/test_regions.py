"""Evaluation inside a mask from a file and inside the body, in tables and CSV files."""

import csv

import nibabel as nib
import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.check import check_run
from sfgkeras.applications.records.files import prediction_path
from sfgkeras.applications.regions import largest_part
from sfgkeras.config import read_config
from sfgkeras.errors import ConfigError, DataError

INI = """
[MR]
path_to_search = {folder}
filename_contains = _mr
spatial_window_size = 8, 8, 1

[CT]
path_to_search = {folder}
filename_contains = _ct
scaling = ct

[ORGANS]
path_to_search = {folder}
filename_contains = _organs

[Contour]
path_to_search = {folder}
filename_contains = _contour

[SYSTEM]
model_dir = {folder}/model

[NETWORK]
name = highresnet

[EVALUATION]
evaluations = mae, dice, surface_dice
mask = contour
body = yes

[MULTITASK]
image = MR
tasks = ct, organs

[TASK ct]
type = regression
target = CT

[TASK organs]
type = segmentation
target = ORGANS
num_classes = 2
"""
SHAPE, AFFINE = (24, 20, 6), np.diag([2.0, 2.0, 3.0, 1.0])
BODY, CONTOUR = (slice(4, 20), slice(4, 16)), (slice(6, 12), slice(6, 12))


def save(path, array):
    nib.save(nib.Nifti1Image(array, AFFINE), path)


@pytest.fixture
def folder(tmp_path):
    """A bright body with a dark hole and a bright speck beside it; the prediction is wrong by place."""
    image = np.random.default_rng(0).normal(10, 1, SHAPE).astype(np.float32)
    image[BODY] += 200
    image[10:12, 8:10, 2:4] = 5  # air in the bowel belongs to the body
    image[22:, 18:] += 200  # a cushion does not
    contour, organs = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    contour[CONTOUR] = 1
    organs[8:14, 8:14, 1:5] = 1
    save(tmp_path / "s0_mr.nii.gz", image)
    save(tmp_path / "s0_ct.nii.gz", np.full(SHAPE, -500, np.int16))
    save(tmp_path / "s0_organs.nii.gz", organs)
    save(tmp_path / "s0_contour.nii.gz", contour)
    return tmp_path


def configure(folder, *overrides):
    path = folder / "run.ini"
    path.write_text(INI.format(folder=folder))
    return read_config(path, overrides)


def predict(config):
    """Errors of 100 HU everywhere, 10 in the body and 1 in the contour; organs reach beyond the contour by far."""
    config.inference.save_seg_dir.mkdir(parents=True)
    hu = np.full(SHAPE, -400, np.float32)
    hu[BODY] = -490
    hu[CONTOUR] = -499
    labels = np.zeros(SHAPE, np.uint8)
    labels[8:12, 8:12, 1:5] = 1
    save(prediction_path(config, "s0", "ct"), hu)
    save(prediction_path(config, "s0", "organs"), labels)


def test_everything_is_measured_once_more_in_the_mask_and_in_the_body(folder, reporter):
    config = configure(folder)
    predict(config)
    summary = run.evaluate(config, reporter, dataset="all")
    errors = {row["region"]: row["mean"] for row in summary["ct"]}
    body, contour, whole = 16 * 12, 6 * 6, 24 * 20
    assert errors["contour"] == 1
    assert errors["body"] == pytest.approx((contour + 10 * (body - contour)) / body)
    assert errors["all"] == pytest.approx((contour + 10 * (body - contour) + 100 * (whole - body)) / whole)
    dice = {(row["label"], row["region"]): row["mean"] for row in summary["organs"] if row["measure"] == "dice"}
    assert dice["1", "all"] == pytest.approx(2 * 16 / (16 + 36))
    assert dice["1", "contour"] == 1
    columns, rows = reporter.tables["organs (segmentation)"]
    assert columns[0] == "label, region"
    assert [row[0] for row in rows] == ["1, all", "1, contour", "1, body"]
    with (config.evaluation.save_csv_dir / "ct_subjects.csv").open() as file:
        assert [row["region"] for row in csv.DictReader(file)] == ["all", "contour", "body"]


def test_without_the_keys_there_is_the_whole_image_alone(folder, reporter):
    config = configure(folder, ("EVALUATION.mask", ""), ("EVALUATION.body", "no"))
    predict(config)
    summary = run.evaluate(config, reporter, dataset="all")
    assert {row["region"] for row in summary["ct"]} == {"all"}
    assert all("region" not in row for row in summary["organs"])


def test_the_tolerance_of_the_surface_dice_counts(folder):
    found = {}
    for tolerance in ("0.5", "6"):
        config = configure(
            folder, ("EVALUATION.surface_tolerance", tolerance), ("SYSTEM.model_dir", str(folder / tolerance))
        )
        predict(config)
        rows = run.evaluate(config, dataset="all")["organs"]
        found[tolerance] = next(row["mean"] for row in rows if row["measure"] == "surface_dice")
    assert found["0.5"] < found["6"] == 1


def test_a_subject_without_a_mask_is_named_before_and_refused_at_evaluation(folder, reporter):
    (folder / "s0_contour.nii.gz").rename(folder / "other_contour.nii.gz")
    config = configure(folder)
    predict(config)
    check_run(config, reporter, read_voxels=False)
    assert any("'s0', have no file in [Contour], [EVALUATION] mask" in text for text in reporter.warnings)
    with pytest.raises(DataError, match=r"subject 's0' has no file in \[Contour\], the mask of \[EVALUATION\]"):
        run.evaluate(config, dataset="all")


@pytest.mark.parametrize(
    ("mask", "message"),
    [("CONTOR", "names no input source, did you mean 'Contour'"), ("NONE", "names no input source; add")],
)
def test_a_mask_is_an_input_source(folder, mask, message):
    with pytest.raises(ConfigError, match=message):
        configure(folder, ("EVALUATION.mask", mask))


def test_the_largest_part_has_no_holes():
    mask = np.zeros((9, 9, 5), bool)
    mask[1:6, 1:6] = True
    mask[3, 3, 2] = False
    mask[8, 8, 4] = True
    expected = np.zeros_like(mask)
    expected[1:6, 1:6] = True
    np.testing.assert_array_equal(largest_part(mask), expected)


@pytest.mark.real_data
def test_the_body_of_a_real_head_is_the_head(real_data):
    from sfgkeras.preprocessing.foreground import foreground_mask

    folder = real_data / "pairs_template_mr_ct"
    mr = np.asarray(nib.load(folder / "mr.nii.gz").dataobj, np.float32)
    ct = np.asarray(nib.load(folder / "ct.nii.gz").dataobj)
    body = largest_part(foreground_mask(mr, "otsu_plus"))
    # The soft tissue of the skull's inside is in it, the air around the head is not.
    assert body[(ct > 10) & (ct < 60)].mean() > 0.85
    assert body[ct <= -1000].mean() < 0.1
