"""`starting_iter = N`: a start, not a place to which every restart returns; and errors inside windows."""

from types import SimpleNamespace

import numpy as np
import pytest

from sfgkeras import cli
from sfgkeras.applications import run
from sfgkeras.applications.records.checkpoints import CheckpointFolder, TrainingState
from sfgkeras.applications.training.build import resume
from sfgkeras.data.pipeline import close, original_errors, training_dataset
from sfgkeras.data.windows import WindowSource
from sfgkeras.errors import DataError
from sfgkeras.reporter import SilentReporter

PLAIN = {"NETWORK.normalisation": "no", "TRAINING.validation_every_n": 0, "TRAINING.save_every_n": 1}


@pytest.mark.slow
def test_a_run_from_a_saved_iteration_continues_after_a_kill_and_ends_as_if_it_had_never_stopped(
    make_config, reporter, tmp_path, network_arrays
):
    first = {**PLAIN, "TRAINING.max_iter": 3, "TRAINING.max_checkpoints": 2}
    run.train(make_config(first))
    checkpoints = CheckpointFolder(tmp_path / "model" / "checkpoints", 2)
    assert checkpoints.iterations() == [2, 3]
    # The run from iteration 2 takes another way than the one before, and is killed after iteration 3.
    again = {**first, "TRAINING.starting_iter": 2, "TRAINING.lr": 0.1}
    run.train(make_config(again), reporter)
    assert any("starts from iteration 2" in text for text in reporter.messages)
    assert any("iteration_000000003.npz: this state of an earlier run is kept until" in w for w in reporter.warnings)
    reached = network_arrays(tmp_path / "model", 3)
    run.train(make_config({**again, "TRAINING.max_iter": 4}), reporter)
    assert any("resumed from iteration 3" in text for text in reporter.messages)
    ended = network_arrays(tmp_path / "model", 4)
    assert checkpoints.read(4).record["progress"]["started_from"] == 2
    # Without the kill: from iteration 2 to 4 at once, in a copy of what was there at first.
    other = tmp_path / "other"
    run.train(make_config(first, model_dir=other))
    run.train(make_config({**again, "TRAINING.max_iter": 4}, model_dir=other))
    for key, value in network_arrays(other, 4).items():
        np.testing.assert_array_equal(value, ended[key], err_msg=key)
    assert any((reached[key] != value).any() for key, value in ended.items() if key.endswith("kernel"))


def state(iteration, started_from, value=0.0):
    return TrainingState(
        {"x": np.full(3, value)}, {"iteration": iteration, "progress": {"started_from": started_from}}
    )  # fmt: skip


def test_states_of_the_run_before_are_neither_continued_nor_make_new_ones_too_old(tmp_path):
    folder = CheckpointFolder(tmp_path, max_checkpoints=2)
    for iteration in (10, 20, 30, 40, 50):
        CheckpointFolder(tmp_path, max_checkpoints=9).write(state(iteration, 0))
    assert folder.read_continued(20) == (None, [])
    folder.write(state(25, 20))
    assert folder.iterations() == [20, 25, 30, 40, 50]
    assert folder.read_continued(20)[0].record["iteration"] == 25
    assert folder.read_continued(10) == (None, [])
    folder.write(state(40, 20))
    assert folder.iterations() == [30, 40, 50]
    found, warnings = folder.read_continued(20)
    assert (found.record["iteration"], warnings) == (40, [])


def test_a_damaged_state_of_a_continued_run_is_passed_over_with_a_warning(tmp_path):
    folder = CheckpointFolder(tmp_path)
    for iteration in (10, 12, 14):
        folder.write(state(iteration, 10 if iteration > 10 else 0))
    folder.path(14).write_bytes(folder.path(14).read_bytes()[:-30])
    found, warnings = folder.read_continued(10)
    assert found.record["iteration"] == 12
    assert len(warnings) == 1
    assert str(folder.path(14)) in warnings[0]


@pytest.mark.parametrize("phase", ["training", "validation"])
def test_an_error_inside_a_window_ends_the_training_as_itself(make_config, monkeypatch, capsys, phase):
    batch, calls = WindowSource.batch, []

    def fail_later(self, indices, *arguments):
        is_training = self.augmentation is not None
        calls.append(indices)
        if is_training == (phase == "training") and (indices[0] >= 4 or not is_training):
            raise DataError("case_1: its label 300 is none of the 6 classes")
        return batch(self, indices, *arguments)

    monkeypatch.setattr(WindowSource, "batch", fail_later)
    config = make_config()
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "-c", str(config.path), "--NETWORK.normalisation", "no"])
    assert ended.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("sfgkeras: ")]
    assert errors == ["sfgkeras: case_1: its label 300 is none of the 6 classes"]
    assert CheckpointFolder(config.system.model_dir / "checkpoints").iterations() == [0]


class EndlessSource:
    """Stands for a window source whose windows are their numbers."""

    spatial_rank = 2
    image_shape, target_shapes, weight_shapes = (1,), {"t": ()}, {"t": ()}
    target_dtypes = {"t": np.dtype(np.float32)}
    task_kinds = {"t": "value"}
    failure, closed = None, False

    def __init__(self):
        self.makers = []

    def batch(self, indices, allocate):
        numbers = np.asarray(indices, np.float32)
        return numbers[:, None], {"t": numbers}, {"t": numbers}


def test_a_closed_source_makes_no_more_batches():
    import tensorflow as tf

    source = EndlessSource()
    batches = iter(training_dataset(source, 2))
    assert next(batches)[0].numpy().tolist() == [[0], [1]]
    close(source)

    def read_on():
        for _ in range(99):
            next(batches)

    with pytest.raises(tf.errors.OpError, match="no more batches are made"), original_errors(source):
        read_on()


def test_a_starting_iter_that_is_not_there_is_blamed_on_itself(tmp_path):
    CheckpointFolder(tmp_path).write(state(4, 0))
    trainer = SimpleNamespace(progress=SimpleNamespace(), restore=None)
    with pytest.raises(DataError, match=r"\[TRAINING\] starting_iter may be one of: 4"):
        resume(trainer, CheckpointFolder(tmp_path), 3, SilentReporter())
    with pytest.raises(DataError, match=r"\[INFERENCE\] inference_iter may be one of: 4"):
        CheckpointFolder(tmp_path).read(3)
