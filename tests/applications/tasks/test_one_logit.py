"""Tasks of two classes with one logit: one output channel, and everything after it as with two."""

import csv

import numpy as np
import pytest
from PIL import Image

from sfgkeras.applications import run
from sfgkeras.applications.records.files import prediction_path
from sfgkeras.applications.tasks.classification import ClassificationTask
from sfgkeras.applications.tasks.segmentation import SegmentationTask
from sfgkeras.applications.training.fingerprint import network_fingerprint, refuse_other_network
from sfgkeras.config import read_config
from sfgkeras.config.task_sections import InputSource, Task
from sfgkeras.data.nifti import read_label_map
from sfgkeras.errors import ConfigError

LOSS = "binary_crossentropy"


def segmentation(labels=(), **settings):
    task = Task(type="segmentation", target="MASKS", num_classes=2, loss=LOSS, **settings)
    return SegmentationTask("mask", "MASKS", task, InputSource(), labels)


def classification():
    task = Task(type="classification", target="KINDS", attribute="kind", num_classes=2, loss=LOSS, output_prob=True)
    return ClassificationTask("kind", "KINDS", task, InputSource())


def test_there_is_one_output_channel_and_a_probability_for_each_of_two_classes():
    logits = np.random.default_rng(0).normal(0, 20, (4, 5, 1)).astype(np.float32)
    for task in (segmentation(), classification()):
        assert (task.num_outputs, task.activated_for(3)) == (1, 2)
        probabilities = task.activate(logits)
        assert probabilities.shape == (4, 5, 2)
        np.testing.assert_allclose(probabilities[..., 1], 1 / (1 + np.exp(-logits[..., 0].astype(float))), rtol=1e-5)
        np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-6)
        assert "sigmoid(channel)" in task.describe_output()["values"]
        assert task.describe_output()["channels"] == 1


def test_no_logit_overflows():
    with np.errstate(all="raise"):
        probabilities = segmentation().activate(np.array([[-1e4], [0.0], [1e4]], np.float32))
    np.testing.assert_array_equal(probabilities, [[1, 0], [0.5, 0.5], [0, 1]])


def test_a_label_map_is_where_the_probability_is_above_a_half():
    logits = np.array([-2.0, -1e-3, 0.0, 1e-3, 5.0], np.float32).reshape(5, 1, 1, 1)
    finished = segmentation(output_prob=True).finish_map(segmentation().activate(logits), lambda v, *_: v, 1, 0.0)
    np.testing.assert_array_equal(finished[""].ravel(), [0, 0, 0, 1, 1])
    assert finished["_probabilities"].shape == (5, 1, 1, 2)


def test_labels_found_in_training_are_written_back():
    task = segmentation(labels=(0, 255), label_normalisation=True)
    np.testing.assert_array_equal(task.prepare_map(np.array([[[0, 255]]])), [[[0, 1]]])
    finished = task.finish_map(task.activate(np.array([3.0, -3.0]).reshape(2, 1, 1, 1)), lambda v, *_: v, 0, 0.0)
    np.testing.assert_array_equal(finished[""].ravel(), [255, 0])


def test_probabilities_of_a_class_are_written_for_both():
    (values,) = classification().activate(np.array([[np.log(3)]]))
    assert classification().finish_value(values) == {
        "kind": 1, "kind_probability_0": pytest.approx(0.25), "kind_probability_1": pytest.approx(0.75)
    }  # fmt: skip


def test_passes_that_disagree_have_entropy_and_mutual_information():
    statistics = segmentation().build_statistics()
    for logit in (np.log(3), -np.log(3)):  # 3/4 and 1/4: the mean is 1/2
        statistics.add(segmentation().activate(np.full((1, 1, 1, 1), logit, np.float32)))
    each = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    spread = statistics.spread()
    np.testing.assert_allclose(spread["_entropy"], np.log(2), rtol=1e-5)
    np.testing.assert_allclose(spread["_mutual_information"], np.log(2) - each, rtol=1e-4)


def test_metrics_take_one_logit():
    truth = np.array([[[1, 1], [0, 0]]])
    logits = np.where([[[1, 0], [1, 0]]], 2.0, -2.0)[..., None]
    settings = {"metrics": ("dice", "accuracy", "jaccard")}
    built = segmentation(**settings).build_metrics()
    for metric in built.values():
        metric.update_state(truth, logits)
    found = {name: float(metric.result()) for name, metric in built.items()}
    assert found == pytest.approx({"dice": 1 / 2, "accuracy": 1 / 2, "jaccard": 1 / 3})


SECTIONS = """
[MASKS]
path_to_search = {folder}/masks
loader = pillow
[TRAINING]
lr = 1e-2
max_iter = 20
save_every_n = 20
tensorboard_every_n = 5
validation_every_n = 20
exclude_fraction_for_validation = 0.2
exclude_fraction_for_inference = 0.2
[EVALUATION]
evaluations = dice, jaccard, voxel_accuracy
[TASK mask]
type = segmentation
target = MASKS
loss = bce
metrics = accuracy, jaccard, dice
output_prob = yes
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory, write_photo_run):
    """Ten photographs of a bright rectangle on a dark ground, with masks."""
    folder = tmp_path_factory.mktemp("one_logit")
    for name in ("photos", "masks"):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    for number in range(10):
        mask = np.zeros((16, 16), np.uint8)
        row, column = rng.integers(1, 7, 2)
        mask[row : row + 8, column : column + 7] = 1
        photo = rng.integers(20, 60, (16, 16, 3)) + 150 * mask[..., None]
        Image.fromarray(photo.astype(np.uint8)).save(folder / "photos" / f"p{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"p{number}.png")
    return read_config(write_photo_run(folder, SECTIONS))


@pytest.mark.slow
def test_a_mask_is_learned_written_and_measured_with_one_logit(config, reporter):
    task = config.tasks["mask"]
    assert (task.loss, task.num_classes) == ("binary_crossentropy", 2)
    network = run.train(config, reporter)
    assert network(np.zeros((1, 16, 16, 3), np.float32))["mask"].shape == (1, 16, 16, 1)
    run.infer(config, reporter, dataset="all")
    summary = run.evaluate(config, reporter, dataset="all")["mask"]
    scores = {row["measure"]: row["mean"] for row in summary}
    assert scores["dice"] > 0.9
    assert scores["jaccard"] == pytest.approx(scores["dice"] / (2 - scores["dice"]), abs=0.02)
    import nibabel

    for number in range(10):
        written = read_label_map(prediction_path(config, f"p{number}", "mask")).array
        probabilities = nibabel.load(prediction_path(config, f"p{number}", "mask", "_probabilities")).get_fdata()
        assert probabilities.shape == (16, 16, 1, 2)
        np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
        np.testing.assert_array_equal(written, probabilities[..., 1] > probabilities[..., 0])
    with (config.system.model_dir / "logs" / "validation.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert {"mask_accuracy", "mask_jaccard", "mask_dice"} <= set(row)


def test_a_state_of_one_logit_is_not_used_with_two(config):
    other = read_config(config.path, [("TASK mask.loss", "crossentropy"), ("TASK mask.num_classes", "2")])
    assert network_fingerprint(config)["tasks"] == {"mask": ["segmentation", 2, "one logit"]}
    with pytest.raises(ConfigError, match="one logit"):
        refuse_other_network(other, network_fingerprint(config), config.system.model_dir)
