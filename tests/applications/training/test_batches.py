"""From `[TRAINING]` to what windows are augmented with."""

import numpy as np
import pytest

from sfgkeras.applications.training.batches import build_augmentation
from sfgkeras.errors import ConfigError
from sfgkeras.tables.intensities import INTENSITIES

OFF = {"TRAINING.rotation_angle": "", "TRAINING.scaling_percentage": ""}
RANGES = {
    "gamma_range": "1.5, 2", "contrast_range": "1.5, 2", "ghosting_range": "0.5, 0.8", "blur_range": "0.5, 1",
    "low_resolution_range": "2, 3", "noise_range": "0.1, 0.2",
}  # fmt: skip


@pytest.mark.parametrize("key", list(INTENSITIES))
def test_every_range_of_the_ini_file_changes_windows_with_the_proportion_given(make_config, key):
    window = np.random.default_rng(0).normal(size=(8, 9, 1)).astype(np.float32)
    augmentation = build_augmentation(
        make_config({**OFF, f"TRAINING.{key}": RANGES[key], "TRAINING.proportion_to_change": 0.5})
    )
    rng = np.random.default_rng(1)
    changed = [(augmentation.intensities.apply(window, rng) != window).any() for _ in range(100)]
    assert 30 < sum(changed) < 70
    assert build_augmentation(make_config(OFF)) is None


def test_ghosts_repeat_as_often_as_the_ini_file_says(make_config):
    config = make_config({**OFF, "TRAINING.ghosting_range": "1, 1", "TRAINING.num_ghosts": 2})
    assert build_augmentation(config).intensities.num_ghosts == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise_range": "-1, 1"}, r"noise_range = '-1, 1' is out of range: both numbers must not be below 0"),
        ({"num_ghosts": 3}, "num_ghosts = '3' has no effect without ghosting_range"),
        ({"proportion_to_change": 1}, "proportion_to_change = '1' has no effect without a range of gamma_range"),
    ],
)
def test_settings_without_meaning_are_refused(make_config, settings, message):
    with pytest.raises(ConfigError, match=message):
        make_config({f"TRAINING.{key}": value for key, value in settings.items()})
