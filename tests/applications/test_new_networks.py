"""Networks and a sharing mechanism from outside the package: one file and one table line each, run by an INI file."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.export.hardened import export_network
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.applications.training.network import build_network
from sfgkeras.architecture.stage import Stage
from sfgkeras.data.nifti import read_image
from sfgkeras.errors import ConfigError
from sfgkeras.networks import MultiTaskNetwork
from sfgkeras.settings import Settings, setting
from sfgkeras.sharing.base import Sharing
from sfgkeras.tables import networks as network_table
from sfgkeras.tables import sharing as sharing_table

QUICK = {"TRAINING.max_iter": 2, "TRAINING.save_every_n": 2, "TRAINING.validation_every_n": 0, "NETWORK.width": 1 / 16}
UNET = {"NETWORK.name": "unet", "NETWORK.unet_levels": 3, "NETWORK.unet_convolutions": 1}


@dataclass(frozen=True)
class HourglassSettings(Settings):
    """Settings of `hourglass`."""

    depth: int = setting(1, "How often the image is halved.", ge=1)


@keras.saving.register_keras_serializable(package="tests")
class Hourglass(MultiTaskNetwork):
    """A U without convolutions at the levels between."""

    def __init__(self, tasks, *arguments, depth=1, **settings):
        self.depth = depth
        super().__init__(tasks, *arguments, **settings)

    def choose_stages(self, taps):
        down = [Stage(32, name=f"down_{level}", pools=True) for level in range(self.depth)]
        up = [Stage(32, upsamples=True, skip=f"down_{level}", per_task=True) for level in reversed(range(self.depth))]
        return [*down, Stage(64, num_blocks=1, name="waist"), *up]

    def get_config(self):
        return super().get_config() | {"depth": self.depth}


@keras.saving.register_keras_serializable(package="tests")
class Chain(MultiTaskNetwork):
    """Two convolutions."""

    stages = (Stage(32), Stage(32))


@dataclass(frozen=True)
class Halves(Sharing):
    """The first half of every layer's filters is shared, and the rest belongs to the first task alone."""

    name: ClassVar[str] = "halves"
    summary: ClassVar[str] = "half of all filters shared, half for the first task"

    def build_trunk(self, architecture, settings):
        from sfgkeras.sharing.grouped_trunk import GroupedTrunk

        shared = settings.num_tasks
        allocation = [[shared] * (s.filters - s.filters // 2) + [0] * (s.filters // 2) for s in architecture.stages]
        return GroupedTrunk(architecture, settings, allocation, name="trunk")


@pytest.fixture
def tables(monkeypatch):
    """The table lines."""
    entry = network_table.NetworkEntry
    monkeypatch.setitem(
        network_table.NETWORKS, "hourglass", entry(lambda: Hourglass, "a U", settings=HourglassSettings)
    )
    monkeypatch.setitem(network_table.NETWORKS, "chain", entry(lambda: Chain, "two convolutions"))
    line = sharing_table.SharingEntry(lambda: Halves, Halves.summary, constant=True)
    monkeypatch.setitem(sharing_table.SHARING, "halves", line)


def predicted(config, task):
    """The prediction of a task for the one subject of inference."""
    (path,) = config.inference.save_seg_dir.glob(f"*_{task}_predicted.nii.gz")
    return read_image(path)


@pytest.mark.parametrize(
    ("name", "sharing", "more"),
    [
        pytest.param("hourglass", "sfg", {"NETWORK.hourglass_depth": 2}, marks=pytest.mark.slow),
        ("chain", "halves", {}),
        pytest.param(
            "unet",
            "halves",
            {key: value for key, value in UNET.items() if key != "NETWORK.name"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_a_table_line_names_is_trained_and_predicts(name, sharing, more, tables, make_config, reporter):
    config = make_config({**QUICK, "NETWORK.name": name, "NETWORK.sharing": sharing, **more})
    run.train(config, reporter)
    run.infer(config, reporter=reporter)
    assert np.isfinite(predicted(config, "ct").array).all()
    assert export_network(config, reporter).is_file()


def test_a_setting_of_a_new_network_reaches_it_and_another_is_refused(tables, make_config):
    config = make_config({"NETWORK.name": "hourglass", "NETWORK.hourglass_depth": 3})
    assert build_network(config, build_tasks(config), 1).depth == 3
    with pytest.raises(ConfigError, match="hourglass_dept"):
        make_config({"NETWORK.name": "hourglass", "NETWORK.hourglass_dept": 3})
    with pytest.raises(ConfigError, match="hourglass_depth.*must be at least 1"):
        make_config({"NETWORK.name": "hourglass", "NETWORK.hourglass_depth": 0})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("levels", "2"),
        ("convolutions", "2"),
        ("normalisation", "none"),
        ("skips", "no"),
        ("upsampling", "convolution"),
        ("decoder_start", "decoder"),
    ],
)
def test_every_setting_of_unet_in_an_ini_file_changes_the_network(key, value, make_config):
    usual = make_config(UNET)
    changed = make_config({**UNET, f"NETWORK.unet_{key}": value})
    networks = [build_network(config, build_tasks(config), 1) for config in (usual, changed)]
    stages = [network.trunk.architecture.stages for network in networks]
    assert stages[0] != stages[1]
    assert networks[0].count_params() != networks[1].count_params()
    fields = {field.name for field in dataclasses.fields(type(networks[1].shape))}
    assert {name for name in fields if getattr(networks[0].shape, name) != getattr(networks[1].shape, name)} == {key}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("levels", "0", "unet_levels = '0' must be at least 1"),
        ("normalisation", "layer", "unet_normalisation = 'layer' is not known"),
        ("decoder_start", "decodr", "unet_decoder_start = 'decodr' is no part of the network, did you mean 'decoder'"),
        ("depth", "3", "unet_depth"),
    ],
)
def test_settings_of_unet_that_cannot_be_are_refused_by_their_keys(key, value, message, make_config):
    with pytest.raises(ConfigError, match=message):
        make_config({**UNET, f"NETWORK.unet_{key}": value})


@pytest.mark.slow
def test_a_unet_with_a_way_up_per_task_runs_on_volumes_of_odd_size(make_config, reporter):
    config = make_config({
        **QUICK, **UNET, "NETWORK.sharing": "sfg", "NETWORK.unet_decoder_start": "decoder",
        "MR.spatial_window_size": "21, 19, 1", "MULTITASK.loss_border": 0, "NETWORK.batch_norm": "recalibrated",
    })  # fmt: skip
    run.train(config, reporter)
    run.infer(config, reporter=reporter)
    (path,) = config.inference.save_seg_dir.glob("*_ct_predicted.nii.gz")
    subject_id = path.name.removesuffix("_ct_predicted.nii.gz")
    mr = read_image(config.sources["MR"].path_to_search[0] / f"{subject_id}_mr.nii.gz")
    for task in ("ct", "organs"):
        assert predicted(config, task).array.shape == mr.array.shape
    # What is written is compared with the masked network on a window of odd size before it is kept.
    for file_format in ("keras", "onnx"):
        assert export_network(config, reporter, file_format=file_format).is_file()
