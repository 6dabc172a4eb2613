"""Gradients with rematerialisation are those without it, and nothing happens twice."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.architecture.stage import Stage
from sfgkeras.errors import ConfigError
from sfgkeras.layers.activation import MaskedActivation
from sfgkeras.layers.recomputation import rematerialises
from sfgkeras.layers.residual import ResidualBlock, ResidualSection
from sfgkeras.networks import MultiTaskNetwork

TASKS = {"ct": 1, "organs": 3}


class SmallNetwork(MultiTaskNetwork):
    """A grouped convolution, a residual section in phases, and a grouped convolution."""

    stages = (Stage(4, num_blocks=2, dilation=2), Stage(6))


def step_of(network, images):
    """Returns output, gradients and state after one training call, as a graph like that of training."""

    @tf.function(autograph=False)
    def step(images):
        with tf.GradientTape() as tape:
            outputs = network(images, training=True)
            loss = tf.add_n([tf.reduce_sum(output**2) for output in outputs.values()])
        return outputs, tape.gradient(loss, network.trainable_variables)

    outputs, gradients = step(images)
    return outputs, gradients, [variable.numpy() for variable in network.non_trainable_variables]


def assert_close(actual, expected, rtol=1e-4):
    scale = max(float(np.abs(expected).max()), 1e-3)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * scale)


CHOICES = [
    {},
    {"spatial_rank": 3},
    {"assignment": "hard"},
    {"per_sample": True},
    {"sharing": "hard_sharing"},
    {"sharing": "cross_stitch"},
    {"activation": "elu"},
]


@pytest.mark.parametrize(
    ("chosen", "rematerialise"),
    [
        *(pytest.param(chosen, "activations", id=f"activations-{chosen}") for chosen in CHOICES),
        pytest.param({}, "blocks", id="blocks"),
        *(pytest.param(chosen, "blocks", id=f"blocks-{chosen}", marks=pytest.mark.slow) for chosen in CHOICES[1:]),
    ],
)
def test_a_step_is_the_step_without_rematerialisation(chosen, rematerialise):
    rank = chosen.get("spatial_rank", 2)
    images = np.random.default_rng(0).normal(size=(2, *[8] * rank, 1)).astype("float32")
    found = []
    for setting in ("none", rematerialise):
        network = SmallNetwork(TASKS, seed=3, rematerialise=setting, **chosen)
        network.build((None, *[None] * rank, 1))
        found.append(step_of(network, images))
    (outputs, gradients, state), (same_outputs, same_gradients, same_state) = found
    for name in TASKS:
        assert_close(same_outputs[name], outputs[name])
    largest = max(float(np.abs(gradient).max()) for gradient in gradients)
    assert largest > 0
    for gradient, same in zip(gradients, same_gradients, strict=True):
        np.testing.assert_allclose(same, gradient, rtol=1e-3, atol=1e-5 * largest)
    # The moving averages and counters have moved once, not once more in the gradient.
    for values, same_values in zip(state, same_state, strict=True):
        assert_close(same_values, values)


def num_normalizations(setting, training=True):
    """Counts the normalisations in the graph of the gradient of one residual section."""
    blocks = [ResidualBlock(2, 4, rematerialise=setting) for _ in range(2)]
    section = ResidualSection(blocks)
    section.build((None, 8, 8, 4))

    @tf.function(autograph=False)
    def step(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_sum(section(images, training=training))
        return tape.gradient(loss, images)

    graph = step.get_concrete_function(tf.TensorSpec((2, 8, 8, 4))).graph
    return sum(operation.type == "FusedBatchNormV3" for operation in graph.get_operations())


def test_normalisations_are_done_again_in_the_gradient_and_no_more_often():
    assert num_normalizations("none") == 4
    assert num_normalizations("activations") == 8
    # Once more for the section, in whose second run every activation is again forgotten and made again.
    assert num_normalizations("blocks") == 12


def test_a_frozen_layer_keeps_its_statistics_and_passes_the_gradient_on():
    layer = MaskedActivation(rematerialise="activations")
    layer.build((None, 4, 4, 2))
    layer.trainable = False
    images = tf.constant(np.random.default_rng(0).normal(3, 2, (2, 4, 4, 2)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = layer(images, training=True)
    assert np.all(tape.gradient(outputs, images) != 0)
    np.testing.assert_array_equal(layer.normalization.moving_mean, [0, 0])


def test_inference_makes_nothing_again():
    assert num_normalizations("blocks", training=False) == 4


def test_layers_come_back_from_their_configuration_with_the_setting():
    block = ResidualBlock(2, 4, rematerialise="blocks")
    assert ResidualBlock.from_config(block.get_config()).rematerialise == "blocks"
    layer = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(MaskedActivation(rematerialise="activations"))
    )
    assert layer.rematerialise == "activations"


@pytest.mark.parametrize("sharing", ["sfg", "hard_sharing"])
def test_all_blocks_and_grouped_convolutions_of_a_network_get_the_setting(sharing):
    network = SmallNetwork(TASKS, sharing, rematerialise="blocks")
    network.build((None, 8, 8, 1))
    layers = list(network._flatten_layers())
    blocks = [layer for layer in layers if isinstance(layer, ResidualBlock)]
    within = {id(activation) for block in blocks for activation in block.activations}
    activations = [layer for layer in layers if isinstance(layer, MaskedActivation) and id(layer) not in within]
    assert blocks
    assert {layer.rematerialise for layer in (*blocks, *activations)} == {"blocks"}


def test_an_unknown_setting_is_refused_by_name():
    with pytest.raises(ConfigError, match="rematerialise.*blocks"):
        rematerialises("everything", "blocks")
