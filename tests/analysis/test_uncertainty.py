"""Spread over passes, against NumPy's moments and the definitions of entropy and mutual information."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from sfgkeras.analysis.uncertainty import ENTROPY, MUTUAL_INFORMATION, STANDARD_DEVIATION, Information, Moments, entropy


def collect(statistics, passes):
    for outputs in passes:
        statistics.add(outputs)
    return statistics


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_moments_equal_those_of_numpy_also_far_from_zero(offset):
    passes = np.random.default_rng(0).normal(offset, 2.0, (7, 4, 5, 3, 1)).astype("float32")
    collected = collect(Moments(), passes)
    np.testing.assert_allclose(collected.mean, passes.mean(axis=0), rtol=1e-5, atol=1e-5)
    expected = passes.astype("float64").std(axis=0, ddof=1)[..., 0]
    np.testing.assert_allclose(collected.spread()[STANDARD_DEVIATION], expected, rtol=2e-3)


def test_entropy_equals_scipys_and_takes_zero_probabilities():
    probabilities = np.random.default_rng(1).dirichlet(np.ones(4), size=(3, 2))
    probabilities[0, 0] = [1, 0, 0, 0]
    np.testing.assert_allclose(entropy(probabilities), scipy_entropy(probabilities, axis=-1), atol=1e-12)


def test_two_certain_passes_that_contradict_each_other_share_one_bit():
    first, second = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    spread = collect(Information(), [first, second]).spread()
    np.testing.assert_allclose(spread[ENTROPY], np.log(2), rtol=1e-6)
    np.testing.assert_allclose(spread[MUTUAL_INFORMATION], np.log(2), rtol=1e-6)


def test_passes_that_agree_have_entropy_but_no_mutual_information():
    agreed = np.full((5, 2, 3), 1 / 3, "float32")
    spread = collect(Information(), agreed).spread()
    np.testing.assert_allclose(spread[ENTROPY], np.log(3), rtol=1e-6)
    np.testing.assert_allclose(spread[MUTUAL_INFORMATION], 0, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31 - 1), st.integers(2, 6), st.integers(2, 5))
def test_mutual_information_lies_between_zero_and_the_entropy(seed, count, classes):
    passes = np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), size=(count, 4)).astype("float32")
    spread = collect(Information(), passes).spread()
    assert (spread[MUTUAL_INFORMATION] >= 0).all()
    assert (spread[MUTUAL_INFORMATION] <= spread[ENTROPY] + 1e-5).all()
    expected = scipy_entropy(passes.mean(0), axis=-1) - scipy_entropy(passes, axis=-1).mean(0)
    np.testing.assert_allclose(spread[MUTUAL_INFORMATION], expected, atol=1e-4)
