"""A network replaced by its dense form in the middle of a training goes on as it would have."""

import keras
import numpy as np
import pytest
from keras import ops

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks import MultiTaskNetwork, group_network
from sfgkeras.networks.flat_adam import FlatAdam
from sfgkeras.networks.moments import slots_of
from sfgkeras.networks.settling import carry_moments, settle
from sfgkeras.sharing import SFG

TASKS = {"a": 1, "b": 2}
STEPS_BEFORE, STEPS_AFTER = 2, 2


@keras.saving.register_keras_serializable(package="test_settling")
class SettledSmall(MultiTaskNetwork):
    """A stage, a stage with residual blocks, and one that each task has of its own."""

    stages = (Stage(4), Stage(5, num_blocks=1), Stage(3, per_task=True))


def network(**settings):
    """A network whose masks are one-hot and stay so: the dense one does exactly what it does."""
    sharing = SFG(initial_probabilities="vertices", noise=False, temperature=(1e-3, 0.0, 1e-3), learn_grouping=False)
    made = SettledSmall(TASKS, sharing, seed=4, batch_norm="batch", **settings)
    made.build((None, 6, 6, 1))
    return made


def batches(count):
    rng = np.random.default_rng(1)
    for _ in range(count):
        images = rng.normal(size=(3, 6, 6, 1)).astype("float32")
        targets = {"a": rng.normal(size=(3, 6, 6, 1)), "b": rng.normal(size=(3, 6, 6, 2))}
        yield images, {name: values.astype("float32") for name, values in targets.items()}


def step(made, optimizer, images, targets):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        outputs = made(images, training=True)
        loss = sum(ops.mean((outputs[task] - targets[task]) ** 2) for task in TASKS)
    gradients = tape.gradient(loss, made.trainable_variables)
    optimizer.apply(gradients, made.trainable_variables)


def build(optimizer, made):
    optimizer.build(made.trainable_variables)
    return optimizer


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.optimizers.Adam(0.01),
        pytest.param(lambda: keras.optimizers.SGD(0.01, momentum=0.9), marks=pytest.mark.slow),
        pytest.param(lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Nadam(0.01)), marks=pytest.mark.slow),
    ],
    ids=["adam", "momentum", "scaled_nadam"],
)
def test_steps_after_settling_are_those_that_the_masked_network_would_have_taken(make):
    masked = network()
    old = build(make(), masked)
    stream = list(batches(STEPS_BEFORE + STEPS_AFTER))
    for batch in stream[:STEPS_BEFORE]:
        step(masked, old, *batch)
    before = [ops.convert_to_numpy(weight).copy() for weight in masked.weights]
    dense = settle(masked)
    new = build(make(), dense)
    carry_moments(masked, dense, old, new)
    for weight, value in zip(masked.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)  # moments were put in their place, and taken out again
    fresh = settle(masked)
    restarted = build(make(), fresh)
    for batch in stream[STEPS_BEFORE:]:
        step(masked, old, *batch)
        step(dense, new, *batch)
        step(fresh, restarted, *batch)
    wanted = group_network(masked)
    for weight, other in zip(wanted.trainable_variables, dense.trainable_variables, strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-3, atol=2e-4)
    # Without the moments it would be elsewhere.
    pairs = zip(wanted.trainable_variables, fresh.trainable_variables, strict=True)
    assert max(float(np.abs(ops.convert_to_numpy(one) - ops.convert_to_numpy(two)).max()) for one, two in pairs) > 5e-3


@pytest.mark.parametrize("adam", [keras.optimizers.Adam, FlatAdam])
def test_logits_that_the_same_optimizer_trains_do_not_lose_their_groups_to_its_moments(adam):
    masked = SettledSmall(TASKS, SFG(initial_probabilities="dirichlet", noise=False), seed=4, batch_norm="batch")
    masked.build((None, 6, 6, 1))
    old = build(adam(0.01), masked)
    for batch in batches(2):
        step(masked, old, *batch)
    dense = settle(masked)
    new = build(adam(0.01), dense)
    carry_moments(masked, dense, old, new)
    index = [variable.path.endswith("kernel") and "sfg_1" in variable.path for variable in masked.trainable_variables]
    of_old, of_new = (next(iter(slots_of(optimizer).values())) for optimizer in (old, new))
    (moment,) = [ops.convert_to_numpy(m) for m, is_it in zip(of_old, index, strict=True) if is_it]
    groups = np.asarray(masked.trunk.most_probable_groups()[0])
    for group in dense.trunk.stage_groups(0):
        convolution = dense.trunk.convolutions[f"0_{group}"]
        place = [id(variable) for variable in dense.trainable_variables].index(id(convolution.kernel))
        np.testing.assert_array_equal(ops.convert_to_numpy(of_new[place]), moment[..., groups == group])


def test_what_balancing_and_dropout_have_come_to_goes_over():
    masked = network(dropout=0.5, balancing="uncertainty")
    for variable in masked.balancer.lasting_variables:
        variable.assign(ops.ones_like(variable) * 0.7)
    masked(next(iter(batches(1)))[0], training=True)  # dropout draws
    dense = settle(masked)
    for variable in dense.balancer.lasting_variables:
        np.testing.assert_array_equal(variable, np.full(variable.shape, 0.7, "float32"))
    assert masked.balancer.lasting_variables
    random = masked.random_state()
    for name, state in dense.random_state().items():
        np.testing.assert_array_equal(state, random[name])


def test_adversaries_go_on_as_they_are():
    masked = network(adversaries={"b": 0.5})
    rng = np.random.default_rng(3)
    masked.adversaries["b"].set_weights([rng.normal(size=w.shape) for w in masked.adversaries["b"].get_weights()])
    kept = settle(masked).adversaries
    assert list(kept) == ["b"]
    assert len(kept["b"].get_weights()) == 8
    for value, expected in zip(kept["b"].get_weights(), masked.adversaries["b"].get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_optimizers_that_do_not_fit_are_refused():
    masked = network()
    dense = settle(masked)
    old, new = build(keras.optimizers.Adam(), masked), build(keras.optimizers.Adagrad(), dense)
    with pytest.raises(ValueError, match="do not fit each other"):
        carry_moments(masked, dense, old, new)


def test_groups_hold_multiples_where_the_mechanism_asks_for_them():
    made = SettledSmall(TASKS, SFG(initial_probabilities="vertices", group_multiple=2), seed=5)
    made.build((None, 6, 6, 1))
    likeliest, settled = (
        [p.sum(axis=0) % 2 for p in grouped.grouping_probabilities().values()][:2]
        for grouped in (group_network(made), settle(made))
    )
    assert sorted(settled[0]) == [0, 0, 0]
    assert sorted(settled[1]) == [0, 0, 1]
    assert any((a != b).any() for a, b in zip(likeliest, settled, strict=True))
