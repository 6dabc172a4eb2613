"""What may end a training besides its validation loss: rules on a record, and the record itself."""

import math

import pytest

from sfgkeras.applications.training.progress import Progress
from sfgkeras.applications.training.stopping import Decision, GroupingConverges, NonFinite, Record


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_finite_number_fails_the_run_and_is_named(value):
    decision = NonFinite().observe(Record(7, ("a",), logged={"loss": 1.0, "a": value}))
    assert decision.is_failure
    assert decision.stop_run == f"the a is {value} at iteration 7: training has diverged"
    assert NonFinite().observe(Record(7, ("a",), logged={"loss": 1e30, "a": -2.0})) == Decision()
    assert NonFinite().observe(Record(7, ("a",))) == Decision()


def test_groups_that_stand_still_stop_the_run():
    assert GroupingConverges().observe(Record(7, ("a",), grouping_converged=True)).stop_run
    assert GroupingConverges().observe(Record(7, ("a",))) == Decision()


def test_a_record_has_one_training_and_one_validation_loss_of_each_task_for_every_validation():
    progress = Progress(iteration=2)
    progress.note_training({"loss": 3.0, "a": 1.0})
    progress.note_training({"loss": 5.0, "a": 4.0})
    progress.note_validation({"loss": 7.0, "a": 6.0})
    seen = progress.record(["a"], {}, False)
    assert (seen.iteration, seen.is_validation, seen.tasks) == (2, True, ("a",))
    assert seen.training == {"loss": [4.0], "a": [2.5]}
    assert seen.validation == {"loss": [7.0], "a": [6.0]}
    progress.iteration = 3
    progress.note_training({"loss": 9.0, "a": 8.0})
    assert not progress.record(["a"], {}, False).is_validation
    again = Progress.from_values(progress.values())
    again.iteration = 4
    again.note_validation({"loss": 0.5, "a": 0.25})
    assert again.record(["a"], {}, False).training == {"loss": [4.0, 9.0], "a": [2.5, 8.0]}


def test_a_state_of_an_earlier_version_keeps_its_validation_losses():
    """Version 0.1.0 kept the objective only."""
    saved = {
        "iteration": 40, "best_score": 0.5, "best_iteration": 20, "validation_losses": [0.5, 0.6], "stopped": "",
        "started_from": 0,
    }  # fmt: skip
    progress = Progress.from_values(saved)
    assert progress.validation == {"loss": [0.5, 0.6]}
    assert (progress.iteration, progress.best_score, progress.best_iteration) == (40, 0.5, 20)
    progress.iteration = 60
    progress.note_training({"loss": 1.0, "a": 1.0})
    progress.note_validation({"loss": 0.7, "a": 0.7})
    assert progress.record(["a"], {}, False).validation["loss"] == [0.5, 0.6, 0.7]
