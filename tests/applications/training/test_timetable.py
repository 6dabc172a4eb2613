"""How iterations make epochs, and what is due when."""

import pytest

from sfgkeras.applications.subjects.epochs import last_iteration, length_text
from sfgkeras.applications.training.timetable import Timetable, build_timetable


def epochs_by_windows(subjects, per_volume, batch_size, epochs):
    """The iteration that holds the last window of each epoch, by counting windows one by one."""
    ends, windows = [], [epoch for epoch in range(epochs) for _ in range(subjects * per_volume)]
    for number, epoch in enumerate(windows):
        if number + 1 == len(windows) or windows[number + 1] != epoch:
            ends.append(number // batch_size + 1)
    return ends


@pytest.mark.parametrize(
    ("subjects", "per_volume", "batch_size"), [(7, 1, 3), (6, 2, 4), (2, 1, 5), (5, 3, 1), (4, 1, 4)]
)
def test_a_training_ends_and_validates_where_epochs_end(make_config, subjects, per_volume, batch_size):
    changes = {
        "TRAINING.max_epochs": 4, "TRAINING.max_iter": "", "TRAINING.validation_every_epochs": 1,
        "TRAINING.validation_every_n": 0, "TRAINING.sample_per_volume": per_volume, "NETWORK.batch_size": batch_size,
    }  # fmt: skip
    config = make_config(changes)
    ends = epochs_by_windows(subjects, per_volume, batch_size, 4)
    timetable = build_timetable(config, subjects)
    assert timetable.iterations == last_iteration(config, subjects) == ends[-1]
    assert [i for i in range(1, ends[-1] + 1) if timetable.validates(i)] == sorted(set(ends))
    assert timetable.epoch(ends[0]) == ends[0] * batch_size / (subjects * per_volume) >= 1
    assert length_text(config, subjects) == f"max_epochs = 4, {ends[-1]} iterations"


def test_every_second_epoch_is_validated_where_that_is_asked_for():
    table = Timetable(20, 3, 7, validation_every_epochs=2)
    assert [i for i in range(1, 21) if table.validates(i)] == [5, 10, 14, 19]  # windows 14, 28, 42, 56 of 7 each


def test_without_epochs_a_training_has_its_iterations(make_config):
    timetable = build_timetable(make_config({"TRAINING.max_iter": 9}), 2)
    assert (timetable.iterations, length_text(make_config({"TRAINING.max_iter": 9}), 2)) == (9, "max_iter = 9")
    assert [i for i in range(1, 10) if timetable.validates(i)] == [2, 4, 6, 8]
    assert [i for i in range(1, 10) if timetable.saves(i)] == [2, 4, 6, 8, 9]
    assert not any(Timetable(9, 4, 2).validates(i) or Timetable(9, 4, 2, save_every_n=0).saves(i) for i in range(1, 9))
    assert [i for i in range(1, 10) if Timetable(9, 4, 2).logs(i)] == [1, 9]
