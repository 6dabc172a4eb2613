import numpy as np
import pytest

from sfgkeras.analysis.windows import WindowSamples


def test_a_window_holds_the_values_of_all_subjects_together():
    rng = np.random.default_rng(0)
    volumes = [rng.normal(0, 1, (30, 30, 30)), rng.normal(10, 2, (30, 30, 30))]
    samples = WindowSamples()
    for volume in volumes:
        samples.add("ct", volume)
    pooled = np.concatenate([volume.ravel() for volume in volumes])
    window = samples.between("ct", 5, 95)
    np.testing.assert_allclose(window.limits, np.percentile(pooled, [5, 95]), rtol=1e-5)
    assert window.reach[0] < window.limits[0]
    assert window.reach[1] > window.limits[1]


def test_differences_are_shown_around_zero_as_wide_to_both_sides():
    samples = WindowSamples()
    samples.add("d", np.linspace(-3, 1, 401))
    window = samples.symmetric("d", 100, "HU")
    assert window.limits == (-3, 3)
    assert window.texts == ("-3 HU", "3 HU")


def test_large_volumes_are_sampled_and_values_that_are_not_finite_left_out():
    samples = WindowSamples()
    volume = np.linspace(0, 100, 256 * 256 * 20, dtype=np.float32).reshape(256, 256, 20)
    volume[::7] = np.nan
    samples.add("x", volume)
    assert samples.between("x", 0, 100).limits == pytest.approx((0, 100), abs=0.5)


def test_nothing_to_show_still_has_a_window():
    samples = WindowSamples()
    samples.add("x", np.full((2, 2, 2), np.nan))
    assert samples.between("x", 1, 99).limits == (0, 1)
    assert samples.symmetric("x", 99).limits == (-1, 1)
    assert samples.from_zero("none", 99).limits == (0, 1)
