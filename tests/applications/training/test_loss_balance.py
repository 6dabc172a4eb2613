"""A task whose loss is a hundred times another's is warned of at the first iteration."""

import pytest

from sfgkeras.applications import run
from sfgkeras.applications.training.loss_balance import describe_imbalance


def test_a_hundredfold_loss_is_named_with_the_weight_that_levels_it(make_config):
    text = describe_imbalance(make_config(), {"ct": 1234.0, "organs": 2.0})
    assert "the loss of task 'ct' is 1.23e+03 in the first iteration and that of 'organs' 2" in text
    assert "617 times" in text
    assert "set weight = 0.002 in [TASK ct]" in text
    assert "balancing = fixed" in text
    assert text.endswith("in [TASK ct] or [TRAINING] balancing = uncertainty")


@pytest.mark.parametrize(
    ("overrides", "losses"),
    [
        ({}, {"ct": 150.0, "organs": 2.0}),
        ({"TASK ct.weight": "0.01"}, {"ct": 1234.0, "organs": 2.0}),
        ({"TASK organs.weight": "0"}, {"ct": 1234.0, "organs": 2.0}),
        ({"TRAINING.balancing": "uncertainty"}, {"ct": 1234.0, "organs": 2.0}),
        ({}, {"ct": 1234.0, "organs": 0.0}),
    ],
)
def test_nothing_is_said_of_losses_that_count_alike(make_config, overrides, losses):
    assert describe_imbalance(make_config(overrides), losses) == ""


def test_a_map_without_units_may_be_scaled(make_config):
    config = make_config({"CT.scaling": "none"})
    assert "a smaller scale there (now 1)" in describe_imbalance(config, {"ct": 1234.0, "organs": 2.0})
    assert "scale" not in describe_imbalance(make_config(), {"ct": 1234.0, "organs": 2.0})


def test_training_warns_once_at_its_start(make_config, reporter):
    changes = {"TRAINING.validation_every_n": -1, "TRAINING.save_every_n": 0, "TRAINING.max_iter": 2}
    run.train(make_config({**changes, "CT.scaling": "none", "CT.padding_value": ""}), reporter)
    assert sum("times as much" in text for text in reporter.warnings) == 1
