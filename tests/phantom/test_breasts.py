"""The lesions: what the table says of them is what the pictures show."""

import csv

import numpy as np
import pytest
from scipy.ndimage import label

from sfgkeras.data.nifti import read_image
from sfgkeras.phantom.breasts import QUESTIONS, SIDES, build_breasts, draw_answers, lesion_outline, write_breasts


@pytest.fixture(scope="module")
def subjects():
    return [build_breasts(3, number, "full") for number in range(80)]


def told(subjects, question):
    """Returns the subjects of which the answer is no, and those of which it is yes."""
    return [[each for each in subjects if each.answers[question] == answer] for answer in (0, 1)]


def test_malignant_is_what_is_irregular_and_enhances_at_its_rim(subjects):
    for each in subjects:
        assert each.answers["malignant"] == each.answers["irregular"] * each.answers["rim"]
    for question in QUESTIONS:
        assert 0.3 < np.mean([each.answers[question] for each in subjects]) < 0.8


def test_answers_are_what_the_lesion_is(subjects):
    size = [each.lesion.sum() for each in subjects]
    for question, measure in (
        ("large", lambda each: each.lesion.sum()),
        ("left", lambda each: -np.argwhere(each.lesion)[:, 0].mean()),
        ("long", lambda each: elongation(each.lesion)),
        ("irregular", lambda each: outline(each.lesion)),
    ):
        no, yes = ([measure(each) for each in some] for some in told(subjects, question))
        assert np.median(yes) > np.quantile(no, 0.9), question
    assert min(size) > 100


def elongation(mask):
    spread = np.linalg.eigvalsh(np.cov(np.argwhere(mask).T))
    return spread[1] / spread[0]


def outline(mask):
    """Border voxels against those of a disc of the same size."""
    inner = mask & np.roll(mask, 1, 0) & np.roll(mask, -1, 0) & np.roll(mask, 1, 1) & np.roll(mask, -1, 1)
    return (mask & ~inner).sum() / np.sqrt(mask.sum())


def test_a_rim_is_brighter_than_the_middle(subjects):
    def contrast(each):
        distance = np.hypot(*(np.indices(each.lesion.shape) - np.argwhere(each.lesion).mean(0)[:, None, None]))
        near = each.lesion & (distance < 0.3 * distance[each.lesion].max())
        return each.image[each.lesion & ~near].mean() - each.image[near].mean()

    no, yes = ([contrast(each) for each in some] for some in told(subjects, "rim"))
    assert np.median(yes) > np.quantile(no, 0.9)


def test_there_is_one_lesion_each_in_a_breast(subjects):
    for each in subjects:
        assert label(each.lesion)[1] == 1


def test_files_hold_the_subjects_and_their_answers(tmp_path):
    write_breasts(tmp_path, 3, seed=5)
    rows = list(csv.DictReader((tmp_path / "subjects.csv").open()))
    for number, row in enumerate(rows):
        each = build_breasts(5, number)
        assert row.pop("subject_id") == f"breasts_{number:04d}"
        assert {name: int(answer) for name, answer in row.items()} == each.answers
        found = read_image(tmp_path / "images" / f"breasts_{number:04d}.nii.gz").array[..., 0]
        np.testing.assert_array_equal(found, each.image)
    assert not np.array_equal(build_breasts(5, 0).image, build_breasts(6, 0).image)


def test_half_are_malignant_and_the_benign_ones_are_of_three_sorts_in_equal_parts():
    rng = np.random.default_rng(0)
    drawn = [draw_answers(rng) for _ in range(3000)]
    assert list(drawn[0]) == list(QUESTIONS)
    assert np.mean([each["malignant"] for each in drawn]) == pytest.approx(0.5, abs=0.03)
    benign = [(each["irregular"], each["rim"]) for each in drawn if not each["malignant"]]
    for sort in ((1, 0), (0, 1), (0, 0)):
        assert benign.count(sort) / len(benign) == pytest.approx(1 / 3, abs=0.04)
    assert (1, 1) not in benign
    others = np.array([[each[name] for name in ("malignant", "large", "long", "bright", "left")] for each in drawn])
    off = np.corrcoef(others.T) - np.eye(5)
    assert np.abs(off).max() < 0.06, "the other answers say nothing of each other"


