"""Curves in MLflow and Weights & Biases, offline, read back by other ways than they were written."""

import json

import pytest

from sfgkeras.applications import run
from sfgkeras.applications.records.trackers import MlflowTracker
from sfgkeras.applications.subjects.checks import refuse_missing_modules
from sfgkeras.errors import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("two_stages")
TINY = {
    "NETWORK.name": "two_stages", "NETWORK.width": 1, "NETWORK.normalisation": "no", "TRAINING.max_iter": 4,
    "TRAINING.trackers": "mlflow, wandb",
}  # fmt: skip


def metric_lines(folder, name):
    """Lines `time value step` of the one run in a store of files."""
    (path,) = folder.glob(f"mlflow/*/*/metrics/{name}")
    return [line.split() for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_a_resumed_run_goes_on_in_the_same_run_of_both(make_config, monkeypatch, tmp_path):
    pytest.importorskip("mlflow")
    pytest.importorskip("wandb")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    run.train(make_config({**TINY, "TRAINING.max_iter": 2}))
    run.train(make_config(TINY))
    logs = tmp_path / "model" / "logs"
    losses = metric_lines(logs, "training/loss")
    assert [int(step) for _, _, step in losses] == [1, 2, 3, 4]
    own = [line.split(",") for line in (logs / "training.csv").read_text().splitlines()]
    column = own[0].index("loss")
    assert [float(value) for _, value, _ in losses] == pytest.approx([float(row[column]) for row in own[1:]], rel=1e-6)
    assert [int(step) for _, _, step in metric_lines(logs, "validation/organs_dice")] == [2, 4]
    identity = json.loads((logs / "wandb.json").read_text())["run"]
    files = sorted((logs / "wandb").glob(f"offline-run-*-{identity}/run-{identity}.wandb"))
    assert len(files) == 2  # a part for each start, of one run
    assert all(b"training/loss" in path.read_bytes() for path in files)


def test_a_tracker_that_fails_says_so(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sorcery://nowhere")
    with pytest.raises(DataError, match="MLflow cannot be written .* or leave it out of .TRAINING. trackers"):
        MlflowTracker(tmp_path, "name", {})


@pytest.mark.parametrize(
    ("value", "message"),
    [("wandbb", "has 'wandbb', which is none, did you mean 'wandb'"), ("wandb, wandb", "names one twice")],
)
def test_trackers_that_are_none_are_refused(make_config, value, message):
    with pytest.raises(ConfigError, match=message):
        make_config({"TRAINING.trackers": value})


def test_a_library_that_is_not_installed_is_named_before_the_training(make_config, monkeypatch):
    monkeypatch.setattr("sfgkeras.extras.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"trackers = wandb needs wandb, not installed here; pip install"):
        refuse_missing_modules(make_config({"TRAINING.trackers": "wandb"}))
    with pytest.raises(ConfigError, match=r"trackers = wandb needs wandb, not installed here; pip install"):
        run.train(make_config({"TRAINING.trackers": "wandb"}))
