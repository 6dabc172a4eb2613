"""Learned weights: the numbers of the formula, where they rest, and what is refused."""

import math

import numpy as np
import pytest
from keras import ops

from sfgkeras.balancing import Uncertainty
from sfgkeras.balancing.uncertainty import initial_weight, log_sigma_of

LIKELIHOODS = {"mask": "categorical", "class": "categorical", "rec": "gaussian"}
LOSSES = {"mask": 0.7, "class": 0.3, "rec": 40.0}


def build(log_sigma=None, tasks=("mask", "class", "rec"), **settings):
    balancer = Uncertainty(log_sigma or {}, **settings).build(tasks)
    balancer.learn_of(LIKELIHOODS)
    return balancer


def set_log_sigma(balancer, task, value):
    balancer.log_sigma[task].assign(value)


def test_log_sigmas_of_0_0_4_weigh_by_1_1_and_1_over_2_e_to_8():
    weights = build({"rec": 4.0}).current_weights()
    assert weights["mask"] == weights["class"] == 1.0
    assert weights["rec"] == pytest.approx(1 / (2 * math.exp(8)), rel=1e-6)


def test_the_objective_is_the_sum_of_the_weighed_losses_and_the_logarithm_of_all_sigmas():
    s1, s2, s3 = 1.3, 0.6, 5.0
    balancer = build({"mask": math.log(s1), "class": math.log(s2), "rec": math.log(s3)})
    by_hand = 0.7 / s1**2 + 0.3 / s2**2 + 40.0 / (2 * s3**2) + math.log(s1 * s2 * s3)
    assert float(ops.convert_to_numpy(balancer.total(LOSSES))) == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("task", LOSSES)
def test_log_sigma_rests_at_twice_the_cross_entropy_and_at_the_squared_error(task):
    """By central differences: the gradient is 0 at s^2 = 2 L or L, below it falls, above it rises."""
    factor = 1.0 if LIKELIHOODS[task] == "gaussian" else 2.0
    rest = 0.5 * math.log(factor * LOSSES[task])
    balancer = build()

    def slope(log_sigma, step=0.01):
        values = []
        for place in (log_sigma - step, log_sigma + step):
            set_log_sigma(balancer, task, place)
            values.append(float(ops.convert_to_numpy(balancer.total(LOSSES))))
        set_log_sigma(balancer, task, 0.0)
        return (values[1] - values[0]) / (2 * step)

    assert slope(rest) == pytest.approx(0.0, abs=1e-3)
    assert slope(rest - 0.5) < -0.1
    assert slope(rest + 0.5) > 0.1


def test_tasks_without_labels_in_a_batch_learn_no_uncertainty_of_it():
    """Of half of the batch without a label, half of log sigma counts; of none of it, nothing does."""
    balancer = build({"rec": 4.0, "mask": 1.0})
    present = {"mask": 0.5, "class": 1.0, "rec": 0.0}
    total = float(ops.convert_to_numpy(balancer.total({"mask": 0.2, "class": 0.3, "rec": 0.0}, present)))
    assert total == pytest.approx(0.2 / math.e**2 + 0.5 * 1.0 + 0.3, rel=1e-6)


def test_a_likelihood_that_is_given_goes_before_that_of_the_loss():
    balancer = build(likelihood={"mask": "gaussian"})
    assert balancer.current_weights()["mask"] == 0.5


def test_a_balancer_that_nobody_told_the_losses_says_so():
    balancer = Uncertainty().build(["mask"])
    with pytest.raises(ValueError, match="categorical or gaussian; compile the network with its losses"):
        balancer.task_weights()


@pytest.mark.parametrize("likelihood", ["categorical", "gaussian"])
def test_the_log_sigma_of_a_weight_gives_that_weight(likelihood):
    assert initial_weight(log_sigma_of(1e-5, likelihood), likelihood) == pytest.approx(1e-5, rel=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"log_sigma": {"masc": 1.0}}, "log_sigma: there is no task 'masc', did you mean 'mask'"),
        ({"log_sigma": {"mask": math.nan}}, "log_sigma: nan of task 'mask' must be a number"),
        ({"likelihood": {"mask": "gausian"}}, "likelihood: 'gausian' of task 'mask' is not known, did you mean"),
        ({"likelihood": {"box": "gaussian"}}, "likelihood: there is no task 'box'; the tasks are mask, class, rec"),
    ],
)
def test_settings_that_fit_no_task_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        build(settings.pop("log_sigma", None), **settings)


def test_what_was_learned_is_written_and_read_back():
    first, second, store = build({"rec": 4.0}), build(), {}
    set_log_sigma(first, "mask", -0.25)
    first.stop(["class"])
    first.save_own_variables(store)
    second.load_own_variables(store)
    assert second.current_weights() == first.current_weights()
    np.testing.assert_array_equal(ops.convert_to_numpy(second.active), 1.0)
