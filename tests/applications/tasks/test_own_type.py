"""A type of task from outside the package: one class and one line of the table, through an INI file to its results."""

import csv

import nibabel as nib
import numpy as np
import pytest

from sfgkeras.analysis.measures import evaluate_regression
from sfgkeras.analysis.uncertainty import Moments, in_memory
from sfgkeras.applications import run
from sfgkeras.applications.report.page import write_report
from sfgkeras.applications.tasks.targets import ImageTarget
from sfgkeras.config import read_config
from sfgkeras.errors import ConfigError
from sfgkeras.tables.tasks import TASK_TYPES, TaskEntry

INI = """
[MR]
path_to_search = {folder}
filename_contains = _mr
spatial_window_size = 8, 8, 1
[CLINICAL]
loader = table
csv_file = {folder}/clinical.csv
[SYSTEM]
model_dir = {folder}/model
[NETWORK]
name = vgg11
width = 0.0625
batch_size = 2
batch_norm = population
window_sampling = resize
[TRAINING]
max_iter = 1
validation_every_n = 1
exclude_fraction_for_validation = 0.25
exclude_fraction_for_inference = 0.25
[INFERENCE]
inference_iter = -1
[MULTITASK]
image = MR
[TASK nodules]
type = count
target = CLINICAL
loss = mse
"""


class CountTask(ImageTarget):
    """Predicts how many there are, learned as its logarithm."""

    num_outputs = 1
    target_kind = "value"

    def prepare_value(self, *texts):
        return np.log1p(self.read_value(*texts)).reshape(1).astype(np.float32)

    def activate(self, outputs):
        return np.expm1(outputs)

    def build_statistics(self, allocate=in_memory):
        return Moments(allocate)

    def finish_value(self, outputs):
        return {self.name: float(outputs[0])}

    def evaluate_values(self, truth, prediction, evaluation):
        return evaluate_regression(truth, prediction, self.measures(evaluation.evaluations) or ["mae"])


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A run of this type on noise."""
    entry = TaskEntry(lambda: (CountTask,), "how many there are", of_value="value", measured_as="regression")
    monkeypatch.setitem(TASK_TYPES, "count", entry)
    rng = np.random.default_rng(0)
    for name in "abcd":
        image = rng.normal(size=(8, 8, 1)).astype(np.float32)
        nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / f"{name}_mr.nii.gz")
    (tmp_path / "clinical.csv").write_text("subject_id,nodules\na,1\nb,2\nc,4\nd,8\n")
    (tmp_path / "own.ini").write_text(INI.format(folder=tmp_path))
    return read_config(tmp_path / "own.ini")


@pytest.mark.slow
def test_a_type_from_outside_is_trained_inferred_evaluated_and_reported(config, tmp_path):
    network = run.train(config)
    run.infer(config, dataset="all")
    (summary,) = run.evaluate(config, dataset="all")["nodules"]
    with (config.inference.save_seg_dir / "values.csv").open(newline="") as file:
        found = {row["subject_id"]: float(row["nodules"]) for row in csv.DictReader(file)}
    images = {name: nib.load(tmp_path / f"{name}_mr.nii.gz").get_fdata(dtype=np.float32) for name in found}
    for name, value in found.items():
        outputs = network(images[name].reshape(1, 8, 8, 1), training=False)["nodules"]
        assert value == pytest.approx(float(np.expm1(outputs[0, 0])), rel=1e-4, abs=1e-5)
    errors = [abs(found[name] - truth) for name, truth in {"a": 1, "b": 2, "c": 4, "d": 8}.items()]
    assert (summary["measure"], summary["mean"]) == ("mae", pytest.approx(np.mean(errors), rel=1e-5))
    assert "nodules (count)" in write_report(config, output=tmp_path / "page").read_text("utf-8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("loss = mse", "loss = dice", "'dice' belongs to segmentation, not count; choose one of rmse, mae"),
        ("target = CLINICAL", "target = CLINICAL\nmetrics = dice", "'dice' belongs to segmentation, not count"),
        ("target = CLINICAL", "target = MR", "gives volumes, and a count needs one value per subject"),
    ],
)
def test_what_does_not_fit_it_is_refused_like_that_of_other_types(config, old, new, message, tmp_path):
    text = (tmp_path / "own.ini").read_text()
    (tmp_path / "own.ini").write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        read_config(tmp_path / "own.ini")
