"""The fundus: lesions that colour alone does not tell, masks that fit the picture, the same for the same seed."""

import csv

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, label

from sfgkeras.data.subjects import read_split
from sfgkeras.errors import DataError
from sfgkeras.phantom.fundus import (
    DISC_RADIUS,
    FUNDUS_RADIUS,
    LESIONS,
    NONE,
    build_fundus,
    draw_lesions,
    draw_vessels,
    write_fundus,
)
from sfgkeras.phantom.shapes import pixel_centres

SEED = 5


@pytest.fixture(scope="module")
def fundi():
    return [build_fundus(SEED, subject) for subject in range(60)]


def test_lesions_lie_on_the_fundus_and_no_pixel_is_of_both_types(fundi):
    for fundus in fundi:
        red, bright = fundus.masks
        assert not (red & bright).any()
        lit = fundus.image.sum(axis=-1) > 60
        assert lit[(red | bright) == 1].all()
        assert (red | bright).mean() < 0.15


def test_some_subjects_have_no_lesion_of_a_type_and_the_others_have_several(fundi):
    for number in range(len(LESIONS)):
        counts = [label(fundus.masks[number])[1] for fundus in fundi]
        assert abs(np.mean(np.equal(counts, 0)) - NONE) < 0.15
        assert np.median([count for count in counts if count]) >= 2


def test_red_lesions_are_darker_and_bright_ones_brighter_than_what_is_around_them(fundi):
    for number, sign in ((0, -1), (1, 1)):
        for fundus in fundi:
            mask = fundus.masks[number].astype(bool)
            if mask.sum() > 20:
                near = binary_dilation(mask, iterations=4) & ~binary_dilation(fundus.masks.any(axis=0), iterations=2)
                green = fundus.image[..., 1].astype(float)
                assert sign * (green[mask].mean() - np.median(green[near])) > 10


def test_colour_alone_does_not_tell_the_lesions(fundi):
    """The best threshold of the green channel over all subjects finds vessels and the optic disc, too."""
    green = np.stack([fundus.image[..., 1] for fundus in fundi]).astype(float)
    lit = np.stack([fundus.image.sum(axis=-1) > 60 for fundus in fundi])
    for number, sign in ((0, -1), (1, 1)):
        mask = np.stack([fundus.masks[number] for fundus in fundi]) == 1
        dice = []
        for threshold in range(10, 255, 5):
            found = lit & (sign * green > sign * threshold)
            dice.append(2 * (found & mask).sum() / (found.sum() + mask.sum()))
        assert max(dice) < 0.75


def test_files_hold_what_is_drawn_and_are_never_replaced_unasked(tmp_path):
    written = write_fundus(tmp_path, 8, seed=SEED)
    assert len(written) == 3 * 8 + 2
    fundus = build_fundus(SEED, 3)
    for kind, array in zip(("images", *LESIONS), (fundus.image, *fundus.masks), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / kind / "fundus_0003.png")), array)
    rows = list(csv.DictReader((tmp_path / "subjects.csv").open()))
    drawn = [build_fundus(SEED, number).masks for number in range(8)]
    assert [[int(row[kind]) for kind in LESIONS] for row in rows] == [
        [int(mask.any()) for mask in masks] for masks in drawn
    ]  # fmt: skip
    assert len(read_split(tmp_path / "split.csv")["inference"]) == 1
    with pytest.raises(DataError, match="exists already"):
        write_fundus(tmp_path, 8, seed=SEED)
    with pytest.raises(ValueError, match="size = 'tiny' is not one of full, small"):
        build_fundus(0, 0, "tiny")


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_vessels_leave_the_optic_disc_become_thinner_and_bend_to_the_other_side(side):
    disc, ends = np.array([0.5 * side, 0.1, 0.0]), []
    for seed in range(20):
        vessels = draw_vessels(np.random.default_rng(seed), disc).shapes
        assert len(vessels) == 6
        for vessel in vessels:
            points = np.array(vessel.points)
            np.testing.assert_array_equal(points[0], disc)
            np.testing.assert_allclose(np.linalg.norm(np.diff(points, axis=0), axis=1), 0.28)
            assert (np.diff(vessel.radii) < 0).all()
            steps = np.diff(points[:, :2], axis=0) @ (1, 1j)
            goal = np.array([-side, 0.0]) @ (1, 1j) - points[:-1, :2] @ (1, 1j)
            ends.append(np.abs(np.angle(steps / goal))[[0, -1]])
    first, last = np.mean(ends, axis=0)
    assert last < first - 0.3, "they turn towards it"


def test_lesions_keep_away_from_the_optic_disc_and_from_the_rim():
    counts = set()
    for seed in range(60):
        disc = np.array([-0.5, 0.0, 0.0])
        lesions = draw_lesions(np.random.default_rng(seed), disc).shapes
        counts.add(len(lesions))
        for lesion in lesions:
            assert np.linalg.norm(lesion.center - disc) > 0.35
            assert np.linalg.norm(lesion.center) <= 0.75
            assert (np.array(lesion.radii[:2]) >= 0.07).all()
            assert (np.array(lesion.radii[:2]) <= 0.14).all()
    assert min(counts) >= 2
    assert max(counts) <= 5


def test_the_fundus_is_a_disc_on_black_and_no_lesion_lies_on_the_optic_disc(fundi):
    x, y = pixel_centres(64)
    radius = np.hypot(x, y)
    for fundus in fundi:
        assert not fundus.image[radius > FUNDUS_RADIUS + 0.04].any()
        assert fundus.image[radius < FUNDUS_RADIUS - 0.04].max(axis=-1).min() > 10
        # Without bright lesions the brightest place of some size is the optic disc, to one side of the middle.
        if not fundus.masks[1].any():
            green = fundus.image[..., 1].astype(float)
            brightest = green >= np.sort(green.ravel())[-60]
            middle = np.array([x[brightest].mean(), y[brightest].mean()])
            assert 0.35 < abs(middle[0]) < 0.62
            assert abs(middle[1]) < 0.22
            near = np.hypot(x - middle[0], y - middle[1]) < DISC_RADIUS
            assert not fundus.masks[0][near].any()


def test_light_falls_towards_the_rim(fundi):
    x, y = pixel_centres(64)
    radius = np.hypot(x, y)
    red = np.mean([fundus.image[..., 0] for fundus in fundi], axis=0)
    assert red[radius < 0.3].mean() > 1.08 * red[(radius > 0.8) & (radius < 0.9)].mean()
