"""Measures and metrics by name: each is the function that its summary tells, in its direction and its unit."""

import keras
import numpy as np
import pytest

from sfgkeras.analysis.counts import Counts, count_voxels
from sfgkeras.analysis.measures import Residuals
from sfgkeras.analysis.motion import MovedFrame
from sfgkeras.analysis.surface import surface_distances
from sfgkeras.analysis.surface_overlap import surface_elements
from sfgkeras.analysis.surfaces import Depths
from sfgkeras.tables.measures import MEASURES, measures_by_type
from sfgkeras.tables.metrics import METRICS, usual_metrics
from sfgkeras.tables.tasks import TASK_TYPES, measured_as

RNG = np.random.default_rng(0)
MASK = np.zeros((14, 14, 14), bool)
MASK[4:10, 4:10, 4:10] = True
NEAR, FAR = MASK.copy(), np.roll(MASK, 4, axis=0)
NEAR[4, 4:10, 4:10] = False
NEAR[3, 3, 3] = True
TRUTH = RNG.normal(10, 3, 200)
NOISE = np.abs(RNG.normal(0, 1, 200)) + 0.1
POINTS = RNG.uniform(0, 50, 20)
BOX = np.array([[10.0, 10, 30, 40]])


def residuals(error, scale=1.0):
    return (Residuals(scale * error * NOISE, scale * 12.0, float(np.var(scale * TRUTH))),)


def boxes(shift, scale=1.0):
    return scale * BOX, scale * (BOX + np.array([shift, 0, shift + shift, 0]))


def moved(error, turned):
    first = TRUTH / 10
    volumes = np.where(np.arange(200) < turned, -0.1, 1.0)
    return (MovedFrame(first, first + 1, first + 1 + error * NOISE, NOISE, volumes),)


# By what a measure needs: its arguments where the prediction is good, and where it is bad.
CASES = {
    "residuals": (residuals(0.1), residuals(1.0)),
    "similarity": ((np.full(50, 0.9),), (np.full(50, 0.2),)),
    "counts": ((count_voxels(MASK, NEAR),), (count_voxels(MASK, np.roll(FAR, 1, 1) | FAR),)),
    "distances": ((surface_distances(MASK, NEAR, (1, 2, 3)),), (surface_distances(MASK, FAR, (1, 2, 3)),)),
    "elements": ((surface_elements(MASK, NEAR, (1, 1, 1), 1.2),), (surface_elements(MASK, FAR, (1, 1, 1), 1.2),)),
    "matrix": ((np.array([[9, 1], [1, 4]]),), (np.array([[6, 4], [4, 1]]),)),
    "moved": (moved(0.1, 0), moved(1.0, 60)),
    "boxes": (boxes(1.0), boxes(7.0)),
    "landmarks": ((0.1 * POINTS, 3.0), (POINTS, 3.0)),
    "lengths": ((0.1 * POINTS, 3.0), (POINTS, 3.0)),
    "depths": ((Depths(TRUTH + 20, TRUTH + 20 + 3 * NOISE),), (Depths(TRUTH + 20, TRUTH + 20 + 40 * NOISE),)),
    "angles": ((10.0 * NOISE,), (45.0 * NOISE,)),
}
SAMPLE = Counts(tp=30, fp=10, fn=20, tn=140)
OF_COUNTS = {
    "dice": 60 / 90,
    "jaccard": 30 / 60,
    "sensitivity": 30 / 50,
    "specificity": 140 / 150,
    "voxel_accuracy": 170 / 200,
    "positive_predictive_value": 30 / 40,
    "negative_predictive_value": 140 / 160,
    "false_positive_rate": 10 / 150,
    "informedness": 30 / 50 + 140 / 150 - 1,
    "markedness": 30 / 40 + 140 / 160 - 1,
    "volume_difference": 10 / 50,
    "true_positives": 30,
    "false_positives": 10,
    "false_negatives": 20,
    "true_negatives": 140,
    "voxels_in_truth": 50,
    "voxels_in_prediction": 40,
    "voxels_in_both": 30,
    "voxels_in_either": 60,
}


