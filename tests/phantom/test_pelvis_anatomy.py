"""The anatomy of the pelvis: what is drawn at random stays near the textbook, and is painted in an order."""

import numpy as np
import pytest

from sfgkeras.phantom.pelvis_anatomy import (
    LABELS,
    LEFT,
    RIGHT,
    TISSUES,
    Chance,
    draw_bladder_and_prostate,
    draw_bones,
    draw_bowel,
    draw_muscles,
    draw_parts,
    draw_rectum,
    draw_tissues,
    draw_trunk,
    draw_vessels,
    hip_bone,
)
from sfgkeras.phantom.solids import Ellipsoid, Intersection

SEEDS = range(12)


class Textbook:
    """A source of randomness that draws 0: what comes out is the value of the textbook."""

    def standard_normal(self, size=None):
        return 0.0 if size is None else np.zeros(size)


def chance(seed):
    return Chance(np.random.default_rng(seed))


def distance(shape, *point):
    return float(shape.distance(*(np.array([value], np.float32) for value in point))[0])


def points_near(middle, reach, count=4000):
    drawn = np.random.default_rng(0).uniform(-reach, reach, (3, count))
    return (drawn + np.asarray(middle, float)[:, None]).astype(np.float32)


def test_shifts_are_normal_up_to_twice_their_spread():
    drawn = np.array([chance(5).shift(3.0), *(each.shift(3.0) for each in [chance(6)] for _ in range(4000))])
    assert np.abs(drawn).max() == 6.0
    assert np.mean(np.abs(drawn) == 6.0) == pytest.approx(0.0455, abs=0.015)  # beyond two standard deviations
    assert drawn.mean() == pytest.approx(0, abs=0.2)
    assert np.median(np.abs(drawn)) == pytest.approx(0.6745 * 3, rel=0.06)


def test_values_near_another_differ_by_a_fraction_and_points_by_millimetres():
    one = chance(1)
    values = np.array([one.near(50.0, 0.1) for _ in range(1000)])
    assert (values >= 40).all()
    assert (values <= 60).all()
    assert values.std() == pytest.approx(5, rel=0.15)
    points = np.array([one.point((10, 20, -30), 2.0) for _ in range(1000)])
    assert np.abs(points - (10, 20, -30)).max() == 4.0
    np.testing.assert_allclose(points.mean(axis=0), (10, 20, -30), atol=0.3)
    textbook = Chance(Textbook())
    assert (textbook.shift(7.0), textbook.near(4.0, 0.5)) == (0.0, 4.0)
    np.testing.assert_array_equal(textbook.point((1, 2, 3)), (1, 2, 3))


def test_blobs_and_tubes_of_the_textbook_are_what_was_asked_for():
    textbook = Chance(Textbook())
    blob = textbook.blob((1, 2, 3), (4, 5, 6), (7, 8, 9), 3)
    np.testing.assert_array_equal(blob.center, (1, 2, 3))
    assert (list(blob.radii), list(blob.angles), blob.power) == ([4, 5, 6], [7, 8, 9], 3)
    tube = textbook.tube((0, 1, 2, 3), (4, 5, 6, 7))
    np.testing.assert_array_equal(tube.points, [(0, 1, 2), (4, 5, 6)])
    assert list(tube.radii) == [3, 7]


def test_blobs_and_tubes_lie_near_what_was_asked_for():
    for seed in SEEDS:
        blob = chance(seed).blob((0, 0, 0), (10, 20, 30), (0, 0, 0), spread=1.0)
        assert np.abs(blob.center).max() <= 2.0
        assert (np.abs(np.divide(blob.radii, (10, 20, 30)) - 1) <= 0.12 + 1e-9).all()
        assert np.abs(blob.angles).max() <= 4.0
        tube = chance(seed).tube((0, 0, 0, 5), (50, 0, 0, 8), spread=0.5)
        assert np.abs(np.subtract(tube.points, [(0, 0, 0), (50, 0, 0)])).max() <= 1.0
        assert (np.abs(np.divide(tube.radii, (5, 8)) - 1) <= 0.12 + 1e-9).all()


def test_tissues_of_a_patient_are_those_of_the_textbook_a_little_changed():
    found = [draw_tissues(np.random.default_rng(seed)) for seed in range(60)]
    for name, tissue in TISSUES.items():
        drawn = [each[name] for each in found]
        assert {(each.ct_texture, each.mr_texture, each.grain) for each in drawn} == {
            (tissue.ct_texture, tissue.mr_texture, tissue.grain)
        }
        ct = np.array([each.ct for each in drawn])
        reach = 0.14 * tissue.ct if name == "cortical_bone" else 0.7 * tissue.ct_texture
        assert np.abs(ct - tissue.ct).max() <= reach + 1e-9
        assert tissue.ct_texture == 0 or ct.std() > 0.33 * reach
        mr = np.array([each.mr for each in drawn])
        assert np.abs(mr - tissue.mr).max() <= 0.12 * tissue.mr + 1e-9
        assert tissue.mr == 0 or mr.std() > 0.03 * tissue.mr
    assert {each["air"].ct for each in found} == {-1000}


