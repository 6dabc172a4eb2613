"""Classes of the user's own, by the path `my.module.Class`: networks, losses, preprocessing steps."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from sfgkeras.applications.check import check_run
from sfgkeras.applications.subjects.preprocessing_settings import read_run
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.applications.training.network import build_network
from sfgkeras.errors import ConfigError
from sfgkeras.preprocessing.pipeline import build_pipeline
from sfgkeras.preprocessing.volume import StepContext, Volume

CODE = """
import dataclasses
import keras
from sfgkeras.losses import TaskLoss
from sfgkeras.networks import HighResNet
from sfgkeras.preprocessing.steps import OwnStep

class Shallow(HighResNet):
    stages = (HighResNet.stages[0], HighResNet.stages[-1])

class Logarithmic(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.log1p(keras.ops.abs(y_pred - y_true)), axis=-1)

class PerSample(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.abs(y_pred - y_true), axis=(1, 2, 3))

class Weighted(TaskLoss):
    def per_sample(self, y_true, y_pred, sample_weight=None):
        return keras.ops.sum(sample_weight, axis=(1, 2))

class Scaled(TaskLoss):
    def __init__(self, factor: float = 2.0, power=1, **kwargs):
        super().__init__(**kwargs)
        self.factor, self.power = factor, power

    def per_sample(self, y_true, y_pred, sample_weight=None):
        return self.factor ** self.power * keras.ops.mean(keras.ops.abs(y_pred - y_true), axis=(1, 2, 3))

class Deeper(HighResNet):
    def __init__(self, *args, blocks: int = 1, **kwargs):
        self.stages = (HighResNet.stages[0], *[HighResNet.stages[1]] * blocks, HighResNet.stages[-1])
        super().__init__(*args, **kwargs)

@dataclasses.dataclass(frozen=True)
class Add(OwnStep):
    offset: float = 1.0

    def apply(self, volume, context):
        return volume.with_array(volume.array + self.offset, f"added {self.offset:g}")

def function(): pass
number = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module in the working folder, which is not on the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    (tmp_path / "own_pieces.py").write_text(CODE)
    (tmp_path / "broken_pieces.py").write_text("import no_such_library\n")
    yield "own_pieces"
    for name in ("own_pieces", "broken_pieces"):
        sys.modules.pop(name, None)


def test_a_network_of_the_user_s_own_is_built_and_is_another_than_ours(module, make_config):
    own = make_config({"NETWORK.name": "own_pieces.Shallow"})
    assert own.network.name == "own_pieces.Shallow"
    network = build_network(own, build_tasks(own), 1)
    usual = make_config()
    assert network.count_params() < build_network(usual, build_tasks(usual), 1).count_params()
    assert type(network).__name__ == "Shallow"
    assert set(network(np.zeros((1, 8, 8, 1), "float32"))) == {"ct", "organs"}


def test_a_loss_of_the_user_s_own_is_masked_and_averaged_like_ours(module, make_config):
    task = build_tasks(make_config({"TASK ct.loss": "own_pieces.Logarithmic"}))["ct"]
    loss = task.build_loss()
    rng = np.random.default_rng(0)
    truth, prediction = rng.normal(size=(2, 2, 4, 4, 1)).astype("float32")
    values = np.log1p(np.abs(prediction - truth))[..., 0]
    np.testing.assert_allclose(loss.per_sample(truth, prediction), values.mean((1, 2)), rtol=1e-5)
    mask = np.zeros((2, 4, 4), "float32")
    mask[:, 1:3] = 1
    np.testing.assert_allclose(loss.per_sample(truth, prediction, mask), values[:, 1:3].mean((1, 2)), rtol=1e-5)
    assert loss.name == "ct_loss"


