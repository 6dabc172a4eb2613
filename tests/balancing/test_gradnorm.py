"""GradNorm step by step: whose norms, at which kernel, of what losses; with devices, scales and missing labels."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from sfgkeras.balancing import GradNorm
from sfgkeras.balancing.gradients import Gradients, on_one_device
from sfgkeras.balancing.gradnorm_balancer import weight_gradient


class Variable:
    """A kernel of a network: its name and values."""

    def __init__(self, size, path):
        self.shape, self.path, self.value = (size,), path, tf.Variable(tf.zeros(size))


def network(rows):
    """Returns variables by name for rows of gradients by task and name of the variable."""
    sizes = {name: len(row) for of in rows.values() for name, row in of.items()}
    return {name: Variable(size, f"network/{name}/kernel") for name, size in sizes.items()}


def step(balancer, rows, losses, presence=None, scale=1.0, over_devices=on_one_device, variables=None):
    """Takes a step of losses that are linear in variables; returns the scalars that were differentiated."""
    variables, asked = variables or network(rows), []
    with tf.GradientTape(persistent=True) as tape:
        found = {
            task: tf.constant(losses[task])
            + sum(tf.reduce_sum(tf.constant(row) * variables[name].value) for name, row in of.items())
            for task, of in rows.items()
        }

        def differentiate(scalar, chosen):
            asked.append([variable.path for variable in chosen])
            scaled = scalar * scale
            with tape.stop_recording():
                return tape.gradient(scaled, [variable.value for variable in chosen])

        balancer.backward(found, presence, 0.0, Gradients(variables.values(), differentiate, over_devices, scale))
    return asked


def by_hand(weights, norms, rates, alpha, rate):
    """Algorithm 1 of the paper in numpy, with distances in units of the mean norm."""
    weights, norms, rates = (np.asarray(each, float) for each in (weights, norms, rates))
    mean = (weights * norms).mean()
    goals = mean * (rates / rates.mean()) ** alpha
    moved = weights - rate * np.sign(weights * norms - goals) * norms / mean
    return moved * len(moved) / moved.sum()


UNEQUAL = {"a": {"conv_1": (3.0, 4.0)}, "b": {"conv_1": (0.0, 1.0)}, "c": {"conv_1": (1.0, 1.0)}}


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_two_steps_are_those_of_the_algorithm(alpha, rate):
    """Norms 5, 1 and root of 2; then losses at a half, a fourth and one and a half of the first ones."""
    balancer, norms = GradNorm({"a": 2.0}, alpha=alpha, lr=rate).build("abc"), [5.0, 1.0, 2**0.5]
    weights = np.array([1.5, 0.75, 0.75])
    assert list(balancer.current_weights().values()) == pytest.approx(weights)
    for losses, rates in (((2.0, 4.0, 1.0), (1, 1, 1)), ((1.0, 1.0, 1.5), (0.5, 0.25, 1.5))):
        step(balancer, UNEQUAL, dict(zip("abc", losses, strict=True)))
        weights = by_hand(weights, norms, rates, alpha, rate)
        assert list(balancer.current_weights().values()) == pytest.approx(weights, rel=1e-5)


@pytest.mark.parametrize("scale", [128.0, 32768.0])
def test_the_scale_of_the_loss_changes_nothing(scale):
    plain, scaled = GradNorm().build("abc"), GradNorm().build("abc")
    step(plain, UNEQUAL, dict.fromkeys("abc", 1.0))
    step(scaled, UNEQUAL, dict.fromkeys("abc", 1.0), scale=scale)
    assert scaled.current_weights() == pytest.approx(plain.current_weights(), rel=1e-6)
    assert plain.current_weights() != {"a": 1.0, "b": 1.0, "c": 1.0}


def test_norms_are_of_the_kernel_that_the_pattern_names_and_else_of_the_last_shared_one():
    """At the first kernel a has the longer gradient, at the second one b: weights move the other way."""
    rows = {
        "a": {"conv_1": (9.0, 0.0), "conv_2": (1.0,), "own_3": (1.0,)},
        "b": {"conv_1": (1.0, 0.0), "conv_2": (9.0,)},
    }
    lighter = {}
    for pattern in ("", "conv_1", "conv_2"):
        balancer = GradNorm(layer=pattern).build("ab")
        asked = step(balancer, rows, {"a": 1.0, "b": 1.0})
        weights = balancer.current_weights()
        lighter[pattern] = min(weights, key=weights.get)
        kernel = f"network/{pattern or 'conv_2'}/kernel"
        assert asked[-2:] == [[kernel], [kernel]]  # one gradient for each task, of that kernel alone
    assert lighter == {"": "b", "conv_1": "a", "conv_2": "b"}


def test_the_layer_is_looked_for_once_and_again_in_a_network_that_has_grown():
    balancer, losses = GradNorm().build("ab"), {"a": 1.0, "b": 1.0}
    rows = {"a": {"conv_1": (2.0,)}, "b": {"conv_1": (1.0,)}}
    variables = network(rows)
    counts = [len(step(balancer, rows, losses, variables=variables)) for _ in range(2)]
    assert counts == [1 + 2 + 2, 1 + 2]  # the step, who reaches what, and the norms
    grown = {"a": {"conv_2": (2.0,)}, "b": {"conv_2": (1.0,)}}
    assert step(balancer, grown, losses)[-1] == ["network/conv_2/kernel"]


def test_rates_are_of_the_samples_with_labels():
    """Half of the batch has labels of b: 1 over the batch is 2 of them; with fewer labels the rate is the same."""
    rows = {"a": {"conv_1": (1.0, 0.0)}, "b": {"conv_1": (0.0, 1.0)}}
    balancer = GradNorm(alpha=1.0).build("ab")
    step(balancer, rows, {"a": 2.0, "b": 1.0}, {"a": 1.0, "b": 0.5})
    assert ops.convert_to_numpy(balancer.first).tolist() == [2.0, 2.0]
    before = balancer.current_weights()
    # a has fallen to a half; b too, of a fourth of the batch: equal rates, and equal norms.
    step(balancer, rows, {"a": 1.0, "b": 0.25}, {"a": 1.0, "b": 0.25})
    assert balancer.current_weights() == pytest.approx(before, rel=1e-6)


def test_a_task_without_labels_keeps_its_part_and_its_first_loss_is_that_of_its_first_labels():
    balancer = GradNorm(lr=0.1).build("ab")
    rows = {"a": {"conv_1": (2.0,)}, "b": {"conv_1": (1.0,)}}
    step(balancer, rows, {"a": 3.0, "b": 0.0}, {"a": 1.0, "b": 0.0})
    assert ops.convert_to_numpy(balancer.first).tolist() == [3.0, 0.0]
    assert balancer.current_weights() == {"a": 1.0, "b": 1.0}  # one task alone has its goal
    step(balancer, rows, {"a": 3.0, "b": 7.0})
    assert ops.convert_to_numpy(balancer.first).tolist() == [3.0, 7.0]
    weights = balancer.current_weights()
    assert weights["a"] < 1 < weights["b"]


def test_norms_are_of_the_sum_over_devices():
    """On this device both gradients are alike; with those of the other one a's is three times as long."""
    rows = {"a": {"conv_1": (1.0, 0.0)}, "b": {"conv_1": (0.0, 1.0)}}
    others = iter([np.float32([[2.0, 0.0], [0.0, 0.0]]), np.float32([[1.0, 1.0], [0.5, 0.5]])])
    balancer = GradNorm(lr=0.1).build("ab")
    presence = {"a": 0.5, "b": 0.5}
    step(balancer, rows, {"a": 1.0, "b": 3.0}, presence, over_devices=lambda part: part + next(others))
    assert list(balancer.current_weights().values()) == pytest.approx(by_hand([1, 1], [3, 1], [1, 1], 1.5, 0.1))
    assert ops.convert_to_numpy(balancer.first).tolist() == [2.0, 4.0]


