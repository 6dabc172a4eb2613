import numpy as np
import pytest

from sfgkeras.errors import DataError
from sfgkeras.preprocessing.pipeline import build_pipeline
from sfgkeras.preprocessing.volume import StepContext, Volume
from sfgkeras.preprocessing.whitening import whiten


def test_a_whitened_image_has_zero_mean_and_unit_variance():
    image = np.random.default_rng(0).gamma(2, 300, (20, 21, 22)).astype(np.float32)
    white = whiten(image)
    assert white.dtype == np.float32
    np.testing.assert_allclose([white.mean(dtype=float), white.std(dtype=float)], [0, 1], atol=1e-5)


def test_the_foreground_alone_is_measured_but_everything_is_shifted():
    image = np.zeros((10, 10, 10), dtype=np.int16)
    image[2:8] = np.random.default_rng(1).integers(100, 900, (6, 10, 10))
    mask = image > 0
    white = whiten(image, mask)
    np.testing.assert_allclose([white[mask].mean(dtype=float), white[mask].std(dtype=float)], [0, 1], atol=1e-5)
    np.testing.assert_allclose(white[0, 0, 0], -image[mask].mean() / image[mask].std(), rtol=1e-5)


def test_a_large_offset_does_not_cost_precision():
    pattern = np.random.default_rng(2).normal(size=(30, 30, 30))
    np.testing.assert_allclose(whiten(pattern + 1e4), whiten(pattern), atol=1e-4)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.full((3, 3, 3), 5.0), r"constant \(5\)"),
        (np.array([[[1.0, np.nan]]]), "not finite"),
        (np.zeros((0, 2, 2)), "empty"),
    ],
)
def test_images_without_variance_or_with_nan_are_refused(image, reason):
    with pytest.raises(DataError, match=reason):
        whiten(image)


@pytest.mark.parametrize("size", [5, 128, 65537, 300001])
def test_sums_in_pieces_are_those_of_numpy_to_the_last_bit(size):
    image = (1000 + 50 * np.random.default_rng(size).normal(size=size)).astype(np.float32)
    mean, deviation = image.mean(dtype=np.float64), image.std(dtype=np.float64)
    expected = ((image - mean) / deviation).astype(np.float32)
    np.testing.assert_array_equal(whiten(image), expected)
    assert whiten(image, out=image) is image
    np.testing.assert_array_equal(image, expected)


def test_the_step_writes_into_its_array_only_where_it_may():
    kept = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    given = kept.copy()
    whitening = build_pipeline("whiten")
    after = whitening.apply(Volume(kept, np.eye(4)), StepContext("s"))
    again = whitening.apply(Volume(given, np.eye(4)), StepContext("s", may_overwrite=True))
    assert kept[0, 0, 1] == 1
    assert np.shares_memory(again.array, given)
    np.testing.assert_array_equal(again.array, after.array)


def test_a_foreground_that_several_images_have_found_counts_before_the_rule():
    image = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    mask = image > 13
    after = build_pipeline("whiten", {"whiten_foreground": "otsu"}).apply(
        Volume(image, np.eye(4), foreground=mask), StepContext("s")
    )
    np.testing.assert_array_equal(after.array, whiten(image, mask))
