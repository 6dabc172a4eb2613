import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfgkeras.data.nifti import read_image, read_label_map
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing.histogram import (
    HistogramSettings,
    NyulLandmarks,
    apply_landmarks,
    describe_bounded,
    fit_histogram,
    fit_landmarks,
    foreground_percentiles,
    histogram_percentiles,
    histogram_step,
    landmark_percentiles,
    mean_landmarks,
)
from sfgkeras.preprocessing.volume import StepContext, Volume

REFERENCE_LANDMARKS = [
    0, 3.11897587, 8.98181182, 12.58725479, 16.57390276, 25.75722861, 35.76214874,
    47.19519908, 59.29753723, 65.7725232, 72.46710369, 86.48775373, 100,
]  # fmt: skip


def reference_volume(k):
    i, j, m = np.meshgrid(range(12), range(10), range(8), indexing="ij")
    return ((7 * i + 13 * j + 17 * m + 5 * k) % 101) ** 1.5 * (1 + 0.3 * k) + 10 * k


@pytest.fixture(scope="module")
def reference_landmarks():
    return fit_landmarks([reference_volume(k) for k in range(3)], cutoff=(0.01, 0.99))


def plain_mapping(image, values, landmarks, chosen):
    """Nyul's piecewise linear map written as one loop over pieces, without the code under test."""
    knots = np.percentile(values, landmarks.percentiles[chosen])
    levels = landmarks.values[chosen]
    result = np.empty(image.shape)
    for piece in range(len(chosen) - 1):
        slope = (levels[piece + 1] - levels[piece]) / (knots[piece + 1] - knots[piece])
        above = image >= knots[piece] if piece else np.ones(image.shape, bool)
        result[above] = levels[piece] + slope * (image[above] - knots[piece])
    return result


def test_landmarks_equal_an_independent_implementation(reference_landmarks):
    np.testing.assert_allclose(reference_landmarks.values, REFERENCE_LANDMARKS, atol=5e-9)
    np.testing.assert_allclose(
        reference_landmarks.percentiles, [1, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 99], atol=1e-12
    )