def value(name, arguments):
    return float(np.mean(MEASURES[name].function(*arguments)))


@pytest.mark.parametrize("name", [name for name, entry in MEASURES.items() if entry.higher_is_better is not None])
def test_a_better_prediction_has_a_better_value_in_the_direction_of_the_entry(name):
    good, bad = (value(name, arguments) for arguments in CASES[MEASURES[name].needs])
    assert good != bad
    assert (good > bad) == MEASURES[name].higher_is_better


def test_every_measure_of_counts_is_the_ratio_that_its_name_says():
    found = {name: value(name, (SAMPLE,)) for name, entry in MEASURES.items() if entry.needs == "counts"}
    assert found == pytest.approx(OF_COUNTS)


@pytest.mark.parametrize("name", [name for name, entry in MEASURES.items() if entry.needs == "residuals"])
def test_the_unit_of_a_measure_is_how_it_grows_with_that_of_the_target(name):
    """In tenths of the unit numbers are ten times as large: of a square a hundred times, of a ratio the same."""
    factor = {"target": 10.0, "target^2": 100.0}.get(MEASURES[name].unit, 1.0)
    assert value(name, residuals(0.5, 10.0)) == pytest.approx(factor * value(name, residuals(0.5)))


def test_boxes_and_depths_grow_with_their_unit_and_ratios_of_them_do_not():
    for name, entry in MEASURES.items():
        if entry.needs == "boxes":
            one, ten = (value(name, boxes(5.0, scale)) for scale in (1.0, 10.0))
        elif entry.needs == "depths":
            one, ten = (value(name, (Depths(s * (TRUTH + 20), s * (TRUTH + 25)),)) for s in (1.0, 10.0))
        else:
            continue
        assert ten == pytest.approx((10 if entry.unit == "target" else 1) * one), name


def test_distances_are_in_millimetres():
    for name in ("average_distance", "hausdorff", "hausdorff95"):
        assert MEASURES[name].unit == "mm"
        one, two = (value(name, (surface_distances(MASK, FAR, (s, s, s)),)) for s in (1, 2))
        assert two == pytest.approx(2 * one)


def test_measures_of_depth_and_of_normals_are_those_of_the_paper():
    depths = Depths(np.array([1.0, 2.0, 4.0]), np.array([1.7, 2.0, 3.0]))
    logs = np.log([1.7, 1.0, 0.75])
    expected = {
        "abs_rel": (0.7 + 0 + 0.25) / 3,
        "sqr_rel": (0.49 + 0 + 0.25) / 3,
        "rmse_linear": np.sqrt((0.49 + 1) / 3),
        "rmse_log": np.sqrt(np.mean(logs**2)),
        "rmse_scale_invariant": np.std(logs),
        "delta_1": 1 / 3,  # 1.7 and 4 / 3 are beyond 1.25, of which the square is 1.5625 and the cube 1.95
        "delta_2": 2 / 3,
        "delta_3": 1.0,
    }
    assert {name: value(name, (depths,)) for name in expected} == pytest.approx(expected)
    angles = np.array([5.0, 15.0, 25.0, 80.0])
    expected = {"mean_angle": 31.25, "median_angle": 20.0, "within_11": 0.25, "within_22": 0.5, "within_30": 0.75}
    assert {name: value(name, (angles,)) for name in expected} == pytest.approx(expected)


def test_measures_of_motion_and_of_classes_by_hand():
    frame = MovedFrame(
        np.array([0.0, 1]), np.array([1.0, 1]), np.array([0.5, 2]), np.array([1.0, 3]), np.array([-1.0, 1])
    )
    expected = {"warped_mae": 0.75, "unmoved_mae": 0.5, "displacement": 2.0, "folding": 0.5}
    assert {name: value(name, (frame,)) for name in expected} == pytest.approx(expected)
    matrix = np.array([[8, 2], [1, 1]])
    assert value("accuracy", (matrix,)) == pytest.approx(9 / 12)
    assert value("balanced_accuracy", (matrix,)) == pytest.approx((0.8 + 0.5) / 2)
    assert MEASURES["confusion_matrix"].function(matrix) == [[8, 2], [1, 1]]


