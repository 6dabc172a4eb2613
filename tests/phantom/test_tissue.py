"""The tissue cohort: maps fit pictures, diagnoses follow from the tissue, and seeds give the same files."""

import csv

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label

from sfgkeras.phantom.tissue import DIAGNOSES, build_sample, write_tissue

SEED = 5


@pytest.fixture(scope="module")
def samples():
    return [build_sample(SEED, subject) for subject in range(18)]


def test_diagnoses_take_turns_and_follow_from_the_tissue(samples):
    assert [sample.diagnosis for sample in samples] == [0, 1, 2] * 6
    for sample in samples:
        assert (2 in sample.tissue) == (DIAGNOSES[sample.diagnosis] != "benign")
    nests = [label(sample.tissue == 2)[1] for sample in samples]
    assert max(nests[1::3]) < min(nests[2::3])


def test_malignant_epithelium_is_darker_than_benign_and_both_are_darker_than_stroma(samples):
    grey = [sample.image.mean(axis=-1) for sample in samples]
    means = [
        np.concatenate([each[sample.tissue == kind] for each, sample in zip(grey, samples, strict=True)]).mean()
        for kind in range(3)
    ]
    assert means[0] > means[1] + 15 > means[2] + 30


def test_files_hold_what_was_drawn_and_are_the_same_for_the_same_seed(tmp_path):
    files = write_tissue(tmp_path / "a", 6, seed=SEED)
    again = write_tissue(tmp_path / "b", 3, seed=SEED)
    assert again[1].read_bytes() == files[1].read_bytes()
    np.testing.assert_array_equal(np.asarray(Image.open(files[1])), build_sample(SEED, 0).tissue)
    rows = list(csv.DictReader((tmp_path / "a" / "subjects.csv").open()))
    assert [row["diagnosis"] for row in rows] == ["0", "1", "2"] * 2


def test_a_size_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="size = 'huge' is not one of full, small"):
        build_sample(0, 0, "huge")
