"""Task-wise stopping: the measure by hand, scripted curves, and runs of an INI file that stop a task and resume."""

import csv
import math

import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.records.checkpoints import CheckpointFolder
from sfgkeras.applications.training.progress import Progress
from sfgkeras.applications.training.stopping import Decision
from sfgkeras.applications.training.task_wise import STEADIEST, TaskWise, overfitting


def test_the_measure_is_that_of_the_formula():
    """By hand: strip 3, 1, 1 with median 1 and sum 5; least training error 1, validation 1.5."""
    assert overfitting([9.0, 3.0, 1.0, 1.0], 1.5, 3, 1.0) == pytest.approx(3 * 1 / (5 - 3) * 0.5 / 1)
    assert overfitting([9.0, 3.0, 1.0, 1.0], 1.5, 3, 4.0) == pytest.approx(3 * 1 / (5 - 3) * 0.5 / 4)
    # The least training error is that of all validations, not of the strip.
    assert overfitting([0.5, 3.0, 1.0, 1.0], 1.5, 3, 1.0) == pytest.approx(3 * 1 / (5 - 3) * 1.0 / 0.5)
    assert overfitting([5.0, 2.0], 3.0, 2, 1.0) == 0.0  # two values: the median is the mean, and they fall


@pytest.mark.parametrize(
    ("training", "validation", "expected"),
    [
        ([1.0, 1.0, 1.0], 2.0, STEADIEST),  # flat: sum = k med
        ([3.0, 2.0, 1.0], 2.0, 0.0),  # a straight fall: sum = k med, too
        ([3.0, 2.9, 1.0], 2.0, 0.0),  # falls ever faster: sum < k med
        ([1.0, 2.0, 2.0], 2.0, STEADIEST),  # rises: sum < k med
        ([1.0, 1.0, 1.0], 1.0, 0.0),  # flat, and nothing lost in validation
        ([1.0, 1.0, 1.0], 0.5, 0.0),
        ([0.0, 0.0, 0.0], 0.0, 0.0),  # least training error 0
        ([0.0, 0.0, 0.0], 0.1, math.inf),
        ([1.0, 0.0, 0.0], 0.1, 0.0),  # the median is 0: what falls goes on
        ([-1.0, -1.0, -1.0], -0.5, 0.5 * STEADIEST),  # losses below 0
    ],
)
def test_denominators_of_0_and_below_say_go_on_where_the_error_falls_and_stop_where_it_does_not(
    training, validation, expected
):
    assert overfitting(training, validation, 3, 1.0) == expected


def decide(curves, rule, stopped=()):
    """Returns after which validation each task stops, by rules that are asked after every one."""
    progress, found = Progress(), {}
    progress.stopped_tasks = list(stopped)
    for number in range(len(next(iter(curves.values()))[0])):
        progress.iteration += 1
        progress.note_training({task: training[number] for task, (training, _) in curves.items()})
        progress.note_validation({task: validation[number] for task, (_, validation) in curves.items()})
        # As a resumed run sees it.
        progress = Progress.from_values(progress.values())
        decision = rule.observe(progress.record(list(curves), {}, False))
        assert not decision.stop_run
        for task in decision.stop_tasks:
            assert task in decision.why_tasks
            found[task] = number + 1
        progress.stopped_tasks += decision.stop_tasks
        # Between two validations it decides nothing.
        progress.iteration += 1
        assert rule.observe(progress.record(list(curves), {}, False)) == Decision()
    return found


FALLING = 2.0 * 0.7 ** np.arange(20)
FLAT = 0.5 + 0.01 * np.cos(np.arange(20) * 2.5)
OVERFITTED = np.where(np.arange(20) < 8, FALLING, FALLING[7] + 0.01 * np.cos(np.arange(20) * 2.5))
RISING = np.where(np.arange(20) < 8, FALLING + 0.1, FALLING[7] + 0.1 * np.arange(20) - 0.5)


def test_falling_errors_go_on_and_a_task_that_overfits_is_the_only_one_that_stops():
    curves = {
        "main": (FLAT, FLAT + 5.0),  # overfits, and may
        "falls": (FALLING, 1.2 * FALLING),
        "flat": (FLAT, FLAT - 0.02),  # learns nothing, and loses nothing in validation
        "overfits": (OVERFITTED, RISING),
    }
    found = decide(curves, TaskWise())
    assert set(found) == {"overfits"}
    assert found["overfits"] > 8
    assert decide(curves, TaskWise(main="overfits")).keys() == {"main"}


