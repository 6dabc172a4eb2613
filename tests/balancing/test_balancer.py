"""What all rules have in common: fixed weights, stopped tasks, their place in the table."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from sfgkeras.balancing import (
    BALANCING,
    DynamicAverage,
    Fixed,
    RandomWeights,
    SumOfGradients,
    Uncertainty,
    find_balancing,
    read_balancing,
)
from sfgkeras.balancing.balancer import Balancer
from sfgkeras.balancing.base import by_task
from sfgkeras.balancing.gradients import Gradients
from sfgkeras.balancing.uncertainty import log_sigma_of
from sfgkeras.errors import ConfigError

LOSSES = {"a": 2.0, "b": 5.0}


def number(tensor):
    return float(ops.convert_to_numpy(tensor))


def test_fixed_weights_make_a_weighed_sum():
    balancer = Fixed({"b": 0.1}).build(["a", "b"])
    assert number(balancer.total(LOSSES)) == pytest.approx(2.0 + 0.5)
    assert balancer.current_weights() == pytest.approx({"a": 1.0, "b": 0.1})
    assert not balancer.is_learned
    assert balancer.lasting_variables == []


def test_a_loss_that_is_not_there_adds_nothing():
    assert number(Fixed().build(["a", "b"]).total({"b": 5.0})) == 5.0


@pytest.mark.parametrize("rule", [Fixed({"a": 3.0}), Uncertainty({"a": 1.0}, {"a": "gaussian", "b": "categorical"})])
@pytest.mark.parametrize(("stopped", "other"), [("a", "b"), ("b", "a")])
def test_a_stopped_task_is_left_out_of_training_and_counts_in_validation(rule, stopped, other):
    balancer, alone = rule.build(["a", "b"]), rule.build(["a", "b"])
    before = number(balancer.total(LOSSES))
    balancer.stop([stopped])
    assert number(balancer.total(LOSSES)) == before
    assert number(balancer.total(LOSSES, training=True)) == pytest.approx(number(alone.total({other: LOSSES[other]})))


def test_a_step_goes_down_the_objective_and_what_is_added_to_it():
    seen = []
    total, gradients = (
        Fixed({"a": 3.0})
        .build(["a", "b"])
        .backward(LOSSES, None, 0.25, lambda scalar: seen.append(number(scalar)) or ["gradient"])
    )
    assert number(total) == 3.0 * 2.0 + 5.0 + 0.25
    assert seen == [number(total)]
    assert gradients == ["gradient"]


@pytest.mark.parametrize("name", sorted(BALANCING))
def test_rules_are_rebuilt_from_their_plain_values(name):
    rule = BALANCING[name]()
    assert read_balancing({"name": name, **rule.values()}) == rule == find_balancing(name)


def test_weights_by_task_stand_for_the_fixed_rule():
    assert find_balancing({"a": 2.0}) == Fixed({"a": 2.0})
    assert find_balancing(None) == Fixed()
    rule = Uncertainty({"a": 1.0})
    assert find_balancing(rule) is rule


def test_unknown_rules_settings_and_weights_are_refused_by_name():
    with pytest.raises(ConfigError, match="unknown balancing rule 'uncertanty', did you mean 'uncertainty'"):
        find_balancing("uncertanty")
    with pytest.raises(TypeError, match="balancing = 7 is neither a name nor a rule; known are fixed, uncertainty"):
        find_balancing(7)
    with pytest.raises(TypeError, match="balancing = uncertainty has no setting 'log_sigm', did you mean 'log_sigma'"):
        read_balancing({"name": "uncertainty", "log_sigm": {}})
    with pytest.raises(ValueError, match="weights: -1.0 of task 'a' must be a number from 0 up"):
        Fixed({"a": -1.0}).build(["a"])
    with pytest.raises(ValueError, match="weights: there is no task 'c'; the tasks are a, b"):
        Fixed({"c": 1.0}).build(["a", "b"])


class Recording(Balancer):
    """Notes what it is asked and told, in which order."""

    def __init__(self, tasks):
        super().__init__(tasks, name="recording")
        self.seen = []

    def task_weights(self):
        return {task: 2.0 + place for place, task in enumerate(self.tasks)}

    def terms(self, losses, presence=None):
        self.seen.append(("terms", dict(losses), presence))
        return super().terms(losses, presence)

    def take_note(self, losses, presence=None, over_devices=None):
        self.seen.append(("note", dict(losses), presence, over_devices(1.0)))


def test_a_rule_takes_note_of_a_step_when_its_gradients_are_there_and_knows_all_devices():
    balancer, presence = Recording(["a", "b"]), {"a": 1.0, "b": 0.5}

    def differentiate(scalar, variables):
        balancer.seen.append(("gradient", number(scalar)))
        return variables

    gradients = Gradients(["variable"], differentiate, over_devices=lambda part: part + 7.0)
    total, found = balancer.backward(LOSSES, presence, 1.0, gradients)
    assert found == ["variable"]
    assert number(total) == 2 * 2.0 + 3 * 5.0 + 1.0
    assert balancer.seen == [("terms", LOSSES, presence), ("gradient", 20.0), ("note", LOSSES, presence, 8.0)]


def test_a_function_that_knows_no_devices_is_one_device():
    balancer = Recording(["a", "b"])
    balancer.backward(LOSSES, None, 0.0, lambda scalar: [])
    assert balancer.seen[-1] == ("note", LOSSES, None, 1.0)


@pytest.mark.parametrize("training", [True, False])
def test_a_stopped_task_has_no_gradient_in_training(training):
    weights = {task: tf.Variable(1.0) for task in LOSSES}
    balancer = Fixed({"a": 3.0}).build(["a", "b"])
    balancer.stop(["b"])
    with tf.GradientTape() as tape:
        total = balancer.total({task: LOSSES[task] * weight for task, weight in weights.items()}, training=training)
    gradients = tape.gradient(total, weights)
    assert {task: float(each) for task, each in gradients.items()} == {"a": 6.0, "b": 0.0 if training else 5.0}


def test_tasks_are_stopped_one_after_the_other_and_one_that_is_none_stops_nobody():
    balancer = Fixed().build(["a", "b", "c"])
    balancer.stop(["b"])
    with pytest.raises(ValueError, match="there is no task 'd' to stop; the tasks are a, b, c"):
        balancer.stop(["a", "d"])
    assert balancer.stopped == {"b"}
    balancer.stop(["c"])
    assert balancer.stopped == {"b", "c"}
    assert ops.convert_to_numpy(balancer.active).tolist() == [1.0, 0.0, 0.0]
    balancer.stop([])
    assert number(balancer.total({"a": 2.0, "b": 3.0, "c": 4.0}, training=True)) == 2.0


def test_the_objective_is_computed_in_float32_whatever_the_precision_of_the_network():
    """2 to the 17th is no number in float16."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        balancer = Fixed({"a": 2.0**17}).build(["a"])
    finally:
        keras.config.set_dtype_policy("float32")
    total = balancer.total({"a": ops.convert_to_tensor(1.0)}, training=True)
    assert total.dtype == "float32"
    assert number(total) == 2.0**17
    assert balancer.active.dtype == "float32"


