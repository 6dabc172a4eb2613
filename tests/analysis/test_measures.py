import subprocess
import sys

import numpy as np
import pytest

from sfgkeras.analysis import measures


def only_row(rows):
    assert len(rows) == 1
    return rows[0]


def test_regression_measures_of_a_hand_computed_example():
    truth, prediction = (
        np.array([[[0.0, 100.0], [200.0, 1000.0]]]),
        np.array([[[10.0, 90.0], [230.0, 1000.0]]]),
    )
    row = only_row(measures.evaluate_regression(truth, prediction))
    assert row["region"] == "all"
    assert row["num_voxels"] == 4
    assert row["mae"] == pytest.approx(50 / 4)
    assert row["me"] == pytest.approx(30 / 4)
    assert row["rmse"] == pytest.approx(np.sqrt(1100 / 4))
    assert row["psnr"] == pytest.approx(20 * np.log10(1000 / np.sqrt(275)))


def test_regions_are_cut_by_intensity_of_the_truth_and_by_label():
    rng = np.random.default_rng(0)
    truth = rng.uniform(-1000, 1500, (6, 5, 4))
    prediction = truth + rng.normal(0, 50, truth.shape)
    label_map = rng.integers(0, 3, truth.shape)
    rows = measures.evaluate_regression(
        truth,
        prediction,
        ("mae", "psnr"),
        intensity_bounds={"bone": (200, 3000), "nothing": (5000, 6000)},
        label_map=label_map,
        labels={"prostate": 2},
        data_range=2500,
    )
    by_region = {row["region"]: row for row in rows}
    assert list(by_region) == ["all", "bone", "nothing", "prostate"]
    assert set(by_region["all"]) == {"region", "num_voxels", "mae", "psnr"}
    for region, inside in (("bone", truth >= 200), ("prostate", label_map == 2)):
        error = (prediction - truth)[inside]
        assert by_region[region]["num_voxels"] == inside.sum()
        assert by_region[region]["mae"] == pytest.approx(np.abs(error).mean())
        expected = 10 * np.log10(2500**2 / np.mean(error**2))
        assert by_region[region]["psnr"] == pytest.approx(expected)
    assert by_region["nothing"]["num_voxels"] == 0
    assert np.isnan(by_region["nothing"]["mae"])
    assert np.isnan(by_region["nothing"]["psnr"])


def test_a_measure_has_the_unit_of_its_target_or_its_own():
    unit = {name: evaluation.unit_for("HU") for name, evaluation in measures.EVALUATIONS.items()}
    assert (unit["mae"], unit["rmse"], unit["me"], unit["mse"]) == ("HU", "HU", "HU", "HU^2")
    assert (unit["psnr"], unit["hausdorff"], unit["dice"], unit["r2"]) == ("dB", "mm", "", "")
    assert measures.EVALUATIONS["mse"].unit_for("") == ""


def test_bounds_are_included():
    truth = np.array([199.0, 200.0, 300.0, 301.0])
    rows = measures.evaluate_regression(truth, truth + 1, ("mae",), intensity_bounds={"bone": (200, 300)})
    assert rows[1]["num_voxels"] == 2


def test_a_perfect_prediction_has_infinite_and_a_constant_truth_no_psnr():
    truth = np.arange(8.0)
    assert only_row(measures.evaluate_regression(truth, truth))["psnr"] == np.inf
    assert np.isnan(only_row(measures.evaluate_regression(np.ones(8), truth))["psnr"])


def test_labels_select_all_channels_of_their_voxels():
    truth, prediction = np.zeros((3, 3, 2, 2)), np.ones((3, 3, 2, 2))
    prediction[0, ..., 1] = 3
    label_map = np.zeros((3, 3, 2), int)
    label_map[0] = 1
    rows = measures.evaluate_regression(truth, prediction, ("mae",), label_map=label_map, labels={"a": 1})
    assert (rows[1]["num_voxels"], rows[1]["mae"]) == (12, 2.0)
    with pytest.raises(ValueError, match=r"region 'a' needs a label map that fits .* received \(2, 3, 2\)"):
        measures.evaluate_regression(truth, prediction, label_map=label_map[:2], labels={"a": 1})
    with pytest.raises(ValueError, match="received None"):
        measures.evaluate_regression(truth, prediction, labels={"a": 1})


def test_integer_images_do_not_overflow():
    truth, prediction = np.array([-1024, 3000], np.int16), np.array([32767, -32768], np.int16)
    assert only_row(measures.evaluate_regression(truth, prediction))["mae"] == (33791 + 35768) / 2


def test_segmentation_measures_of_a_hand_computed_example():
    truth, prediction = np.zeros((4, 4, 1), int), np.zeros((4, 4, 1), int)
    truth[0, :, 0] = 1
    prediction[0, 1:, 0] = 1
    prediction[1, 1, 0] = 1
    row = only_row(measures.evaluate_segmentation(truth, prediction, (2, 2, 5), {"a": 1}))
    assert row["num_voxels"] == 4
    assert row["dice"] == pytest.approx(6 / 8)
    assert row["jaccard"] == pytest.approx(3 / 5)
    assert row["sensitivity"] == pytest.approx(3 / 4)
    assert row["specificity"] == pytest.approx(11 / 12)
    assert row["average_distance"] == pytest.approx((2 + 2) / 8)
    assert row["hausdorff"] == pytest.approx(2)