def test_every_layer_is_of_a_known_tissue_and_lies_deeper_than_the_one_before():
    for seed in SEEDS:
        for part in draw_parts(np.random.default_rng(seed)):
            assert {name for _, name in part.layers} <= set(TISSUES)
            depths = [depth for depth, _ in part.layers]
            assert depths == sorted(depths)
            assert len(set(depths)) == len(depths)


def test_each_label_is_drawn_once_and_what_is_labelled_later_lies_over_it():
    """A rectum that is painted after the prostate would take its voxels."""
    for seed in SEEDS:
        labels = [part.label for part in draw_parts(np.random.default_rng(seed)) if part.label]
        assert labels == [LABELS[name] for name in ("rectum", "bladder", "prostate")] + [4, 5]


def test_the_trunk_comes_first_and_the_cleft_is_air_behind_it():
    trunk, cleft = draw_trunk(Chance(Textbook()))
    assert [name for _, name in trunk.layers] == ["skin", "fat"]
    assert [name for _, name in cleft.layers] == ["air"]
    assert (trunk.shape.half_width, trunk.shape.depth, trunk.shape.center) == (176, 119, (0.0, -7))
    assert distance(trunk.shape, 0, 0, 0) < -50
    assert distance(trunk.shape, 200, 0, 0) > 10
    # Between the buttocks, in the middle of the back and below the hips only.
    assert distance(cleft.shape, 0, -116, -55) < 0 < min(distance(cleft.shape, x, -116, -55) for x in (-15, 15))
    assert distance(cleft.shape, 0, -116, 40) > 0


@pytest.mark.parametrize("draw", [draw_muscles, draw_vessels])
def test_the_two_sides_of_the_textbook_are_mirror_images(draw):
    arguments = (draw_trunk(Chance(Textbook()))[0].shape,) if draw is draw_muscles else ()
    left, right = (draw(Chance(Textbook()), side, *arguments) for side in (LEFT, RIGHT))
    x, y, z = points_near((80, 0, 0), 80, 1500)
    for one, other in zip(left, right, strict=True):
        assert one.layers == other.layers
        np.testing.assert_allclose(one.shape.distance(-x, y, z), other.shape.distance(x, y, z), atol=2e-3)


def test_bones_of_the_two_sides_are_mirror_images_and_heads_lie_in_their_sockets():
    sacrum, *others = draw_bones(Chance(Textbook()))
    left, right = others[:5], others[5:]
    x, y, z = points_near((80, 0, 0), 80, 1500)
    for one, other in zip(left, right, strict=True):
        np.testing.assert_allclose(one.shape.distance(-x, y, z), other.shape.distance(x, y, z), atol=2e-3)
    np.testing.assert_allclose(sacrum.shape.distance(-x, y, z), sacrum.shape.distance(x, y, z), atol=2e-3)
    head = right[-1].shape
    np.testing.assert_array_equal(head.center, (89, 0, 0))
    assert (list(head.radii), right[-1].label, right[-1].layers) == ([24.5] * 3, LABELS["right_femoral_head"], ())
    # A gap of 3.5 mm of cartilage around the head, then the socket.
    inwards = np.array([-0.80, -0.12, 0.58]) / np.linalg.norm([-0.80, -0.12, 0.58])
    socket = hip_bone(Chance(Textbook()), RIGHT, np.array(head.center), 24.5).shapes[0]
    for reach, inside in ((24.5 + 3.0, False), (24.5 + 4.0, True), (24.5 + 3.5 + 8.5, True), (24.5 + 3.5 + 9.5, False)):
        assert (distance(socket, *(np.array(head.center) + reach * inwards)) < 0) == inside
    assert distance(socket, *(np.array(head.center) - 32 * inwards)) > 0, "it is open to the side"


def test_the_femoral_head_is_the_top_of_a_femur_that_goes_down_and_outwards():
    for side, number in ((LEFT, LABELS["left_femoral_head"]), (RIGHT, LABELS["right_femoral_head"])):
        parts = draw_bones(Chance(Textbook()))
        place = [part.label for part in parts].index(number)
        head, thigh = parts[place].shape, parts[place - 2].shape
        low, high = thigh.bounds()
        assert high[2] >= head.center[2] + head.radii[2] - 1e-3
        shaft = np.array(head.center) + (side * 32, -3, -75)
        assert distance(thigh, *shaft) < 0
        assert low[2] < -100


