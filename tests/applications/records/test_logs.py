import pandas as pd
import pytest

from sfgkeras.applications.records import logs
from sfgkeras.applications.records.logs import (
    SECONDS,
    UNITS,
    CsvLog,
    RunLogs,
    SilentLog,
    TensorBoardLog,
    read_log,
    read_units,
    write_units,
)
from sfgkeras.errors import DataError


def test_a_resumed_log_has_each_iteration_once(tmp_path):
    log = CsvLog(tmp_path / "a.csv", ["loss"])
    for iteration in (10, 20, 30):
        log.write(iteration, {"loss": 1 / iteration})
    resumed = CsvLog(tmp_path / "a.csv", ["loss"], resume_at=20)
    resumed.write(30, {"loss": 0.5})
    rows = read_log(tmp_path / "a.csv")
    assert [row["iteration"] for row in rows] == ["10", "20", "30"]
    assert rows[-1]["loss"] == "0.5"


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path):
    log = CsvLog(tmp_path / "a.csv", ["loss", "mae"])
    log.write(10, {"loss": 1, "mae": 2})
    with (tmp_path / "a.csv").open("a") as file:
        file.write("2")
    assert [row["iteration"] for row in read_log(tmp_path / "a.csv")] == ["10"]


def test_a_new_run_starts_an_empty_log(tmp_path):
    CsvLog(tmp_path / "a.csv", ["loss"]).write(10, {"loss": 1})
    CsvLog(tmp_path / "a.csv", ["loss"])
    assert read_log(tmp_path / "a.csv") == []


@pytest.mark.parametrize("content", [b"iteration,loss\n1,\xff\n", b"loss\n0.1\n"])
def test_a_damaged_log_is_a_clear_error_and_not_written_over(tmp_path, content):
    path = tmp_path / "training.csv"
    path.write_bytes(content)
    for use in (lambda: read_log(path), lambda: CsvLog(path, ["loss"], resume_at=5)):
        with pytest.raises(DataError, match=r"training\.csv: is damaged .*; remove it"):
            use()
    assert path.read_bytes() == content


def test_events_are_those_that_tensorboard_itself_would_write(tmp_path):
    tf, found = pytest.importorskip("tensorflow"), []
    pytest.importorskip("tensorboard")
    board = TensorBoardLog(tmp_path / "own")
    board.write(7, {"loss": 0.3}, "training")
    board.flush()
    with tf.summary.create_file_writer(str(tmp_path / "theirs")).as_default(step=7):
        tf.summary.scalar("training/loss", 0.3)
    for name in ("own", "theirs"):
        (path,) = (tmp_path / name).iterdir()
        records = [tf.compat.v1.Event.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
        (event,) = [record for record in records if record.summary.value]
        found.append((event.step, event.summary))
    assert found[0] == found[1]


def test_columns_may_come_and_go_between_the_starts_of_a_run(tmp_path):
    path = tmp_path / "a.csv"
    log = CsvLog(path, ["loss", "old"])
    log.write(1, {"loss": 1, "old": 2})
    log.write(2, {"old": 3})
    resumed = CsvLog(path, ["new", "loss"], resume_at=2)
    resumed.write(3, {"new": 1e-9 / 3})
    assert pd.read_csv(path).fillna("-").to_dict("list") == {
        "iteration": [1, 2, 3],
        "new": ["-", "-", 3.333333e-10],
        "loss": [1, "-", "-"],
    }


@pytest.mark.parametrize("line", ["x,1", "²,1", "-1,1", ",1", "7", "7,1,1"])
def test_a_line_without_an_iteration_or_of_another_length_is_left_out(tmp_path, line):
    path = tmp_path / "a.csv"
    path.write_text(f"iteration,loss\n5,0.5\n{line}\n6,0.25\n", encoding="utf-8")
    rows = read_log(path)
    assert [row["iteration"] for row in rows if row["iteration"] != "7"] == ["5", "6"]
    assert [row["iteration"] for row in rows].count("7") == (1 if line == "7,1,1" else 0)
    CsvLog(path, ["loss"], resume_at=5)
    assert [row["iteration"] for row in read_log(path)] == ["5"]


def test_a_log_that_cannot_be_written_names_its_file(tmp_path):
    log = CsvLog(tmp_path / "logs" / "a.csv", ["loss"])
    (tmp_path / "logs" / "a.csv").unlink()
    (tmp_path / "logs").rmdir()
    with pytest.raises(DataError, match=r"a\.csv: cannot be written, .*logs is no folder"):
        log.write(1, {"loss": 1})


def test_units_are_read_back_and_damaged_ones_are_none(tmp_path):
    assert read_units(tmp_path) == {}
    write_units(tmp_path, {"ct_mae": "HU", "größe": "µm"})
    assert read_units(tmp_path) == {"ct_mae": "HU", "größe": "µm"}
    for text in ("{", "[1]", "3"):
        (tmp_path / UNITS).write_text(text)
        assert read_units(tmp_path) == {}


class Board:
    """Keeps what it is told."""

    def __init__(self):
        self.told = []

    def write(self, iteration, values, prefix):
        self.told.append((iteration, dict(values), prefix))

    def flush(self):
        self.told.append("flush")

    def close(self):
        self.told.append("close")


def test_every_log_hears_every_value_and_only_trackers_are_closed(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(logs.time, "perf_counter", lambda: now[0])
    board, tracker = Board(), Board()
    training, validation = CsvLog(tmp_path / "t.csv", ["loss", SECONDS]), CsvLog(tmp_path / "v.csv", ["dice"])
    both = RunLogs(training, validation, board, start=10, trackers=[tracker])
    now[0] += 6
    both.write_training(14, {"loss": 0.5})
    both.write_validation(14, {"dice": 0.75})
    both.flush()
    both.close()
    # Seconds of this start, over its own iterations; curves have no use for them.
    assert read_log(tmp_path / "t.csv") == [{"iteration": "14", "loss": "0.5", SECONDS: "1.5"}]
    assert read_log(tmp_path / "v.csv") == [{"iteration": "14", "dice": "0.75"}]
    assert board.told == [(14, {"loss": 0.5}, "training"), (14, {"dice": 0.75}, "validation"), "flush"]
    assert tracker.told == [*board.told, "close"]


def test_who_does_not_write_takes_the_place_of_every_log():
    silent = RunLogs(SilentLog(), SilentLog(), SilentLog(), start=0)
    silent.write_training(1, {"loss": 1})
    silent.write_validation(1, {"dice": 1})
    silent.flush()
    silent.close()