def test_a_unit_is_that_of_the_target_its_square_or_its_own():
    units = {name: MEASURES[name].unit_for("HU") for name in ("mae", "mse", "psnr", "r2", "hausdorff", "mean_angle")}
    assert units == {"mae": "HU", "mse": "HU^2", "psnr": "dB", "r2": "", "hausdorff": "mm", "mean_angle": "degrees"}
    assert [MEASURES[name].unit_for("") for name in ("mae", "mse", "hausdorff")] == ["", "", "mm"]


def test_measures_by_type_are_all_of_them_and_those_of_every_type():
    found = measures_by_type()
    assert {name: entry for entries in found.values() for name, entry in entries.items()} == MEASURES
    assert set(found) == {measured_as(name) for name in TASK_TYPES}


def batch(task_type, error):
    """Returns truth and prediction of a small batch of a type of task, whose errors grow with a number."""
    rng = np.random.default_rng(1)
    noise = error * rng.normal(size=(2, 6, 6, 1)).astype("float32")
    if task_type in ("regression", "reconstruction", "depth"):
        truth = rng.normal(size=(2, 6, 6, 1)).astype("float32")
        return truth, truth + noise
    if task_type in ("segmentation", "classification"):
        truth = rng.integers(0, 3, (2, 6, 6) if task_type == "segmentation" else (72,))
        wrong = rng.random(truth.shape) < 0.4 * error
        return truth, np.eye(3, dtype="float32")[np.where(wrong, (truth + 1) % 3, truth)]
    if task_type == "normals":
        truth = np.zeros((2, 6, 6, 3), "float32") + [0.0, 0.0, 1.0]
        return truth, truth + np.abs(noise) * [1.0, 0.0, 0.0]
    if task_type == "bounding_box":
        truth = np.array([[0.1, 0.1, 0.6, 0.7]], "float32")
        return truth, truth + np.float32(0.2 * error)
    if task_type == "landmarks":
        truth = rng.uniform(0.2, 0.8, (2, 3, 2)).astype("float32")
        return truth, (truth + np.float32(0.1 * error)).reshape(2, 6)
    frames = np.stack([np.zeros((1, 6, 6)), np.full((1, 6, 6), 0.2 * error)], axis=-1).astype("float32")
    return frames, np.zeros((1, 6, 6, 2), "float32")


METRIC_NAMES = [(kind, name) for kind, entries in METRICS.items() for name in entries]


def measured(kind, name, error):
    load = METRICS[kind][name].load()
    metric = load(num_classes=3) if name in ("dice", "jaccard") else load()
    metric.update_state(*batch(kind, error))
    return float(keras.ops.convert_to_numpy(metric.result()))


@pytest.mark.parametrize(("kind", "name"), METRIC_NAMES)
def test_a_metric_is_better_where_the_prediction_is_and_agrees_with_the_measure_of_its_name(kind, name):
    metric_class = METRICS[kind][name].load()
    good, bad = measured(kind, name, 0.1), measured(kind, name, 1.0)
    assert (good > bad) == metric_class.higher_is_better
    assert good != bad
    if name in MEASURES:
        assert metric_class.higher_is_better == MEASURES[name].higher_is_better
    assert measured(kind, name, 0.0) == pytest.approx(1.0 if metric_class.higher_is_better else 0.0, abs=1e-6)


def test_the_usual_metrics_are_those_that_stand_in_the_logs_of_old():
    kinds = ("regression", "reconstruction", "segmentation", "classification")
    assert {kind: usual_metrics(kind) for kind in kinds} == {
        "regression": ("mae", "rmse"), "reconstruction": ("mae", "rmse"), "segmentation": ("dice", "accuracy"),
        "classification": ("accuracy",),
    }  # fmt: skip
