"""Landmarks by heat maps and by coordinates in one network, from files to the report."""

import csv

import nibabel as nib
import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.check import check_run
from sfgkeras.applications.report.page import write_report
from sfgkeras.applications.report.places import drawn_places
from sfgkeras.applications.subjects.session import open_session
from sfgkeras.config import read_config
from sfgkeras.reporter import SilentReporter

INI = """
[MR]
path_to_search = {data}/images
spatial_window_size = 24, 16, 1
[POINTS]
csv_file = {data}/points.csv
loader = table
[SYSTEM]
model_dir = {model}
seed = 3
[NETWORK]
name = unet
unet_levels = 2
width = 0.125
sharing = hard_sharing
batch_size = 8
window_sampling = resize
whitening = yes
[TRAINING]
lr = 1e-2
max_iter = 120
save_every_n = 120
validation_every_n = 60
random_flipping_axes = 0, 1
exclude_fraction_for_validation = 0.2
exclude_fraction_for_inference = 0.2
[EVALUATION]
surface_tolerance = 5
[MULTITASK]
image = MR
tasks = maps, numbers
[TASK maps]
type = landmarks
target = POINTS
attribute = bright, dark
units = mm
[TASK numbers]
type = landmarks
target = POINTS
attribute = bright, dark
units = mm
loss = landmarks
weight = 100
head_layers = 32
head_pooling = flatten
"""
SHAPE, SPACING = (24, 16), (2.0, 3.0)
COUNT = 80


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Slices with a bright and a dark spot; of every fifth the dark one is not marked, in two spellings."""
    folder = tmp_path_factory.mktemp("landmarks")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    lines = ["subject_id,bright_x,bright_y,dark_x,dark_y,dark_visible"]
    x, y = np.ogrid[: SHAPE[0], : SHAPE[1]]
    for number in range(COUNT):
        bright, dark = rng.uniform((3, 3), (SHAPE[0] - 4, SHAPE[1] - 4), (2, 2))
        image = rng.normal(0, 0.05, SHAPE)
        for sign, (row, column) in ((1, bright), (-1, dark)):
            image += sign * np.exp(-0.5 * ((x - row) ** 2 + (y - column) ** 2) / 1.5**2)
        affine = np.diag([*SPACING, 5.0, 1.0])
        nib.save(
            nib.Nifti1Image(image[..., None].astype(np.float32), affine), folder / "images" / f"s{number:02d}.nii.gz"
        )
        mm = [(place + 0.5) * size for point in (bright, dark) for place, size in zip(point, SPACING, strict=True)]
        texts = [f"{value:.6f}" for value in mm]
        if number % 5 == 0:
            texts[2:] = ["", ""] if number % 10 else ["1", "1"]
        lines.append(f"s{number:02d},{','.join(texts)},{int(number % 10 != 0)}")
    (folder / "points.csv").write_text("\n".join(lines) + "\n")
    return folder


def configure(data, folder, overrides=()):
    path = folder / "landmarks.ini"
    path.write_text(INI.format(data=data, model=folder / "model"))
    return read_config(path, [(name, str(value)) for name, value in dict(overrides).items()])


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    config = configure(data, tmp_path_factory.mktemp("run"))
    run.train(config)
    run.infer(config, dataset="all")
    return config, run.evaluate(config, dataset="all")


def test_both_ways_find_the_points_and_errors_are_millimetres_of_each_landmark(trained, data):
    config, summary = trained
    points = np.array([[float(row[f"bright_{a}"]) for a in "xy"] for row in rows_of(data / "points.csv")])
    of_the_middle = np.linalg.norm(points - points.mean(axis=0), axis=1).mean()
    for task, largest in (("maps", 2.0), ("numbers", of_the_middle)):
        found = {(row["label"], row["measure"]): row for row in summary[task]}
        assert set(found) == {
            (label, name) for label in ("bright", "dark") for name in ("radial_error", "detection_rate")
        }
        assert found["bright", "radial_error"]["mean"] < largest
        assert found["bright", "radial_error"]["unit"] == "mm"
        assert found["bright", "radial_error"]["n"] == COUNT
        assert (found["dark", "radial_error"]["n"], found["dark", "radial_error"]["n_missing"]) == (64, 16)
    truth = {row["subject_id"]: row for row in rows_of(data / "points.csv")}
    values = {row["subject_id"]: row for row in rows_of(config.inference.save_seg_dir / "values.csv")}
    errors = {
        row["subject_id"]: float(row["radial_error"])
        for row in rows_of(config.evaluation.save_csv_dir / "maps_subjects.csv") if row["label"] == "bright"
    }  # fmt: skip
    for subject_id, row in values.items():
        offset = [float(row[f"maps_bright_{a}"]) - float(truth[subject_id][f"bright_{a}"]) for a in "xy"]
        assert errors[subject_id] == pytest.approx(np.hypot(*offset), abs=1e-3)
    assert 0.5 < float(values["s01"]["maps_bright_peak"]) < 1.5


def test_the_report_draws_a_ball_around_each_landmark_where_it_is(trained, data):
    config, _ = trained
    session = open_session(config, SilentReporter(), training=False)
    task, subject = session.tasks["maps"], session.cohort.subjects["s01"]
    drawn = dict(drawn_places(config, session.cohort, task, subject, (*SHAPE, 1)))
    truth = next(row for row in rows_of(data / "points.csv") if row["subject_id"] == "s01")
    for label, name in enumerate(("bright", "dark"), 1):
        middle = np.argwhere(drawn["truth"][..., 0] == label).mean(axis=0)
        wanted = [float(truth[f"{name}_{axis}"]) / size - 0.5 for axis, size in zip("xy", SPACING, strict=True)]
        np.testing.assert_allclose(middle, wanted, atol=0.75)
    hidden = dict(drawn_places(config, session.cohort, task, session.cohort.subjects["s00"], (*SHAPE, 1)))
    assert set(np.unique(hidden["truth"])) == {0, 1}
    page = write_report(config, reporter=SilentReporter())
    assert "maps: outlines" in page.read_text(encoding="utf-8")


VOLUMES = """
[MR]
path_to_search = {data}
filename_contains = mr
spatial_window_size = 12, 12, 8
[POINTS]
csv_file = {data}/points.csv
loader = table
[SYSTEM]
model_dir = {data}/model
seed = 0
[NETWORK]
name = unet
unet_levels = 1
width = 0.25
batch_size = 8
[TRAINING]
lr = 1e-2
max_iter = 60
sample_per_volume = 4
[INFERENCE]
border = 2, 2, 1
masks = sample
monte_carlo = 2
[MULTITASK]
image = MR
[TASK spot]
type = landmarks
target = POINTS
attribute = spot
units = mm
heat_map_sigma = 1.5
"""


def test_windows_of_volumes_find_a_landmark_in_mm_of_the_oblique_space_with_its_spread(tmp_path):
    rng = np.random.default_rng(0)
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * (1.0, 1.5, 2.0)
    affine[:3, 3] = (-20, 30, 5)
    axes, lines, truth = np.ogrid[:20, :18, :14], ["subject_id,spot_x,spot_y,spot_z"], {}
    for number in range(12):
        place = rng.uniform((3, 3, 2), (16, 14, 11))
        blob = np.exp(-0.5 * sum(((axis - p) / 1.5) ** 2 for axis, p in zip(axes, place, strict=True)))
        image = nib.Nifti1Image((blob + rng.normal(0, 0.05, blob.shape)).astype(np.float32), affine)
        nib.save(image, tmp_path / f"s{number:02d}_mr.nii.gz")
        truth[f"s{number:02d}_"] = nib.affines.apply_affine(affine, place)
        lines.append(",".join([f"s{number:02d}_", *map(str, truth[f"s{number:02d}_"])]))
    (tmp_path / "points.csv").write_text("\n".join(lines) + "\n")
    path = tmp_path / "volumes.ini"
    path.write_text(VOLUMES.format(data=tmp_path))
    config = read_config(path)
    run.train(config)
    run.infer(config, dataset="all")
    rows = rows_of(config.inference.save_seg_dir / "values.csv")
    assert len(rows) == 12
    for row in rows:
        found = [float(row[f"spot_spot_{axis}"]) for axis in "xyz"]
        assert np.linalg.norm(found - truth[row["subject_id"]]) < 2.0
        assert all(float(row[f"spot_spot_{axis}_std"]) >= 0 for axis in "xyz")
        assert 0 < float(row["spot_spot_peak"]) < 2


def test_a_check_names_landmarks_in_the_other_unit_and_half_of_a_landmark(data, tmp_path, reporter):
    table = tmp_path / "points.csv"
    lines = (data / "points.csv").read_text().splitlines()
    for number in range(1, 9):
        lines[number] = f"s{number - 1:02d},,30,,,1"
    table.write_text("\n".join(lines) + "\n")
    config = configure(data, tmp_path, {"task.maps.units": "pixels", "points.csv_file": table})
    assert not check_run(config, reporter)
    said = "\n".join([*reporter.messages, *reporter.warnings, *map(str, reporter.tables.values())])
    assert "lies outside of the image of 24 x 16 voxels (units = pixels)" in said
    assert "[POINTS] bright_x is empty and other coordinates of landmark 'bright' are not" in said
