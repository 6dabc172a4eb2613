import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from sfgkeras import losses
from sfgkeras.losses.binary import binary_cross_entropy


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return rng.integers(0, 2, (4, 6, 5)), rng.normal(scale=3, size=(4, 6, 5, 1)).astype("float32")


def by_probabilities(truth, logits, weight=1.0):
    """The formula as it stands in textbooks, in double precision."""
    p = 1 / (1 + np.exp(-logits.astype("float64")[..., 0]))
    return -(weight * truth * np.log(p) + (1 - truth) * np.log(1 - p))


def test_it_is_kerass_binary_cross_entropy_of_logits(batch):
    truth, logits = batch
    keras_loss = keras.losses.BinaryCrossentropy(from_logits=True)
    np.testing.assert_allclose(
        losses.BinaryCrossEntropy()(truth, logits), keras_loss(truth[..., None].astype("float32"), logits), rtol=1e-6
    )


def test_every_sample_costs_the_mean_over_its_voxels(batch):
    truth, logits = batch
    expected = by_probabilities(truth, logits).mean(axis=(1, 2))
    for targets in (truth, truth[..., None], truth.astype("float32")):
        np.testing.assert_allclose(binary_cross_entropy(targets, logits), expected, rtol=1e-5)


def test_by_hand():
    # sigmoid(ln 3) = 3/4, so that a 1 costs ln(4/3) and a 0 costs ln 4
    logit = np.full((1, 2, 1), np.log(3), "float32")
    np.testing.assert_allclose(binary_cross_entropy([[1, 0]], logit), [(np.log(4 / 3) + np.log(4)) / 2], rtol=1e-6)
    np.testing.assert_allclose(
        binary_cross_entropy([[1, 0]], logit, positive_weight=5.0), [(5 * np.log(4 / 3) + np.log(4)) / 2], rtol=1e-6
    )


def test_one_logit_costs_what_two_logits_do_of_which_the_first_is_zero(batch):
    truth, logits = batch
    both = np.concatenate([np.zeros_like(logits), logits], axis=-1)
    mask = np.random.default_rng(1).integers(0, 2, truth.shape).astype("float32")
    np.testing.assert_allclose(
        losses.BinaryCrossEntropy().per_sample(truth, logits, mask),
        losses.CrossEntropy().per_sample(truth, both, mask),
        rtol=1e-5,
    )


def test_masked_voxels_count_as_if_they_were_not_there(batch):
    truth, logits = batch
    mask = np.zeros(truth.shape, "float32")
    mask[:, 1:4, 2:5] = 1
    loss = losses.BinaryCrossEntropy(positive_weight=2.0)
    expected = loss.per_sample(truth[:, 1:4, 2:5], logits[:, 1:4, 2:5])
    spoilt = np.where(mask[..., None] > 0, logits, 1e4)
    np.testing.assert_allclose(loss.per_sample(truth, spoilt, mask), expected, rtol=1e-5)
    np.testing.assert_allclose(loss.per_sample(truth, spoilt, mask[..., None]), expected, rtol=1e-5)
    np.testing.assert_array_equal(loss.per_sample(truth, logits, np.zeros_like(mask)), np.zeros(4))


def test_vectors_are_weighed_by_sample():
    truth, logits = np.array([1, 0, 1]), np.array([[0.0], [2.0], [-1.0]], "float32")
    expected = by_probabilities(truth, logits) * [1, 0, 3]
    np.testing.assert_allclose(binary_cross_entropy(truth, logits, [1.0, 0.0, 3.0]), expected, rtol=1e-5)
    np.testing.assert_allclose(losses.BinaryCrossEntropy()(truth, logits, [1.0, 0.0, 3.0]), expected.mean(), rtol=1e-5)


def test_probabilities_are_targets_too_and_labels_of_no_class_cost_nothing():
    logits = np.full((1, 4, 1), np.log(3), "float32")
    soft = by_probabilities(np.array([[0.25]]), logits[:, :1])[0, 0]
    np.testing.assert_allclose(binary_cross_entropy([[0.25, -1.0, 2.0, 255.0]], logits), [soft / 4], rtol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=5), st.integers(0, 1))
def test_any_logit_has_a_finite_loss_and_a_gradient_between_minus_one_and_one(values, label):
    logits = ops.convert_to_tensor(np.array(values, "float32")[:, None])
    loss = np.asarray(binary_cross_entropy(np.full(len(values), label), logits))
    assert np.all(np.isfinite(loss))
    assert np.all(loss >= 0)
    # d loss / d logit = sigmoid(logit) - label
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = ops.sum(binary_cross_entropy(np.full(len(values), label), logits))
    expected = np.asarray(keras.ops.sigmoid(logits)) - label
    np.testing.assert_allclose(tape.gradient(total, logits), expected, atol=1e-6)


def test_it_is_computed_in_single_precision():
    value = losses.BinaryCrossEntropy()(np.array([1]), np.array([[60000.0]], "float16"))
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    assert float(value) == 0


@pytest.mark.parametrize(
    ("truth", "logits", "message"),
    [
        (np.zeros((2, 4)), np.zeros((2, 4, 2)), r"logits of shape \(2, 4, 2\) need a last axis of 1"),
        (np.zeros((2, 5)), np.zeros((2, 4, 1)), r"labels of shape \(2, 5\) do not fit logits of shape \(2, 4, 1\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(truth, logits, message):
    with pytest.raises(ValueError, match=message):
        losses.BinaryCrossEntropy().per_sample(truth, logits)


@pytest.mark.parametrize("weight", [0, -1, float("inf"), float("nan")])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match=f"positive_weight = {weight} must be positive"):
        losses.BinaryCrossEntropy(positive_weight=weight)


def test_it_survives_serialisation():
    loss = losses.BinaryCrossEntropy(positive_weight=3.0, reduction="sum", name="mine")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(copy) is losses.BinaryCrossEntropy
    assert copy.get_config() == loss.get_config()
