"""What may end a training besides its validation loss: rules on a record, and the record itself."""

import math
from types import SimpleNamespace

import pytest

from sfgkeras.applications.training.progress import Progress
from sfgkeras.applications.training.step import LABELLED
from sfgkeras.applications.training.stopping import Decision, GroupingConverges, NonFinite, Record
from sfgkeras.applications.training.timetable import Timetable
from sfgkeras.applications.training.trainer import Trainer
from sfgkeras.reporter import SilentReporter


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


def test_training_losses_are_means_over_the_windows_with_a_label():
    """By hand: half of the first batch and an eighth of the second have a label of `a`, none one of `b`."""
    progress = Progress(iteration=2)
    progress.note_training({"loss": 3.0, "a": 1.0, "b": 0.0}, {"a": 0.5, "b": 0.0})
    progress = Progress.from_values(progress.values())
    progress.note_training({"loss": 5.0, "a": 0.5, "b": 0.0}, {"a": 0.125, "b": 0.0})
    progress.note_validation({"loss": 1.0, "a": 1.0, "b": 1.0})
    assert progress.training["loss"] == [4.0]
    assert progress.training["a"] == [(1.0 + 0.5) / (0.5 + 0.125)]
    assert math.isnan(progress.training["b"][0])


def test_a_state_that_counted_logged_losses_is_gone_on_from():
    progress = Progress.from_values({"iteration": 40, "pending": {"loss": 6.0, "a": 3.0}, "pending_count": 2})
    progress.note_training({"loss": 3.0, "a": 6.0})
    progress.note_validation({"loss": 1.0, "a": 1.0})
    assert progress.training == {"loss": [3.0], "a": [3.0]}


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


def test_a_run_notes_every_step_and_divides_by_the_share_of_labels(make_config):
    """By hand: `ct` has a label in half of the windows of every step, `organs` in one step of three."""
    losses = {"ct": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "organs": [0.0, 0.0, 7.0, 0.0, 0.0, 0.0]}
    shares = {"ct": [0.5] * 6, "organs": [0.0, 0.0, 0.7, 0.0, 0.0, 0.0]}

    class Steps:
        columns = ("loss", "ct", "organs")

        def take(self, batch, iteration, memory):
            told = {name: values[iteration] for name, values in losses.items()}
            labelled = {f"{name}{LABELLED}": values[iteration] for name, values in shares.items()}
            return {"loss": sum(told.values()), "regularisation": 0.0, **told, **labelled}

    def validate(batches):
        return {
            "loss": 9.0, "ct_loss": 2.0, "organs_loss": 3.0,
            f"ct{LABELLED}": 0.25, f"organs{LABELLED}": 0.0,
        }  # fmt: skip

    validate.columns = ("loss", "ct_loss", "organs_loss")
    config = make_config({"TRAINING.max_iter": 6, "TRAINING.validation_every_n": 3})
    balancer = SimpleNamespace(is_learned=False)
    network = SimpleNamespace(balancer=balancer, trunk=None)
    monitor = SimpleNamespace(start=lambda *_: None, observe=lambda *_: False, warning="")
    optimizers = SimpleNamespace(scale_rates=lambda factor: None)
    # Nothing is logged between the first and the last step.
    trainer = Trainer(
        config, network, optimizers, Steps(), validate, monitor, Timetable(6, 4, 12, validation_every_n=3), [],
        SilentReporter(), writes=False,
    )  # fmt: skip
    progress = trainer.run(iter([None] * 6), [])
    assert progress.training["ct"] == [(1 + 2 + 3) / 1.5, (4 + 5 + 6) / 1.5]
    assert progress.training["organs"][0] == 7.0 / 0.7
    assert math.isnan(progress.training["organs"][1])
    assert progress.validation["ct"] == [8.0, 8.0]
    assert all(map(math.isnan, progress.validation["organs"]))
    assert progress.validation["loss"] == [9.0, 9.0]