def test_importance_k_and_eps_decide_when():
    curves = {"main": (FLAT, FLAT), "a": (OVERFITTED, RISING), "b": (OVERFITTED, RISING)}
    found = decide(curves, TaskWise(importances={"b": 1e6}))
    assert set(found) == {"a"}
    assert decide(curves, TaskWise(eps=1e9)) == {}
    slower = decide(curves, TaskWise(k=9))
    assert slower["a"] == slower["b"] > found["a"]
    assert decide({task: (t[:5], v[:5]) for task, (t, v) in curves.items()}, TaskWise(k=6, eps=0.0)) == {}
    assert "a" not in decide(curves, TaskWise(), stopped=["a"])


def test_validations_before_which_a_task_had_no_label_are_left_out_of_its_strip():
    without = (np.append([math.nan], OVERFITTED), np.append([math.nan], RISING))
    curves = {"main": (np.append([0.5], FLAT), np.append([0.5], FLAT)), "a": without}
    (found,) = decide(curves, TaskWise()).values()
    (known,) = decide({"main": (FLAT, FLAT), "a": (OVERFITTED, RISING)}, TaskWise()).values()
    assert found == known + 1


def test_noise_of_a_task_that_has_not_begun_to_learn_stops_it_only_below_the_excess_of_the_noise():
    """At its flattest the first factor is `STEADIEST`: an excess of 3 % counts 30."""
    rng = np.random.default_rng(0)
    unlearned = (np.log(2) + 0.005 * rng.standard_normal(40), np.log(2) + 0.01 * rng.standard_normal(40))
    curves = {"main": (np.ones(40), np.ones(40)), "a": unlearned}
    assert set(decide(curves, TaskWise())) == {"a"}
    assert decide(curves, TaskWise(eps=100.0)) == {}


@pytest.mark.slow
def test_a_run_stops_a_task_says_why_and_resumes_bit_for_bit(make_config, tmp_path, network_arrays, reporter):
    """The ct stops at the second validation: with eps = 0 its validation error lies above, and training is short."""
    settings = {
        "NETWORK.width": 0.0625, "NETWORK.normalisation": "no", "TRAINING.tensorboard_every_n": 1,
        "TRAINING.early_stopping_mode": "task_wise", "TRAINING.task_wise_k": 2, "TRAINING.task_wise_eps": 0,
        "TRAINING.task_wise_main": "organs", "TASK ct.importance": 1e-6, "TRAINING.validation_every_n": 1,
        "TRAINING.save_every_n": 1, "TRAINING.max_iter": 8, "TRAINING.lr": 0.3, "TRAINING.balancing": "pcgrad",
    }  # fmt: skip
    run.train(make_config(settings, tmp_path / "whole"), reporter)
    record = CheckpointFolder(tmp_path / "whole" / "checkpoints").read(8).record["progress"]
    assert record["stopped_tasks"] == ["ct"]
    at = record["stopped_at"]["ct"]
    assert 2 <= at < 8
    assert any(f"iteration {at}: ct is trained no longer (task_wise: ct " in text for text in reporter.messages)
    assert any(f"tasks that stopped early: ct (iteration {at})" in text for text in reporter.messages)
    arrays = [network_arrays(tmp_path / "whole", iteration) for iteration in (at, 8)]
    heads = [key for key in arrays[0] if key.startswith("network/") and "head_ct" in key]
    assert heads
    for key in heads:
        np.testing.assert_array_equal(arrays[1][key], arrays[0][key], err_msg=key)
    assert any((arrays[1][key] != arrays[0][key]).any() for key in arrays[0] if "head_organs" in key)
    for iterations in (at - 1, at + 1, 8):
        run.train(make_config(settings | {"TRAINING.max_iter": iterations}, tmp_path / "parts"))
    resumed = network_arrays(tmp_path / "parts", 8)
    for key, value in arrays[1].items():
        np.testing.assert_array_equal(resumed[key], value, err_msg=key)
    with (tmp_path / "parts" / "logs" / "training.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["weight_ct"]) == 0.0
    assert float(rows[0]["weight_ct"]) != 0.0
