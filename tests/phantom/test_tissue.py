"""The tissue cohort: maps fit pictures, diagnoses follow from the tissue, and seeds give the same files."""

import csv

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import center_of_mass, label

from sfgkeras.phantom.shapes import pixel_centres
from sfgkeras.phantom.solids import Ellipsoid
from sfgkeras.phantom.tissue import (
    DIAGNOSES,
    GLANDS,
    NUCLEUS_DISTANCES,
    NUCLEUS_RADII,
    build_sample,
    draw_nuclei,
    place_gland,
    write_tissue,
)

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


@pytest.mark.parametrize("diagnosis", range(3))
def test_there_are_as_many_glands_of_each_sort_as_the_diagnosis_allows(diagnosis):
    found = [build_sample(2, 3 * number + diagnosis).tissue for number in range(12)]
    for kind, ((fewest, below), _) in enumerate(GLANDS[DIAGNOSES[diagnosis]], 1):
        counts = [label(tissue == kind)[1] for tissue in found]
        assert max(counts) < below
        assert min(counts) >= min(fewest, 4)
        assert below - fewest == 1 or len(set(counts)) > 1


def test_a_gland_meets_no_other_and_lies_within_the_picture():
    x, y = pixel_centres(128)
    for seed in range(10):
        rng, taken = np.random.default_rng(seed), []
        while len(taken) < 6 and (gland := place_gland(rng, taken, (0.16, 0.26))) is not None:
            taken.append(gland)
        inside = np.array([each.distance(x, y, 0 * x) < 0 for each in taken])
        assert inside.sum(axis=0).max() == 1
        assert not inside[:, [0, -1]].any()
        assert not inside[..., [0, -1]].any()
        for gland in taken:
            long, short = gland.radii[:2]
            assert 0.16 <= long <= 0.26
            assert 0.75 * long <= short <= long


def test_where_there_is_no_room_no_gland_is_drawn():
    everywhere = Ellipsoid((0, 0, 0), (3.0, 3.0, 1.0))
    assert place_gland(np.random.default_rng(0), [everywhere], (0.2, 0.3)) is None
    assert place_gland(np.random.default_rng(0), [], (0.2, 0.3)) is not None


def nuclei_of(kind, seed=0, side=256):
    x, y = pixel_centres(side)
    gland = Ellipsoid((0.1, -0.1, 0), (0.5, 0.4, 1.0), (0, 0, 20))
    return draw_nuclei(np.random.default_rng(seed), kind, gland, x, y), gland.distance(x, y, 0 * x)


@pytest.mark.parametrize("kind", [0, 1])
def test_nuclei_lie_in_their_gland_and_cover_a_part_of_it(kind):
    share, distance = nuclei_of(kind)
    assert share[distance > 0.5 * NUCLEUS_RADII[kind]].max() < 0.5
    assert (share.min(), share.max()) == (0, 1)
    assert 0.05 < share[distance < 0].mean() < 0.9


def test_benign_nuclei_lie_on_a_grid_of_their_distance_and_malignant_ones_cover_more():
    benign, malignant = (nuclei_of(kind)[0] > 0.5 for kind in (0, 1))
    pieces, count = label(benign)
    inside = np.pi * (0.5 - NUCLEUS_RADII[0]) * (0.4 - NUCLEUS_RADII[0])
    assert count == pytest.approx(inside / NUCLEUS_DISTANCES[0] ** 2, rel=0.2)
    areas = np.bincount(pieces.ravel())[1:] * (2 / 256) ** 2
    np.testing.assert_allclose(areas, np.pi * NUCLEUS_RADII[0] ** 2, rtol=0.2)
    assert malignant.mean() > 2 * benign.mean()
    for axis in range(2):
        places = np.array(center_of_mass(benign, pieces, range(1, count + 1)))[:, axis] * 2 / 256
        turns = np.exp(2j * np.pi * places / NUCLEUS_DISTANCES[0])
        off = np.abs(np.angle(turns / turns.mean())) / (2 * np.pi) * NUCLEUS_DISTANCES[0]
        assert off.max() < 0.04, "each is moved by 0.02 at most"


def test_a_gland_too_small_for_a_nucleus_has_none():
    x, y = pixel_centres(64)
    tiny = Ellipsoid((0, 0, 0), (0.02, 0.02, 1.0))
    assert not draw_nuclei(np.random.default_rng(0), 0, tiny, x, y).any()
