"""Errors of points, of motions and of depths, against formulas by hand, NumPy's norms and SciPy's rotations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from sfgkeras.analysis.box_overlap import box_giou, box_iou, centre_distance
from sfgkeras.analysis.landmark_errors import detection_rate, distances, length_error, lengths, radial_error
from sfgkeras.analysis.measures import evaluations_of
from sfgkeras.analysis.motion import (
    displacement,
    evaluate_motion,
    folding,
    jacobian,
    unmoved_mae,
    warp_volume,
    warped_mae,
)
from sfgkeras.analysis.surfaces import angles_between, evaluate_depth, evaluate_normals
from sfgkeras.analysis.uncertainty import ENTROPY, STANDARD_DEVIATION, Information, Moments

NAN = float("nan")
POINTS = arrays(np.float64, (4, 3), elements=st.floats(-100, 100))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(POINTS, POINTS, st.floats(0, 300))
def test_distances_do_not_depend_on_where_and_how_all_is_turned(truth, prediction, tolerance):
    turn, shift = Rotation.from_rotvec([0.3, -1.0, 2.0]).as_matrix(), np.array([5.0, -7.0, 11.0])
    found = distances(truth, prediction)
    np.testing.assert_allclose(found, np.sqrt(((truth - prediction) ** 2).sum(axis=1)), atol=1e-9)
    np.testing.assert_allclose(distances(truth @ turn + shift, prediction @ turn + shift), found, atol=1e-9)
    np.testing.assert_array_equal(detection_rate(found, tolerance), (found <= tolerance).astype(float))
    np.testing.assert_array_equal(radial_error(found, tolerance), found)


def test_points_that_are_not_known_have_no_distance_and_others_keep_theirs():
    truth, prediction = np.zeros((3, 2)), np.array([[3.0, 4.0], [NAN, 1.0], [0.0, 0.0]])
    found = distances(truth, prediction)
    np.testing.assert_array_equal(found, [5, NAN, 0])
    np.testing.assert_array_equal(detection_rate(found, 5.0), [1, NAN, 1])
    np.testing.assert_array_equal(lengths(prediction, [(0, 2), (0, 1), (2, 0)]), [5, NAN, 5])
    np.testing.assert_array_equal(length_error(np.array([-2.0, NAN, 3.0]), 9), [2, NAN, 3])


def test_points_of_other_shapes_are_refused_and_many_subjects_are_measured_at_once():
    with pytest.raises(ValueError, match=r"prediction of shape \(2, 3\) does not fit truth of shape \(2, 2\)"):
        distances(np.zeros((2, 2)), np.zeros((2, 3)))
    points = np.random.default_rng(0).normal(size=(5, 4, 3))
    assert lengths(points, [(0, 3), (1, 2)]).shape == (5, 2)
    np.testing.assert_allclose(lengths(points, [(1, 3)])[2, 0], np.linalg.norm(points[2, 1] - points[2, 3]))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(arrays(np.float64, (3, 3), elements=st.floats(-0.4, 0.4)))
def test_the_jacobian_of_an_affine_motion_is_its_determinant(matrix):
    places = np.moveaxis(np.indices((4, 3, 5)), 0, -1)
    np.testing.assert_allclose(jacobian(places @ matrix.T), np.linalg.det(np.eye(3) + matrix), atol=1e-9)


def test_a_slice_changes_along_its_own_axes_only():
    flow = np.zeros((4, 5, 1, 3))
    flow[..., 0] = 0.5 * np.arange(4)[:, None, None]
    flow[..., 2] = 9.0
    np.testing.assert_allclose(jacobian(flow), 1.5)


def test_a_motion_reads_the_volume_where_it_leads_to():
    volume = np.random.default_rng(0).normal(size=(6, 7, 5))
    flow = np.broadcast_to(np.array([1.0, -2.0, 0.5]), (*volume.shape, 3))
    expected = affine_transform(volume, np.eye(3), [1.0, -2.0, 0.5], order=1, mode="nearest")
    np.testing.assert_allclose(warp_volume(volume, flow), expected, atol=1e-12)
    labels = np.arange(6).reshape(6, 1, 1)
    assert warp_volume(labels, np.full((6, 1, 1, 3), (0.4, 0, 0)), order=0).ravel().tolist() == [0, 1, 2, 3, 4, 5]


MOTION = {"warped": warped_mae, "unmoved": unmoved_mae, "mm": displacement, "folding": folding}


def test_a_motion_is_measured_frame_by_frame_in_mm_and_in_regions():
    first = np.arange(8.0).reshape(8, 1, 1) * np.ones((1, 2, 1))
    frames = np.stack([first, first + 2, first * 0], axis=-1)
    flow = np.zeros((8, 2, 1, 2, 3))
    flow[..., 0, 0] = 2.0  # frame 2 is the first one moved by two voxels of 1.5 mm
    flow[4, ..., 1, 0] = 3.0  # beyond its neighbours: folded there
    valid = np.ones((8, 2, 1), bool)
    valid[6:] = False  # where the border is read
    apex = np.zeros((8, 2, 1), bool)
    apex[5:7, 0] = True
    rows = evaluate_motion(frames, flow, (1.5, 1, 1), MOTION, valid, {"apex": apex, "none": ~valid})
    by_region = {row.pop("region"): row for row in rows}
    assert list(by_region) == [
        "frame 2",
        "frame 2: apex",
        "frame 2: none",
        *(f"frame 3{end}" for end in ("", ": apex", ": none")),
    ]
    assert by_region["frame 2"] == {"num_voxels": 12, "warped": 0, "unmoved": 2, "mm": 3, "folding": 0}
    assert by_region["frame 2: apex"]["num_voxels"] == 1
    # Central differences see the step of 3 voxels on both sides: 1 + 1.5 before it, 1 - 1.5 behind.
    third = by_region["frame 3"]
    assert third["folding"] == pytest.approx(2 / 12)
    assert third["mm"] == pytest.approx(2 * 4.5 / 12)
    assert third["unmoved"] == pytest.approx(np.arange(6).mean())
    assert third["warped"] == pytest.approx((np.arange(6).sum() + 3) / 6)
    assert by_region["frame 2: none"].pop("num_voxels") == 0
    assert all(np.isnan(value) for value in by_region["frame 2: none"].values())


def depths(truth, prediction, names=None, **more):
    shape = (len(truth), 1, 1)
    valid = more.pop("valid", np.ones(len(truth), bool)).reshape(shape)
    return evaluate_depth(np.reshape(truth, shape), np.reshape(prediction, shape), valid, names, **more)


def test_errors_of_depths_are_those_of_the_formulas():
    truth, prediction = np.array([1.0, 2.0, 4.0, 5.0]), np.array([1.1, 3.0, 3.0, 10.0])
    (row,) = depths(truth, prediction, evaluations_of("depth"))
    logs = np.log(prediction / truth)
    ratio = np.maximum(prediction / truth, truth / prediction)
    expected = {
        "abs_rel": np.mean(np.abs(prediction - truth) / truth),
        "sqr_rel": np.mean((prediction - truth) ** 2 / truth),
        "rmse_linear": np.sqrt(np.mean((prediction - truth) ** 2)),
        "rmse_log": np.sqrt(np.mean(logs**2)),
        "rmse_scale_invariant": np.sqrt(np.mean(logs**2) - np.mean(logs) ** 2),
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    near = [value for name, value in row.items() if name not in expected and name not in ("region", "num_voxels")]
    assert sorted(near) == pytest.approx(sorted(np.mean(ratio < 1.25**power) for power in (1, 2, 3)))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(arrays(np.float64, 5, elements=st.floats(0.1, 50)), st.floats(0.1, 10))
def test_a_common_factor_is_no_scale_invariant_error(truth, factor):
    (row,) = depths(truth, truth * factor, ["rmse_scale_invariant", "rmse_log"])
    assert row["rmse_scale_invariant"] == pytest.approx(0, abs=1e-9)
    assert row["rmse_log"] == pytest.approx(abs(np.log(factor)), abs=1e-9)


def test_regions_of_depths_are_cut_by_the_truth_by_masks_and_by_what_is_known():
    truth, prediction = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 4.0, 3.0, -1.0])
    valid, mask = np.array([True, True, True, False]), np.array([True, False, False, True]).reshape(4, 1, 1)
    rows = depths(truth, prediction, ["abs_rel"], valid=valid, bounds={"near": (2, 3)}, masks={"m": mask})
    assert [(row["region"], row["num_voxels"], row["abs_rel"]) for row in rows] == [
        ("all", 3, pytest.approx(2 / 3)),
        ("m", 1, 1.0),
        ("near", 2, 0.5),
    ]
    (row,) = depths(truth, prediction, valid=~valid)
    assert np.isfinite(row["rmse_log"])  # a depth below 0 is measured as the smallest there is
    assert row["abs_rel"] == pytest.approx(1)
    (row,) = depths(truth, prediction, valid=np.zeros(4, bool))
    assert all(np.isnan(value) for name, value in row.items() if name not in ("region", "num_voxels"))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.floats(0, 180), st.floats(1e-3, 1e3), st.integers(0, 99))
def test_angles_are_those_of_rotations_whatever_the_lengths(degrees, length, seed):
    rng = np.random.default_rng(seed)
    first, axis = rng.normal(size=3), rng.normal(size=3)
    axis = np.cross(axis, first)
    turned = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).apply(first)
    assert angles_between(first, length * turned) == pytest.approx(degrees, abs=1e-5)


def test_normals_have_the_shares_below_the_papers_angles_and_90_degrees_where_there_are_none():
    angles = np.array([0.0, 11.2, 11.3, 22.4, 22.6, 29.9, 30.1])
    truth = np.tile([0.0, 0.0, 1.0], (7, 1, 1, 1))
    prediction = np.stack([np.sin(np.radians(angles)), 0 * angles, np.cos(np.radians(angles))], axis=-1)
    prediction = prediction.reshape(7, 1, 1, 3) * 5
    valid = np.ones((7, 1, 1), bool)
    (row,) = evaluate_normals(truth, prediction, valid, evaluations_of("normals"))
    assert row.pop("mean_angle") == pytest.approx(angles.mean())
    assert row.pop("median_angle") == pytest.approx(22.4)
    assert (row.pop("region"), row.pop("num_voxels")) == ("all", 7)
    assert list(row.values()) == pytest.approx([2 / 7, 4 / 7, 6 / 7])
    half = valid & (np.arange(7).reshape(7, 1, 1) < 3)
    rows = evaluate_normals(truth, 0 * prediction, half, ["mean_angle"], {"one": np.arange(7).reshape(7, 1, 1) > 1})
    assert [list(row.values()) for row in rows] == [["all", 3, 90], ["one", 1, 90]]


def test_measures_of_other_tasks_are_refused_of_depths():
    with pytest.raises(ValueError, match="'dice' is no measure of a depth task; known are abs_rel"):
        depths([1.0], [1.0], ["dice"])


BOXES = arrays(np.int64, (3, 4), elements=st.integers(0, 6))


def filled(box):
    """Returns the unit squares of a box as a mask: areas are counted, not computed."""
    mask = np.zeros((6, 6), bool)
    mask[min(box[0], box[2]) : max(box[0], box[2]), min(box[1], box[3]) : max(box[1], box[3])] = True
    return mask


@settings(max_examples=80, deadline=None, derandomize=True)
@given(BOXES, BOXES)
def test_overlaps_of_boxes_are_those_of_counted_squares(truth, prediction):
    iou, giou = box_iou(truth, prediction), box_giou(truth, prediction)
    for row, (one, other) in enumerate(zip(truth, prediction, strict=True)):
        a, b = filled(one), filled(other)
        union = (a | b).sum()
        corners = np.concatenate([one.reshape(2, 2), other.reshape(2, 2)])
        hull = np.ptp(corners, axis=0).prod()
        if union:
            assert iou[row] == pytest.approx((a & b).sum() / union)
            assert giou[row] == pytest.approx((a & b).sum() / union - (hull - union) / hull)
        middle = (one.reshape(2, 2).mean(0) - other.reshape(2, 2).mean(0)) ** 2
        assert centre_distance(truth, prediction)[row] == pytest.approx(np.sqrt(middle.sum()))
    np.testing.assert_array_equal(iou, box_iou(prediction, truth))
    np.testing.assert_array_equal(iou, box_iou(truth[:, [2, 3, 0, 1]], prediction))


def test_one_pass_has_no_spread_and_channels_have_one_each_or_one_together():
    once = Moments()
    once.add(np.full((2, 3), 7.0))
    np.testing.assert_array_equal(once.spread()[STANDARD_DEVIATION], 0)
    passes = np.random.default_rng(0).normal(size=(5, 4, 3))
    apart, together = Moments(per_channel=True), Moments()
    for outputs in passes:
        apart.add(outputs)
        together.add(outputs)
    np.testing.assert_allclose(apart.spread()[STANDARD_DEVIATION], passes.std(axis=0, ddof=1), rtol=1e-5)
    pooled = np.sqrt(passes.var(axis=0, ddof=1).mean(axis=-1))
    np.testing.assert_allclose(together.spread()[STANDARD_DEVIATION], pooled, rtol=1e-5)


@pytest.mark.parametrize("statistics", [Moments, Information])
def test_what_is_kept_between_passes_lies_where_it_is_asked_for_and_may_hold_anything_before(statistics):
    allocated = []

    def allocate(shape):
        allocated.append(np.full(shape, np.nan, np.float32))  # as memory that was used before
        return allocated[-1]

    collected = statistics(allocate)
    for outputs in np.random.default_rng(0).dirichlet(np.ones(3), (4, 2)):
        collected.add(outputs)
    assert collected.mean is allocated[0]
    assert all(np.isfinite(array).all() for array in [*allocated, *collected.spread().values()])
    assert ENTROPY not in collected.spread() or collected.endings == tuple(collected.spread())
