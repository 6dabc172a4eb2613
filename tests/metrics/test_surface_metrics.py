"""Streaming errors of depth and normals against the measures of whole images, which use other formulas."""

import numpy as np
import pytest

from sfgkeras.analysis.surfaces import angles_between, evaluate_depth, evaluate_normals
from sfgkeras.metrics.surfaces import AngleWithin, DepthWithin, LogDepthError, MeanAngle, RelativeDepthError

RNG = np.random.default_rng(3)


def stream(metric, truth, prediction, weight):
    for part in (slice(0, 1), slice(1, None)):
        metric.update_state(truth[part], prediction[part], weight[part])
    return float(metric.result())


def test_depths_are_measured_as_whole_images_are():
    truth, noise = RNG.uniform(1, 5, (3, 6, 5, 1)), RNG.normal(0, 0.2, (3, 6, 5, 1))
    prediction, weight = truth * np.exp(noise), (RNG.random((3, 6, 5)) > 0.3).astype("float32")
    names = ["abs_rel", "rmse_log", "delta_1"]
    (row,) = evaluate_depth(truth[..., 0], prediction[..., 0], weight > 0, names)
    for metric in (RelativeDepthError(), LogDepthError(), DepthWithin()):
        found = stream(metric, np.log(truth), np.log(prediction), weight)
        assert found == pytest.approx(row[metric.name], rel=1e-4)


def test_normals_are_measured_as_whole_images_are():
    truth, prediction = RNG.normal(size=(2, 3, 6, 5, 3))
    prediction = truth + 0.6 * prediction
    weight = (RNG.random((3, 6, 5)) > 0.3).astype("float32")
    (row,) = evaluate_normals(truth, prediction, weight > 0, ["mean_angle", "within_30"])
    for metric in (MeanAngle(), AngleWithin()):
        assert stream(metric, truth, prediction, weight) == pytest.approx(row[metric.name], rel=1e-4)


def test_measures_of_depth_by_hand():
    truth, prediction = np.array([[[1.0], [2.0], [4.0], [0.0]]]), np.array([[[1.1], [1.0], [4.0], [9.0]]])
    names = ["abs_rel", "sqr_rel", "rmse_linear", "rmse_log", "rmse_scale_invariant", "delta_1", "delta_2", "delta_3"]
    rows = evaluate_depth(truth, prediction, truth > 0, names, {"far": (1.5, 5.0)})
    logs = np.log([1.1, 0.5, 1.0])
    assert [rows[0][name] for name in names] == pytest.approx(
        [(0.1 + 0.5) / 3, (0.01 + 0.5) / 3, np.sqrt(1.01 / 3), np.sqrt((logs**2).mean()), logs.std(), *[2 / 3] * 3]
    )
    assert rows[1] | {"region": "far", "num_voxels": 2, "abs_rel": pytest.approx(0.25)} == rows[1]


def test_measures_of_normals_by_hand():
    truth = np.array([[0, 0, 1.0], [0, 0, 2.0], [1, 0, 0], [0, 1, 0]])
    prediction = np.array([[0, 0, 3.0], [0, 1, 1.0], [1, 0, np.tan(np.radians(20))], [0, 0, 0]])
    np.testing.assert_allclose(angles_between(truth, prediction), [0, 45, 20, 90], atol=1e-6)
    (row,) = evaluate_normals(
        truth[:, None, None], prediction[:, None, None], np.array([1, 1, 1, 0], bool)[:, None, None]
    )
    assert row == {
        "region": "all", "num_voxels": 3, "mean_angle": pytest.approx(65 / 3), "median_angle": pytest.approx(20),
        "within_11": pytest.approx(1 / 3), "within_30": pytest.approx(2 / 3),
    }  # fmt: skip
