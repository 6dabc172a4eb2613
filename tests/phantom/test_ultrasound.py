"""The ultrasound cohort: its landmarks lie on what is drawn, its speckle is Rayleigh, and seeds give the same files."""

import csv

import nibabel
import numpy as np
import pytest

from sfgkeras.data.subjects import read_split
from sfgkeras.phantom.ultrasound import (
    DYNAMIC_RANGE,
    FIELD,
    HALF_AXES,
    LANDMARKS,
    MARGIN,
    SIDES,
    TILT,
    VIEWS,
    build_scan,
    compress,
    speckle,
    write_ultrasound,
)

SEED = 3


@pytest.fixture(scope="module")
def scans():
    return [build_scan(SEED, subject) for subject in range(24)]


def brightness(scan, points):
    """The mean of the image around points in mm."""
    found = []
    for x, y in points:
        column, row = int(x / scan.spacing), int(y / scan.spacing)
        found.append(scan.image[max(column - 1, 0) : column + 2, max(row - 1, 0) : row + 2].mean())
    return np.array(found)


def test_views_take_turns_and_each_has_its_landmarks(scans):
    assert [scan.view for scan in scans] == [0, 1, 2, 3] * 6
    for scan in scans:
        assert scan.image.shape == (64, 64)
        assert FIELD[0] <= 64 * scan.spacing <= FIELD[1]
        assert scan.landmarks.shape == (len(LANDMARKS[VIEWS[scan.view]]), 2)
        assert (scan.landmarks > 0).all()
        assert (scan.landmarks < 64 * scan.spacing).all()


def test_axes_are_named_by_their_direction_and_meet_at_right_angles_in_the_middle(scans):
    for scan in scans:
        ends = scan.landmarks
        if len(ends):
            assert ends[0, 0] < ends[1, 0]
        if len(ends) == 4:
            assert ends[2, 1] < ends[3, 1]
            long, short = ends[1] - ends[0], ends[3] - ends[2]
            assert abs(long @ short) < 1e-6 * np.linalg.norm(long) * np.linalg.norm(short)
            assert np.linalg.norm(long) > 1.2 * np.linalg.norm(short)
            np.testing.assert_allclose(ends[:2].mean(axis=0), ends[2:].mean(axis=0))


def test_the_ends_of_axes_lie_on_the_border_of_the_organ(scans):
    """On the bright capsule; a little further inwards a kidney is dark, and its middle is bright."""
    kidneys = [scan for scan in scans if VIEWS[scan.view].startswith("kidney")]
    middles = [scan.landmarks[:2].mean(axis=0) for scan in kidneys]
    on = np.mean([brightness(scan, scan.landmarks).mean() for scan in kidneys])
    inwards = [scan.landmarks + 0.22 * (middle - scan.landmarks) for scan, middle in zip(kidneys, middles, strict=True)]
    inner = np.mean([brightness(scan, points).mean() for scan, points in zip(kidneys, inwards, strict=True)])
    centre = np.mean([brightness(scan, [middle])[0] for scan, middle in zip(kidneys, middles, strict=True)])
    outwards = [
        scan.landmarks - 0.12 * (middle - scan.landmarks) for scan, middle in zip(kidneys, middles, strict=True)
    ]
    outer = np.mean([brightness(scan, points).mean() for scan, points in zip(kidneys, outwards, strict=True)])
    assert on > inner + 20
    assert on > outer + 20
    assert centre > inner + 20


def test_speckle_is_rayleigh_distributed():
    drawn = speckle(np.random.default_rng(0), (400, 400))
    assert np.mean(drawn**2) == pytest.approx(1.0)
    assert drawn.mean() == pytest.approx(np.sqrt(np.pi) / 2, rel=0.01)
    # P(magnitude < r) = 1 - exp(-r^2)
    assert np.mean(drawn < 0.5) == pytest.approx(1 - np.exp(-0.25), rel=0.03)


def test_brightness_is_a_logarithm_between_black_and_white():
    np.testing.assert_allclose(compress(np.array([1.0, 10 ** (-22.5 / 20), 0.0, 5.0])), [1.0, 0.5, 0.0, 1.0])


def test_a_size_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="size = 'huge' is not one of full, small"):
        build_scan(0, 0, "huge")
    assert build_scan(0, 0, "full").image.shape == (SIDES["full"],) * 2


