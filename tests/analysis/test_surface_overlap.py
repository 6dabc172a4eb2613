"""Surface Dice of shapes whose surfaces are known."""

import numpy as np
import pytest

from sfgkeras.analysis.measures import evaluate_segmentation
from sfgkeras.analysis.surface_overlap import surface_dice, surface_elements

SHAPE = (40, 36, 20)


def box(x, y=(8, 28), z=(4, 16)):
    mask = np.zeros(SHAPE, bool)
    mask[slice(*x), slice(*y), slice(*z)] = True
    return mask


def ball(radius, centre=(19.5, 17.5, 9.5), spacing=(1, 1, 1), shape=SHAPE):
    axes = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return sum(((a - c) * s) ** 2 for a, c, s in zip(axes, centre, spacing, strict=True)) <= radius**2


def dice_at(tolerance, truth, prediction, spacing=(1, 1, 1)):
    return surface_dice(surface_elements(truth, prediction, spacing, tolerance))


def test_the_elements_of_a_box_add_up_to_its_surface():
    spacing = (0.5, 2.0, 3.0)
    elements = surface_elements(box((10, 30)), box((10, 30)), spacing, 1)
    a, b, c = 20 * 0.5, 20 * 2.0, 12 * 3.0
    # Edges and corners are a little rounded off.
    assert float(elements.areas[0].sum()) == pytest.approx(2 * (a * b + b * c + a * c), rel=0.06)


def test_a_shift_counts_the_ends_once_it_is_beyond_the_tolerance():
    truth, moved = box((10, 30)), box((13, 33))
    assert dice_at(0, truth, truth) == 1
    assert dice_at(3, truth, moved) == 1
    ends, whole = 2 * 20 * 12, 2 * (20 * 20 + 20 * 12 + 20 * 12)
    # What is far are the ends of both, less the rim of the inner ones, and of the sides what sticks out by more.
    for tolerance in (1, 2):
        out, rim = (3 - tolerance) * 64, 64 * tolerance - 4 * tolerance**2
        expected = 1 - (ends - rim + out) / whole
        assert dice_at(tolerance, truth, moved) == pytest.approx(expected, abs=0.06)
    assert dice_at(2.9, truth, moved) < 0.9


def test_the_tolerance_is_in_millimetres():
    truth, moved = box((10, 30)), box((12, 32))
    assert dice_at(2, truth, moved, (1, 1, 1)) == 1
    assert dice_at(2, truth, moved, (1.5, 1, 1)) < 1
    assert dice_at(3, truth, moved, (1.5, 1, 1)) == 1


@pytest.mark.parametrize("spacing", [(1, 1, 1), (1, 1, 1.5)])
def test_balls_of_two_radii_agree_as_far_as_the_tolerance_goes(spacing):
    shape = (48, 48, 36)
    centre = (23.5, 23.5, 17.5)
    truth, larger = (ball(radius, centre, spacing, shape) for radius in (14, 17))
    area = float(surface_elements(truth, truth, spacing, 1).areas[0].sum())
    assert area == pytest.approx(4 * np.pi * 14**2, rel=0.1)
    assert dice_at(1.2, truth, larger, spacing) < 0.05
    assert dice_at(4.5, truth, larger, spacing) == 1


def test_numbers_are_near_those_of_the_published_implementation():
    # compute_surface_dice_at_tolerance of the authors' package surface-distance 0.1, which takes the areas of marching
    # cubes: 0.7905 and 0.9035 at 1 and 1.5 mm.
    truth, prediction = (ball(14, c, (1, 1, 1.5), (48, 48, 32)) for c in ((24, 24, 16), (26, 24, 16)))
    assert dice_at(1, truth, prediction, (1, 1, 1.5)) == pytest.approx(0.7905, abs=0.03)
    assert dice_at(1.5, truth, prediction, (1, 1, 1.5)) == pytest.approx(0.9035, abs=0.03)


def test_planes_have_outlines():
    truth, moved = (mask[:, :, 8:9] for mask in (box((10, 30)), box((13, 33))))
    length = float(surface_elements(truth, truth, (1, 1, 5), 1).areas[0].sum())
    assert length == pytest.approx(80, rel=0.05)
    assert dice_at(3, truth, moved, (1, 1, 5)) == 1
    assert dice_at(1, truth, moved, (1, 1, 5)) == pytest.approx(1 - (40 - 2 + 4) / 80, abs=0.05)


def test_a_mask_at_the_edge_of_the_image_ends_there():
    full = np.ones((6, 6, 6), bool)
    assert float(surface_elements(full, full, (1, 1, 1), 1).areas[0].sum()) == pytest.approx(6 * 36, rel=0.2)
    assert dice_at(0, full, full) == 1


def test_empty_masks_have_documented_values():
    nothing, something = np.zeros((5, 5, 5), bool), np.ones((5, 5, 5), bool)
    assert np.isnan(dice_at(2, nothing, nothing))
    assert dice_at(2, nothing, something) == dice_at(2, something, nothing) == 0


def test_the_tolerance_reaches_the_table():
    truth, prediction = box((10, 30)).astype(int), box((12, 32)).astype(int)
    by_tolerance = {
        tolerance: evaluate_segmentation(
            truth, prediction, (1, 1, 1), {"a": 1}, ("surface_dice",), surface_tolerance=tolerance
        )[0]["surface_dice"]
        for tolerance in (1.0, 2.0)
    }
    assert by_tolerance[1.0] < by_tolerance[2.0] == 1


def test_a_mask_restricts_both_truth_and_prediction():
    truth, prediction = box((10, 30)).astype(int), box((10, 36)).astype(int)
    inside = np.zeros(SHAPE, bool)
    inside[:30] = True
    rows = evaluate_segmentation(
        truth, prediction, (1, 1, 1), {"a": 1}, ("dice", "specificity"), masks={"body": inside}
    )
    assert [(row["label"], row["region"]) for row in rows] == [("a", "all"), ("a", "body")]
    assert rows[0]["dice"] == pytest.approx(2 * 20 / 46)
    assert (rows[1]["dice"], rows[1]["specificity"]) == (1, 1)