def test_no_loss_at_all_is_an_objective_of_0():
    for rule in (Fixed(), Uncertainty(likelihood={"a": "gaussian"}), SumOfGradients(), RandomWeights()):
        assert number(rule.build(["a"]).total({}, training=True)) == 0.0


def test_which_tasks_are_stopped_is_not_saved_and_what_was_learned_is():
    """The record of a training says who was stopped; a file of fixed weights holds nothing."""
    for rule, names in ((Fixed(), []), (DynamicAverage(), ["ratios", "last", "sums", "counts", "steps"])):
        balancer, store = rule.build(["a", "b"]), {}
        balancer.stop(["a"])
        balancer.save_own_variables(store)
        assert sorted(store) == sorted(names)


def test_only_rules_that_learn_or_draw_log_weights_and_only_those_of_gradients_ask_for_them():
    kinds = {
        name: (
            (built := BALANCING[name]().build(["a", "b"])).is_learned,
            built.logs_weights,
            built.weighs_in_step,
            built.asks_for_gradients,
        )
        for name in BALANCING
    }
    assert kinds == {
        "fixed": (False, False, False, False),
        "sum_of_gradients": (False, False, False, False),
        "uncertainty": (True, False, False, False),
        "dynamic_average": (True, True, False, False),
        "random": (False, True, False, False),
        "gradnorm": (True, True, False, True),
        "pcgrad": (False, True, True, True),
        "mgda": (False, True, True, True),
        "cagrad": (False, True, True, True),
    }


