"""The lesions: what the table says of them is what the pictures show."""

import csv

import numpy as np
import pytest
from scipy.ndimage import label

from sfgkeras.data.nifti import read_image
from sfgkeras.phantom.breasts import QUESTIONS, build_breasts, write_breasts


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
