import pytest

from sfgkeras.applications.records.logs import CsvLog, TensorBoardLog, read_log
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
