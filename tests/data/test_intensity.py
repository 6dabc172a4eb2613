"""Random changes of intensities, each against a formula or another library."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from sfgkeras.data.augmentation import Augmentation
from sfgkeras.data.intensity import (
    Intensities,
    add_ghosts,
    add_noise,
    blur,
    change_contrast,
    change_gamma,
    lower_resolution,
)
from sfgkeras.data.samplers import UniformSampler
from sfgkeras.data.windows import PreparedSubject, WindowSource
from sfgkeras.errors import ConfigError
from sfgkeras.tables.intensities import INTENSITIES

RNG = np.random.default_rng(0)
WINDOW = RNG.normal(size=(12, 16, 2)).astype(np.float32)


def test_gamma_keeps_lowest_and_highest_and_follows_the_power_in_each_channel():
    found = change_gamma(WINDOW, 1.7)
    for channel in range(2):
        values = WINDOW[..., channel].astype(np.float64)
        low, high = values.min(), values.max()
        expected = ((values - low) / (high - low)) ** 1.7 * (high - low) + low
        np.testing.assert_allclose(found[..., channel], expected, rtol=1e-4, atol=1e-5)
    flat = np.full((3, 3, 1), 2.5, np.float32)
    np.testing.assert_array_equal(change_gamma(flat, 0.5), flat)
    assert found.dtype == np.float32


def test_contrast_multiplies_the_standard_deviation_and_keeps_the_mean():
    found = change_contrast(WINDOW, 1.4)
    np.testing.assert_allclose(found.mean(axis=(0, 1)), WINDOW.mean(axis=(0, 1)), atol=1e-6)
    np.testing.assert_allclose(found.std(axis=(0, 1)), 1.4 * WINDOW.std(axis=(0, 1)), rtol=1e-5)


@pytest.mark.parametrize(("axis", "copies"), [(0, 4), (1, 4), (0, 3), (1, 2)])
def test_ghosts_are_weak_copies_shifted_by_a_part_of_the_extent(axis, copies):
    """Lines k n weakened by s take away s / n of the image at each of n shifts; the zeroth line stays."""
    extent, strength = WINDOW.shape[axis], 0.6
    shifted = sum(np.roll(WINDOW.astype(np.float64), j * extent // copies, axis) for j in range(copies)) / copies
    mean = WINDOW.mean(axis=axis, keepdims=True, dtype=np.float64)
    expected = WINDOW - strength * (shifted - mean)
    np.testing.assert_allclose(add_ghosts(WINDOW, strength, axis, copies), expected, atol=1e-5)
    np.testing.assert_allclose(add_ghosts(WINDOW, 0.0, axis, copies), WINDOW, atol=1e-6)
    assert add_ghosts(WINDOW[:11], 0.5, 0, 4).shape == (11, 16, 2)  # an odd extent


def test_blur_is_scipys_gaussian_of_each_channel():
    for channel in range(2):
        expected = gaussian_filter(WINDOW[..., channel], 0.8, mode="nearest")
        np.testing.assert_allclose(blur(WINDOW, 0.8)[..., channel], expected, atol=1e-6)


def test_low_resolution_is_what_pillow_makes_by_resizing_down_and_up():
    for channel in range(2):
        image = Image.fromarray(WINDOW[..., channel])
        coarse = image.resize((8, 6), Image.Resampling.BILINEAR)
        expected = np.asarray(coarse.resize((16, 12), Image.Resampling.BILINEAR))
        np.testing.assert_allclose(lower_resolution(WINDOW, 2.0)[..., channel], expected, atol=1e-4)
    np.testing.assert_allclose(lower_resolution(WINDOW, 1.0), WINDOW, atol=1e-6)
    assert lower_resolution(WINDOW[:1], 3.0).shape == (1, 16, 2)


def test_noise_has_its_standard_deviation_in_every_channel_on_its_own():
    flat = np.zeros((60, 60, 2), np.float32)
    noise = add_noise(flat, 0.3, np.random.default_rng(1))
    assert noise.std(axis=(0, 1)) == pytest.approx(0.3, rel=0.05)
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.05


def test_each_is_drawn_on_its_own_with_its_proportion_from_its_range():
    ranges = {name: (1.0, 1.0) if name == "ghosting_range" else (1.2, 1.8) for name in INTENSITIES}
    ranges["ghosting_range"] = (0.2, 0.8)
    intensities, rng = Intensities(**ranges, proportion=0.3), np.random.default_rng(2)
    draws = [intensities.draw(rng) for _ in range(2000)]
    for name, (low, high) in ranges.items():
        values = [draw[name] for draw in draws if name in draw]
        assert len(values) / 2000 == pytest.approx(0.3, abs=0.04)
        assert low <= min(values) < low + 0.05
        assert high - 0.05 < max(values) <= high
    both = sum("blur_range" in draw and "noise_range" in draw for draw in draws) / 2000
    assert both == pytest.approx(0.09, abs=0.03)
    assert Intensities().is_off
    assert Intensities(noise_range=(0, 1), proportion=0).is_off


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise_range": (-1, 1)}, r"noise_range = \(-1, 1\): both must not be below 0"),
        ({"gamma_range": (0, 1)}, "both must be above 0"),
        ({"ghosting_range": (0, 2)}, "both must not be above 1"),
        ({"low_resolution_range": (0.5, 2)}, "both must not be below 1"),
        ({"blur_range": (2, 1)}, "is not a lowest and a highest number"),
        ({"num_ghosts": 1}, "num_ghosts = 1 is not a whole number of at least 2"),
        ({"proportion": 2}, "proportion_to_change = 2 is not between 0 and 1"),
    ],
)
def test_what_means_nothing_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Intensities(**settings)


def source(**intensities):
    rng = np.random.default_rng(3)
    targets = {"ct": rng.normal(size=(14, 15, 3, 1)), "organs": rng.integers(0, 4, (14, 15, 3))}
    subject = PreparedSubject("p", rng.normal(size=(14, 15, 3, 1)).astype(np.float32), targets)
    augmentation = Augmentation(flip_axes=(0,), intensities=Intensities(**intensities))
    kinds = {"ct": "map", "organs": "labels", "same": "image"}
    return WindowSource([subject], (8, 10, 1), UniformSampler((8, 10, 1)), augmentation, kinds, loss_border=1, seed=4)


RANGES = {
    "gamma_range": (1.5, 2), "contrast_range": (1.5, 2), "ghosting_range": (0.5, 0.8), "blur_range": (0.5, 1),
    "low_resolution_range": (2, 3), "noise_range": (0.1, 0.2),
}  # fmt: skip


@pytest.mark.parametrize("name", list(INTENSITIES))
def test_windows_change_in_their_image_alone_and_repeat_by_their_number(name):
    changed, plain = source(**{name: RANGES[name]}, proportion=1.0), source()
    again = source(**{name: RANGES[name]}, proportion=1.0)
    for number in (5, 0, 3):
        image, targets, weights = changed.window(number)
        expected, same_targets, same_weights = plain.window(number)
        assert (image[1:-1, 1:-1] != expected[1:-1, 1:-1]).mean() > 0.5
        assert not image[0].any()  # the border stays 0
        assert not image[:, -1].any()
        for task in ("ct", "organs"):
            np.testing.assert_array_equal(targets[task], same_targets[task])
            np.testing.assert_array_equal(weights[task], same_weights[task])
        np.testing.assert_array_equal(targets["same"], image)  # the image as its own target
        np.testing.assert_array_equal(again.window(number)[0], image)


def test_ghosts_lie_along_any_axis():
    window = np.zeros((8, 9, 1), np.float32) + np.random.default_rng(0).normal(size=(9, 1)).astype(np.float32)
    ghosts = Intensities(ghosting_range=(1, 1), num_ghosts=2, proportion=1)
    rng = np.random.default_rng(0)
    # Along the first axis all is equal, and there is nothing to repeat.
    changed = [np.abs(ghosts.apply(window, rng) - window).max() > 1e-3 for _ in range(20)]
    assert 4 <= sum(changed) <= 16


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("gamma_range", change_gamma),
        ("contrast_range", change_contrast),
        ("blur_range", blur),
        ("low_resolution_range", lower_resolution),
    ],
)
def test_a_window_is_changed_by_as_much_as_was_drawn(name, change):
    window = np.random.default_rng(0).normal(size=(9, 8, 1)).astype(np.float32)
    intensities = Intensities(**{name: (1.0, 3.0), "proportion": 1})
    drawn = [intensities.draw(np.random.default_rng(seed))[name] for seed in range(4)]
    assert max(drawn) - min(drawn) > 0.5
    for seed, value in enumerate(drawn):
        np.testing.assert_array_equal(intensities.apply(window, np.random.default_rng(seed)), change(window, value))