def test_measures_of_counts_of_a_hand_computed_example():
    truth, prediction = np.zeros((5, 4, 1), int), np.zeros((5, 4, 1), int)
    truth[:2, :, 0] = 1  # 8 voxels
    prediction[1:3, :3, 0] = 1  # 6 voxels, 3 of them right
    expected = {
        "true_positives": 3, "false_positives": 3, "false_negatives": 5, "true_negatives": 9,
        "voxels_in_truth": 8, "voxels_in_prediction": 6, "voxels_in_both": 3, "voxels_in_either": 11,
        "voxel_accuracy": 12 / 20, "positive_predictive_value": 3 / 6, "negative_predictive_value": 9 / 14,
        "false_positive_rate": 3 / 12, "informedness": 3 / 8 + 9 / 12 - 1, "markedness": 3 / 6 + 9 / 14 - 1,
        "volume_difference": 2 / 8,
    }  # fmt: skip
    row = only_row(measures.evaluate_segmentation(truth, prediction, (1, 1, 1), {"a": 1}, list(expected)))
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    nothing = np.zeros_like(truth)
    row = only_row(measures.evaluate_segmentation(nothing, nothing, (1, 1, 1), {"a": 1}, list(expected)))
    undefined = {name for name in expected if np.isnan(row[name])}
    assert undefined == {"positive_predictive_value", "informedness", "markedness", "volume_difference"}


def test_the_squared_error_and_the_explained_variance_of_a_hand_computed_example():
    truth, prediction = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 3.0, 3.0])
    rows = measures.evaluate_regression(truth, prediction, ("mse", "r2"), intensity_bounds={"one": (1, 1)})
    assert rows[0]["mse"] == pytest.approx(2 / 4)
    assert rows[0]["r2"] == pytest.approx(1 - 2 / 5)
    assert np.isnan(rows[1]["r2"])


def test_only_the_usual_measures_are_taken_where_none_is_named():
    labels = np.arange(8).reshape(2, 2, 2) % 2
    row = only_row(measures.evaluate_segmentation(labels, labels, (1, 1, 1), {"a": 1}))
    assert set(row) - {"label", "num_voxels"} == {
        "dice", "jaccard", "sensitivity", "specificity", "average_distance", "hausdorff", "hausdorff95",
        "surface_dice"
    }  # fmt: skip
    assert set(only_row(measures.evaluate_regression(labels, labels))) == {
        "region", "num_voxels", "mae", "rmse", "me", "psnr", "ssim"
    }  # fmt: skip


def test_empty_masks_have_documented_values():
    nothing, something = np.zeros((3, 3, 3), int), np.ones((3, 3, 3), int)
    both = only_row(measures.evaluate_segmentation(nothing, nothing, (1, 1, 1), {"a": 1}))
    assert (both["dice"], both["jaccard"], both["specificity"]) == (1, 1, 1)
    assert all(np.isnan(both[name]) for name in ("sensitivity", "average_distance", "hausdorff", "hausdorff95"))
    for truth, prediction in ((nothing, something), (something, nothing)):
        row = only_row(measures.evaluate_segmentation(truth, prediction, (1, 1, 1), {"a": 1}))
        assert (row["dice"], row["jaccard"]) == (0, 0)
        assert row["hausdorff"] == row["hausdorff95"] == row["average_distance"] == np.inf
    assert np.isnan(row["specificity"])
    assert row["sensitivity"] == 0


@pytest.mark.parametrize(
    ("truth", "prediction", "accuracy", "iou", "dice"),
    [
        # Of 4 x 5 pixels: 6 in the truth, 6 in the prediction, 4 in both, so 8 in either.
        (([1, 1, 1, 0, 0], [1, 1, 1, 0, 0]), ([0, 1, 1, 1, 0], [0, 1, 1, 1, 0]), 16 / 20, 4 / 8, 8 / 12),
        (([1, 0, 0, 0, 0],), ([1, 0, 0, 0, 0],), 1, 1, 1),
        ((), (), 1, 1, 1),  # nothing is there and nothing is found
        ((), ([0, 0, 1, 1, 1],), 17 / 20, 0, 0),
        (([0, 0, 1, 1, 1],), (), 17 / 20, 0, 0),
        (([1] * 5,) * 4, (), 0, 0, 0),
        (([1] * 5,) * 4, ([1] * 5,) * 4, 1, 1, 1),
    ],
)
def test_pixel_accuracy_iou_and_dice_are_those_counted_by_hand(truth, prediction, accuracy, iou, dice):
    masks = []
    for rows in (truth, prediction):
        mask = np.zeros((4, 5, 1), np.uint8)
        for number, row in enumerate(rows):
            mask[number, :, 0] = row
        masks.append(mask)
    names = ["voxel_accuracy", "jaccard", "dice"]
    row = only_row(measures.evaluate_segmentation(*masks, (1, 1, 1), {"animal": 1}, names))
    assert [row[name] for name in names] == pytest.approx([accuracy, iou, dice])


