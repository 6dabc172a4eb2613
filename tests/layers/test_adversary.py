"""The conditional adversary: its gradient is reversed for the network, by hand, and it learns to tell maps apart."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.layers.adversary import Adversary, reverse_gradient
from sfgkeras.losses import CrossEntropy, HeatMapCrossEntropy, HeatMapLoss, MeanSquaredError
from sfgkeras.losses.judged import judged_maps
from sfgkeras.networks import UNet, count_parameters, harden


def test_a_reversed_gradient_leaves_values_and_turns_the_gradient_around():
    x = tf.Variable([1.0, -2.0, 3.0])
    with tf.GradientTape() as tape:
        values = reverse_gradient(x, 0.25)
        total = tf.reduce_sum(values**2)
    np.testing.assert_allclose(values, [1.0, -2.0, 3.0], rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(total, x), -0.25 * 2 * np.array([1.0, -2.0, 3.0]), rtol=1e-5)


def test_a_judgement_is_the_cross_entropy_of_true_and_predicted_maps():
    adversary = Adversary(2, 0.1)
    adversary.build((None, 8, 8, 3))
    rng = np.random.default_rng(0)
    image, truth, found = (rng.normal(size=(2, 8, 8, n)).astype("float32") for n in (2, 1, 1))
    probability = [1 / (1 + np.exp(-np.asarray(adversary(np.concatenate([image, m], -1))))) for m in (truth, found)]
    expected = -np.log(probability[0]) - np.log(1 - probability[1])
    np.testing.assert_allclose(adversary.judge(image, truth, found), expected, rtol=1e-4)


def test_samples_are_judged_one_by_one_so_that_devices_may_share_a_batch():
    adversary = Adversary(2, 0.1)
    adversary.build((None, 8, 8, 2))
    parts = np.random.default_rng(0).normal(size=(3, 4, 8, 8, 1)).astype("float32")
    whole = adversary.judge(*parts)
    halves = [adversary.judge(*(part[half] for part in parts)) for half in (slice(0, 1), slice(1, 4))]
    np.testing.assert_allclose(np.concatenate(halves), whole, rtol=1e-5)


@pytest.mark.parametrize("rank", [2, 3])
def test_an_adversary_learns_which_maps_belong_to_their_images(rank):
    """Conditional: both kinds of maps are the same noise, but true ones are those of their image."""
    keras.utils.set_random_seed(0)
    adversary = Adversary(rank, 1.0)
    adversary.build((None, *(8,) * rank, 2))
    optimiser, rng = keras.optimizers.Adam(0.01), np.random.default_rng(0)
    judged = []
    for _ in range(60):
        image, other = rng.normal(size=(2, 16, *(8,) * rank, 1)).astype("float32")
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(adversary.judge(image, image, other))
        optimiser.apply(tape.gradient(loss, adversary.trainable_variables), adversary.trainable_variables)
        judged.append(float(loss))
    assert np.mean(judged[-5:]) < 0.5 * np.mean(judged[:5])


def test_labels_are_shown_one_hot_and_quantities_as_they_are_where_they_are_known():
    logits = np.random.default_rng(0).normal(size=(2, 2, 2, 3)).astype("float32")
    labels = np.array([[[0, 1], [2, 2]], [[1, 1], [0, 0]]])
    known = np.array([[[1, 1], [1, 0]], [[0, 0], [0, 0]]], "float32")
    truth, found, counts = judged_maps(CrossEntropy(), labels, logits, known)
    np.testing.assert_allclose(truth, np.eye(3)[labels] * known[..., None])
    np.testing.assert_allclose(np.sum(found, axis=-1), known, rtol=1e-5)
    np.testing.assert_array_equal(counts, [1, 0])
    values = labels[..., None].astype("float32")
    truth, found, counts = judged_maps(MeanSquaredError(), values, values + 1)
    np.testing.assert_allclose(truth, values, atol=1e-6)
    np.testing.assert_allclose(found, values + 1)
    np.testing.assert_array_equal(counts, [1, 1])
    with pytest.raises(ValueError, match="an adversary judges maps"):
        judged_maps(MeanSquaredError(), np.zeros((2, 1)), np.zeros((2, 1), "float32"))


@pytest.mark.parametrize("loss", [HeatMapLoss(1.0), HeatMapCrossEntropy(1.0)], ids=lambda loss: loss.name)
def test_heat_maps_of_landmarks_that_are_not_visible_are_not_shown(loss):
    places = np.array([[[0.5, 0.5], [9e9, 9e9]], [[0.1, 0.1], [0.2, 0.2]]], "float32")
    maps = np.ones((2, 5, 5, 2), "float32")
    visible = np.array([[1, 0], [0, 0]], "float32")
    truth, found, counts = judged_maps(loss, places, maps, visible)
    assert float(truth[0, 2, 2, 0]) == 1.0
    assert np.all(np.asarray(truth)[0, ..., 1] == 0)
    assert np.all(np.asarray(found)[0, ..., 1] == 0)
    np.testing.assert_array_equal(counts, [1, 0])
    assert float(found[0, 0, 0, 0]) == pytest.approx(1 / (1 + np.exp(-1)) if "entropy" in loss.name else 1)


@pytest.fixture(scope="module")
def judged_network():
    network = UNet(
        {"seg": 2, "age": 1}, "hard_sharing", width=1 / 16, levels=1, convolutions=1, heads={"age": "vector"},
        adversaries={"seg": 0.5}, seed=0,
    )  # fmt: skip
    network.build((None, 8, 8, 1))
    return network


def test_an_adversary_is_saved_with_its_network_and_is_no_part_of_predictions(judged_network, tmp_path):
    plain = UNet({"seg": 2, "age": 1}, "hard_sharing", width=1 / 16, levels=1, convolutions=1, heads={"age": "vector"})
    plain.build((None, 8, 8, 1))
    assert count_parameters(judged_network) == count_parameters(plain)
    assert len(harden(judged_network, data=[np.zeros((2, 8, 8, 1), "float32")]).weights) < len(judged_network.weights)
    judged_network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert loaded.adversaries["seg"].weight == 0.5
    for old, new in zip(judged_network.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(old, new)


def test_fit_trains_network_and_adversary_against_each_other(judged_network):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 8, 8, 1)).astype("float32"), {"seg": rng.integers(2, size=(4, 8, 8)), "age": np.ones(4)}
    losses = {"seg": CrossEntropy(), "age": "mse"}

    def gradients(network):
        network.compile(loss=losses)
        with tf.GradientTape(persistent=True) as tape:
            outputs = network(x, training=True)
            total = network.compute_loss(x, y, outputs, training=True)
            judgement = tf.reduce_mean(network.judgement("seg", losses["seg"], x, y["seg"], outputs["seg"], None))
            logits = outputs["seg"]
        adversary = network.adversaries["seg"].trainable_variables
        return total, judgement, tape.gradient(total, adversary), tape.gradient(judgement, adversary), logits

    total, judgement, of_total, of_judgement, _ = gradients(judged_network)
    assert float(total) > float(judgement)
    for one, other in zip(of_total, of_judgement, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    before = [np.array(weight) for weight in judged_network.adversaries["seg"].weights]
    judged_network.compile("adam", losses)
    judged_network.fit(x, y, verbose=0)
    assert any(
        (old != np.array(new)).any() for old, new in zip(before, judged_network.adversaries["seg"].weights, strict=True)
    )


def test_a_task_that_is_no_map_has_no_adversary():
    with pytest.raises(ValueError, match="task 'age' is a vector; adversaries judge maps"):
        UNet({"seg": 2, "age": 1}, levels=1, width=1 / 16, heads={"age": "vector"}, adversaries={"age": 0.1})