def test_mapped_values_equal_an_independent_implementation(reference_landmarks):
    mapped = apply_landmarks(reference_volume(3), reference_landmarks, "percentile")
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(
        [mapped[0, 0, 0], mapped[3, 4, 5], mapped.mean(dtype=np.float64), mapped.min(), mapped.max()],
        [5.803185, 61.495978, 40.652892, -0.059298, 100.877538],
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("norm_type", "chosen"),
    [
        ("percentile", [0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12]),
        ("quartile", [0, 3, 6, 9, 12]),
        ("median", [0, 6, 12]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int16])
def test_every_variant_bends_at_its_own_percentiles(reference_landmarks, norm_type, chosen, dtype):
    image = reference_volume(3).astype(dtype)
    mapped = apply_landmarks(image, reference_landmarks, norm_type)
    expected = plain_mapping(image.astype(float), image.astype(float), reference_landmarks, chosen)
    np.testing.assert_allclose(mapped, expected, atol=2e-4)


@settings(deadline=None, max_examples=25)
@given(gain=st.floats(0.01, 50), offset=st.floats(-500, 500))
def test_landmarks_and_mapped_images_ignore_gain_and_offset(gain, offset):
    plain = reference_volume(1)
    changed = gain * plain + offset
    landmarks = fit_landmarks([plain])
    np.testing.assert_allclose(fit_landmarks([changed]).values, landmarks.values, atol=1e-6)
    np.testing.assert_allclose(apply_landmarks(changed, landmarks), apply_landmarks(plain, landmarks), atol=1e-2)


def test_the_look_up_table_gives_what_interpolation_gives(reference_landmarks):
    rng = np.random.default_rng(1)
    counts = rng.integers(-1000, 3000, (20, 21, 22)).astype(np.int16)
    through_table = apply_landmarks(counts, reference_landmarks)
    # A tiny gain leaves the table's path but, as above, changes nothing.
    through_curve = apply_landmarks(counts * np.float64(1.0001), reference_landmarks)
    np.testing.assert_allclose(through_table, through_curve, atol=1e-4)


def test_only_the_foreground_is_measured_and_background_stays_one_level(reference_landmarks):
    rng = np.random.default_rng(2)
    body = np.zeros((30, 30, 30), dtype=bool)
    body[5:25, 5:25, 5:25] = True
    image = np.where(body, rng.gamma(4, 50, body.shape) + 40, 0.0)
    mapped = apply_landmarks(image, reference_landmarks, foreground_mask=body)
    expected = plain_mapping(image, image[body], reference_landmarks, [0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12])
    np.testing.assert_allclose(mapped[body], expected[body], atol=1e-3)
    assert np.all(mapped[~body] == 0)


def test_bright_anatomy_outside_the_mask_is_mapped_and_not_erased(reference_landmarks):
    image = reference_volume(2)
    mask = np.zeros(image.shape, dtype=bool)
    mask[:, :5] = True
    mapped = apply_landmarks(image, reference_landmarks, foreground_mask=mask)
    expected = plain_mapping(image, image[mask], reference_landmarks, [0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12])
    np.testing.assert_allclose(mapped[~mask], np.maximum(expected[~mask], 0), atol=1e-3)


def test_coinciding_percentiles_keep_the_map_finite_and_monotone(reference_landmarks):
    image = np.concatenate([np.zeros(600), np.linspace(1, 100, 400)])
    mapped = apply_landmarks(image, reference_landmarks)
    assert np.all(np.isfinite(mapped))
    assert np.all(np.diff(mapped) >= 0)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_percentiles_that_coincide_share_the_mean_of_their_levels_and_the_ends_of_the_scale_at_its_ends(
    reference_landmarks, dtype
):
    levels = dict(zip(reference_landmarks.percentiles.tolist(), reference_landmarks.values.tolist(), strict=True))
    # A third of background, a third of one tissue, a fifth of saturated voxels, and something between them.
    image = np.repeat([0, 100, 200, 300, 400], [330, 60, 330, 70, 210]).astype(dtype)
    mapped = apply_landmarks(image, reference_landmarks)
    values = {int(intensity): set(mapped[image == intensity].tolist()) for intensity in np.unique(image)}
    assert values[0] == {0.0}
    assert values[400] == {100.0}
    assert values[200] == {np.float32(np.mean([levels[p] for p in (40, 50, 60, 70)]))}
    np.testing.assert_allclose(mapped[image == 100], mapped[image == 200][0] / 2, rtol=1e-6)


def test_one_hot_pixel_ends_a_scale_beyond_the_scale_and_does_not_decide_the_whitening(reference_landmarks):
    body = reference_volume(1)
    image, spoilt = body.copy(), body.copy()
    spoilt[0, 0, 0] = 1e9
    spoilt[1, 1, 1] = -1e9
    mapped, bounded = apply_landmarks(image, reference_landmarks), apply_landmarks(spoilt, reference_landmarks)
    assert (bounded[0, 0, 0], bounded[1, 1, 1]) == (200, -100)
    others = np.ones(body.shape, bool)
    others[0, 0, 0] = others[1, 1, 1] = False
    assert np.std(bounded[others]) == pytest.approx(np.std(bounded), rel=0.05)
    np.testing.assert_allclose(bounded[others], mapped[others], atol=1)
    note = describe_bounded(bounded, reference_landmarks)
    assert note.startswith(
        "histogram: 2 voxels are further from the scale 0 to 100 than its width and now at -100 or 200"
    )
    assert describe_bounded(mapped, reference_landmarks) == ""


def test_the_step_says_that_voxels_were_bounded(reference_landmarks):
    spoilt = reference_volume(1)
    spoilt[0, 0, 0] = 1e9
    settings = HistogramSettings(foreground="all")
    volume = histogram_step(Volume(spoilt, np.eye(4)), settings, StepContext("p1", reference_landmarks))
    assert len(volume.concerns) == len(volume.all_notes) == 1
    assert "1 voxel is further" in volume.concerns[0]
    plain = histogram_step(Volume(reference_volume(1), np.eye(4)), settings, StepContext("p1", reference_landmarks))
    assert plain.all_notes == ()


def test_intensities_beyond_the_cut_offs_but_not_far_follow_the_outermost_piece(reference_landmarks):
    image = np.append(reference_volume(3).ravel(), 0)
    knots = np.percentile(image, [0, 90, 99])
    image[-1] = knots[2] + 0.5 * (knots[2] - knots[1])
    expected = plain_mapping(image, image, reference_landmarks, [0, 1, 2, 4, 5, 6, 7, 8, 10, 11, 12])
    assert 100 < expected[-1] < 200
    np.testing.assert_allclose(apply_landmarks(image, reference_landmarks), expected, atol=2e-4)


def test_foregrounds_are_consumed_one_by_one():
    alive = []

    def foregrounds():
        for k in range(3):
            alive.append(k)
            yield reference_volume(k)

    np.testing.assert_allclose(fit_landmarks(foregrounds()).values, REFERENCE_LANDMARKS, atol=5e-9)
    assert alive == [0, 1, 2]


def test_a_constant_foreground_is_refused_in_fitting_and_applying(reference_landmarks):
    with pytest.raises(DataError, match="no contrast: percentiles 1 and 99 are both 7"):
        fit_landmarks([np.full(100, 7.0)])
    with pytest.raises(DataError, match="no contrast"):
        apply_landmarks(np.full((4, 4, 4), 7, np.int16), reference_landmarks)


def test_no_training_subject_and_an_empty_mask_are_refused(reference_landmarks):
    with pytest.raises(DataError, match="no training subject"):
        fit_landmarks([])
    image = reference_volume(0)
    with pytest.raises(DataError, match="foreground is empty"):
        apply_landmarks(image, reference_landmarks, foreground_mask=np.zeros(image.shape, bool))
    with pytest.raises(DataError, match=r"mask of shape \(2, 2\)"):
        apply_landmarks(image, reference_landmarks, foreground_mask=np.ones((2, 2), bool))


def test_an_unknown_variant_and_an_impossible_cutoff_are_refused(reference_landmarks):
    with pytest.raises(ConfigError, match="did you mean 'quartile'"):
        apply_landmarks(reference_volume(0), reference_landmarks, "quartiles")
    with pytest.raises(ConfigError, match=r"cutoff = \(0.2, 0.99\) is out of range"):
        fit_landmarks([reference_volume(0)], cutoff=(0.2, 0.99))


def test_landmarks_refuse_values_that_do_not_increase():
    with pytest.raises(DataError, match="must be finite and increase"):
        NyulLandmarks([1, 50, 99], [0, 60, 50])
    with pytest.raises(DataError, match="2 values for 3 percentiles"):
        NyulLandmarks([1, 50, 99], [0, 100])


@pytest.mark.real_data
def test_the_white_matter_of_real_slabs_with_random_gains_is_brought_together(real_data):
    rng = np.random.default_rng(3)
    folder = real_data / "mr_brain_multi"
    images, masks, tissues = [], [], []
    for subject in (1, 2, 4, 5, 9, 57):
        image = read_image(folder / f"ilist{subject}_T1.nii.gz").array
        tissue = read_label_map(folder / f"slist{subject}_tissue.nii.gz").array
        images.append(image * np.float32(rng.uniform(0.4, 2.5)))
        masks.append(tissue > 0)
        tissues.append(tissue)
    landmarks = fit_landmarks(image[mask] for image, mask in zip(images, masks, strict=True))
    mapped = [
        apply_landmarks(image, landmarks, foreground_mask=mask) for image, mask in zip(images, masks, strict=True)
    ]

    def variation(volumes):
        means = [volume[tissue == 3].mean() for volume, tissue in zip(volumes, tissues, strict=True)]
        return np.std(means) / np.mean(means)

    assert variation(mapped) <= 0.5 * variation(images)


@pytest.mark.parametrize("cutoff", [(0.0, 1.0), (0.01, 0.99), (0.0999, 0.9001)])
def test_the_cut_offs_enclose_the_inner_percentiles(cutoff):
    percentiles = landmark_percentiles(cutoff)
    assert percentiles.size == 13
    assert (np.diff(percentiles) > 0).all()
    np.testing.assert_allclose(percentiles[[0, -1]], np.multiply(100, cutoff))


@pytest.mark.parametrize("cutoff", [(-0.01, 0.99), (0.1, 0.99), (0.01, 0.9), (0.01, 1.01), (float("nan"), 0.99)])
def test_cut_offs_that_do_not_are_refused_with_an_example(cutoff):
    with pytest.raises(ConfigError, match=r"cutoff = .* is out of range: the lower limit must lie in \[0, 0\.1\)"):
        landmark_percentiles(cutoff)
    with pytest.raises(ConfigError, match="is out of range"):
        HistogramSettings(cutoff=cutoff)


def test_a_subject_is_measured_at_numpys_percentiles():
    values = np.random.default_rng(0).gamma(2, 50, 4000)
    np.testing.assert_allclose(
        foreground_percentiles(values, (0.02, 0.98)), np.percentile(values, landmark_percentiles((0.02, 0.98)))
    )
    with pytest.raises(DataError, match="no contrast: percentiles 1 and 99 are both 7; landmarks need an image"):
        foreground_percentiles(np.full(50, 7.0))


def test_landmarks_are_the_mean_position_between_each_subjects_own_cut_offs():
    """One with all its steps below, one with all above: in the middle of the scale on the mean."""
    low, high = np.linspace(0, 10, 13), np.linspace(-500, 500, 13)
    low[1:-1], high[1:-1] = 2.0, 400.0
    found = mean_landmarks([low, high])
    np.testing.assert_allclose(found.values, [0, *[(20 + 90) / 2] * 11, 100])
    assert fit_histogram([low, high], HistogramSettings()) == found
    with pytest.raises(DataError, match="no training subject to fit landmarks on; name at least one"):
        mean_landmarks([])


def landmarks_of(**options):
    return NyulLandmarks(**{"percentiles": [1, 50, 99], "values": [0, 40, 100], **options})


def test_landmarks_are_equal_by_all_that_they_hold_and_cannot_be_changed():
    one = landmarks_of(modality="T1")
    assert one == landmarks_of(modality="T1")
    assert hash(one) == hash(landmarks_of(modality="T1"))
    others = [
        landmarks_of(), landmarks_of(modality="T1", values=[0, 41, 100]), landmarks_of(modality="T1", foreground="all"),
        landmarks_of(modality="T1", fitted_on=("a",)), landmarks_of(modality="T1", preparation="none"),
        landmarks_of(modality="T1", software="x"), landmarks_of(modality="T1", percentiles=[1, 49, 99]),
    ]  # fmt: skip
    assert len({one, *others}) == 8
    assert one != "landmarks"
    with pytest.raises(ValueError, match="read-only"):
        one.values[0] = 5
    assert one.cutoff == (0.01, 0.99)
    assert one.described() == {"percentiles": [1, 50, 99], "values": [0, 40, 100]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": [0, 100]}, "as many values as percentiles, at least 2: got 2 values for 3 percentiles"),
        ({"percentiles": [50], "values": [1]}, "at least 2: got 1 values for 1 percentiles"),
        ({"percentiles": [1, 1, 99]}, "must increase within 0..100"),
        ({"percentiles": [-1, 50, 99]}, "must increase within 0..100"),
        ({"percentiles": [1, 50, 101]}, "must increase within 0..100"),
        ({"values": [0, np.nan, 100]}, "must be finite and increase"),
        ({"values": [5, 5, 5]}, "must be finite and increase"),
        ({"values": [0, 50, 40]}, "must be finite and increase"),
    ],
)
def test_what_are_no_landmarks_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        landmarks_of(**options)
    assert landmarks_of(values=[0, 0, 1]).values.tolist() == [0, 0, 1], "some may coincide"


