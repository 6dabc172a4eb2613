"""`compile` and `fit` of a network with a balancing rule: the objective of the applications, saved and loaded."""

import math

import keras
import numpy as np
import pytest

from sfgkeras import losses
from sfgkeras.architecture.stage import Stage
from sfgkeras.balancing import CAGrad, DynamicAverage, GradNorm, PCGrad, RandomWeights, SumOfGradients, Uncertainty
from sfgkeras.networks import MultiTaskNetwork

TASKS = {"ct": 1, "organs": 3}
OURS = {"ct": losses.MeanSquaredError(), "organs": losses.CrossEntropy()}


@keras.saving.register_keras_serializable(package="tests.balancing")
class OneLayer(MultiTaskNetwork):
    stages = (Stage(4),)


def build(balancing, by_task=OURS, seed=0, **options):
    network = OneLayer(TASKS, "hard_sharing", seed=seed, batch_norm="population", balancing=balancing)
    network.build((None, 6, 6, 1))
    network.compile(keras.optimizers.SGD(0.1), loss=by_task, jit_compile=False, **options)
    return network


def data(count=6):
    images = np.random.default_rng(0).normal(size=(count, 6, 6, 1)).astype("float32")
    return images, {"ct": images / 4, "organs": (images[..., 0] > 0).astype("int32")}


def regularisation(network):
    return float(sum(keras.ops.convert_to_numpy(term) for term in network.losses))


@pytest.mark.parametrize("by_task", [OURS, {"ct": "mse", "organs": keras.losses.SparseCategoricalCrossentropy(True)}])
def test_evaluate_gives_the_objective_of_the_formula_with_the_form_that_fits_each_loss(by_task):
    network = build(Uncertainty({"ct": 0.5, "organs": -0.25}), by_task)
    images, targets = data()
    found = network.evaluate(images, targets, batch_size=6, verbose=0, return_dict=True)
    assert set(found) == {"loss", "ct_loss", "organs_loss"}
    by_hand = found["ct_loss"] / (2 * math.exp(0.5) ** 2) + 0.5 + found["organs_loss"] / math.exp(-0.25) ** 2 - 0.25
    assert found["loss"] == pytest.approx(by_hand + regularisation(network), rel=1e-5)
    outputs = network.predict(images, verbose=0)
    assert found["ct_loss"] == pytest.approx(np.mean((outputs["ct"] - targets["ct"]) ** 2), rel=1e-4)


def test_samples_without_a_label_teach_nothing_of_their_task_and_its_uncertainty():
    network = build(Uncertainty({"ct": 0.5, "organs": 2.0}))
    images, targets = data()
    voxels = np.ones((6, 6, 6), "float32")
    some = voxels * (np.arange(6) < 2)[:, None, None]
    weights = {"ct": voxels, "organs": some}
    found = network.evaluate(images, targets, sample_weight=weights, batch_size=6, verbose=0, return_dict=True)
    by_hand = found["ct_loss"] / (2 * math.e) + 0.5 + found["organs_loss"] / math.exp(4) + 2.0 * 2 / 6
    assert found["loss"] == pytest.approx(by_hand + regularisation(network), rel=1e-5)
    before = network.balancer.current_weights()
    network.fit(images, targets, sample_weight={"ct": voxels, "organs": 0 * voxels}, batch_size=6, verbose=0)
    after = network.balancer.current_weights()
    assert after["organs"] == before["organs"]
    assert after["ct"] != before["ct"]


def test_fit_learns_the_weights_and_they_are_saved_with_the_network(tmp_path):
    network = build(Uncertainty({"ct": 2.0}))
    assert network.balancer.current_weights() == pytest.approx({"ct": 0.5 * math.exp(-4), "organs": 1.0})
    images, targets = data()
    history = network.fit(images, targets, batch_size=3, epochs=3, verbose=0, validation_data=(images, targets)).history
    assert set(history) == {f"{prefix}{name}" for prefix in ("", "val_") for name in ("loss", "ct_loss", "organs_loss")}
    learned = network.balancer.current_weights()
    # The squared error is below s^2, so that s falls; twice the cross-entropy is above it.
    assert history["ct_loss"][0] < math.exp(4)
    assert history["organs_loss"][0] > 0.5
    assert learned["ct"] > 0.5 * math.exp(-4)
    assert learned["organs"] < 1.0
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert loaded.balancing == network.balancing
    assert loaded.balancer.current_weights() == learned
    assert loaded.evaluate(images, targets, verbose=0) == pytest.approx(network.evaluate(images, targets, verbose=0))


