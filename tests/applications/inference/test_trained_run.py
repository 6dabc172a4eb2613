"""The configuration of a trained run: found where it lies now, and not to be changed in what was trained."""

import shutil

import pytest

from sfgkeras.applications.inference.trained_run import read_trained_run
from sfgkeras.errors import ConfigError
from sfgkeras.values import format_value

WHOLE = "is part of what was trained"
NO_EFFECT = "has no effect on predictions"


@pytest.fixture
def run(make_config, tmp_path):
    """An INI file and the model folder that a training would leave."""
    config = make_config()
    (tmp_path / "model" / "checkpoints").mkdir(parents=True)
    (tmp_path / "model" / "configuration.ini").write_text(config.effective_text())
    return config


def test_a_model_folder_is_read_wherever_it_was_moved(run, tmp_path):
    moved = tmp_path / "else where; (2)"
    shutil.move(tmp_path / "model", moved)
    for name in (moved, moved / "configuration.ini"):
        found = read_trained_run(str(name), [("INFERENCE.border", "2, 2, 0")])
        assert found.config.system.model_dir == moved
        assert found.config.network.histogram_ref_file == moved / "landmarks.json"
        assert found.config.inference.border == (2, 2, 0)
        assert found.trained.inference.border == (0, 0, 0)
        assert found.config.image == run.image


def test_an_ini_file_leads_to_its_model_folder_and_works_without_its_configuration(run, tmp_path):
    found = read_trained_run(str(run.path))
    assert found.config == run
    (tmp_path / "model" / "configuration.ini").unlink()
    assert read_trained_run(str(run.path)).config == run


def test_a_folder_that_is_no_model_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no configuration\.ini, so it is no model folder"):
        read_trained_run(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("NETWORK.whitening", "no", WHOLE),
        ("network.WIDTH", "2", WHOLE),
        ("SYSTEM.seed", "4", WHOLE),
        ("MR.pixdim", "1, 1, 1", WHOLE),
        ("TASK.ct.scale", "2", WHOLE),
        ("TASK organs.num_classes", "3", WHOLE),
        ("MULTITASK.loss_border", "0", WHOLE),
        ("TRAINING.lr", "3", NO_EFFECT),
        ("EVALUATION.evaluations", "mae", NO_EFFECT),
        ("TASK.ct.weight", "3", NO_EFFECT),
        ("INFERENCE.dataset_to_infer", "all", NO_EFFECT),
        ("MR.path_to_search", "x", "--input names the images"),
        ("MR.layout", "tree", "--input names the images"),
        ("INFERENCE.save_seg_dir", "x", "--output names the folder"),
        ("SYSTEM.model_dir", "x", "by -c"),
    ],
)
def test_values_that_change_what_was_trained_or_nothing_are_refused(run, tmp_path, name, value, why):
    for source in (tmp_path / "model", run.path):
        with pytest.raises(ConfigError, match=f"--{name} {value}: .*{why}"):
            read_trained_run(str(source), [(name, value)])


def test_all_mistakes_of_the_command_line_are_said_at_once(run):
    with pytest.raises(ConfigError) as refusal:
        read_trained_run(str(run.path), [("TRAINING.lr", "3"), ("NETWORK.width", "3")])
    assert len(str(refusal.value).splitlines()) == 2
    with pytest.raises(ConfigError, match="did you mean 'batch_size'"):
        read_trained_run(str(run.path), [("NETWORK.batch_sise", "3")])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INFERENCE.spatial_window_size", "16, 16, 1"), ("INFERENCE.output_postfix", "_x"),
        ("NETWORK.batch_size", "2"), ("NETWORK.batch_norm", "batch"), ("SYSTEM.cache_dir", "/tmp/c"),
        ("TASK.organs.output_prob", "yes"), ("MR.filename_contains", "t2"), ("MR.loader", "simpleitk"),
    ],
)  # fmt: skip
def test_values_that_only_predictions_depend_on_are_taken(run, tmp_path, name, value):
    for source in (tmp_path / "model", run.path):
        found = read_trained_run(str(source), [(name, value)])
        section, _, key = name.rpartition(".")
        places = {
            "INFERENCE": found.config.inference, "NETWORK": found.config.network, "SYSTEM": found.config.system,
            "TASK.organs": found.config.tasks["organs"], "MR": found.config.sources["MR"],
        }  # fmt: skip
        assert format_value(getattr(places[section], key)) == value
        assert found.config != found.trained
