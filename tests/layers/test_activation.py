"""Normalisation and activation with a mask per filter: the mask counts as a factor of what they give."""

import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.layers.activation import MaskedActivation


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("folds_masks", [True, False])
@pytest.mark.parametrize("name", ["prelu", "relu", "leaky_relu", "linear", "elu", "sigmoid", "tanh", "softplus"])
def test_a_mask_is_a_factor_of_what_the_activation_gives(name, folds_masks, training):
    """Also where it could be multiplied into the normalisation, which only some activations let through."""
    layer = MaskedActivation(activation=name, folds_masks=folds_masks)
    images = np.random.default_rng(0).normal(size=(2, 5, 5, 3)).astype("float32")
    layer.build(images.shape)
    layer.normalization.gamma.assign([0.5, 1.5, 2.0])
    layer.normalization.beta.assign([0.3, -0.2, 0.1])
    mask = np.array([0.0, 0.3, 1.0], "float32")
    expected = mask * np.asarray(layer(images, training=training))
    np.testing.assert_allclose(layer(images, mask, training=training), expected, atol=1e-6)


def test_a_mask_of_0_has_the_gradient_of_what_it_hides_where_masks_are_not_folded():
    layer = MaskedActivation(activation="relu", folds_masks=False)
    images = np.random.default_rng(0).normal(size=(2, 5, 5, 3)).astype("float32")
    layer.build(images.shape)
    mask = tf.Variable([0.0, 0.0, 1.0])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer(images, mask, training=True))
    hidden = np.asarray(layer(images, training=True)).sum(axis=(0, 1, 2))
    np.testing.assert_allclose(tape.gradient(total, mask), hidden, rtol=1e-5)
