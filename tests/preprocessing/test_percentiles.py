import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sfgkeras.errors import DataError
from sfgkeras.preprocessing.percentiles import compact_integers, exact_percentiles

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
