"""A run that is too short for its grouping or its temperature says so before it begins."""

import numpy as np
import pytest

from sfgkeras import grouping
from sfgkeras.applications.subjects.pace import default_probabilities, describe_pace, logits_to_next_group, round_up
from sfgkeras.config import read_config
from sfgkeras.grouping import grouping_probabilities, initial_grouping_logits

INI = """\
[MR]
path_to_search = ./data
filename_contains = _mr
spatial_window_size = 64, 64, 1
[CT]
path_to_search = ./data
filename_contains = _ct
[ADC]
path_to_search = ./data
filename_contains = _adc
[SYSTEM]
model_dir = ./model
[NETWORK]
name = highresnet
sharing = sfg
[TRAINING]
max_iter = 100000
schedule = paper
[MULTITASK]
image = MR
tasks = ct, adc
[TASK ct]
type = regression
target = CT
[TASK adc]
type = regression
target = ADC
"""


def warnings(tmp_path, **changes):
    path = tmp_path / "run.ini"
    path.write_text(INI)
    sections = {"sharing": "NETWORK", "max_iter": "TRAINING", "max_epochs": "TRAINING", "lr": "TRAINING",
                "grouping_lr": "TRAINING", "optimiser": "TRAINING", "schedule": "TRAINING"}  # fmt: skip
    overrides = [(f"{sections.get(key, 'MULTITASK')}.{key}", str(value)) for key, value in changes.items()]
    return describe_pace(read_config(path, overrides), num_subjects=5)


def test_the_papers_run_is_long_enough(tmp_path):
    assert warnings(tmp_path) == []


def test_groups_that_cannot_change_are_said_with_a_rate_that_lets_them(tmp_path):
    (text,) = warnings(tmp_path, max_iter=300, gs_anneal_r=0.01)
    assert "[TRAINING] lr = 0.001 moves the grouping logits by at most 0.3 in max_iter = 300 iterations" in text
    assert "before 0.66" in text
    assert "set grouping_lr = 0.03 or more" in text
    assert warnings(tmp_path, max_iter=300, gs_anneal_r=0.01, grouping_lr=0.03) == []
    assert "grouping_lr = 0.002" in warnings(tmp_path, max_iter=300, gs_anneal_r=0.01, grouping_lr=0.002)[0]


@pytest.mark.parametrize(
    "changes",
    [{"optimiser": "momentum"}, {"sharing": "hard_sharing"}, {"init_categorical": "0.33, 0.33, 0.34"}],
)
def test_nothing_is_said_where_groups_are_not_held_by_the_rate(tmp_path, changes):
    assert warnings(tmp_path, max_iter=300, gs_anneal_r=0.01, **changes) == []


def test_a_temperature_that_does_not_fall_is_said_with_a_rate_that_lets_it(tmp_path):
    (text,) = warnings(tmp_path, max_iter=20000)
    assert "gs_anneal_r = 1e-05 lets the temperature fall from 1 to 0.819 only in max_iter = 20000 iterations" in text
    assert "set gs_anneal_r = 0.0002" in text
    assert warnings(tmp_path, max_iter=20000, gs_anneal_r=0.0002) == []
    assert warnings(tmp_path, max_iter=20000, use_tau_annealing="no") == []
    assert warnings(tmp_path, max_iter=20000, sharing="hard_sharing") == []


def test_a_search_for_groups_has_a_temperature_and_a_rate_of_its_own(tmp_path):
    assert warnings(tmp_path, max_iter=300, schedule="auto") == []
    assert len(warnings(tmp_path, max_iter=30, schedule="auto")) == 2  # too short for it: it follows the paper


@pytest.mark.parametrize("start", [(0.2, 0.2, 0.6), (0.05, 0.05, 0.1, 0.8)])
def test_the_distance_is_where_the_second_group_draws_level(start):
    distance = logits_to_next_group(start)
    logits = initial_grouping_logits(np.asarray([start]))[0]
    first, second = np.argsort(logits)[::-1][:2]
    logits[first] -= distance
    logits[second] += distance
    probabilities = np.asarray(grouping_probabilities(logits[None]))[0]
    assert probabilities[first] == pytest.approx(probabilities[second], rel=1e-4)


@pytest.mark.parametrize(("value", "expected"), [(0.0219, 0.03), (0.03, 0.03), (9.2, 10.0), (0.000115, 0.0002)])
def test_recommended_rates_have_one_digit_and_are_large_enough(value, expected):
    assert round_up(value) == expected


def test_the_start_is_the_grouping_rooms():
    for num_tasks in (1, 2, 5):
        assert default_probabilities(num_tasks) == pytest.approx(grouping.default_probabilities(num_tasks))
