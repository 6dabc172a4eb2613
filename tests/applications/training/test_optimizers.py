"""Learning rates over a training, and gradients that are shortened."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.applications.training.build import build_optimizers
from sfgkeras.applications.training.optimizers import Optimizers, build_optimizer
from sfgkeras.applications.training.timetable import build_timetable
from sfgkeras.errors import ConfigError
from sfgkeras.tables.schedules import SCHEDULES, build_schedule


class Logits:
    """As much of a network as optimisers look at: one kernel and one layer with grouping logits."""

    def __init__(self):
        self.kernel = keras.Variable(np.zeros((2, 2), "float32"), name="kernel")
        self.grouping_logits = keras.Variable(np.zeros(2, "float32"), name="logits")
        self.trainable_variables = [self.kernel, self.grouping_logits]

    def groupings(self):
        return {"layer": self}


@pytest.mark.parametrize(
    ("name", "settings", "factors"),
    [
        ("constant", {}, [0.5, 1, 1, 1, 1, 1]),
        ("linear", {}, [0.5, 1, 1, 0.75, 0.5, 0.25]),
        ("polynomial", {}, [0.5, 1, 1, 0.75**0.9, 0.5**0.9, 0.25**0.9]),
        ("polynomial", {"polynomial_power": 2}, [0.5, 1, 1, 0.75**2, 0.5**2, 0.25**2]),
        ("cosine", {}, [0.5, 1, 1, 0.5 + 0.25 * math.sqrt(2), 0.5, 0.5 - 0.25 * math.sqrt(2)]),
        ("cosine", {"cosine_end": 0.5}, [0.5, 1, 1, 0.75 + 0.125 * math.sqrt(2), 0.75, 0.75 - 0.125 * math.sqrt(2)]),
        ("steps", {}, [0.5, 1, 1, 1, 0.1, 0.01]),
        ("steps", {"steps_at": "0.25", "steps_factor": 0.5}, [0.5, 1, 1, 0.5, 0.5, 0.5]),
    ],
)
def test_rates_rise_over_the_warm_up_and_follow_the_schedule(make_config, name, settings, factors):
    own = {f"TRAINING.{key}": value for key, value in settings.items()}
    config = make_config({"TRAINING.lr_schedule": name, "TRAINING.warm_up": 2, "TRAINING.max_iter": 6, **own})
    timetable = build_timetable(config, 2)
    assert [timetable.rate_factor(iteration) for iteration in range(1, 7)] == pytest.approx(factors)


def test_every_schedule_is_tested_and_begins_with_the_full_rate():
    assert set(SCHEDULES) == {"constant", "linear", "polynomial", "cosine", "steps"}
    assert all(build_schedule(name)(0.0) == 1.0 for name in SCHEDULES)


def test_steps_that_do_not_rise_and_settings_of_another_schedule_are_refused(make_config):
    with pytest.raises(ConfigError, match=r"steps_at = '0.5, 0.5' is no list of rising fractions; write e.g. 0.5, 0.7"):
        make_config({"TRAINING.lr_schedule": "steps", "TRAINING.steps_at": "0.5, 0.5"})
    with pytest.raises(ConfigError, match="cosine_end.* is a setting of cosine, and lr_schedule = steps"):
        make_config({"TRAINING.lr_schedule": "steps", "TRAINING.cosine_end": 0.5})


@pytest.mark.parametrize("precision", ["none", "float16"])
def test_both_learning_rates_are_multiples_of_what_was_given_whatever_was_restored(precision):
    first, second = (build_optimizer("sgd", rate, precision) for rate in (0.5, 0.2))
    optimizers = Optimizers(first, second).build(Logits())
    for optimizer in optimizers:
        optimizer.learning_rate = 7.0
    optimizers.scale_rates(0.1)
    assert [float(one.learning_rate) for one in optimizers] == pytest.approx([0.05, 0.02])
    optimizers.scale_rates(1.0)
    assert [float(one.learning_rate) for one in optimizers] == pytest.approx([0.5, 0.2])


@pytest.mark.parametrize("precision", ["none", "float16"])
@pytest.mark.parametrize(("clip_norm", "factor"), [(None, 1.0), (20.0, 1.0), (2.6, 0.2)])
def test_a_gradient_is_shortened_to_the_norm_over_all_variables(precision, clip_norm, factor):
    """Of length 13, over kernels and logits alike; in float16 it comes multiplied."""
    network = Logits()
    optimizers = Optimizers(*(build_optimizer("sgd", 1.0, precision) for _ in range(2)), clip_norm=clip_norm)
    optimizers.build(network)
    scale = optimizers.scale_loss(tf.constant(1.0))
    kernel, logits = np.array([[3.0, 0.0], [0.0, 4.0]], "float32"), np.array([0.0, 12.0], "float32")
    optimizers.apply([scale * kernel, scale * logits])
    np.testing.assert_allclose(network.kernel, -factor * kernel, rtol=1e-5)
    np.testing.assert_allclose(network.grouping_logits, -factor * logits, rtol=1e-5)


def test_a_configuration_sets_rates_and_the_norm(make_config):
    network = Logits()
    config = make_config({
        "TRAINING.optimiser": "sgd", "TRAINING.lr": 1.0, "TRAINING.grouping_lr": 0.5, "TRAINING.clip_norm": 2.6
    })  # fmt: skip
    build_optimizers(config).build(network).apply([np.full((2, 2), 6.5, "float32"), np.zeros(2, "float32")])
    np.testing.assert_allclose(network.kernel, -0.2 * 6.5, rtol=1e-5)
    build_optimizers(config).build(network).apply([np.zeros((2, 2), "float32"), np.array([0.0, 13.0], "float32")])
    np.testing.assert_allclose(network.grouping_logits, [0.0, -0.5 * 2.6], rtol=1e-5)
