"""Lengths between landmarks have measures of their own; the summary has them beside those of the landmarks."""

import csv

import nibabel as nib
import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.config import read_config

INI = """
[MR]
path_to_search = {folder}
filename_contains = _mr
spatial_window_size = 16, 16, 1
[POINTS]
csv_file = {folder}/points.csv
loader = table
[SYSTEM]
model_dir = {folder}/model
[NETWORK]
name = unet
unet_levels = 2
width = 0.125
sharing = hard_sharing
window_sampling = resize
[TRAINING]
max_iter = 1
validation_every_n = 0
[EVALUATION]
evaluations = radial_error, length_error
[MULTITASK]
image = MR
tasks = ends
[TASK ends]
type = landmarks
target = POINTS
attribute = one, two
units = mm
landmarks_dimensions = 2
landmarks_lengths = axis: one, two
"""


def test_the_summary_has_lengths_and_landmarks_each_with_their_measures(tmp_path):
    columns = ["one_x", "one_y", "two_x", "two_y"]
    truth = {"a": [2, 2, 5, 6], "b": [3, 3, 3, 9], "c": [1, 8, 9, 8]}  # lengths of 5, 6 and 8 mm
    found = {"a": [2, 2, 8, 10], "b": [3, 4, 3, 9], "c": [1, 8, 9, 8]}  # of 10, 5 and 8
    for name in truth:
        nib.save(nib.Nifti1Image(np.zeros((16, 16, 1), np.float32), np.eye(4)), tmp_path / f"{name}_mr.nii.gz")
    rows = [",".join([name, *map(str, values)]) for name, values in truth.items()]
    (tmp_path / "points.csv").write_text("\n".join([",".join(["subject_id", *columns]), *rows]) + "\n")
    (tmp_path / "run.ini").write_text(INI.format(folder=tmp_path))
    config = read_config(tmp_path / "run.ini")
    config.inference.save_seg_dir.mkdir(parents=True)
    with (config.inference.save_seg_dir / "values.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["subject_id", *(f"ends_{column}" for column in columns)])
        writer.writerows([name, *values] for name, values in found.items())

    summary = run.evaluate(config, dataset="all")["ends"]

    means = {(row["label"], row["measure"]): row["mean"] for row in summary}
    assert means == {
        ("one", "radial_error"): pytest.approx((0 + 1 + 0) / 3),
        ("two", "radial_error"): pytest.approx((5 + 0 + 0) / 3),
        ("axis", "length_error"): pytest.approx((5 + 1 + 0) / 3),
    }
    with (config.evaluation.save_csv_dir / "ends_summary.csv").open(newline="") as file:
        assert [row["unit"] for row in csv.DictReader(file)] == ["mm", "mm", "mm"]
