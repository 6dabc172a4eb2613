import pytest

from sfgkeras.applications.records import training_record
from sfgkeras.applications.records.training_record import (
    TrainingClock,
    TrainingRecord,
    command_line,
    duration_text,
    read_training_record,
)


class Time:
    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def time(monkeypatch):
    time = Time()
    monkeypatch.setattr(training_record, "time", time)
    return time


def test_the_time_of_all_starts_counts_up_to_the_saved_states(tmp_path, time):
    path = tmp_path / "training.json"
    clock = TrainingClock(path, 0)
    time.now += 30
    clock.note()
    time.now += 500  # lost with a kill: no state was saved
    clock = TrainingClock(path, 20)
    time.now += 12
    clock.note()
    record = read_training_record(path)
    assert record.seconds == 42
    assert record.starts == 2
    first = record.began
    # A training from the beginning forgets the earlier one.
    TrainingClock(path, 0).note()
    record = read_training_record(path)
    assert (record.seconds, record.starts) == (0, 1)
    assert record.began >= first


def test_a_damaged_record_counts_as_none(tmp_path):
    path = tmp_path / "training.json"
    assert read_training_record(path) is None
    for text in ("", "[]", "{}", '{"command": "x", "began": "y", "unknown": 1}'):
        path.write_text(text)
        assert read_training_record(path) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.6, "1 min 0 s"), (258, "4 min 18 s"), (3 * 3600 + 61, "3 h 1 min"), (90_000, "1 d 1 h")],
)
def test_durations_are_told_in_two_units(seconds, text):
    assert duration_text(seconds) == text


def test_the_command_can_be_typed_again(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/a/sfgkeras", "train", "-c", "my file.ini"])
    assert command_line() == "sfgkeras train -c 'my file.ini'"
    monkeypatch.setattr("sys.argv", ["/a/sfgkeras/__main__.py", "train"])
    assert command_line() == "python -m sfgkeras train"


def test_machines_are_told_in_words():
    record = TrainingRecord("", "", cores=16, processor="EPYC", devices=["H200", "H200"], workers=2)
    assert record.machine == "16 cores of EPYC, 2 × H200; 2 workers"
    assert TrainingRecord("", "", cores=1).machine == "1 core, no GPU"