def test_landmarks_remember_their_foreground_and_say_what_differs():
    settings = HistogramSettings(foreground="threshold_plus", threshold=20.0)
    known = landmarks_of().originating(settings, "T2", ("a@1",), "n4")
    assert (known.foreground, known.modality, known.fitted_on, known.preparation) == (
        "threshold_plus 20", "T2", ("a@1",), "n4"
    )  # fmt: skip
    assert known.differences(settings) == []
    other = HistogramSettings(cutoff=(0.02, 0.99), foreground="threshold_plus", threshold=30.0)
    assert known.differences(other) == [
        "cutoff (0.01, 0.99), now (0.02, 0.99)", "foreground rule 'threshold_plus 20', now 'threshold_plus 30'"
    ]  # fmt: skip
    assert landmarks_of().differences(HistogramSettings()) == [], "NiftyNet's tell no rule"


def test_a_training_subject_is_measured_in_the_voxels_that_will_be_mapped():
    """Those that several images have found together, else those of the rule."""
    array = np.arange(8000, dtype=np.float32).reshape(20, 20, 20)
    settings = HistogramSettings(foreground="threshold_plus", threshold=3999.0)
    by_rule = histogram_percentiles(Volume(array, np.eye(4)), settings)
    np.testing.assert_allclose(by_rule, foreground_percentiles(array[array > 3999]))
    together = histogram_percentiles(Volume(array, np.eye(4), foreground=array < 100), settings)
    np.testing.assert_allclose(together, foreground_percentiles(array[array < 100]))
    everywhere = histogram_percentiles(Volume(array, np.eye(4)), HistogramSettings(foreground="all"))
    np.testing.assert_allclose(everywhere, foreground_percentiles(array))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0, 50, 100, 199, -99], ""),
        ([0, 200], "1 voxel is further from the scale 0 to 100 than its width and now at -100 or 200"),
        ([-100, 200, 200], "3 voxels are further"),
    ],
)
def test_voxels_that_were_bounded_are_counted(values, said):
    found = describe_bounded(np.array(values, np.float32), landmarks_of())
    assert said in found
    assert bool(found) == bool(said)


def test_a_mask_of_another_shape_and_percentiles_that_are_not_there_are_refused():
    with pytest.raises(DataError, match=r"foreground mask of shape \(3,\) for an image of shape \(4,\)"):
        apply_landmarks(np.arange(4.0), landmarks_of(), foreground_mask=np.ones(3, bool))
    with pytest.raises(ConfigError, match=r"norm_type = 'quartile' needs percentiles \[25\.0, 75\.0\] that"):
        apply_landmarks(np.arange(4.0), landmarks_of(), "quartile")
    mapped = apply_landmarks(np.arange(101.0), landmarks_of(), "median")
    np.testing.assert_allclose(mapped[[1, 50, 99]], [0, 40, 100], atol=1e-5)