def test_distances_are_not_measured_unless_asked_for(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("measured")

    monkeypatch.setattr(measures, "surface_distances", refuse)
    labels = np.zeros((3, 3, 3), int)
    rows = measures.evaluate_segmentation(labels, labels, (1, 1, 1), {"a": 1, "b": 2}, ("dice", "jaccard"))
    assert [list(row) for row in rows] == [["label", "num_voxels", "dice", "jaccard"]] * 2


@pytest.mark.real_data
def test_overlaps_of_real_brain_tissues_agree_with_simpleitk(real_data):
    import nibabel
    import SimpleITK

    first = np.asanyarray(nibabel.load(real_data / "mr_brain_multi/slist1_tissue.nii.gz").dataobj)
    second = np.asanyarray(nibabel.load(real_data / "mr_brain_multi/slist2_tissue.nii.gz").dataobj)
    shape = tuple(min(a, b) for a, b in zip(first.shape, second.shape, strict=True))
    first, second = (np.squeeze(a[tuple(map(slice, shape))]).astype(np.int16) for a in (first, second))
    values = sorted(set(np.unique(first)) & set(np.unique(second)) - {0})
    assert len(values) >= 3
    overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*(SimpleITK.GetImageFromArray(a) for a in (first, second)))
    spacing = (1.0,) * first.ndim
    rows = measures.evaluate_segmentation(
        first, second, spacing, {str(v): int(v) for v in values}, ("dice", "jaccard", "hausdorff")
    )
    for value, row in zip(map(int, values), rows, strict=True):
        assert row["dice"] == pytest.approx(overlap.GetDiceCoefficient(value), abs=1e-9)
        assert row["jaccard"] == pytest.approx(overlap.GetJaccardCoefficient(value), abs=1e-9)
        contours = [
            SimpleITK.BinaryContour(SimpleITK.GetImageFromArray(np.pad(a == value, 1).astype(np.uint8)))
            for a in (first, second)
        ]
        hausdorff = SimpleITK.HausdorffDistanceImageFilter()
        hausdorff.Execute(*contours)
        assert row["hausdorff"] == pytest.approx(hausdorff.GetHausdorffDistance(), rel=1e-5)


def test_classification_measures_of_a_hand_computed_example():
    truth, prediction = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 0]
    result = measures.evaluate_classification(truth, prediction, num_classes=4)
    assert result["num_subjects"] == 6
    assert result["accuracy"] == pytest.approx(4 / 6)
    assert result["balanced_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert result["confusion_matrix"] == [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    matrix = np.array(result["confusion_matrix"])
    np.testing.assert_allclose(measures.class_sensitivities(matrix), [2 / 3, 1, 0, np.nan])


def test_a_cohort_without_subjects_has_no_accuracy():
    result = measures.evaluate_classification([], [], 2)
    assert np.isnan(result["accuracy"])
    assert np.isnan(result["balanced_accuracy"])
    assert result["confusion_matrix"] == [[0, 0], [0, 0]]


def test_classes_out_of_range_are_refused():
    with pytest.raises(ValueError, match="prediction has classes from 0 to 2; num_classes = 2 allows 0 to 1"):
        measures.evaluate_classification([0, 1], [0, 2], 2)


def test_measures_of_another_kind_of_task_are_refused():
    with pytest.raises(ValueError, match="'dice' is no measure of a regression task; known are mae, rmse, me"):
        measures.evaluate_regression(np.zeros(3), np.zeros(3), ("mae", "dice"))


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"prediction of shape \(3,\) does not fit truth of shape \(1, 3\)"):
        measures.evaluate_regression(np.zeros((1, 3)), np.zeros(3))


def test_the_table_knows_the_direction_of_every_measure():
    better = {name for name, entry in measures.EVALUATIONS.items() if entry.higher_is_better}
    worse = {name for name, entry in measures.EVALUATIONS.items() if entry.higher_is_better is False}
    assert better >= {"psnr", "dice", "jaccard", "accuracy"}
    errors = {"mae", "rmse", "mse", "average_distance", "hausdorff", "hausdorff95", "centre_distance", "radial_error"}
    errors |= {"length_error", "abs_rel", "sqr_rel", "rmse_linear", "rmse_log", "rmse_scale_invariant"}
    errors |= {"mean_angle", "median_angle", "warped_mae", "folding"}
    assert worse == errors | {"false_positive_rate", "volume_difference", "false_positives", "false_negatives"}
    assert {entry.kind for entry in measures.EVALUATIONS.values()} == {
        "regression",
        "segmentation",
        "classification",
        "bounding_box",
        "landmarks",
        "depth",
        "normals",
        "motion",
    }


def test_measuring_never_loads_tensorflow():
    code = (
        "import sys, sfgkeras.analysis.measures, sfgkeras.analysis.tables, sfgkeras.analysis.pictures;"
        "sys.exit(bool({'tensorflow', 'keras', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