@pytest.mark.parametrize("name", sorted(BALANCING))
def test_the_weights_that_a_user_gives_reach_every_rule(name):
    """Of two tasks the one that is given three times the weight begins with three times that of the other."""
    (field,) = BALANCING[name].task_keys.values()
    value = log_sigma_of(3.0, "categorical") if name == "uncertainty" else 3.0
    balancer = BALANCING[name](**{field: {"b": value}}).build(["a", "b"])
    balancer.learn_of(dict.fromkeys("ab", "categorical"))
    if name == "random":
        balancer.normals.assign([0.0, 0.0])
    weights = balancer.current_weights()
    assert weights["b"] == pytest.approx(3 * weights["a"], rel=1e-6)


@pytest.mark.parametrize("name", sorted(set(BALANCING) - {"uncertainty"}))
@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weights_that_are_no_numbers_from_0_up_are_refused_by_every_rule(name, weight):
    with pytest.raises(ValueError, match=f"weights: {weight!r} of task 'b' must be a number from 0 up"):
        BALANCING[name](weights={"b": weight}).build(["a", "b"])


def test_values_by_task_are_in_the_order_of_the_tasks_with_a_default_for_the_others():
    assert list(by_task("what", {"b": 2}, ["c", "b", "a"], 0).items()) == [("c", 0), ("b", 2), ("a", 0)]
    with pytest.raises(ValueError, match="what: there is no task 'bb', did you mean 'bob'.*; the tasks are ann, bob"):
        by_task("what", {"bb": 1}, ["ann", "bob"], 0)


def test_plain_values_are_copies():
    given = {"a": 2.0}
    rule = Fixed(given)
    rule.values()["weights"]["a"] = 5.0
    assert rule.values() == {"weights": {"a": 2.0}}


def test_only_uncertainty_says_what_stands_for_a_weight():
    assert Fixed.instead_of("weight", 2.0, "categorical") == ""
    assert Uncertainty.instead_of("log_sigma", 2.0, "categorical") == ""
    assert Uncertainty.instead_of("weight", 0.0, "categorical") == ""
    assert Uncertainty.instead_of("weight", 0.5, "gaussian") == "log_sigma = 0, which begins with that weight"
    assert "log_sigma = 0.3466," in Uncertainty.instead_of("weight", 0.5, "categorical")


def test_a_rule_that_weighs_nothing_says_what_it_lacks():
    with pytest.raises(NotImplementedError, match="Balancer lacks task_weights"):
        Balancer(["a"]).total({"a": 1.0})


@pytest.mark.parametrize("tasks", [("CT scan", "CT_scan"), ("Größe", "Gr__e")])
def test_uncertainties_of_tasks_whose_names_look_alike_are_kept_apart(tasks):
    """Variables have plain names with the number of the task: each is saved and read for itself."""
    rule = Uncertainty({tasks[0]: 1.0, tasks[1]: -2.0}, dict.fromkeys(tasks, "categorical"))
    first, store, second = (
        rule.build(tasks),
        {},
        Uncertainty(likelihood=dict.fromkeys(tasks, "categorical")).build(tasks),
    )
    first.save_own_variables(store)
    assert len(store) == 2
    assert all(name.isascii() and name.replace("_", "").isalnum() for name in store)
    second.load_own_variables(store)
    assert second.current_weights() == pytest.approx({tasks[0]: np.exp(-2.0), tasks[1]: np.exp(4.0)}, rel=1e-6)


def test_uncertainties_are_what_an_optimiser_trains_and_learn_by_their_gradient():
    """By hand: the gradient of `c L exp(-2 s) + s` is `1 - 2 c L exp(-2 s)`; of a stopped task it is 0."""
    balancer = Uncertainty({"b": 0.5}, {"a": "categorical", "b": "gaussian"}).build(["a", "b"])
    assert [variable.trainable for variable in balancer.log_sigma.values()] == [True, True]
    variables = [variable.value for variable in balancer.log_sigma.values()]
    with tf.GradientTape(persistent=True) as tape:
        total = balancer.total(LOSSES, training=True)
        balancer.stop(["a"])
        stopped = balancer.total(LOSSES, training=True)
    np.testing.assert_allclose(tape.gradient(total, variables), [1 - 4.0, 1 - 5.0 * np.exp(-1.0)], rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(stopped, variables), [0.0, 1 - 5.0 * np.exp(-1.0)], rtol=1e-5)
