"""Cohen's kappa as a loss: numbers worked out by hand, a formula of label counts, and what rare labels cost."""

import keras
import numpy as np
import pytest
from keras import ops

from sfgkeras.losses import KappaLoss
from sfgkeras.losses.agreement import kappa_loss


def logits_of(labels, classes, height=30.0):
    return height * np.eye(classes, dtype="float32")[np.asarray(labels)]


def kappa_by_counting(truth, prediction, classes):
    """Cohen's kappa of two raters from their table of counts."""
    table = np.zeros((classes, classes))
    for i, j in zip(np.ravel(truth), np.ravel(prediction), strict=True):
        table[i, j] += 1
    table /= table.sum()
    chance = table.sum(axis=0) @ table.sum(axis=1)
    return (np.trace(table) - chance) / (1 - chance)


def test_probabilities_count_as_they_are():
    # By hand: g = (1, 0, 0, 0), p = (0.5, 0.5, 0, 0): o = (0.5 + 0.5 + 1 + 1) / 4 = 3/4,
    # e = 1/4 * 1/4 + 3/4 * 3/4 = 5/8, kappa = (1/8) / (3/8) = 1/3.
    logits = np.array([[[0, 0], [0, 0], [30, -30], [30, -30]]], "float32")
    np.testing.assert_allclose(kappa_loss(np.array([[1, 0, 0, 0]]), logits), [2 / 3], rtol=1e-4)


@pytest.mark.parametrize("classes", [2, 4])
def test_decided_predictions_cost_one_minus_kappa(classes):
    rng = np.random.default_rng(classes)
    truth, prediction = rng.integers(classes, size=(2, 3, 5, 6))
    expected = [1 - kappa_by_counting(truth[i], prediction[i], classes) for i in range(3)]
    np.testing.assert_allclose(kappa_loss(truth, logits_of(prediction, classes)), expected, rtol=1e-4)


def test_background_everywhere_has_no_agreement_beyond_chance_however_rare_the_lesion():
    truth = np.zeros((1, 20, 20), int)
    truth[0, 3, 4] = 1
    np.testing.assert_allclose(kappa_loss(truth, logits_of(np.zeros_like(truth), 2)), [1.0], rtol=1e-3)
    np.testing.assert_allclose(kappa_loss(truth, logits_of(truth, 2)), [0.0], atol=1e-4)


def test_a_sample_without_a_lesion_costs_what_was_found_in_it():
    truth, found = np.zeros((2, 10), int), np.zeros((2, 10), int)
    found[1, :3] = 1
    np.testing.assert_allclose(kappa_loss(truth, logits_of(found, 2)), [0.0, 3 / 4], atol=1e-4)


def test_voxels_of_weight_zero_count_nowhere():
    rng = np.random.default_rng(0)
    truth, logits = rng.integers(2, size=(2, 12)), rng.normal(size=(2, 12, 2)).astype("float32")
    weights = np.ones((2, 12), "float32")
    weights[:, 8:] = 0
    np.testing.assert_allclose(
        kappa_loss(truth, logits, weights), kappa_loss(truth[:, :8], logits[:, :8]), rtol=1e-5
    )  # fmt: skip
    np.testing.assert_array_equal(kappa_loss(truth, logits, 0 * weights), [0, 0])


def test_its_gradient_is_that_of_finite_differences():
    import tensorflow as tf

    rng = np.random.default_rng(1)
    truth, logits = rng.integers(2, size=(1, 6)), rng.normal(size=(1, 6, 2))
    variable = tf.Variable(logits.astype("float32"))
    with tf.GradientTape() as tape:
        value = kappa_loss(truth, variable)[0]
    gradient = tape.gradient(value, variable)
    for place in ((0, 0, 0), (0, 3, 1), (0, 5, 1)):
        step = np.zeros_like(logits)
        step[place] = 1e-2
        sides = [float(kappa_loss(truth, (logits + sign * step).astype("float32"))[0]) for sign in (1, -1)]
        np.testing.assert_allclose(gradient[place], (sides[0] - sides[1]) / 2e-2, atol=2e-4)


def test_it_trains_through_keras_and_is_saved_by_name():
    loss = KappaLoss()
    truth = ops.convert_to_tensor(np.array([[0, 0, 1, 1]]))
    np.testing.assert_allclose(loss(truth, logits_of([[0, 1, 1, 1]], 2)), 0.5, rtol=1e-4)
    assert type(keras.losses.deserialize(keras.losses.serialize(loss))) is KappaLoss
