"""Statistics measured again after training: when they are used, and when they are measured anew."""

import os
import shutil

import pytest

from sfgkeras.applications import run
from sfgkeras.applications.inference import restored_network as recalibration
from sfgkeras.applications.inference.restored_network import restore_network, training_images
from sfgkeras.applications.records.checkpoints import CheckpointFolder
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.subjects.session import open_session


@pytest.fixture
def measured(monkeypatch):
    """Counts the measurements."""
    calls = []
    original = recalibration.recalibrate

    def recalibrate(*arguments):
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(recalibration, "recalibrate", recalibrate)
    return calls


def test_statistics_are_measured_again_once_the_training_subjects_have_changed(
    make_config, cohort, tmp_path, reporter, measured, monkeypatch
):
    monkeypatch.setattr(recalibration, "BATCHES", 2)
    data = tmp_path / "data"
    shutil.copytree(cohort, data)
    overrides = {"NETWORK.batch_norm": "recalibrated", "TRAINING.max_iter": 1, "TRAINING.validation_every_n": -1}
    overrides |= {f"{source}.path_to_search": data for source in ("MR", "CT", "ORGANS")}
    config = make_config(overrides)
    run.train(config, reporter)
    assert len(measured) == 1
    checkpoints = CheckpointFolder(RunFolder(config.system.model_dir).checkpoints)

    def restore():
        session = open_session(config, reporter, training=False)
        restore_network(session, checkpoints, checkpoints.read(-1), 1, reporter)
        return session

    session = restore()
    assert len(measured) == 1
    # The image of one training subject is another one: newer, or of another length.
    path = session.cohort.phase("training")[0].images["MR"].path
    os.utime(path, (1, 1))
    restore()
    restore()
    assert len(measured) == 2
    # One training subject less.
    split = config.system.dataset_split_file
    name = session.cohort.phase("training")[0].subject_id
    split.write_text("".join(line for line in split.read_text().splitlines(keepends=True) if name not in line))
    changed = restore()
    assert len(training_images(changed)) < len(training_images(session))
    assert len(measured) == 3


def test_without_the_training_images_the_statistics_that_were_measured_are_used(
    make_config, reporter, measured, monkeypatch
):
    monkeypatch.setattr(recalibration, "BATCHES", 2)
    overrides = {"NETWORK.batch_norm": "recalibrated", "TRAINING.max_iter": 1, "TRAINING.validation_every_n": -1}
    config = make_config(overrides)
    run.train(config, reporter)
    checkpoints = CheckpointFolder(RunFolder(config.system.model_dir).checkpoints)
    session = open_session(config, reporter, training=False)
    monkeypatch.setattr(recalibration, "training_images", lambda session: [])
    restore_network(session, checkpoints, checkpoints.read(-1), 1, reporter)
    assert len(measured) == 1
