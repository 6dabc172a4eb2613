import numpy as np
import pytest

from sfgkeras.data.nifti import read_image, read_label_map
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing.foreground import (
    FOREGROUND_ALIASES,
    FOREGROUND_RULES,
    describe_rule,
    drop_specks,
    fill_holes,
    foreground_mask,
    foreground_rule,
    fuse_foregrounds,
    measured_voxels,
    measuring_mask,
    otsu_threshold,
)
from sfgkeras.preprocessing.volume import Volume


@pytest.fixture
def body():
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 44, 20)), indexing="ij")
    return x**2 + y**2 + (0.8 * z) ** 2 < 0.6


@pytest.fixture
def image(body):
    rng = np.random.default_rng(0)
    return np.where(body, rng.normal(400, 60, body.shape), np.abs(rng.normal(0, 12, body.shape)))


def brute_force_otsu(values):
    candidates = np.linspace(values.min(), values.max(), 400)[1:-1]
    between = [
        (values <= t).mean() * (values > t).mean() * (values[values <= t].mean() - values[values > t].mean()) ** 2
        for t in candidates
    ]
    return candidates[int(np.argmax(between))]


def test_otsus_threshold_separates_as_well_as_brute_force(image):
    found, best = otsu_threshold(image), brute_force_otsu(image)
    assert np.mean((image > found) != (image > best)) < 1e-3


@pytest.mark.parametrize("rule", ["otsu_plus", "mean_plus", "otsu_thresholding", "otsu", "mean"])
def test_the_body_is_found_and_the_background_is_not_swallowed(rule, image, body):
    mask = foreground_mask(image, rule)
    assert np.mean(mask[~body]) < 0.001
    assert np.mean(mask[body]) > 0.99


def test_a_threshold_finds_what_lies_on_its_side(image, body):
    assert np.mean(foreground_mask(image, "threshold_plus", threshold=100) == body) > 0.999
    negative = 1000 - image
    assert np.mean(foreground_mask(negative, "thresholding_minus", threshold=900) == body) > 0.999
    assert np.mean(foreground_mask(negative, "otsu_minus") == body) > 0.99


def test_dark_organs_inside_are_foreground_and_specks_outside_are_not(image, body):
    image[18:22, 20:24, 8:12] = 5
    image[0, 0, 0] = 900
    mask = foreground_mask(image)
    assert mask[18:22, 20:24, 8:12].all()
    assert not mask[0, 0, 0]


def test_pieces_of_a_thousandth_stay_and_smaller_ones_go_but_never_the_largest():
    mask = np.zeros((60, 60, 10), bool)
    mask[:50, :40] = True  # 20,000 voxels; a thousandth of all is 20
    mask[53, 50, :], mask[53, 51, :] = True, True  # 20, less than a thousandth of 20,075
    mask[57, 50:55, :5] = True  # 25
    mask[59, 59, :] = True  # 10
    mask[52, 57, :] = mask[52, 58, :] = True  # 20
    kept = drop_specks(mask)
    assert kept.sum() == 20_000 + 25
    assert kept[:50, :40].all()
    assert kept[57, 50:55, :5].all()
    alone = np.zeros((9, 9, 9), bool)
    alone[2, 2, 2] = alone[5, 5, 5] = True
    assert drop_specks(alone, smallest_share=0.9).any()


def test_a_few_very_bright_vessels_do_not_shift_the_threshold(image, body):
    image[20, 20, 5:10] = 50_000
    assert np.mean(foreground_mask(image) == body) > 0.99


def test_holes_in_a_single_slice_are_filled():
    ring = np.zeros((9, 9, 1), dtype=bool)
    ring[2:7, 2:7] = True
    ring[4, 4] = False
    assert fill_holes(ring)[4, 4, 0]
    assert fill_holes(ring).sum() == 25
    assert not fill_holes(np.zeros((3, 3, 3), bool)).any()


def test_modalities_are_joined_as_asked():
    one, two = np.zeros((2, 4, 1, 1), dtype=bool)
    one[:3] = True
    two[2:] = True
    assert fuse_foregrounds([one, two], "or").sum(axis=(0, 1, 2)).tolist() == [4, 4]
    assert fuse_foregrounds([one, two], "and").sum(axis=(0, 1, 2)).tolist() == [1, 1]
    assert fuse_foregrounds([one, two], "all").sum(axis=(0, 1, 2)).tolist() == [3, 2]
    with pytest.raises(DataError, match="no voxel is foreground in all 2"):
        fuse_foregrounds([one, ~one], "and")
    with pytest.raises(ConfigError, match="multimod_foreground_type 'xor'"):
        fuse_foregrounds([one, two], "xor")


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((4, 4, 4)), "no foreground: every voxel is 0"),
        (np.full((4, 4, 4), np.nan), "not finite"),
    ],
)
def test_images_without_foreground_are_refused(image, reason):
    with pytest.raises(DataError, match=reason):
        foreground_mask(image)