def test_the_rectum_has_a_wall_and_bubbles_only_inside_of_it():
    counts = []
    for seed in range(40):
        tube, *bubbles = draw_rectum(chance(seed))
        assert tube.label == LABELS["rectum"]
        wall = tube.layers[1][0]
        assert tube.layers == ((0, "bowel_wall"), (wall, "stool"))
        points = points_near((0, -50, 5), 70)
        inside = tube.shape.distance(*points)
        for bubble in bubbles:
            assert (bubble.label, bubble.layers) == (None, ((0, "gas"),)), "gas is of the rectum still"
            assert (inside[bubble.shape.distance(*points) < 0] < -wall + 1e-3).all()
        counts.append(len(bubbles))
    assert set(counts) == {0, 1, 2, 3}


def test_the_rectum_runs_from_the_sacrum_down_to_the_anus():
    for seed in SEEDS:
        course = np.array(draw_rectum(chance(seed))[0].shape.points)
        assert (np.diff(course[:, 2]) > 0).all()
        assert (np.diff(course[:-1, 1]) < 4).all(), "upwards it goes backwards"
        assert np.abs(course[:, 0]).max() < 13


def test_loops_of_bowel_have_no_label_of_their_own_and_gas_in_half_of_them():
    gases = 0
    for seed in range(30):
        parts = draw_bowel(chance(seed))
        loops = [part for part in parts if part.layers[0][1] == "bowel_wall"]
        bubbles = [part for part in parts if part.layers == ((0, "gas"),)]
        assert len(loops) == 4
        assert len(parts) == 4 + len(bubbles)
        assert {part.label for part in parts} == {0}
        assert all(len(loop.shape.points) == 3 for loop in loops)
        assert all(isinstance(part.shape, Intersection) and part.shape.shrink == 2.8 for part in bubbles)
        gases += len(bubbles)
    assert gases / 120 == pytest.approx(0.5, abs=0.12)


def test_the_prostate_lies_below_the_bladder_and_holds_its_inner_zone():
    for seed in SEEDS:
        vesicles, urethra, bladder, prostate, zone = draw_bladder_and_prostate(chance(seed))
        assert (bladder.label, prostate.label, zone.label) == (LABELS["bladder"], LABELS["prostate"], None)
        floor = prostate.shape.center[2] + prostate.shape.radii[2] - 5
        assert bladder.shape.center[2] - bladder.shape.radii[2] == pytest.approx(floor)
        assert bladder.shape.center[1] == pytest.approx(prostate.shape.center[1] + 18), "it leans to the front"
        points = points_near(prostate.shape.center, 30)
        inner = zone.shape.distance(*points) < 0
        assert inner.any()
        assert (prostate.shape.distance(*points)[inner] < 4).all()
        assert np.mean(prostate.shape.distance(*points)[inner] < 0) > 0.95
        assert urethra.shape.points[0][2] < urethra.shape.points[1][2] < prostate.shape.center[2]
        sides = [blob.center[0] for blob in vesicles.shape.shapes]
        assert sides[0] < -10 < 10 < sides[1]


def test_a_full_bladder_has_a_thinner_wall():
    found = []
    for seed in range(40):
        *_, bladder, _, _ = draw_bladder_and_prostate(chance(seed))
        found.append((bladder.shape.radii[2] / 25.0, bladder.layers[1][0]))
    filling, wall = np.array(found).T
    assert (wall * filling >= 3.6 * 0.5 - 1e-6).all()
    assert (wall * filling <= 3.6 * 1.5 + 1e-6).all()
    assert np.corrcoef(filling, wall)[0, 1] < -0.1


def test_superficial_muscles_lie_under_skin_and_fat():
    for seed in SEEDS:
        one = chance(seed)
        trunk = draw_trunk(one)[0].shape
        muscles = draw_muscles(one, RIGHT, trunk)
        assert [name for _, name in muscles[0].layers] == ["muscle"]
        sheets = [part for part in muscles[1:] if isinstance(part.shape, Intersection)]
        assert len(sheets) == 5
        assert len({part.shape.shrink for part in sheets}) == 1
        assert 6.5 <= sheets[0].shape.shrink <= 19.5
        points = points_near((90, 0, 0), 110)
        for part in sheets:
            inside = part.shape.distance(*points) < 0
            assert (trunk.distance(*points)[inside] < -part.shape.shrink + 1e-3).all()
        assert all(part.layers == ((0.0, "fat"), (1.4, "muscle")) for part in muscles[1:])


def test_patients_of_two_seeds_differ_in_every_organ_and_those_of_one_do_not():
    one, same, other = (draw_parts(np.random.default_rng(seed)) for seed in (3, 3, 4))
    points = points_near((0, 0, 0), 100, 500)
    for number in LABELS.values():
        first, again, different = (
            next(part.shape for part in parts if part.label == number) for parts in (one, same, other)
        )
        np.testing.assert_array_equal(first.distance(*points), again.distance(*points))
        assert np.abs(first.distance(*points) - different.distance(*points)).max() > 0.5
    assert isinstance(one[-1].shape, Ellipsoid)
