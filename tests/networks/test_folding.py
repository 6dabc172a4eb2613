"""Folded normalisations and activations change nothing but the time, and where they would, they are left alone."""

import keras
import numpy as np
import pytest

from sfgkeras.layers import MaskedActivation
from sfgkeras.networks import VGG11, HighResNet, harden
from sfgkeras.networks.folding import LARGEST_SHIFT, fold_behind, split_preactivation


def tasks_of(count):
    return {f"task_{index}": index + 1 for index in range(count)}


def assert_equal(outputs, expected):
    """Equal to 1e-4 of the largest output."""
    for name, output in outputs.items():
        reference = np.asarray(expected[name])
        assert reference.std() > 0
        np.testing.assert_allclose(output, reference, atol=1e-4 * np.abs(reference).max())


def kinds(model):
    return {type(layer).__name__ for layer in model.layers}


@pytest.fixture
def activation():
    """A normalisation and PReLU over five channels whose statistics and weights are all different."""
    layer = MaskedActivation("prelu")
    layer.build((None, None, None, 5))
    rng = np.random.default_rng(0)
    source = layer.normalization
    source.gamma.assign(rng.uniform(0.3, 1.2, 5))
    source.beta.assign(rng.normal(size=5))
    source.moving_mean.assign(rng.normal(size=5))
    source.moving_variance.assign(rng.uniform(0.5, 2.0, 5))
    layer.activation.alpha.assign(rng.uniform(-0.2, 0.9, 5))
    return layer


@pytest.mark.parametrize("has_bias", [True, False])
def test_a_normalisation_behind_a_convolution_goes_into_its_kernel_and_bias(has_bias, activation, images):
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(3, 3, 2, 5)).astype("float32")
    bias = rng.normal(size=5).astype("float32") if has_bias else None
    x = images(6, channels=2)
    plain = keras.ops.conv(x, kernel, padding="same") + (0.0 if bias is None else bias)
    folded_kernel, folded_bias = fold_behind(kernel, bias, activation.normalization)
    folded = keras.ops.conv(x, folded_kernel, padding="same") + folded_bias
    np.testing.assert_allclose(folded, activation.normalization(plain, training=False), atol=1e-4)


def test_a_normalisation_before_an_activation_splits_into_shift_and_factor(activation, images):
    x = images(6, channels=5)
    factor, shift = split_preactivation(activation)
    split = factor * np.asarray(activation.activation(x + shift))
    np.testing.assert_allclose(split, activation(x, training=False), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gamma", [-0.5, 0.0, 1e-4])
def test_it_is_not_split_where_a_factor_is_not_positive_or_a_shift_would_round_the_values_away(gamma, activation):
    assert split_preactivation(activation) is not None
    values = np.array(activation.normalization.gamma)
    values[2] = gamma
    activation.normalization.gamma.assign(values)
    assert split_preactivation(activation) is None


def test_a_shift_is_large_by_the_measure_of_its_channels_deviation(activation):
    mean = np.array(activation.normalization.moving_mean)
    mean[1] = 2 * LARGEST_SHIFT
    activation.normalization.moving_mean.assign(mean)
    assert split_preactivation(activation) is None
    activation.normalization.moving_variance.assign(np.full(5, 1e4))
    assert split_preactivation(activation) is not None


def test_activations_that_do_not_let_a_factor_through_are_not_split():
    layer = MaskedActivation("elu")
    layer.build((None, None, None, 5))
    assert split_preactivation(layer) is None


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("kind", ["highresnet", "vgg11"])
def test_folded_networks_equal_the_masked_ones_in_mode(kind, rank, num_tasks, images, scramble):
    network_class, width = {"highresnet": (HighResNet, 0.3), "vgg11": (VGG11, 0.06)}[kind]
    network = network_class(tasks_of(num_tasks), spatial_rank=rank, width=width, masks="mode", seed=0)
    x = images(9, rank)
    network(x)
    scramble(network)
    # The fixture's slopes reach beyond 1; here they are as after a training.
    for layer in network._flatten_layers():
        if isinstance(layer, MaskedActivation):
            layer.activation.alpha.assign(np.clip(layer.activation.alpha, -0.3, 0.9))
    folded = harden(network)
    assert not kinds(folded) & {"BatchNormalization", "PReLU"}
    assert_equal(folded(x), network(x))


def test_slopes_above_one_and_negative_factors_keep_their_layers_and_the_result(small_network, images, scramble):
    network = small_network(tasks_of(2), masks="mode", seed=0)
    x = images()
    network(x)
    scramble(network)
    for layer in network._flatten_layers():
        if isinstance(layer, MaskedActivation):
            gamma, alpha = np.array(layer.normalization.gamma), np.array(layer.activation.alpha)
            layer.normalization.gamma.assign(gamma * np.where(np.arange(len(gamma)) % 2, 1, -1))
            layer.activation.alpha.assign(alpha + 0.5)
    folded = harden(network)
    assert {"BatchNormalization", "PReLU"} <= kinds(folded)
    assert_equal(folded(x), network(x))


def test_prelu_stays_a_layer_where_that_is_asked_for(small_network, images, scramble):
    network = small_network(tasks_of(2), masks="mode", seed=0)
    x = images()
    network(x)
    scramble(network)
    kept = harden(network, keep_prelu=True)
    assert "PReLU" in kinds(kept)
    assert not kinds(kept) & {"Maximum", "BatchNormalization"}
    assert_equal(kept(x), network(x))


def test_half_precision_keeps_its_normalisations(small_network, images):
    network = small_network(tasks_of(2), masks="mode", seed=0, dtype="mixed_bfloat16")
    network(images())
    assert "BatchNormalization" in kinds(harden(network))
