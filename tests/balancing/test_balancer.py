"""What all rules have in common: fixed weights, stopped tasks, their place in the table."""

import pytest
from keras import ops

from sfgkeras.balancing import BALANCING, Fixed, Uncertainty, find_balancing, read_balancing
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