def test_arguments_of_classes_of_the_user_s_own_are_settings_in_the_file(module, make_config, tmp_path):
    own = {"TASK ct.loss": "own_pieces.Scaled", "TASK ct.scaled_factor": "3", "TASK ct.scaled_power": "2"}
    config = make_config(own)
    truth = np.zeros((2, 4, 4, 1), "float32")
    np.testing.assert_allclose(build_tasks(config)["ct"].build_loss().per_sample(truth, truth + 1), [9, 9])
    assert "\nscaled_factor = 3.0\n" in config.effective_text()
    (tmp_path / "again.ini").write_text(config.effective_text())
    assert read_run(tmp_path / "again.ini") == config
    usual = build_tasks(make_config({"TASK ct.loss": "own_pieces.Scaled"}))["ct"].build_loss()
    np.testing.assert_allclose(usual.per_sample(truth, truth + 1), [2, 2])
    with pytest.raises(ConfigError, match=r"has no option 'scaled_factr', did you mean 'scaled_factor'\?"):
        make_config({**own, "TASK ct.scaled_factr": "3"})
    with pytest.raises(ConfigError, match="scaled_factor = 'three' is not a number"):
        make_config({**own, "TASK ct.scaled_factor": "three"})


def test_arguments_of_a_network_of_the_user_s_own_are_settings_too(module, make_config):
    def layers(overrides):
        config = make_config({"NETWORK.name": "own_pieces.Deeper", **overrides})
        return len(build_network(config, build_tasks(config), 1).stages)

    assert (layers({}), layers({"NETWORK.deeper_blocks": "3"})) == (3, 5)


def test_a_loss_of_one_value_per_sample_cannot_leave_voxels_out(module, make_config):
    loss = build_tasks(make_config({"TASK ct.loss": "own_pieces.PerSample"}))["ct"].build_loss()
    truth = np.zeros((2, 4, 4, 1), "float32")
    np.testing.assert_allclose(loss.per_sample(truth, truth + 2, np.array([1.0, 0.5])), [2, 1])
    with pytest.raises(ValueError, match="PerSample gives one value per sample, and voxels are to be left out"):
        loss.per_sample(truth, truth, np.ones((2, 4, 4), "float32"))


def test_a_loss_derived_from_ours_gets_the_weights(module, make_config):
    loss = build_tasks(make_config({"TASK organs.loss": "own_pieces.Weighted"}))["organs"].build_loss()
    np.testing.assert_allclose(loss.per_sample(None, None, np.ones((2, 3, 3), "float32")), [9, 9])


def test_a_loss_of_keras_itself_serves_too(make_config):
    path = "keras.losses.SparseCategoricalCrossentropy"
    loss = build_tasks(make_config({"TASK organs.loss": path}))["organs"].build_loss()
    labels, logits = np.zeros((1, 2, 2), "int32"), np.full((1, 2, 2, 6), 1 / 6, "float32")
    np.testing.assert_allclose(loss.per_sample(labels, logits), [np.log(6)], rtol=1e-5)
    assert isinstance(loss, keras.losses.Loss)


def test_a_step_of_the_user_s_own_runs_with_its_settings(module):
    pipeline = build_pipeline("own_pieces.Add, whiten", {"add_offset": "2.5"})
    assert pipeline.steps[0].describe() == {"step": "own_pieces.Add", "offset": 2.5}
    volume = Volume(np.arange(8, dtype=np.float32).reshape(2, 2, 2), np.eye(4))
    only = build_pipeline("own_pieces.Add", {"add_offset": "2.5"})
    np.testing.assert_array_equal(only.apply(volume, StepContext("s1")).array, volume.array + 2.5)
    assert only.digest() != build_pipeline("own_pieces.Add").digest()


