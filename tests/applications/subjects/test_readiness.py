"""A check finds all that training then refuses."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.check import check_run
from sfgkeras.applications.records.checkpoints import CheckpointFolder
from sfgkeras.errors import ConfigError, DataError

from ..conftest import OLD_STATE

PLAIN = {"NETWORK.normalisation": "no", "TRAINING.validation_every_n": 0}


def write_split(config, phases):
    path = config.system.dataset_split_file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"phantom_00{i},{phase}\n" for i, phase in enumerate(phases)))


def no_training_subject(make_config, tmp_path):
    config = make_config(PLAIN)
    write_split(config, ["validation", "inference"])
    return config, "no subject has the phase 'training'; add one"


def no_validation_subject(make_config, tmp_path):
    config = make_config({**PLAIN, "TRAINING.validation_every_n": 2})
    write_split(config, ["training", "inference"])
    return config, "no subject has the phase 'validation'; add one"


def model_dir_is_a_file(make_config, tmp_path):
    (tmp_path / "taken").write_text("mine")
    return make_config(PLAIN, model_dir=tmp_path / "taken" / "run"), r"taken is a file"


def checkpoints_is_a_file(make_config, tmp_path):
    config = make_config(PLAIN)
    config.system.model_dir.mkdir()
    (config.system.model_dir / "checkpoints").write_text("mine")
    return config, r"its checkpoints cannot be written: .*checkpoints is a file"


def missing_state(make_config, tmp_path):
    config = make_config({**PLAIN, "TRAINING.restore_from": tmp_path / "nowhere.npz"})
    return config, r"nowhere\.npz: .*"


def folder_without_a_state(make_config, tmp_path):
    (tmp_path / "empty").mkdir()
    return make_config({**PLAIN, "TRAINING.restore_from": tmp_path / "empty"}), "empty: no checkpoint"


def pattern_that_restores_nothing(make_config, tmp_path):
    shutil.copy(OLD_STATE, tmp_path / "other.npz")
    settings = {"TRAINING.restore_from": tmp_path / "other.npz", "TRAINING.vars_to_restore": "nothing_like_this"}
    return make_config({**PLAIN, **settings}), r"no variable matches \[TRAINING\] vars_to_restore = 'nothing_like_this'"


def pattern_that_freezes_nothing(make_config, tmp_path):
    config = make_config({**PLAIN, "TRAINING.vars_to_freeze": "nothing_like_this"})
    return config, r"vars_to_freeze = 'nothing_like_this' matches no trainable variable"


def pattern_that_couples_nothing(make_config, tmp_path):
    config = make_config({**PLAIN, "NETWORK.sharing": "soft_sharing", "SHARING.layers": "stage_1, stage_7"})
    return config, r"tiny\.ini: \[SHARING\] layers = 'stage_7' meets no kernel of the network, did you mean"


def absent_gpu(make_config, tmp_path):
    return make_config({**PLAIN, "SYSTEM.cuda_devices": "77"}), "cuda_devices"


OBSTACLES = (
    no_training_subject, no_validation_subject, model_dir_is_a_file, checkpoints_is_a_file, missing_state,
    folder_without_a_state, pattern_that_restores_nothing, pattern_that_freezes_nothing,
    pattern_that_couples_nothing, absent_gpu,
)  # fmt: skip


@pytest.mark.parametrize("obstacle", OBSTACLES, ids=lambda each: each.__name__)
def test_check_finds_what_training_refuses(make_config, tmp_path, reporter, obstacle):
    import re

    config, message = obstacle(make_config, tmp_path)
    assert not check_run(config, reporter, read_voxels=False)
    assert any(re.search(message, text) for text in reporter.messages), reporter.messages
    with pytest.raises((ConfigError, DataError)):
        run.train(config)


def test_check_writes_nothing_and_finds_nothing_wrong_with_a_sound_run(make_config, tmp_path, reporter):
    config = make_config(PLAIN)
    assert check_run(config, reporter, read_voxels=False)
    assert not config.system.model_dir.exists()


@pytest.mark.parametrize("key", ["MULTITASK.weight", "MULTITASK.sampler"])
def test_negative_weights_are_found_by_check_and_refused_by_training(make_config, cohort, tmp_path, reporter, key):
    folder = tmp_path / "weights"
    folder.mkdir()
    for path in cohort.glob("*_mr.nii.gz"):
        image = nib.load(path)
        weights = np.ones(image.shape, np.float32)
        weights[:4] = -1
        nib.save(nib.Nifti1Image(weights, image.affine), folder / path.name.replace("_mr", "_weight"))
    section = f"""
[WEIGHT]
path_to_search = {folder}
filename_contains = _weight
pixdim = 8, 8, 8
axcodes = R, A, S
"""
    sampling = {"NETWORK.window_sampling": "weighted"} if key == "MULTITASK.sampler" else {}
    config = make_config({**PLAIN, **sampling, key: "WEIGHT"}, extra=section)
    assert not check_run(config, reporter)
    assert any("negative weights, down to -1; write 0 or more" in text for text in reporter.messages)
    with pytest.raises(DataError, match="negative weights"):
        run.train(config)


def test_inference_says_that_the_newest_state_is_damaged(make_started, reporter):
    config = make_started({"NETWORK.normalisation": "no"})
    folder = CheckpointFolder(config.system.model_dir / "checkpoints")
    folder.path(7).write_bytes(OLD_STATE.read_bytes()[:5000])
    said = []
    state = folder.read(-1, warn=said.append)
    assert state.record["iteration"] == 0
    assert len(said) == 1
    assert "iteration_000000007.npz: the checkpoint is damaged" in said[0]
    with pytest.raises(ConfigError, match="was trained with"):
        run.infer(make_started({"NETWORK.normalisation": "no", "NETWORK.width": 0.5}), reporter)
    assert any("iteration_000000007.npz" in text for text in reporter.warnings)
