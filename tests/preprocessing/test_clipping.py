"""Clipping between values or percentiles, and what the data type of the output may be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from sfgkeras.errors import ConfigError, DataError, Problem
from sfgkeras.preprocessing.clipping import ClipSettings, clip_intensities, clip_step
from sfgkeras.preprocessing.conversion import ConvertSettings, convert, convert_step
from sfgkeras.preprocessing.volume import StepContext, Volume

IMAGES = npst.arrays(
    np.float32, npst.array_shapes(min_dims=1, max_dims=3, max_side=6), elements=st.floats(-1e4, 1e4, width=32)
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(IMAGES, st.floats(-1e3, 0), st.floats(1, 1e3))
def test_values_within_stay_and_those_beyond_become_the_limits(image, low, high):
    found = clip_intensities(image, (low, high))
    assert found.dtype == np.float32
    assert found.shape == image.shape
    inside = (image >= low) & (image <= high)
    np.testing.assert_array_equal(found[inside], image[inside])
    np.testing.assert_array_equal(found[image < low], np.float32(low))
    np.testing.assert_array_equal(found[image > high], np.float32(high))
    np.testing.assert_array_equal(clip_intensities(found, (low, high)), found)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(IMAGES, st.tuples(st.integers(0, 49), st.integers(51, 100)))
def test_percentiles_are_those_of_numpy(image, percentiles):
    low, high = np.percentile(image.astype(np.float64), percentiles)
    np.testing.assert_allclose(
        clip_intensities(image, percentiles=percentiles), np.clip(image, low, high), rtol=1e-6, atol=1e-3
    )


def test_integers_become_floats_and_limits_come_before_percentiles():
    image = np.array([-300, 5, 3000], np.int16)
    found = clip_intensities(image, (-100.5, 1000), (40, 60))
    assert found.dtype == np.float32
    assert found.tolist() == [-100.5, 5.0, 1000.0]
    assert image.tolist() == [-300, 5, 3000], "the image itself is left alone"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("limits", [{"limits": (0, 1)}, {"percentiles": (1, 99)}])
def test_images_that_are_not_finite_are_refused_either_way(bad, limits):
    with pytest.raises(DataError, match=r"not finite \(NaN or inf\)"):
        clip_intensities(np.array([0.5, bad, 2.0]), **limits)


def test_something_must_be_asked_for():
    with pytest.raises(ConfigError, match="clip needs limits or percentiles"):
        clip_intensities(np.zeros(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "clip needs either clip_limits or clip_percentiles; write e.g. clip_limits = 0, 1000"),
        ({"limits": (0, 1), "percentiles": (1, 99)}, "clip needs either clip_limits or clip_percentiles"),
        ({"limits": (1, 1)}, r"limits = \(1, 1\) is empty; write the lower limit first"),
        ({"limits": (5, -5)}, "is empty"),
        ({"percentiles": (-1, 99)}, "must rise within 0 to 100"),
        ({"percentiles": (1, 101)}, "must rise within 0 to 100"),
        ({"percentiles": (60, 60)}, "must rise within 0 to 100"),
    ],
)
def test_settings_that_clip_nothing_or_everything_are_refused(options, message):
    with pytest.raises(Problem, match=message):
        ClipSettings(**options)


def test_the_whole_range_of_percentiles_clips_nothing():
    image = np.random.default_rng(0).normal(size=50).astype(np.float32)
    settings_ = ClipSettings(percentiles=(0, 100))
    volume = clip_step(Volume(image, np.eye(4)), settings_, StepContext("a"))
    np.testing.assert_array_equal(volume.array, image)
    halved = clip_step(volume, ClipSettings(percentiles=(0, 50)), StepContext("a"))
    assert halved.array.max() == pytest.approx(np.median(image))


@pytest.mark.parametrize(
    ("values", "dtype", "expected", "kind"),
    [
        ([1.0, -2.0], "auto", [1, -2], "i"),
        ([1.5, -2.0], "auto", [1.5, -2.0], "f"),
        ([1, 2], "auto", [1, 2], "i"),
        ([True, False], "auto", [1, 0], "i"),
        ([1.0, 2.0], "float32", [1.0, 2.0], "f"),
        ([1, 2], "float32", [1.0, 2.0], "f"),
        ([1.6, -1.4, 2.5], "integer", [2, -1, 2], "i"),
        ([2.0**53], "auto", [2**53], "i"),
    ],
)
def test_whole_numbers_become_integers_unless_floats_are_asked_for(values, dtype, expected, kind):
    """Halves are rounded to the even one, as NumPy does."""
    found = convert(np.array(values), dtype)
    assert found.dtype == (np.int64 if kind == "i" else np.float32)
    assert found.tolist() == expected


def test_values_that_would_lose_digits_as_integers_are_refused():
    for dtype in ("auto", "integer"):
        with pytest.raises(DataError, match=r"values up to 1\.8e\+16 cannot be integers.*use convert_dtype = float32"):
            convert(np.array([0.0, -1.8e16]), dtype)
    assert convert(np.array([1.8e16]), "float32").dtype == np.float32


@pytest.mark.parametrize("dtype", ["auto", "float32", "integer"])
def test_nothing_that_is_not_finite_is_converted(dtype):
    with pytest.raises(DataError, match="not finite"):
        convert(np.array([1.0, np.nan]), dtype)


def test_the_step_converts_the_image_and_leaves_the_rest():
    labels = {"organs": np.ones((2, 1, 1), np.uint8)}
    volume = Volume(np.array([1.0, 2.0], np.float32).reshape(2, 1, 1), np.diag([2, 2, 2, 1.0]), labels, ("before",))
    found = convert_step(volume, ConvertSettings(), StepContext("a"))
    assert found.array.dtype == np.int64
    assert (found.labels, found.notes) == (labels, ("before",))
    with pytest.raises(ConfigError, match="dtype = 'int8'"):
        ConvertSettings("int8")
