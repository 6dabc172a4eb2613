"""Ultrasound of lesions: signs that the table names, in pictures in which brightness alone finds no lesion."""

import csv

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter, label

from sfgkeras.data.subjects import read_split
from sfgkeras.errors import DataError
from sfgkeras.phantom.lesions import build_lesion, write_lesions


@pytest.fixture(scope="module")
def lesions():
    return [build_lesion(3, subject) for subject in range(80)]


def test_every_picture_has_one_lesion_that_is_brighter_or_darker_than_what_is_around_it(lesions):
    signs = []
    for lesion in lesions:
        assert lesion.image.shape == lesion.mask.shape == (64, 64)
        mask = lesion.mask == 1
        assert label(binary_dilation(mask))[1] == 1
        assert 0.05 < mask.mean() < 0.3
        around = binary_dilation(mask, iterations=5) & ~binary_dilation(mask, iterations=2)
        signs.append((lesion.image[mask].mean() > np.median(lesion.image[around])) == (lesion.echo == 1))
    assert np.mean(signs) > 0.95
    assert {(lesion.echo, lesion.margin) for lesion in lesions} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_spiked_margins_are_longer_for_their_area(lesions):
    """The square of the number of pixels of the margin, by those within: of a disc it is the smallest."""
    compactness = {0: [], 1: []}
    for lesion in lesions:
        mask = lesion.mask == 1
        compactness[lesion.margin].append((mask & ~binary_erosion(mask)).sum() ** 2 / mask.sum())
    assert np.quantile(compactness[0], 0.95) < np.quantile(compactness[1], 0.1)


def test_brightness_alone_finds_no_lesion(lesions):
    images = np.stack([lesion.image for lesion in lesions]).astype(float)
    masks = np.stack([lesion.mask for lesion in lesions]) == 1
    for echo, sign in ((0, -1), (1, 1)):
        wanted = np.array([lesion.echo == echo for lesion in lesions])
        dice = []
        for threshold in range(10, 250, 10):
            found = sign * images[wanted] > sign * threshold
            dice.append(2 * (found & masks[wanted]).sum() / (found.sum() + masks[wanted].sum()))
        assert max(dice) < 0.75


def test_files_hold_what_is_drawn_and_the_same_again_for_the_same_seed(tmp_path):
    write_lesions(tmp_path, 4, seed=3)
    rows = list(csv.DictReader((tmp_path / "subjects.csv").read_text().splitlines()))
    for number, row in enumerate(rows):
        drawn = build_lesion(3, number)
        assert row == {"subject_id": f"lesion_{number:04d}", "echo": str(drawn.echo), "margin": str(drawn.margin)}
        for kind, array in (("images", drawn.image), ("masks", drawn.mask)):
            np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / kind / f"{row['subject_id']}.png")), array)
    assert sum(map(len, read_split(tmp_path / "split.csv").values())) == 4
    with pytest.raises(DataError):
        write_lesions(tmp_path, 4, seed=3)
    assert build_lesion(3, 0, "full").image.shape == (256, 256)
    with pytest.raises(ValueError, match="size = 'huge' is not one of"):
        build_lesion(3, 0, "huge")


def test_tissue_is_brighter_with_depth_and_has_bright_layers_and_dark_shadows(lesions):
    """In the mean over all pictures rows grow from above to below; in each some places stand out both ways."""
    images = np.stack([lesion.image for lesion in lesions]).astype(float)
    rows = images.mean(axis=(0, 2))
    assert rows[:16].mean() < 0.85 * rows[-16:].mean()
    bright, dark = [], []
    for lesion in lesions:
        smooth = gaussian_filter(lesion.image.astype(float), 2)[binary_dilation(lesion.mask, iterations=4) == 0]
        bright.append(np.quantile(smooth, 0.99) / np.median(smooth))
        dark.append(np.quantile(smooth, 0.01) / np.median(smooth))
    assert np.median(bright) > 1.33
    assert np.median(dark) < 0.6


def test_speckle_varies_by_what_a_rayleigh_magnitude_does(lesions):
    """Its spread is 0.52 of its mean, of which 0.35 are added to 0.65: 18 % of the brightness, pixel by pixel."""
    spreads = []
    for lesion in lesions:
        image = lesion.image[8:56, 8:56].astype(float)
        difference = (image[:, 1:] - image[:, :-1]) / (image[:, 1:] + image[:, :-1] + 1)
        spreads.append(np.median(np.abs(difference)) / 0.6745 * np.sqrt(2))
    assert np.median(spreads) == pytest.approx(0.18, abs=0.05)


def test_a_lesion_is_stretched_by_a_quarter_at_most_in_any_direction(lesions):
    ratios = []
    for lesion in lesions:
        if not lesion.margin:
            spread = np.linalg.eigvalsh(np.cov(np.argwhere(lesion.mask).T))
            ratios.append(np.sqrt(spread[1] / spread[0]))
    assert 1.03 < np.median(ratios) < 1.25
    assert max(ratios) < 1.42
    assert np.quantile(ratios, 0.75) > 1.12, "some are far from round"
