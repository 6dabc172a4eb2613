import numpy as np
import pytest

from sfgkeras import boxes
from sfgkeras.analysis.box_overlap import box_giou, box_iou
from sfgkeras.analysis.measures import EVALUATIONS, evaluate_boxes


@pytest.mark.parametrize("rank", [2, 3])
def test_the_overlap_is_that_of_training(rank):
    rng = np.random.default_rng(0)
    # Corners in any order; some boxes without area, some equal.
    truth, prediction = rng.integers(0, 6, (2, 200, 2 * rank)).astype("float32")
    prediction[:20] = truth[:20]
    np.testing.assert_allclose(box_iou(truth, prediction), boxes.intersection_over_union(truth, prediction), atol=1e-6)
    generalised = boxes.generalised_intersection_over_union(truth, prediction)
    np.testing.assert_allclose(box_giou(truth, prediction), generalised, atol=1e-6)


def test_by_hand():
    truth = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [1, 1, 1, 1]])
    prediction = np.array([[1, 1, 3, 3], [2, 2, 0, 0], [4, 5, 4, 5]])
    found = evaluate_boxes(truth, prediction, ["box_iou", "centre_distance", "box_giou"])
    np.testing.assert_allclose(found["box_iou"], [1 / 7, 1, 0])
    np.testing.assert_allclose(found["centre_distance"], [np.sqrt(2), 0, 5])
    np.testing.assert_allclose(found["box_giou"], [1 / 7 - 2 / 9, 1, -1])


def test_the_usual_measures_are_taken_where_none_is_named():
    box = np.array([[0.0, 0.0, 1.0, 1.0]])
    assert list(evaluate_boxes(box, box)) == ["box_iou", "centre_distance"]
    assert EVALUATIONS["centre_distance"].unit_for("pixels") == "pixels"
    with pytest.raises(ValueError, match="'dice' is no measure of a bounding_box task; known are box_iou, centre"):
        evaluate_boxes(box, box, ["dice"])


def test_what_is_no_box_is_refused():
    with pytest.raises(ValueError, match="two opposite corners"):
        box_iou(np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"prediction of shape \(1, 6\) does not fit truth of shape \(1, 4\)"):
        box_iou(np.zeros((1, 4)), np.zeros((1, 6)))