def test_steps_of_the_user_s_own_stand_in_ini_files_with_their_settings(module, make_config, tmp_path):
    make_config()
    path = tmp_path / "tiny.ini"
    path.write_text(path.read_text() + "\n[PREPROCESSING]\nsteps = own_pieces.Add\nadd_offset = 2\n")
    assert read_run(path).preprocessing.steps == ("own_pieces.Add",)
    with pytest.raises(ConfigError, match="add_offset = 'x' is not a number"):
        read_run(path, [("PREPROCESSING.add_offset", "x")])
    with pytest.raises(ConfigError, match="add_ofset"):
        read_run(path, [("PREPROCESSING.add_ofset", "1")])
    with pytest.raises(ConfigError, match="steps = .*there is no module 'nowhere'"):
        read_run(path, [("PREPROCESSING.steps", "nowhere.Add")])


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (
            "nowhere.Shallow",
            r"\[NETWORK\] name = 'nowhere.Shallow' cannot be used: there is no module 'nowhere'; write nowhere.py",
        ),
        ("own_pieces.Shalow", r"own_pieces.py has no 'Shalow'; it has HighResNet, Shallow"),
        ("own_pieces.Logarithmic", "the class is no subclass of sfgkeras.networks.base.MultiTaskNetwork"),
        ("own_pieces.function", "the function is no subclass of"),
        ("sys.Network", "the module 'sys' has no 'Network'"),
        ("broken_pieces.Net", "importing 'broken_pieces' fails: ModuleNotFoundError: No module named"),
    ],
)  # fmt: skip
def test_a_class_that_cannot_be_used_is_refused_with_the_reason(path, words, module, make_config):
    config = make_config({"NETWORK.name": path})
    with pytest.raises(ConfigError, match=words):
        build_network(config, build_tasks(config), 1)


def test_a_missing_module_is_found_by_check_and_nothing_is_run(module, make_config, reporter, tmp_path):
    (tmp_path / "own_pieces.py").write_text("raise SystemExit('run')")
    check_run(make_config({"NETWORK.name": "own_pieces.Shallow"}), reporter)
    with pytest.raises(ConfigError, match="loss of task 'ct' = 'nowhere.Loss' cannot be used: there is no module"):
        check_run(make_config({"TASK ct.loss": "nowhere.Loss"}), reporter)


def test_a_network_for_volumes_serves_values_too(module, make_config):
    config = make_config({
        "NETWORK.name": "own_pieces.Shallow", "MULTITASK.tasks": "ct", "CT.loader": "voxel", "MULTITASK.loss_border": 0,
    })  # fmt: skip
    network = build_network(config, build_tasks(config), 1)
    assert network(np.zeros((2, 8, 8, 1), "float32"))["ct"].shape == (2, 1)


def test_a_network_that_pools_does_not_serve_volumes(module, make_config):
    config = make_config({"NETWORK.name": "sfgkeras.networks.vgg.VGG11"})
    with pytest.raises(ConfigError, match=r"\[NETWORK\] name = '.*VGG11': task 'ct' wants a map"):
        build_network(config, build_tasks(config), 1)


def test_the_classes_of_the_page_work_as_they_stand(module, make_config, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "niftynet.md").read_text(encoding="utf-8")
    (tmp_path / "my_classes.py").write_text(page.partition("```python\n")[2].partition("```")[0])
    config = make_config({"NETWORK.name": "my_classes.Shallow", "TASK ct.loss": "my_classes.Logarithmic"})
    tasks = build_tasks(config)
    assert set(build_network(config, tasks, 1)(np.zeros((1, 8, 8, 1), "float32"))) == set(tasks)
    value = tasks["ct"].build_loss()(np.zeros((1, 4, 4, 1)), np.ones((1, 4, 4, 1), "float32"))
    np.testing.assert_allclose(value, np.log(2), rtol=1e-5)
    pipeline = build_pipeline("my_classes.Smooth", {"smooth_sigma": "2"})
    volume = Volume(np.eye(9, dtype=np.float32)[None].repeat(9, 0), np.eye(4))
    assert pipeline.apply(volume, StepContext("s1")).array.std() < volume.array.std()
    sys.modules.pop("my_classes")