def test_a_threshold_above_everything_and_an_unknown_rule_are_refused(image):
    with pytest.raises(DataError, match=r"finds no voxel in an image of values"):
        foreground_mask(image, "threshold_plus", threshold=1e9)
    with pytest.raises(ConfigError, match="did you mean 'otsu_plus'"):
        foreground_rule("otsu_pluss")


@pytest.mark.real_data
@pytest.mark.parametrize("subject", [1, 4, 9])
def test_real_brains_are_covered_and_the_air_around_them_is_not(real_data, subject):
    folder = real_data / "mr_brain_multi"
    image = read_image(folder / f"ilist{subject}_T1.nii.gz").array
    brain = read_label_map(folder / f"slist{subject}_tissue.nii.gz").array
    mask = foreground_mask(image, "otsu_plus")
    assert mask[brain == 3].mean() > 0.99
    assert mask[image < 0.02 * image.max()].mean() < 0.1


def test_rounding_noise_on_a_constant_image_is_no_foreground():
    image = np.full((8, 8, 8), 1000.0, np.float32)
    image[0, 0, 0] = np.nextafter(np.float32(1000.0), np.float32(2000.0))
    with pytest.raises(DataError, match="no foreground"):
        otsu_threshold(image)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("threshold_plus", lambda image: image > 30),
        ("threshold_minus", lambda image: image < 30),
        ("mean_plus", lambda image: image > image.mean()),
        ("otsu_plus", lambda image: image > otsu_threshold(image)),
        ("otsu_minus", lambda image: image < otsu_threshold(image)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8])
def test_a_rule_is_its_inequality_without_specks_and_with_holes_filled(rule, expected, dtype):
    """On a ramp there are neither."""
    ramp = np.broadcast_to(np.arange(60)[:, None, None], (60, 7, 5)).astype(dtype)
    np.testing.assert_array_equal(foreground_mask(ramp, rule, threshold=30), expected(ramp))


def test_every_rule_and_alias_is_known_in_any_spelling():
    assert set(FOREGROUND_ALIASES.values()) <= set(FOREGROUND_RULES)
    assert not set(FOREGROUND_ALIASES) & set(FOREGROUND_RULES)
    for name, rule in [*FOREGROUND_ALIASES.items(), *((rule, rule) for rule in FOREGROUND_RULES)]:
        assert foreground_rule(f" {name.upper()} ") == rule


def test_a_rule_is_told_with_its_threshold_where_that_counts():
    told = {rule: describe_rule(rule, 12.5) for rule in FOREGROUND_RULES}
    assert told == {
        "otsu_plus": "otsu_plus", "otsu_minus": "otsu_minus", "mean_plus": "mean_plus",
        "threshold_plus": "threshold_plus 12.5", "threshold_minus": "threshold_minus 12.5",
    }  # fmt: skip


def test_what_several_images_have_found_goes_before_the_rule_and_all_is_every_voxel():
    array = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    found = array > 5
    assert measuring_mask(array, "all") is None
    np.testing.assert_array_equal(measuring_mask(array, "threshold_plus", 20.0), array > 20)
    assert measured_voxels(Volume(array, np.eye(4), foreground=found), "all") is found
    assert measured_voxels(Volume(array, np.eye(4)), "all") is None
    np.testing.assert_array_equal(measured_voxels(Volume(array, np.eye(4)), "threshold_plus", 20.0), array > 20)


def test_otsus_threshold_lies_in_the_middle_of_a_gap_and_follows_gain_and_offset():
    values = np.array([0.0] * 300 + [1.0] * 100 + [9.0] * 100 + [10.0] * 300)
    assert otsu_threshold(values) == pytest.approx(5, abs=0.05)
    assert otsu_threshold(7 * values - 100) == pytest.approx(7 * otsu_threshold(values) - 100, abs=1e-3)


def test_foregrounds_of_different_grids_have_nothing_in_common():
    with pytest.raises(DataError, match=r"modalities of different shapes \[\(2, 2, 2\), \(3, 2, 2\)\].*resample them"):
        fuse_foregrounds([np.ones((3, 2, 2), bool), np.ones((2, 2, 2), bool)])
    assert fuse_foregrounds([np.ones((2, 2, 2), bool)]).shape == (2, 2, 2, 1)


def test_holes_open_to_any_side_are_none_and_enclosed_ones_are():
    shell = np.ones((5, 5, 5), bool)
    shell[2, 2, 2] = False
    assert fill_holes(shell).all()
    for axis in range(3):
        for end in (slice(0, 2), slice(3, 5)):
            tunnel = shell.copy()
            place = [2, 2, 2]
            place[axis] = end
            tunnel[tuple(place)] = False
            np.testing.assert_array_equal(fill_holes(tunnel), tunnel)
    full = np.ones((3, 3, 3), bool)
    assert fill_holes(full) is full
    assert drop_specks(full) is full
