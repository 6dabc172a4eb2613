import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sfgkeras.errors import DataError
from sfgkeras.preprocessing.percentiles import LONGEST_TABLE, compact_integers, exact_percentiles

WANTED = np.array([0.0, 1.0, 12.5, 50.0, 99.0, 100.0])


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.float32, st.integers(1, 300), elements=st.floats(-1e6, 1e6, width=32)))
def test_percentiles_of_floats_equal_numpys(values):
    expected = np.percentile(values.astype(np.float64), WANTED)
    np.testing.assert_allclose(exact_percentiles(values, WANTED), expected, rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([np.int8, np.uint8, np.int16, np.uint16, np.int32]).flatmap(
        lambda dtype: hnp.arrays(dtype, st.integers(1, 200))
    )
)
def test_percentiles_of_integers_equal_numpys_without_overflow(values):
    expected = np.percentile(values.astype(np.float64), WANTED)
    np.testing.assert_allclose(exact_percentiles(values, WANTED), expected, rtol=1e-12, atol=1e-12)


def test_percentiles_of_an_image_with_mostly_zeros_and_a_long_tail_equal_numpys():
    rng = np.random.default_rng(0)
    image = np.concatenate([np.zeros(40_000), rng.gamma(2, 60, 20_000), [-0.0, -3.5, 1e9]]).astype(np.float32)
    rng.shuffle(image)
    expected = np.percentile(image.astype(np.float64), WANTED)
    np.testing.assert_allclose(exact_percentiles(image.reshape(-1, 3), WANTED), expected, rtol=1e-12)


def test_float64_keeps_all_its_digits():
    values = np.array([1.0, 1.0 + 1e-12, 1.0 + 2e-12])
    assert exact_percentiles(values, np.array([50.0]))[0] == 1.0 + 1e-12


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted_and_refused(bad):
    values = np.ones(10, dtype=np.float32)
    values[[2, 5]] = bad
    with pytest.raises(DataError, match="2 of 10 values are not finite"):
        exact_percentiles(values, WANTED)


def test_large_finite_values_do_not_count_as_infinite():
    values = np.full(1000, 3e38, dtype=np.float32)
    assert exact_percentiles(values, np.array([50.0]))[0] == np.float32(3e38)


def test_an_empty_foreground_is_refused():
    with pytest.raises(DataError, match="foreground is empty"):
        exact_percentiles(np.array([], dtype=np.float32), WANTED)


def test_floats_that_hold_integers_are_recognised_and_others_are_not():
    codes, lowest, count = compact_integers(np.array([-3.0, 4.0, 0.0], dtype=np.float32))
    assert (codes.tolist(), lowest, count) == ([0, 7, 3], -3, 8)
    late = np.zeros(5000, dtype=np.float32)
    late[4999] = 0.5
    assert compact_integers(late) is None
    assert compact_integers(np.array([0, 10_000_000])) is None


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([True, False]), ([1, 0], 0, 2)),
        (np.array([-128, 127], np.int8), ([0, 255], -128, 256)),
        (np.array([-32768, 32767], np.int16), ([0, 65535], -32768, 65536)),
        (np.array([5, 7], np.uint8), ([0, 2], 5, 3)),
        (np.array([2**40, 2**40 + 3]), ([0, 3], 2**40, 4)),
        (np.array([0.0, LONGEST_TABLE - 1.0]), ([0, LONGEST_TABLE - 1], 0, LONGEST_TABLE)),
    ],
)
def test_codes_begin_at_zero_and_never_wrap_around(array, expected):
    codes, lowest, count = compact_integers(array)
    assert (codes.tolist(), lowest, count) == expected
    np.testing.assert_array_equal(codes.astype(np.int64) + lowest, array.astype(np.int64))


@pytest.mark.parametrize(
    "array",
    [
        np.array([]),
        np.array([0, LONGEST_TABLE]),
        np.array([1.0, np.nan]),
        np.array([2.0**30, 1.0]),
        np.array([-(2.0**30), 1.0]),
        np.array([1 + 2j]),
        np.array(["a"]),
    ],
)
def test_what_no_table_can_hold_has_no_codes(array):
    assert compact_integers(array) is None


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_the_ends_are_the_extremes_and_one_value_is_all_percentiles(dtype):
    values = np.array([3.5, -2.25, 8.0, 8.0, 0.0]).astype(dtype)
    found = exact_percentiles(values, np.array([0.0, 50.0, 100.0]))
    np.testing.assert_array_equal(found, [values.min(), np.median(values), values.max()])
    assert found.dtype == np.float64
    np.testing.assert_array_equal(exact_percentiles(np.array([7], dtype), np.array([0.0, 33.0, 100.0])), [7, 7, 7])
    assert exact_percentiles(values, np.array(50.0)).shape == ()
