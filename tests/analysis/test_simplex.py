"""Densities of p over the triangle: mass is where it must be."""

import itertools

import numpy as np
import pytest

from sfgkeras.analysis import simplex
from sfgkeras.analysis.simplex import (
    bin_triangles,
    nearest_bins,
    simplex_bins,
    simplex_density,
    simplex_views,
    to_plane,
)


def mass_near(density, bins, point, radius):
    """Mass of the bins within a distance, in sides of the triangle."""
    distance = np.linalg.norm(to_plane(bins) - to_plane(np.asarray(point)), axis=1)
    return density[distance <= radius].sum()


@pytest.mark.parametrize("corner", range(3))
def test_filters_of_one_group_put_their_mass_into_its_corner(corner):
    density, bins = simplex_density(np.eye(3)[[corner] * 20])
    assert density.sum() == pytest.approx(1)
    np.testing.assert_array_equal(bins[density.argmax()], np.eye(3)[corner])
    # Four standard deviations of the Gaussian, of one bin each.
    assert mass_near(density, bins, np.eye(3)[corner], 4 / simplex.NUM_BINS) > 0.99


def test_undecided_filters_put_their_mass_into_the_centre():
    density, bins = simplex_density(np.full((7, 3), 1 / 3))
    np.testing.assert_allclose(bins[density.argmax()], 1 / 3)
    assert mass_near(density, bins, [1 / 3] * 3, 4 / simplex.NUM_BINS) > 0.99


def test_mass_is_divided_as_the_filters_are():
    points = np.array([[1, 0, 0]] * 3 + [[0, 1, 0]] * 1 + [[0, 0, 1]] * 6, float)
    density, bins = simplex_density(points)
    masses = [mass_near(density, bins, corner, 0.3) for corner in np.eye(3)]
    np.testing.assert_allclose(masses, [0.3, 0.1, 0.6], atol=1e-6)


def test_the_gaussian_falls_off_as_it_should_away_from_the_sides():
    # The centre of a large triangle: neighbours on the lattice are one bin away, next ones sqrt(3), then 2.
    density, bins = simplex_density(np.full((1, 3), 1 / 3), num_bins=60, sigma=1.0)
    distance = 60 * np.linalg.norm(to_plane(bins) - to_plane(np.full(3, 1 / 3)), axis=1)
    peak = density.max()
    for steps in (1.0, np.sqrt(3), 2.0):
        ring = density[np.abs(distance - steps) < 1e-6]
        assert len(ring) == 6
        np.testing.assert_allclose(ring / peak, np.exp(-(steps**2) / 2), rtol=1e-9)


def test_random_points_fall_into_the_nearest_bin():
    rng = np.random.default_rng(0)
    for num_bins in (1, 2, 7, 30):
        points = rng.dirichlet([0.5] * 3, size=500)
        bins = simplex_bins(num_bins)
        distance = np.linalg.norm(to_plane(points)[:, None] - to_plane(bins)[None], axis=-1)
        chosen = distance[np.arange(500), nearest_bins(points, num_bins)]
        np.testing.assert_allclose(chosen, distance.min(axis=1), atol=1e-9)


@pytest.mark.parametrize("sigma", [0.0, 1.0, 5.0])
def test_no_mass_is_lost_at_the_sides(sigma):
    rng = np.random.default_rng(1)
    density, _ = simplex_density(rng.dirichlet([0.2] * 3, size=100), sigma=sigma)
    assert density.sum() == pytest.approx(1)
    assert (density >= 0).all()


def test_no_filter_has_no_mass_and_what_is_no_probability_is_refused():
    assert simplex_density(np.empty((0, 3)))[0].sum() == 0
    with pytest.raises(ValueError, match="must be probabilities"):
        simplex_density(np.array([[0.5, 0.6, 0.2]]))
    with pytest.raises(ValueError, match="num_bins = 0"):
        simplex_bins(0)


@pytest.mark.parametrize("num_bins", [1, 2, 9])
def test_the_small_triangles_tile_the_large_one(num_bins):
    corners = to_plane(simplex_bins(num_bins))[bin_triangles(num_bins)]
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    areas = np.abs(ax * by - ay * bx) / 2
    assert len(areas) == num_bins**2
    np.testing.assert_allclose(areas, np.sqrt(3) / 4 / num_bins**2)


def test_two_tasks_have_one_triangle_and_more_have_one_per_pair():
    assert simplex_views(["ct", "shared"]) == []
    (view,) = simplex_views(["ct", "organs", "shared"])
    assert view.corners == ("ct", "organs", "shared")
    views = simplex_views(["a", "b", "c", "shared"])
    assert [view.corners for view in views] == [
        (*pair, "all others") for pair in itertools.combinations("abc", 2)
    ]  # fmt: skip
    p = np.array([[0.1, 0.2, 0.3, 0.4]])
    np.testing.assert_allclose(views[1].project(p), [[0.1, 0.3, 0.6]])
    np.testing.assert_allclose(view.project(np.array([0.2, 0.3, 0.5])), [0.2, 0.3, 0.5])
