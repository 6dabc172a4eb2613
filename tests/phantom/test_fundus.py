"""The fundus: lesions that colour alone does not tell, masks that fit the picture, the same for the same seed."""

import csv

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, label

from sfgkeras.data.subjects import read_split
from sfgkeras.errors import DataError
from sfgkeras.phantom.fundus import LESIONS, NONE, build_fundus, write_fundus

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