def outline_of(seed=0, side=600, **answers):
    steps = (2 * np.arange(side) + 1) / side - 1
    x, y = np.meshgrid(steps, steps, indexing="ij")
    drawn = dict.fromkeys(QUESTIONS, 0) | answers
    return lesion_outline(np.random.default_rng(seed), drawn, x, y), x, y


@pytest.mark.parametrize(("large", "radii"), [(0, (0.15, 0.18)), (1, (0.24, 0.28))])
@pytest.mark.parametrize("long", [0, 1])
@pytest.mark.parametrize("irregular", [0, 1])
def test_the_area_of_a_lesion_is_that_of_a_disc_of_its_radius(large, radii, long, irregular):
    """A stretch by s one way and 1 / s the other keeps the area; spikes of depth d add a share of d^2 / 2."""
    for seed in range(6):
        found, _, _ = outline_of(seed, large=large, long=long, irregular=irregular)
        area = (found < 1).mean() * 4
        depths = (0.26, 0.34) if irregular else (0.03, 0.03)
        low, high = (np.pi * radius**2 * (1 + depth**2 / 2) for radius, depth in zip(radii, depths, strict=True))
        assert 0.97 * low <= area <= 1.03 * high


def test_a_long_lesion_has_the_axes_of_its_stretch():
    """Axes r s and r / s: their ratio is s^2, 1.8 to 2.25 of a long one, 1 to 1.21 of a round one."""
    for long, ratios in ((0, (1.0, 1.21)), (1, (1.35**2, 1.5**2))):
        for seed in range(8):
            found, x, y = outline_of(seed, long=long, large=1)
            spread = np.linalg.eigvalsh(np.cov([x[found < 1], y[found < 1]]))
            assert 0.93 * ratios[0] <= np.sqrt(spread[1] / spread[0]) <= 1.07 * ratios[1]


def test_an_outline_is_zero_in_the_middle_and_grows_in_proportion_outwards():
    found, x, y = outline_of(3, irregular=1, long=1)
    place = np.unravel_index(found.argmin(), found.shape)
    assert np.hypot(x[place], y[place]) < 0.005
    for angle in np.linspace(0, 6, 7):
        far, near = (
            lesion_outline(
                np.random.default_rng(3),
                dict.fromkeys(QUESTIONS, 0) | {"irregular": 1, "long": 1},
                np.array([reach * np.cos(angle)]),
                np.array([reach * np.sin(angle)]),
            )
            for reach in (0.4, 0.1)
        )
        np.testing.assert_allclose(far, 4 * near)


def test_images_have_the_size_of_the_field_whatever_their_pixels(tmp_path):
    for size, spacing in (("small", 4.0), ("full", 1.0)):
        write_breasts(tmp_path / size, 1, size)
        found = read_image(tmp_path / size / "images" / "breasts_0000.nii.gz")
        np.testing.assert_allclose(np.diag(found.affine), [spacing, spacing, 1, 1])
        assert found.array.shape == (SIDES[size], SIDES[size], 1)


def test_a_lesion_lies_in_its_breast_and_is_brighter_than_it(subjects):
    for each in subjects:
        middle = np.argwhere(each.lesion).mean(axis=0)[0]
        assert (middle < 96) == bool(each.answers["left"])
        other = np.flip(each.lesion, 0)
        assert each.image[each.lesion].mean() > each.image[other].mean() + 10
    height = {bright: [] for bright in (0, 1)}
    for each in subjects:
        if not each.answers["rim"]:
            rise = each.image[each.lesion].mean() - each.image[np.flip(each.lesion, 0)].mean()
            height[each.answers["bright"]].append(rise)
    # 0.85 of 38 and of 70.
    assert np.median(height[0]) == pytest.approx(32.3, abs=5)
    assert np.median(height[1]) == pytest.approx(59.5, abs=5)