def test_fixed_weights_of_the_network_are_those_of_compile():
    weights = {"ct": 0.2, "organs": 3.0}
    images, targets = data()
    found = [
        network.evaluate(images, targets, verbose=0, return_dict=True)
        for network in (build(weights), build(None, loss_weights=weights))
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_weights_in_two_places_and_unknown_rules_are_refused():
    images, targets = data()
    with pytest.raises(ValueError, match="loss_weights stands beside balancing = uncertainty"):
        build("uncertainty", loss_weights={"ct": 1.0, "organs": 2.0}).evaluate(images, targets, verbose=0)
    with pytest.raises(ValueError, match="unknown balancing rule 'uncertanty', did you mean 'uncertainty'"):
        build("uncertanty")
    with pytest.raises(ValueError, match="log_sigma: there is no task 'organ', did you mean 'organs'"):
        build(Uncertainty({"organ": 1.0}))


def test_weights_of_losses_are_no_parameters_of_the_network():
    from sfgkeras.networks import count_parameters

    assert count_parameters(build("uncertainty")) == count_parameters(build(None))


def conflicting(count=6):
    """Both tasks from one feature: what the ct wants, the organs do not."""
    images, targets = data(count)
    return images, {"ct": -3 * images, "organs": targets["organs"]}


@pytest.mark.parametrize("rule", [PCGrad(), pytest.param(CAGrad(), marks=pytest.mark.slow)], ids=lambda rule: rule.name)
def test_fit_takes_the_step_of_a_rule_of_gradients(rule):
    """Against the mixture that the rule reports, with the gradients of a tape."""
    import tensorflow as tf

    network, images, targets = build(rule), *conflicting()
    with tf.GradientTape(persistent=True) as tape:
        outputs = network(images, training=True)
        by_task = {name: OURS[name](targets[name], outputs[name]) for name in TASKS}
        extra = tf.add_n(network.losses)
    found = {name: tape.gradient(loss, network.trainable_variables) for name, loss in by_task.items()}
    rest = tape.gradient(extra, network.trainable_variables)
    before = [np.array(variable) for variable in network.trainable_variables]
    history = network.fit(images, targets, batch_size=6, verbose=0).history
    assert set(history) == {"loss", "ct_loss", "organs_loss"}
    assert history["loss"][0] == pytest.approx(float(sum(by_task.values()) + extra), rel=1e-5)
    mixture = network.balancer.current_weights()
    assert max(abs(weight - 1) for weight in mixture.values()) > 0.01
    for number, (variable, value) in enumerate(zip(network.trainable_variables, before, strict=True)):
        parts = {name: each[number] for name, each in found.items() if each[number] is not None}
        way = sum((mixture[name] if len(parts) > 1 else 1.0) * np.array(part) for name, part in parts.items())
        way = way + (0.0 if rest[number] is None else np.array(rest[number]))
        np.testing.assert_allclose(variable, value - 0.1 * way, rtol=1e-3, atol=1e-5, err_msg=variable.path)


@pytest.mark.parametrize(
    "rule",
    [
        DynamicAverage(interval=1, temperature=0.1),
        pytest.param(RandomWeights(), marks=pytest.mark.slow),
        pytest.param(GradNorm(lr=0.1), marks=pytest.mark.slow),
        pytest.param(SumOfGradients(), marks=pytest.mark.slow),
    ],
    ids=lambda rule: rule.name,
)
def test_fit_changes_the_weights_and_they_are_saved_with_the_network(rule, tmp_path):
    network, images, targets = build(rule), *conflicting()
    network.fit(images, targets, batch_size=3, epochs=3, verbose=0)
    learned = network.balancer.current_weights()
    assert (learned != {"ct": 1.0, "organs": 1.0}) == (rule.name != "sum_of_gradients")
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert loaded.balancing == rule
    assert loaded.balancer.current_weights() == learned
    # The next step is the same one.
    for each in (network, loaded):
        each.fit(images, targets, batch_size=6, verbose=0)
    assert loaded.balancer.current_weights() == pytest.approx(network.balancer.current_weights(), rel=1e-5)


def test_rules_of_gradients_are_refused_where_nobody_takes_the_gradients_of_single_tasks(monkeypatch):
    network, (images, targets) = build("pcgrad"), data()
    with pytest.raises(ValueError, match="balancing = pcgrad needs the gradients of the single tasks, which fit and"):
        network.compute_loss(images, targets, network(images))
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="on TensorFlow alone .this is jax., and a loop of your own does not"):
        network.fit(images, targets, verbose=0)
    assert network.compute_loss(images, targets, network(images), training=False) > 0
