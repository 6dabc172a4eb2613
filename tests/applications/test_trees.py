"""Trees of tasks through the whole line, from `[SHARING] branches` to exported files."""

import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.export.hardened import export_network
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.applications.training.network import build_network
from sfgkeras.config import read_config
from sfgkeras.data.nifti import read_image
from sfgkeras.errors import ConfigError

QUICK = {"TRAINING.max_iter": 2, "TRAINING.save_every_n": 2, "TRAINING.validation_every_n": 0, "NETWORK.width": 1 / 16}
TREE = {"NETWORK.sharing": "tree", "SHARING.branches": "stage_5: CT|organs"}


def test_branches_of_an_ini_file_change_the_network_and_come_back_from_its_effective_text(make_config, tmp_path):
    usual, changed = make_config({"NETWORK.sharing": "tree"}), make_config(TREE)
    partitions = [
        build_network(config, build_tasks(config), 1).trunk.connections.branches for config in (usual, changed)
    ]
    together, apart = ((0, 1),), ((0,), (1,))
    assert partitions == [(together,) * 3 + (apart,) * 2, (together,) * 4 + (apart,)]
    path = tmp_path / "effective.ini"
    path.write_text(changed.effective_text())
    assert read_config(path).sharing == changed.sharing


def test_branches_that_do_not_fit_are_refused_by_file_section_and_key(make_config):
    config = make_config({**TREE, "SHARING.branches": "stage_5: ct | organ"})
    with pytest.raises(
        ConfigError, match="tiny.ini: .SHARING. branches = 'stage_5: ct | organ' names 'organ'.*'organs'"
    ):
        build_network(config, build_tasks(config), 1)
    with pytest.raises(ConfigError, match="branches.*has nothing at stage 'stage_5'.*write e.g."):
        make_config({**TREE, "SHARING.branches": "stage_5: ct |"})


@pytest.mark.slow
def test_a_tree_is_trained_predicts_is_exported_and_is_used_as_no_other_one(make_config, reporter):
    config = make_config({**QUICK, **TREE, "NETWORK.batch_norm": "recalibrated"})
    run.train(config, reporter)
    run.infer(config, reporter=reporter)
    (path,) = config.inference.save_seg_dir.glob("*_ct_predicted.nii.gz")
    assert np.isfinite(read_image(path).array).all()
    for file_format in ("keras", "onnx"):
        assert export_network(config, reporter, file_format=file_format).is_file()
    other = make_config({**QUICK, **TREE, "NETWORK.batch_norm": "recalibrated", "SHARING.branches": "stage_4"})
    for use in (run.infer, run.train):
        with pytest.raises(
            ConfigError, match="branches = 'stage_5: CT | organs', the configuration now says 'stage_4'"
        ):
            use(other, reporter=reporter)
