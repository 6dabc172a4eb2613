"""The script that kills runs at random: what it looks for is found, and a short version of it finds nothing."""

import importlib.util
import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sfgkeras.applications.records.checkpoints import CheckpointFolder, TrainingState
from sfgkeras.data.volumes import VolumeStore


@pytest.fixture(scope="module")
def faults():
    path = Path(__file__).parents[2] / "benchmarks" / "faults.py"
    spec = importlib.util.spec_from_file_location("faults", path)
    module = importlib.util.module_from_spec(spec)
    # Abstract classes look up the module that they are defined in.
    sys.modules["faults"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["faults"]


def test_a_cut_off_checkpoint_and_a_log_with_a_repeated_line_are_found(faults, tmp_path):
    model, scenario = tmp_path / "model", faults.Training(tmp_path)
    path = CheckpointFolder(model / "checkpoints").write(TrainingState({"x": np.arange(99)}, {"iteration": 4}))
    (model / "logs").mkdir()
    (model / "logs" / "training.csv").write_text("iteration,loss\n1,0.5\n2,0.4\n")
    assert scenario.check(tmp_path, None) == []
    assert scenario.progress(tmp_path) == 4
    path.write_bytes(path.read_bytes()[:-50])
    (model / "logs" / "training.csv").write_text("iteration,loss\n1,0.5\n2,0.4\n2,0.4\n")
    wrong = scenario.check(tmp_path, None)
    assert len(wrong) == 2
    assert "iteration_000000004.npz" in wrong[0]
    assert "[1, 2, 2]" in wrong[1]


def test_a_training_that_ended_elsewhere_is_found(faults, tmp_path):
    scenario = faults.Training(tmp_path)
    for name, value in (("whole", 1.0), ("same", 1.0), ("other", 1.5)):
        state = TrainingState({"kernel": np.full(3, value)}, {"iteration": faults.ITERATIONS})
        CheckpointFolder(tmp_path / name / "model" / "checkpoints").write(state)
    assert scenario.compare(tmp_path / "same", tmp_path / "whole") == []
    assert scenario.compare(tmp_path / "other", tmp_path / "whole") == ["kernel differs"]


def test_a_damaged_a_missing_and_another_image_are_found(faults, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        for name in "abc":
            nib.save(
                nib.Nifti1Image(np.arange(4096, dtype=np.int16).reshape(16, 16, 16), np.eye(4)),
                folder / f"{name}.nii.gz",
            )
    assert faults.compare_images(killed, whole, complete=True) == []
    path = killed / "a.nii.gz"
    path.write_bytes(path.read_bytes()[:-100])
    nib.save(nib.Nifti1Image(np.zeros((16, 16, 16), np.int16), np.eye(4)), killed / "b.nii.gz")
    (killed / "c.nii.gz").unlink()
    assert len(faults.compare_images(killed, whole, complete=False)) == 2
    assert "c.nii.gz: is missing" in faults.compare_images(killed, whole, complete=True)[-1]


def test_a_damaged_entry_of_the_cache_is_found(faults, tmp_path):
    store = VolumeStore(tmp_path)
    store.array({"number": 1}, lambda: np.arange(99), sliced_axis=0)
    assert faults.check_store(tmp_path) == []
    (raw,) = tmp_path.glob("*.raw")
    raw.write_bytes(raw.read_bytes()[:-8])
    assert "missing or damaged" in faults.check_store(tmp_path)[0]
    (sidecar,) = tmp_path.glob("*.json")
    sidecar.write_text(json.dumps({"no": "entry"}))
    assert len(faults.check_store(tmp_path)) == 1


@pytest.mark.slow
@pytest.mark.ci_sample
def test_killed_preprocessing_and_cache_writing_lose_nothing(faults, capsys):
    assert faults.main(["--only", "preprocessing,cache", "--kills", "4"]) == 0
    said = capsys.readouterr().out
    assert "| preprocessing | 2 |" in said
    assert "nothing was lost" in said


@pytest.mark.slow
def test_no_kind_of_run_loses_anything_when_it_is_killed(faults):
    assert faults.main(["--quick"]) == 0
