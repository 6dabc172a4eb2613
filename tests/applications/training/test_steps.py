"""The compiled training step: traced once, whatever changes from step to step."""

import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.applications.training.optimizers import Optimizers, build_optimizer
from sfgkeras.applications.training.step import TrainingStep
from sfgkeras.applications.training.trainer import naming_what_saves_memory
from sfgkeras.errors import ConfigError
from sfgkeras.losses import RootMeanSquaredError
from sfgkeras.networks import VGG11, HighResNet


@pytest.fixture
def counted_network():
    """Returns a function: class, arguments -> network that notes every time its Python code runs."""

    def build(kind, **arguments):
        class Counted(kind):
            calls = 0

            def call(self, inputs, training=None):
                type(self).calls += 1
                return super().call(inputs, training=training)

        return Counted({"a": 1, "b": 1}, seed=0, **arguments)

    return build


@pytest.mark.parametrize("sharing", [pytest.param("sfg", marks=pytest.mark.slow), "hard_sharing"])
def test_a_falling_temperature_and_a_rising_iteration_trace_nothing_anew(counted_network, sharing):
    settings = {"temperature": (1.0, 0.5, 0.1)} if sharing == "sfg" else {}
    network = counted_network(HighResNet, sharing=sharing, width=0.1, **settings)
    network.build((None, 8, 8, 1))
    optimizers = Optimizers(build_optimizer("adam", 1e-3)).build(network)
    losses = {name: RootMeanSquaredError() for name in network.tasks}
    step = TrainingStep(network, optimizers, losses, network.balancer, tf.distribute.get_strategy(), 2)
    rng = np.random.default_rng(0)
    temperatures, traced = [], []
    for _ in range(4):
        images = rng.normal(size=(2, 8, 8, 1)).astype("float32")
        step((images, dict.fromkeys("ab", images), dict.fromkeys("ab", np.ones((2, 8, 8), "float32"))))
        temperatures.append(float(network.temperature))
        traced.append(type(network).calls)
    assert temperatures == sorted(temperatures, reverse=True)
    assert temperatures[-1] < (0.5 if settings else 1.0)
    # The second step may be traced too: the first one makes variables.
    assert traced[1] == traced[-1]


def test_another_choice_of_masks_traces_nothing_anew(counted_network):
    network = counted_network(VGG11, width=0.05)
    images = np.zeros((2, 16, 16, 1), "float32")
    call = tf.function(lambda x: network(x, training=False))
    call(images)
    traced = type(network).calls
    for masks in ("sample", "mean", "mode"):
        network.masks = masks
        call(images)
    assert type(network).calls == traced


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, r"oom when allocating.*try \[SYSTEM\] rematerialise = activations, a \[NETWORK\] batch_size below 4"),
        ({"SYSTEM.rematerialise": "activations"}, "rematerialise = blocks"),
        ({"SYSTEM.jit_compile": "yes", "NETWORK.batch_size": "1"}, "try a smaller spatial_window_size or a .*width"),
    ],
)
def test_too_little_memory_is_one_line_that_names_the_keys_that_save_some(make_config, changes, words):
    error = tf.errors.ResourceExhaustedError(None, None, "oom when allocating a tensor\nmany lines")
    with pytest.raises(ConfigError, match=words), naming_what_saves_memory(make_config(changes)):
        raise error


def test_rematerialisation_under_xla_is_refused(make_config):
    with pytest.raises(ConfigError, match=r"\[SYSTEM\] rematerialise = 'blocks'.*XLA.*jit_compile = no"):
        make_config({"SYSTEM.rematerialise": "blocks", "SYSTEM.jit_compile": "yes"})
