"""CONTRIBUTING's recipe, tried from outside the package: one file, one line of a table, and INI files know it."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.records.checkpoints import CheckpointFolder, variable_names
from sfgkeras.applications.records.logs import read_log
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.applications.training.network import build_network
from sfgkeras.errors import ConfigError
from sfgkeras.tables.entry import Entry
from sfgkeras.tables.losses import LOSSES, LossEntry
from sfgkeras.tables.optimisers import OPTIMISERS
from sfgkeras.tables.samplers import SAMPLERS, SamplerEntry

PIECES = """
import dataclasses

import keras
import numpy as np

from sfgkeras.data.samplers import Sampler
from sfgkeras.losses import TaskLoss
from sfgkeras.settings import Settings, setting


@dataclasses.dataclass(frozen=True)
class LevelSettings(Settings):
    height: float = setting(1.0, "What every sample costs.", ge=0)


class Level(TaskLoss):
    def __init__(self, height=1.0, **kwargs):
        super().__init__(**kwargs)
        self.height = height

    def per_sample(self, y_true, y_pred, sample_weight=None):
        return self.height + 0 * keras.ops.sum(y_pred, axis=tuple(range(1, len(y_pred.shape))))


@dataclasses.dataclass(frozen=True)
class LazySettings(Settings):
    effort: float = setting(1.0, "Fraction of the learning rate that is used.", ge=0, le=1)


def lazy(learning_rate, effort=1.0):
    return keras.optimizers.SGD(learning_rate * effort)


@dataclasses.dataclass(frozen=True)
class CornerSettings(Settings):
    first: int = setting(0, "Where windows begin along the last axis.", ge=0)


class Corner(Sampler):
    starts = []

    def __init__(self, window_size, first=0):
        super().__init__(window_size)
        self.first = first

    def start(self, subject, rng):
        self.starts.append(self.first)
        return np.array([0, 0, self.first])
"""


@pytest.fixture
def pieces(tmp_path, monkeypatch) -> Any:
    """A module outside the package, and its pieces as lines of the tables."""
    (tmp_path / "new_pieces.py").write_text(PIECES)
    monkeypatch.syspath_prepend(tmp_path)
    import new_pieces  # type: ignore[import-not-found]

    def loads(found: Any) -> Callable[[], Any]:
        return lambda: found

    level = LossEntry(loads(new_pieces.Level), "the same for every sample", new_pieces.LevelSettings)
    monkeypatch.setitem(LOSSES["regression"], "level", level)
    monkeypatch.setitem(OPTIMISERS, "lazy", Entry(loads(new_pieces.lazy), "slower descent", new_pieces.LazySettings))
    corner = SamplerEntry(loads(new_pieces.Corner), "one place", new_pieces.CornerSettings)
    monkeypatch.setitem(SAMPLERS, "corner", corner)
    yield new_pieces
    sys.modules.pop("new_pieces", None)


def test_a_new_loss_optimiser_and_sampler_are_trained_with_their_settings(pieces, make_config, reporter):
    config = make_config(
        {
            "TASK ct.loss": "level", "TASK ct.level_height": "0.375",
            "TRAINING.optimiser": "lazy", "TRAINING.lazy_effort": "0",
            "NETWORK.window_sampling": "corner", "NETWORK.corner_first": "2",
            "TRAINING.max_iter": "1", "TRAINING.validation_every_n": "0",
        }
    )  # fmt: skip
    run.train(config, reporter)
    log = read_log(config.system.model_dir / "logs" / "training.csv")
    assert [float(row["ct"]) for row in log] == [0.375]
    assert set(pieces.Corner.starts) == {2}
    state = CheckpointFolder(config.system.model_dir / "checkpoints").read(1, "")
    stored = {key.split("/", 2)[2]: value for key, value in state.arrays.items() if key.startswith("network/")}
    network = build_network(config, build_tasks(config), 1)
    untouched = network.trainable_variables
    assert untouched
    for name, variable in zip(variable_names(network, untouched), untouched, strict=True):
        np.testing.assert_array_equal(stored[name], np.asarray(variable))


def test_settings_of_new_entries_are_checked_like_all_others(pieces, make_config):
    with pytest.raises(ConfigError) as refusal:
        make_config({"TASK ct.loss": "level", "TASK ct.level_height": "-1", "NETWORK.corner_first": "1"})
    assert "[TASK ct] level_height = '-1' must be at least 0" in str(refusal.value)
    assert "corner_first = '1' is a setting of corner, and window_sampling = uniform; write" in str(refusal.value)