def test_one_task_that_is_left_learns_no_weight():
    balancer = GradNorm().build("ab")
    balancer.stop(["b"])
    asked = step(balancer, {"a": {"conv_1": (2.0,)}, "b": {"conv_1": (1.0,)}}, {"a": 1.0, "b": 1.0})
    assert len(asked) == 1  # the gradient of the step
    assert balancer.current_weights() == {"a": 1.0, "b": 1.0}


def test_tasks_without_a_common_kernel_are_refused():
    with pytest.raises(ValueError, match="at a layer that tasks share, and there is no kernel of several tasks"):
        step(GradNorm().build("ab"), {"a": {"one": (1.0,)}, "b": {"two": (1.0,)}}, {"a": 1.0, "b": 1.0})


def test_no_gradient_at_all_moves_no_weight():
    balancer = GradNorm().build("ab")
    step(balancer, {"a": {"conv_1": (0.0,)}, "b": {"conv_1": (0.0,)}}, {"a": 1.0, "b": 1.0})
    assert balancer.current_weights() == {"a": 1.0, "b": 1.0}


def test_tasks_that_do_not_count_have_no_slope_and_no_part_in_the_means():
    """Of the two that are left goals are both 1: the mean of their norms, at equal rates."""
    weights, norms, rates = (ops.convert_to_tensor(each) for each in ([1.0, 1, 1], [0.5, 1.5, 99.0], [1.0, 1, 50.0]))
    found = weight_gradient(weights, norms, rates, ops.convert_to_tensor([True, True, False]), 1.0)
    np.testing.assert_allclose(found, [-0.5, 1.5, 0.0], rtol=1e-6)


def test_rates_below_0_count_as_0():
    """A loss that is negative now and was positive once has no power."""
    weights, norms, rates = (ops.convert_to_tensor(each) for each in ([1.0, 1.0], [1.0, 1.0], [-0.5, 1.5]))
    found = weight_gradient(weights, norms, rates, ops.convert_to_tensor([True, True]), 1.5)
    np.testing.assert_allclose(found, [1.0, -1.0])


def test_first_losses_that_are_no_numbers_are_no_measure():
    """Where float16 overflows in the first step, the second one is the first."""
    rows = {"a": {"conv_1": (2.0,)}, "b": {"conv_1": (1.0,)}}
    balancer = GradNorm().build("ab")
    step(balancer, rows, {"a": np.float32(np.nan), "b": 1.0})
    assert ops.convert_to_numpy(balancer.first).tolist() == [0.0, 0.0]
    assert balancer.current_weights() == {"a": 1.0, "b": 1.0}
    step(balancer, rows, {"a": 3.0, "b": 1.0})
    assert ops.convert_to_numpy(balancer.first).tolist() == [3.0, 1.0]


def test_first_losses_below_0_are_no_measure_of_how_fast_a_task_trains():
    """Their rates count as 1, so that norms alone decide; here they are equal, and weights stay."""
    rows = {"a": {"conv_1": (1.0, 0.0)}, "b": {"conv_1": (0.0, 1.0)}}
    balancer = GradNorm(alpha=1.0).build("ab")
    for losses in ({"a": -1.0, "b": -1.0}, {"a": -4.0, "b": -1.5}):
        step(balancer, rows, losses)
        assert balancer.current_weights() == {"a": 1.0, "b": 1.0}
