"""Measures against counts of single voxels and subjects, and what must not change them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sfgkeras.analysis import counts as of_counts
from sfgkeras.analysis.box_overlap import box_giou, box_iou, centre_distance
from sfgkeras.analysis.counts import Counts, count_voxels
from sfgkeras.analysis.measures import (
    Residuals,
    accuracy,
    balanced_accuracy,
    class_sensitivities,
    coefficient_of_determination,
    confusion_matrix,
    evaluate_boxes,
    evaluate_classification,
    evaluate_landmarks,
    evaluate_lengths,
    evaluate_regression,
    evaluate_segmentation,
    mean_absolute_error,
    mean_error,
    mean_squared_error,
    peak_signal_to_noise_ratio,
    root_mean_squared_error,
)

MASKS = arrays(bool, (2, 3, 2))


def share(part, whole):
    return part / whole if whole else math.nan


@settings(max_examples=60, deadline=None)
@given(truth=MASKS, prediction=MASKS, inside=st.none() | MASKS)
def test_every_measure_of_counts_is_that_of_voxels_counted_one_by_one(truth, prediction, inside):
    voxels = [
        (bool(t), bool(p))
        for t, p, is_inside in zip(
            truth.flat, prediction.flat, np.ones(12) if inside is None else inside.flat, strict=True
        )
        if is_inside
    ]
    both, neither = voxels.count((True, True)), voxels.count((False, False))
    extra, missed = voxels.count((False, True)), voxels.count((True, False))
    found = count_voxels(truth, prediction, inside)
    assert found == Counts(both, extra, missed, neither)
    sensitivity, specificity = share(both, both + missed), share(neither, neither + extra)
    positive, negative = share(both, both + extra), share(neither, neither + missed)
    nothing = both + extra + missed == 0
    expected = {
        "dice": 1.0 if nothing else 2 * both / (2 * both + extra + missed),
        "jaccard": 1.0 if nothing else both / (both + extra + missed),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "voxel_accuracy": share(both + neither, len(voxels)),
        "positive_predictive_value": positive,
        "negative_predictive_value": negative,
        "false_positive_rate": 1 - specificity,
        "informedness": sensitivity + specificity - 1,
        "markedness": positive + negative - 1,
        "volume_difference": share(abs(2 * both + extra + missed - 2 * (both + missed)), both + missed),
        "true_positives": both,
        "false_positives": extra,
        "false_negatives": missed,
        "true_negatives": neither,
        "voxels_in_truth": both + missed,
        "voxels_in_prediction": both + extra,
        "voxels_in_both": both,
        "voxels_in_either": both + extra + missed,
    }
    for name, value in expected.items():
        assert getattr(of_counts, name)(found) == pytest.approx(value, nan_ok=True), name


@settings(max_examples=40, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20))
def test_a_confusion_matrix_counts_pairs_and_its_measures_are_those_of_the_pairs(pairs):
    truth, prediction = (np.array([pair[side] for pair in pairs], int) for side in (0, 1))
    matrix = confusion_matrix(truth, prediction, 4)
    assert matrix.tolist() == [[pairs.count((t, p)) for p in range(4)] for t in range(4)]
    assert accuracy(matrix) == pytest.approx(share(sum(t == p for t, p in pairs), len(pairs)), nan_ok=True)
    of_class = [share(pairs.count((c, c)), sum(t == c for t, _ in pairs)) for c in range(4)]
    np.testing.assert_allclose(class_sensitivities(matrix), of_class)
    there = [each for each in of_class if not math.isnan(each)]
    assert balanced_accuracy(matrix) == pytest.approx(share(sum(there), len(there)), nan_ok=True)
    if pairs:
        found = evaluate_classification(truth, prediction, 4, ["accuracy", "confusion_matrix"])
        assert found["num_subjects"] == len(pairs)
        assert list(found) == ["num_subjects", "accuracy", "confusion_matrix"]
        assert found["confusion_matrix"] == matrix.tolist()


VALUES = arrays(float, 12, elements=st.floats(-50, 50))


@settings(max_examples=40, deadline=None)
@given(errors=VALUES, factor=st.floats(0.5, 20))
def test_errors_have_the_unit_of_the_residuals_and_their_order(errors, factor):
    one, scaled = Residuals(errors, 10.0), Residuals(factor * errors, factor * 10.0)
    mae, rmse = mean_absolute_error(one), root_mean_squared_error(one)
    assert abs(mean_error(one)) <= mae + 1e-9
    assert mae <= rmse + 1e-9 <= np.abs(errors).max() + 2e-9
    assert mean_squared_error(one) == pytest.approx(rmse**2)
    assert mean_absolute_error(scaled) == pytest.approx(factor * mae)
    assert mean_error(Residuals(errors + 3, 1.0)) == pytest.approx(mean_error(one) + 3)
    if rmse > 1e-6:  # without a unit
        assert peak_signal_to_noise_ratio(scaled) == pytest.approx(peak_signal_to_noise_ratio(one))
        assert peak_signal_to_noise_ratio(one) == pytest.approx(10 * math.log10(100 / rmse**2))


def test_the_mean_of_the_truth_explains_nothing_and_the_truth_everything():
    truth = np.random.default_rng(0).normal(size=100)
    variance = float(truth.var())
    assert coefficient_of_determination(Residuals(truth.mean() - truth, 1.0, variance)) == pytest.approx(0.0)
    assert coefficient_of_determination(Residuals(0 * truth, 1.0, variance)) == 1.0
    assert math.isnan(coefficient_of_determination(Residuals(truth, 1.0)))
    assert math.isnan(coefficient_of_determination(Residuals(truth, 1.0, 0.0)))


def test_an_empty_region_has_no_error_and_a_range_of_0_no_peak():
    empty = Residuals(np.zeros(0), 1.0)
    for measure in (mean_absolute_error, mean_error, mean_squared_error, root_mean_squared_error):
        assert math.isnan(measure(empty))
    assert math.isnan(peak_signal_to_noise_ratio(empty))
    assert math.isnan(peak_signal_to_noise_ratio(Residuals(np.ones(2), 0.0)))
    assert peak_signal_to_noise_ratio(Residuals(np.zeros(2), 1.0)) == math.inf


def volume(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("channels", [(), (2,)])
def test_regions_are_what_is_valid_and_in_them_in_all_channels(channels):
    truth, prediction = volume(0, 3, 4, 2, *channels), volume(1, 3, 4, 2, *channels)
    rng = np.random.default_rng(2)
    valid, mask, labels = rng.random((3, 4, 2)) > 0.3, rng.random((3, 4, 2)) > 0.5, rng.integers(0, 3, (3, 4, 2))
    rows = evaluate_regression(
        truth, prediction, ["mae", "r2", "psnr"], intensity_bounds={"high": (0.0, 9.0)}, label_map=labels,
        labels={"two": 2}, valid=valid, masks={"mask": mask},
    )  # fmt: skip
    assert [row["region"] for row in rows] == ["all", "mask", "high", "two"]
    wide = (lambda each: each) if not channels else (lambda each: np.repeat(each[..., None], 2, axis=-1))
    regions = [wide(valid), wide(valid & mask), wide(valid) & (truth >= 0) & (truth <= 9), wide(valid & (labels == 2))]
    spread = np.ptp(truth[wide(valid)])
    for row, region in zip(rows, regions, strict=True):
        errors = (prediction - truth)[region]
        assert row["num_voxels"] == region.sum()
        assert row["mae"] == pytest.approx(np.abs(errors).mean())
        assert row["r2"] == pytest.approx(1 - (errors**2).mean() / truth[region].var())
        assert row["psnr"] == pytest.approx(20 * np.log10(spread / np.sqrt((errors**2).mean())))


def test_what_is_not_valid_may_hold_anything():
    truth, prediction, valid = volume(0, 4, 4, 2), volume(1, 4, 4, 2), np.ones((4, 4, 2), bool)
    valid[0] = False
    expected = evaluate_regression(truth, prediction, ["mae", "rmse", "psnr"], valid=valid)
    truth[0], prediction[0] = 1e6, -1e6
    assert evaluate_regression(truth, prediction, ["mae", "rmse", "psnr"], valid=valid) == expected
    nowhere = evaluate_regression(truth, prediction, ["mae", "psnr"], valid=np.zeros_like(valid))
    assert nowhere[0]["num_voxels"] == 0
    assert math.isnan(nowhere[0]["mae"])
    assert math.isnan(nowhere[0]["psnr"])


def test_a_given_range_is_the_peak():
    truth, prediction = volume(0, 4, 4, 2), volume(1, 4, 4, 2)
    found = [evaluate_regression(truth, prediction, ["psnr"], data_range=each)[0]["psnr"] for each in (1.0, 10.0)]
    assert found[1] - found[0] == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"valid": np.zeros((3, 3, 2), bool)}, r"what is valid of shape \(3, 3, 2\) does not fit truth of shape"),
        ({"masks": {"lung": np.ones((4, 3), bool)}}, r"region 'lung' of shape \(4, 3\) does not fit"),
        ({"labels": {"lung": 1}}, "region 'lung' needs a label map that fits .* received None"),
        ({"labels": {"lung": 1}, "label_map": np.ones((4, 2, 2))}, r"needs a label map .* received \(4, 2, 2\)"),
        ({"names": ["dice"]}, "'dice' is no measure of a regression task; known are mae"),
    ],
)  # fmt: skip
def test_regions_that_do_not_fit_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        evaluate_regression(volume(0, 4, 4, 2), volume(1, 4, 4, 2), **options)


def test_labels_are_measured_one_by_one_and_in_every_region():
    rng = np.random.default_rng(0)
    truth, prediction, left = rng.integers(0, 3, (4, 4, 2)), rng.integers(0, 3, (4, 4, 2)), np.zeros((4, 4, 2), bool)
    left[:2] = True
    names = ["dice", "true_negatives"]
    rows = evaluate_segmentation(truth, prediction, (1, 1, 1), {"one": 1, "two": 2}, names, masks={"left": left})
    assert [(row["label"], row["region"]) for row in rows] == [
        ("one", "all"), ("one", "left"), ("two", "all"), ("two", "left"),
    ]  # fmt: skip
    for row in rows:
        value, inside = {"one": 1, "two": 2}[row["label"]], left if row["region"] == "left" else np.ones_like(left)
        t, p = (truth == value)[inside], (prediction == value)[inside]
        assert row["num_voxels"] == t.sum()
        assert row["dice"] == pytest.approx(2 * (t & p).sum() / (t.sum() + p.sum()))
        assert row["true_negatives"] == (~t & ~p).sum()
    assert "region" not in evaluate_segmentation(truth, prediction, (1, 1, 1), {"one": 1}, names)[0]


def test_landmarks_and_lengths_have_their_own_measures_and_the_tolerance_is_that_of_the_distance():
    truth, prediction = np.array([[0.0, 0, 0], [1, 1, 1]]), np.array([[0.0, 3, 4], [1, 1, np.nan]])
    found = evaluate_landmarks(truth, prediction, tolerance=5.0)
    assert "length_error" not in found
    np.testing.assert_array_equal(found["radial_error"], [5.0, np.nan])
    np.testing.assert_array_equal(found["detection_rate"], [1.0, np.nan])  # at the tolerance it is found
    np.testing.assert_array_equal(
        evaluate_landmarks(truth, prediction, ["detection_rate"], 4.9)["detection_rate"], [0, np.nan]
    )
    lengths = evaluate_lengths(np.array([10.0, 4.0]), np.array([7.0, 5.0]))
    assert list(lengths) == ["length_error"]
    np.testing.assert_array_equal(lengths["length_error"], [3.0, 1.0])


BOXES = arrays(float, (3, 4), elements=st.integers(0, 6).map(float))


@settings(max_examples=60, deadline=None)
@given(truth=BOXES, prediction=BOXES, shift=st.integers(-5, 5), factor=st.sampled_from([0.5, 3.0]))
def test_overlaps_of_boxes_are_those_of_unit_squares_whatever_the_corners_place_and_unit(
    truth, prediction, shift, factor
):
    iou, giou = box_iou(truth, prediction), box_giou(truth, prediction)
    for row, (one, other) in enumerate(zip(truth, prediction, strict=True)):
        squares = []
        for box in (one, other):
            low, high = np.minimum(box[:2], box[2:]).astype(int), np.maximum(box[:2], box[2:]).astype(int)
            squares.append({(x, y) for x in range(low[0], high[0]) for y in range(low[1], high[1])})
        union = len(squares[0] | squares[1])
        if union:
            assert iou[row] == pytest.approx(len(squares[0] & squares[1]) / union)
        assert giou[row] <= iou[row] + 1e-12
        assert -1 <= giou[row] <= 1
    np.testing.assert_allclose(box_iou(prediction, truth), iou)
    np.testing.assert_allclose(box_giou(prediction, truth), giou)
    swapped = truth[:, [2, 1, 0, 3]]
    np.testing.assert_allclose(box_giou(swapped, prediction), giou)
    np.testing.assert_allclose(box_iou(factor * truth + shift, factor * prediction + shift), iou)
    distance = centre_distance(truth, prediction)
    np.testing.assert_allclose(centre_distance(factor * truth + shift, factor * prediction + shift), factor * distance)
    middles = (truth[:, :2] + truth[:, 2:] - prediction[:, :2] - prediction[:, 2:]) / 2
    np.testing.assert_allclose(distance, np.hypot(*middles.T))
    assert list(evaluate_boxes(truth, prediction, ["box_giou"])) == ["box_giou"]


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 3)), r"boxes of shape \(2, 3\) need the shape \(boxes, 4\) or \(boxes, 6\)"),
        (np.ones(4), np.ones(4), r"boxes of shape \(4,\) need"),
        (np.ones((2, 4)), np.ones((3, 4)), r"prediction of shape \(3, 4\) does not fit truth of shape \(2, 4\)"),
    ],
)
def test_boxes_that_do_not_fit_are_refused_by_shape(truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        box_iou(truth, prediction)


def test_distances_in_a_region_are_those_of_what_lies_in_it():
    """A label far outside of the region has no part in its distances; in the whole image it is what counts."""
    truth, prediction, left = (np.zeros((8, 4, 1), int) for _ in range(3))
    truth[1, 1], prediction[2, 1], prediction[7, 1], left[:4] = 1, 1, 1, 1
    rows = evaluate_segmentation(
        truth, prediction, (2, 1, 1), {"one": 1}, ["hausdorff", "surface_dice"], 2.0, {"left": left}
    )
    assert {row["region"]: row["hausdorff"] for row in rows} == {"all": 12.0, "left": 2.0}
    cut = evaluate_segmentation(truth[:4], prediction[:4], (2, 1, 1), {"one": 1}, ["surface_dice"], 2.0)
    assert rows[1]["surface_dice"] == cut[0]["surface_dice"] > rows[0]["surface_dice"]
