"""Solid shapes against distances that are searched for, point by point, and the symmetries that they have."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from sfgkeras.phantom.solids import Cup, Ellipsoid, Intersection, Texture, Trunk, Tube, Union

RNG = np.random.default_rng(0)
POINTS = RNG.uniform(-16, 16, (3, 800)).astype(np.float32)
SPHERE = Ellipsoid((1.0, -2.0, 3.0), (7.0, 7.0, 7.0))
OVAL = Ellipsoid((4.0, -3.0, 1.0), (12.0, 6.0, 3.0), (20.0, -35.0, 50.0))
BOX = Ellipsoid((0.0, 1.0, 0.0), (9.0, 5.0, 4.0), (0.0, 0.0, 30.0), power=8)
TUBE = Tube([(-10, 0, 0), (5, 5, 2), (12, -8, 4)], [3.0, 2.0, 5.0])
CUP = Cup((0, 0, 0), 6.0, 9.0, (0, 0, -2), 1.5)


def test_a_sphere_has_exact_distances_inside_and_outside():
    expected = np.linalg.norm(POINTS - np.array(SPHERE.center, np.float32)[:, None], axis=0) - 7
    np.testing.assert_allclose(SPHERE.distance(*POINTS), expected, atol=1e-4)


def to_axes(shape, points):
    """Returns points in the axes of a turned shape, in units of its radii."""
    turn = Rotation.from_euler("xyz", shape.angles, degrees=True)
    return turn.inv().apply(points.T - np.asarray(shape.center)).T / np.asarray(shape.radii)[:, None]


@pytest.mark.parametrize("shape", [OVAL, BOX])
def test_inside_and_outside_are_those_of_the_equation(shape):
    level = (np.abs(to_axes(shape, POINTS)) ** shape.power).sum(axis=0)
    far = np.abs(level - 1) > 1e-3
    np.testing.assert_array_equal((shape.distance(*POINTS) < 0)[far], (level < 1)[far])


def test_near_its_surface_an_ellipsoid_has_the_distances_that_a_search_finds():
    turn = Rotation.from_euler("xyz", OVAL.angles, degrees=True)
    directions = RNG.normal(size=(12, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    surface = turn.apply(directions * OVAL.radii) + np.asarray(OVAL.center)
    for step in (-0.2, 0.3):
        normal = turn.apply(directions / OVAL.radii)
        points = surface + step * normal / np.linalg.norm(normal, axis=1, keepdims=True)
        found = OVAL.distance(*points.T.astype(np.float32))
        for point, distance in zip(points, found, strict=True):
            place = to_axes(OVAL, point[:, None])[:, 0]

            def gap(angles, place=place):
                on = np.array(
                    [np.sin(angles[0]) * np.cos(angles[1]), np.sin(angles[0]) * np.sin(angles[1]), np.cos(angles[0])]
                )
                return (((on - place) * OVAL.radii) ** 2).sum()

            start = np.arccos(np.clip(place[2] / np.linalg.norm(place), -1, 1)), np.arctan2(place[1], place[0])
            nearest = np.sqrt(minimize(gap, start).fun)
            assert abs(distance) == pytest.approx(nearest, abs=0.05)
            assert np.sign(distance) == np.sign(step)


def test_a_tube_is_as_far_as_the_nearest_of_many_spheres_along_its_line():
    nearest = np.full(POINTS.shape[1], np.inf)
    for start, end, first, last in zip(TUBE.points, TUBE.points[1:], TUBE.radii, TUBE.radii[1:], strict=False):
        # Radii change along the line, and count where it is nearest, as the docstring says.
        share = np.linspace(0, 1, 501)
        line = np.asarray(start) + share[:, None] * np.subtract(end, start)
        gaps = np.linalg.norm(POINTS.T[:, None] - line, axis=-1)
        place = gaps.argmin(axis=1)
        nearest = np.minimum(nearest, gaps.min(axis=1) - (first + share[place] * (last - first)))
    np.testing.assert_allclose(TUBE.distance(*POINTS), nearest, atol=0.02)


def test_a_cup_is_a_shell_that_ends_at_its_rim():
    radius, depth = np.linalg.norm(POINTS, axis=0), -POINTS[2]  # its bottom points downwards
    inside = (radius > 6) & (radius < 9) & (depth > 1.5)
    np.testing.assert_array_equal(CUP.distance(*POINTS) < 0, inside)
    assert inside.any()


def test_a_trunk_is_narrower_at_the_waist_and_flat_on_the_table():
    trunk = Trunk(half_width=180.0, depth=110.0, center=(0.0, 0.0), back=-80.0, waist=0.2)

    def is_inside(x, y, z):
        return bool(trunk.distance(*(np.array([v], np.float32) for v in (x, y, z)))[0] < 0)

    assert is_inside(0, 0, -20)
    assert is_inside(165, 0, -20)
    assert not is_inside(165, 0, 80)  # a fifth narrower
    assert is_inside(130, 0, 80)
    assert is_inside(0, 100, -20)
    assert not is_inside(0, -90, -20)  # below the table
    places = RNG.uniform(-260, 260, (3, 20_000)).astype(np.float32)
    inside = places[:, trunk.distance(*places) < 0]
    low, high = trunk.bounds()
    assert ((low < inside.T) & (high > inside.T)).all()
    assert (inside[:2].max(axis=1) > 0.7 * high[:2]).all()
    # At the widest level it is fuller than an ellipse and leaves out the corners of a box.
    assert is_inside(130, 70, -20)
    assert not is_inside(165, 95, -20)
    for x in (40.0, 150.0):
        left, right = (trunk.distance(*(np.array([v], np.float32) for v in (side, 20, 0))) for side in (-x, x))
        np.testing.assert_array_equal(left, right)


def test_a_trunk_moves_with_its_centre_and_its_table_and_is_narrowest_above_the_hips():
    places = RNG.uniform(-200, 200, (3, 500)).astype(np.float32)
    here, there = Trunk(180.0, 110.0, (0.0, 0.0), -80.0, 0.2), Trunk(180.0, 110.0, (10.0, 5.0), -75.0, 0.2)
    moved = places + np.array([[10], [5], [0]], np.float32)
    np.testing.assert_allclose(there.distance(*moved), here.distance(*places), atol=1e-2)

    def width(z):
        x = np.arange(0, 200, 0.5, dtype=np.float32)
        return float(x[here.distance(x, 20 + 0 * x, z + 0 * x) < 0].max())

    # 1 - 0.2 ((z + 20) / 100)^2, from 30 mm below z = -20 to 100 mm above it.
    full = width(-20.0)
    for z, share in ((-50.0, 1 - 0.2 * 0.09), (-150.0, 1 - 0.2 * 0.09), (30.0, 0.95), (80.0, 0.8), (180.0, 0.8)):
        assert width(z) == pytest.approx(share * full, abs=1.0)


@pytest.mark.parametrize("shape", [SPHERE, OVAL, BOX, TUBE, CUP, Union([OVAL, TUBE]), Intersection(TUBE, OVAL)])
def test_nothing_of_a_shape_lies_outside_of_its_box(shape):
    inside = shape.distance(*POINTS) < 0
    low, high = shape.bounds()
    within = ((low - 1e-4 <= POINTS.T) & (high + 1e-4 >= POINTS.T)).all(axis=1)
    assert not (inside & ~within).any()


def test_a_turned_box_touches_its_bounds():
    grid = np.stack(np.meshgrid(*[np.linspace(-13, 13, 80)] * 3, indexing="ij")).reshape(3, -1).astype(np.float32)
    for shape in (OVAL, TUBE):
        points = grid + np.asarray(shape.bounds()[0] + shape.bounds()[1], np.float32)[:, None] / 2
        inside = points[:, shape.distance(*points) < 0]
        low, high = shape.bounds()
        assert (inside.min(axis=1) >= low).all()
        # The box of an ellipsoid is that of the block around it: never too small, and not twice as large.
        assert (np.ptp(inside, axis=1) > 0.5 * (high - low)).all()


def test_unions_and_intersections_are_those_of_sets():
    one, other = (shape.distance(*POINTS) < 0 for shape in (OVAL, TUBE))
    np.testing.assert_array_equal(Union([OVAL, TUBE]).distance(*POINTS) < 0, one | other)
    np.testing.assert_array_equal(Intersection(OVAL, TUBE).distance(*POINTS) < 0, one & other)
    shrunk = Intersection(SPHERE, Ellipsoid((0, 0, 0), (50, 50, 50)), shrink=2.0)
    radius = np.linalg.norm(POINTS - np.array(SPHERE.center, np.float32)[:, None], axis=0)
    np.testing.assert_array_equal(shrunk.distance(*POINTS) < 0, radius < 5)


def test_a_union_does_not_change_what_its_parts_return():
    first = OVAL.distance(*POINTS)
    kept = first.copy()
    Union([OVAL, TUBE]).distance(*POINTS)
    np.testing.assert_array_equal(OVAL.distance(*POINTS), kept)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.floats(-50, 50), st.floats(-50, 50), st.floats(-50, 50))
def test_shapes_move_with_their_centre(x, y, z):
    moved = Ellipsoid(np.add(OVAL.center, (x, y, z)), OVAL.radii, OVAL.angles)
    shifted = POINTS + np.array([[x], [y], [z]], np.float32)
    np.testing.assert_allclose(moved.distance(*shifted), OVAL.distance(*POINTS), atol=2e-3)


def test_a_texture_repeats_with_its_lattice_is_smooth_and_is_drawn_from_its_generator():
    texture = Texture.draw(np.random.default_rng(3), 8)
    places = [np.linspace(0, 40, 500, dtype=np.float32), np.full(500, 1.5, np.float32), np.zeros(500, np.float32)]
    values = texture(places, 5.0)
    np.testing.assert_allclose(texture([places[0] + 8 * 5.0, *places[1:]], 5.0), values, atol=1e-3)
    assert np.abs(np.diff(values)).max() < 0.35 * np.ptp(values)
    np.testing.assert_array_equal(Texture.draw(np.random.default_rng(3), 8).lattice, texture.lattice)
    everywhere = np.random.default_rng(0).uniform(0, 40, (3, 20_000)).astype(np.float32)
    spread = Texture.draw(np.random.default_rng(4), 24)(list(everywhere * 3), 5.0)
    assert abs(spread.mean()) < 0.1
    assert 0.6 < spread.std() < 1.5