def test_files_hold_what_was_drawn_and_are_the_same_for_the_same_seed(tmp_path):
    files = write_ultrasound(tmp_path / "a", 8, seed=SEED)
    again = write_ultrasound(tmp_path / "b", 4, seed=SEED)
    assert again[0].read_bytes() == files[0].read_bytes()
    image = nibabel.load(tmp_path / "a" / "images" / "scan_0001.nii.gz")
    scan = build_scan(SEED, 1)
    np.testing.assert_array_equal(np.asarray(image.dataobj)[..., 0], scan.image)
    np.testing.assert_allclose(image.header.get_zooms()[:2], scan.spacing, rtol=1e-6)
    rows = list(csv.DictReader((tmp_path / "a" / "subjects.csv").open()))
    assert [int(row["view"]) for row in rows] == [0, 1, 2, 3] * 2
    assert float(rows[1]["kidney_trans_short_2_y"]) == pytest.approx(scan.landmarks[3, 1], abs=1e-3)
    assert rows[1]["kidney_long_1_x"] == rows[3]["spleen_long_2_y"] == ""
    assert {len(subjects) for subjects in read_split(tmp_path / "a" / "split.csv").values()} == {6, 1}


def test_axes_have_the_lengths_and_the_tilt_of_their_organs_and_lie_within_the_image(scans):
    for scan in scans:
        if VIEWS[scan.view] == "other":
            assert scan.names == ()
            continue
        (shortest, longest), (least, most) = HALF_AXES[VIEWS[scan.view]]
        along = scan.landmarks[1] - scan.landmarks[0]
        half = np.linalg.norm(along) / 2
        assert shortest <= half <= longest
        assert abs(np.degrees(np.arctan2(along[1], along[0]))) <= TILT
        if len(scan.landmarks) == 4:
            assert least <= np.linalg.norm(scan.landmarks[3] - scan.landmarks[2]) / 2 / half <= most
        side = len(scan.image) * scan.spacing
        assert (scan.landmarks >= MARGIN - 1e-9).all()
        assert (scan.landmarks <= side - MARGIN + 1e-9).all()
        assert scan.names == LANDMARKS[VIEWS[scan.view]]


def test_nothing_is_seen_outside_of_the_sector_of_the_probe(scans):
    """Its apex lies half a side above the image, and it is 84 degrees wide."""
    for scan in scans:
        side = len(scan.image)
        places = (np.arange(side) + 0.5) / side
        x, y = np.meshgrid(places, places, indexing="ij")
        angle = np.degrees(np.arctan2(np.abs(x - 0.5), 1.5 - y))
        assert not scan.image[angle > 42.01].any()
        assert (scan.image[angle < 41.99] > 0).mean() > 0.95
    assert (angle > 42.01).any()


def test_a_decibel_is_the_same_step_of_grey_everywhere():
    levels = np.arange(0, DYNAMIC_RANGE + 1)
    np.testing.assert_allclose(compress(10 ** (-levels / 20)), 1 - levels / DYNAMIC_RANGE, atol=1e-12)
    np.testing.assert_array_equal(compress(np.array([1e-9, -1.0, 1.5, 100.0])), [0, 0, 1, 1])


def test_speckle_is_wider_across_the_beam_than_along_it():
    """Neighbours to the side, the first axis, are more alike than those in depth."""
    drawn = speckle(np.random.default_rng(1), (300, 300))
    across = np.corrcoef(drawn[1:].ravel(), drawn[:-1].ravel())[0, 1]
    along = np.corrcoef(drawn[:, 1:].ravel(), drawn[:, :-1].ravel())[0, 1]
    assert across > along + 0.1 > 0.1
    assert abs(np.corrcoef(drawn[8:].ravel(), drawn[:-8].ravel())[0, 1]) < 0.03


def test_a_spleen_is_brighter_than_its_surroundings_and_a_kidney_has_a_bright_middle(scans):
    def ring(scan, low, high):
        """The median within an ellipse ring of the organ, from `low` to `high` of its axes."""
        steps = (np.arange(len(scan.image)) + 0.5) * scan.spacing
        place = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1) - scan.landmarks[:2].mean(axis=0)
        along = (scan.landmarks[1] - scan.landmarks[0]) / 2
        long = np.linalg.norm(along)
        ratio = np.mean(HALF_AXES[VIEWS[scan.view]][1])
        radius = np.hypot(place @ along / long**2, place @ [-along[1], along[0]] / long**2 / ratio)
        return np.median(scan.image[(radius >= low) & (radius < high)])

    for scan in scans:
        name = VIEWS[scan.view]
        if name == "spleen_long":
            assert ring(scan, 0, 0.7) > ring(scan, 1.4, 1.8) + 20
            assert abs(ring(scan, 0, 0.35) - ring(scan, 0.5, 0.8)) < 25, "it is even"
        elif name == "kidney_long":
            assert ring(scan, 0, 0.3) > ring(scan, 0.7, 0.85) + 40
