"""What Weights & Biases is told, by something that stands for it: which run, where, and what of a failure."""

import json
import sys
from types import SimpleNamespace

import pytest

from sfgkeras.applications.records.trackers import open_tracker
from sfgkeras.errors import DataError


class FakeRun:
    """What Weights & Biases gives, as far as it is used."""

    def __init__(self, told):
        self.told = told

    def log(self, values):
        if "training/bad" in values:
            raise OSError("the disk is full\nand more lines of it")
        self.told.append(values)

    def finish(self):
        self.told.append("finished")


@pytest.fixture
def wandb(monkeypatch):
    """Stands for the library; returns what it was told."""
    told = []

    def init(**settings):
        told.append(settings)
        return FakeRun(told)

    library = SimpleNamespace(Error=RuntimeError, init=init, Settings=lambda **settings: settings)
    monkeypatch.setitem(sys.modules, "wandb", library)
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    return told


def test_curves_go_to_weights_and_biases_by_phase_and_iteration_in_one_run_however_often_it_starts(wandb, tmp_path):
    for _ in range(2):
        tracker = open_tracker("wandb", tmp_path, "prostate", {"lr": 0.1})
        tracker.write(7, {"loss": 1, "ct": 0.5}, "training")
        tracker.flush()
        tracker.close()
    first, values, end, second, *_ = wandb
    assert values == {"training/loss": 1.0, "training/ct": 0.5, "iteration": 7}
    assert end == "finished"
    assert first["id"] == second["id"] == json.loads((tmp_path / "wandb.json").read_text())["run"]
    assert {name: first[name] for name in ("project", "dir", "resume", "mode", "config")} == {
        "project": "prostate", "dir": str(tmp_path), "resume": "allow", "mode": "offline", "config": {"lr": 0.1},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "mode", "project"),
    [
        ({"WANDB_API_KEY": "k"}, "online", "prostate"),
        ({"WANDB_API_KEY": "k", "WANDB_MODE": "disabled"}, "disabled", "prostate"),
        ({"WANDB_PROJECT": "mine"}, "offline", "mine"),
    ],
)
def test_the_environment_says_where_curves_go(wandb, tmp_path, monkeypatch, environment, mode, project):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    open_tracker("wandb", tmp_path, "prostate", {})
    assert (wandb[0]["mode"], wandb[0]["project"]) == (mode, project)


@pytest.mark.parametrize("kept", ["", "{", "[]", "{}", "3"])
def test_a_damaged_note_of_the_run_begins_a_new_one(wandb, tmp_path, kept):
    (tmp_path / "wandb.json").write_text(kept)
    open_tracker("wandb", tmp_path, "x", {})
    assert json.loads((tmp_path / "wandb.json").read_text())["run"] == wandb[0]["id"]


def test_a_failure_while_training_is_told_in_a_line_with_the_remedy(wandb, tmp_path):
    tracker = open_tracker("wandb", tmp_path, "x", {})
    with pytest.raises(
        DataError, match=r"^Weights & Biases cannot be written \(the disk is full\); see to it and start"
    ):
        tracker.write(1, {"bad": 1}, "training")
    with pytest.raises(ValueError, match="unknown tracker 'wandbb', did you mean 'wandb'"):
        open_tracker("wandbb", tmp_path, "x", {})
