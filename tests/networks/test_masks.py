"""The masks that layers and networks really use: their temperature, their seeds, and what a pass shares."""

import keras
import numpy as np
import pytest

from sfgkeras.layers import SFGConv2D
from sfgkeras.layers.filter_grouping import FilterGrouping

TASKS = {"ct": 1, "organs": 3}
COLD, HOT = (0.01, 0.0, 0.01), (100.0, 0.0, 100.0)


@pytest.fixture
def drawn(monkeypatch):
    """The masks of all layers, as they are drawn, `(groups, filters)` or `(groups, batch, filters)`."""
    masks = []
    original = FilterGrouping.call

    def call(self, temperature, source=0, batch_size=None, training=None):
        result = original(self, temperature, source, batch_size, training)
        masks.append(np.asarray(result))
        return result

    monkeypatch.setattr(FilterGrouping, "call", call)
    return masks


def largest(masks):
    """The largest entry of every filter's mask, over all layers."""
    return np.concatenate([mask.max(0).ravel() for mask in masks])


@pytest.mark.parametrize("training", [True, False])
def test_a_network_draws_its_masks_at_its_temperature(training, drawn, images, small_network):
    small_network(TASKS, seed=0, temperature=COLD, masks="sample")(images(), training=training)
    assert (largest(drawn) > 0.95).mean() > 0.9
    drawn.clear()
    small_network(TASKS, seed=0, temperature=HOT, masks="sample")(images(), training=training)
    assert (largest(drawn) < 0.4).all()


@pytest.mark.parametrize(("assignment", "folds"), [("soft", True), ("hard", False)])
def test_masks_are_folded_into_blocks_only_where_they_are_relaxed(assignment, folds, small_network):
    """A filter that a hard mask has cut off still has a gradient by its mask, which folding would take."""
    network = small_network(TASKS, seed=0, assignment=assignment)
    blocks = [block for section in network.trunk.sections.values() for block in section.blocks]
    assert {activation.folds_masks for block in blocks for activation in block.activations} == {folds}


def test_masks_become_one_hot_as_the_iterations_of_a_network_go_by(drawn, images, small_network):
    network = small_network(TASKS, seed=0, temperature=(1.0, 1e-5, 0.01))
    network.build((None, 10, 10, 1))
    sharpness = []
    for iteration in (0, 400_000):
        drawn.clear()
        network.iteration.assign(iteration)
        network(images(), training=True)
        sharpness.append(np.mean(largest(drawn)))
    assert sharpness[0] < 0.9
    assert sharpness[1] > 0.97


@pytest.mark.parametrize("training", [True, False])
def test_a_layer_draws_its_masks_at_its_temperature(training, drawn, images):
    x = images()
    SFGConv2D(40, temperature=COLD, masks="sample", seed=0)(x, training=training)
    assert (largest(drawn) > 0.95).mean() > 0.9
    drawn.clear()
    SFGConv2D(40, temperature=HOT, masks="sample", seed=0)(x, training=training)
    assert (largest(drawn) < 0.4).all()


def test_a_layer_cools_with_its_own_training_calls(drawn, images):
    layer = SFGConv2D(40, temperature=(1.0, 5.0, 0.01), seed=0)
    for _ in range(2):
        layer(images(), training=True)
    assert largest(drawn[:1]).mean() < 0.9 < 0.97 < largest(drawn[1:]).mean()


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_drawn_masks_follow_the_formula(temperature):
    layer = FilterGrouping(8, 2, initial_probabilities="dirichlet", seed=3)
    layer.build()
    seed = keras.random.SeedGenerator(0)
    seed.state.assign(layer.random_state()["training"])
    noise = -np.log(-np.log(np.asarray(keras.random.uniform((8, 3), seed=seed), float)))
    weights = np.exp((np.log(np.asarray(layer.probabilities(), float)) + noise) / temperature)
    masks = layer(temperature=temperature, training=True)
    np.testing.assert_allclose(np.transpose(masks), weights / weights.sum(-1, keepdims=True), rtol=1e-3, atol=1e-6)


def test_a_pass_draws_other_masks_in_every_layer_and_the_same_ones_again(drawn, images, small_network):
    class Equal(small_network):
        stages = (small_network.stages[1],) * 3  # layers of one size, which equal seeds would give equal masks

    network = Equal(TASKS, seed=0, masks="sample")
    network.build((None, 10, 10, 1))
    for number in (4, 4, 5):
        network.seed_inference(number)
        network(images(), training=False)
    first, again, other = drawn[:3], drawn[3:6], drawn[6:]
    np.testing.assert_array_equal(first, again)
    assert all((one != two).any() for one, two in zip(first, other, strict=True))
    assert all((first[a] != first[b]).any() for a, b in ((0, 1), (0, 2), (1, 2)))


def test_what_a_pass_gives_a_window_does_not_depend_on_its_place_in_the_batch(images, small_network):
    network = small_network(TASKS, seed=0, per_sample=True, masks="sample", batch_norm="population")
    x = images(batch=4)
    network(x)
    results = []
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2]):
        network.seed_inference(1)
        outputs = np.asarray(network(x[order], training=False)["ct"])
        results.append(dict(zip(order, outputs, strict=True)))
    for other in results[1:]:
        for window, output in other.items():
            np.testing.assert_allclose(output, results[0][window], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["layer", "network"])
def test_the_logits_of_hard_masks_get_the_gradient_of_entries_that_are_zero(kind, images, small_network):
    """The product behind the activation hands on `d loss / d m` where m is 0; a mask folded into the scale does not."""
    import tensorflow as tf

    x = tf.constant(images())
    logits = {}
    for assignment in ("soft", "hard"):
        if kind == "layer":
            model = SFGConv2D(6, assignment=assignment, temperature=(1.0, 0.0, 1.0), seed=0)
            groupings = [model.grouping]
        else:
            model = small_network(TASKS, seed=0, assignment=assignment, entropy_decay=0.0)
        model(x)
        groupings = [model.grouping] if kind == "layer" else list(model.groupings().values())
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            outputs = outputs if kind == "layer" else list(outputs.values())
            # Unlike weights, or the gradients of the streams of one layer would be alike and cancel in the softmax.
            total = sum((index + 1.0) * tf.reduce_sum(output**2) for index, output in enumerate(outputs))
            total += sum(tf.reduce_sum(output) for output in outputs)
        logits[assignment] = [np.asarray(g) for g in tape.gradient(total, [g.grouping_logits for g in groupings])]
    # One-hot masks fold into a scale of 0: nothing is left of what the other groups would have answered.
    for gradient in logits["hard"]:
        assert np.isfinite(gradient).all()
        assert (np.abs(gradient) > 0).all(axis=-1).all()
