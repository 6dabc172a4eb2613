"""What cannot fit into memory is refused by its setting; what could is not."""

import pytest

from sfgkeras.applications import run
from sfgkeras.applications.check import check_run
from sfgkeras.applications.subjects import memory
from sfgkeras.applications.subjects.memory import (
    FIRST_FILTERS,
    LEAST_FILTERS,
    coarse_levels,
    least_filters,
    total_memory,
    training_batch,
)
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.architecture.graph import build_architecture
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.tables.networks import UNetSettings

PLAIN = {"NETWORK.normalisation": "no", "TRAINING.validation_every_n": 0}
TOO_LARGE = {
    "NETWORK.batch_size": ("100000000", r"\[NETWORK\] batch_size = 100000000 is too large: a batch of 100000000 wi"),
    "TASK organs.num_classes": ("100000000", r"\[TASK organs\] num_classes = 100000000 is too large"),
    "MULTITASK.loss_border": ("1000000", r"\[MULTITASK\] loss_border = 1000000 is too large"),
    "NETWORK.volume_padding_size": ("100000, 100000, 100000", r"volume_padding_size = 100000, 100000, 100000\), needs"),
}


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(memory, "has_gpu", lambda: False)


@pytest.mark.parametrize("key", TOO_LARGE)
def test_what_is_far_too_large_is_refused_by_key_and_number_before_any_work(make_config, reporter, key):
    value, message = TOO_LARGE[key]
    import re

    config = make_config({**PLAIN, key: value})
    assert not check_run(config, reporter, read_voxels=False)
    assert any(re.search(message, text) and re.search("needs at least .* [GT]iB", text) for text in reporter.messages)
    with pytest.raises((ConfigError, DataError), match=message):
        run.train(config)


def test_a_spacing_that_gives_terabytes_is_refused_with_file_and_key(make_config, reporter):
    tiny = {f"{name}.pixdim": "0.001, 0.001, 0.001" for name in ("MR", "CT", "ORGANS")}
    assert not check_run(make_config({**PLAIN, **tiny}), reporter, read_voxels=False)
    told = [text for text in reporter.messages if "([MR] pixdim = 0.001, 0.001, 0.001, [NETWORK]" in text]
    assert len(told) == 3  # of the training and validation subjects, each
    assert all("_mr.nii.gz: prepared for the network it has" in text and "TiB of memory" in text for text in told)


def test_inference_refuses_a_window_that_cannot_fit(make_started, monkeypatch):
    config = make_started({"NETWORK.normalisation": "no", "MULTITASK.loss_border": "1000000"})
    with pytest.raises(ConfigError, match=r"\[MULTITASK\] loss_border = 1000000 and 7 output channels, needs at least"):
        run.infer(config, dataset="all")


def test_the_estimate_is_below_what_training_keeps(make_config):
    """Counted at the network itself: every stage and residual block gives a map that its gradient needs."""
    from sfgkeras.networks import NETWORKS

    for name, least in LEAST_FILTERS.items():
        stages = NETWORKS[name].stages or NETWORKS[name]({"a": 1}, heads={"a": "vector"}).trunk.architecture.stages
        kept = 0
        for stage in stages:
            kept += stage.filters * (1 + stage.num_blocks)
            if stage.pools:
                break
        assert least <= kept
        assert FIRST_FILTERS[name] <= stages[0].filters


@pytest.mark.parametrize("changes", [{}, {"unet_levels": "2", "unet_convolutions": "1"}, {"unet_skips": "no"}])
def test_the_estimate_of_a_unet_is_below_what_its_convolutions_give(changes, make_config):
    from sfgkeras.networks.unet import unet_stages

    config = make_config({"NETWORK.name": "unet", **{f"NETWORK.{key}": value for key, value in changes.items()}})
    architecture = build_architecture(unet_stages(UNetSettings(**config.network.settings_of("name"))), 1.0, [None])
    kept = sum(stage.filters / 4**level for stage, level in zip(architecture.stages, architecture.levels, strict=True))
    assert 0.8 * kept < least_filters(config) <= kept
    assert FIRST_FILTERS["unet"] <= architecture.stages[0].filters


def test_a_batch_that_fits_is_never_refused(make_config, monkeypatch):
    config = make_config(PLAIN)
    batch = training_batch(config, build_tasks(config))
    # 4 windows of 28 x 28 voxels; 1 channel, 2 targets, 1 + 6 outputs and 50 maps of 4 bytes
    assert batch.num_bytes == 4 * 28 * 28 * (1 + 2 + 7 + 50) * 4
    for available, fits in ((batch.num_bytes, True), (batch.num_bytes - 1, False)):
        monkeypatch.setattr(memory, "total_memory", lambda available=available: available)
        if fits:
            memory.refuse_large_batch(config, build_tasks(config))
        else:
            with pytest.raises(ConfigError, match="and this machine has"):
                memory.refuse_large_batch(config, build_tasks(config))


@pytest.mark.parametrize(("levels", "border"), [(1, 0), (2, 1)])
def test_coarse_heads_count_as_many_numbers_as_the_network_gives(levels, border, make_config):
    """Counted at the network itself, with sizes that are rounded up."""
    import numpy as np

    from sfgkeras.applications.training.network import build_network

    unet = {"NETWORK.name": "unet", "NETWORK.unet_levels": 3, "NETWORK.unet_convolutions": 1, "NETWORK.width": 1 / 16}
    config = make_config(
        {**PLAIN, **unet, "NETWORK.deep_supervision": levels, "MULTITASK.loss_border": border, "NETWORK.batch_size": 3}
    )
    tasks = build_tasks(config)
    batch, network = training_batch(config, tasks), build_network(config, tasks, 1)
    shape = (3, *(size + 2 * border for size in config.window_size if size != 1), 1)
    given = network(np.zeros(shape, "float32"), training=True)
    coarse = {name: output for name, output in given.items() if "@" in name}
    assert len(coarse) == levels * len(tasks)
    # Beside what a head gives there is a target of one number a voxel.
    assert batch.num_coarse == sum(int(np.prod(out.shape)) + int(np.prod(out.shape[:-1])) for out in coarse.values())
    plain = training_batch(
        make_config({**PLAIN, **unet, "MULTITASK.loss_border": border, "NETWORK.batch_size": 3}), tasks
    )
    assert batch.num_bytes - plain.num_bytes == 4 * batch.num_coarse


def test_no_window_is_halved_more_often_than_it_has_voxels(make_config):
    config = make_config({**PLAIN, "NETWORK.deep_supervision": 10**9, "NETWORK.name": "unet"})
    assert coarse_levels(config, build_tasks(config)) == {"ct": 5, "organs": 5}  # of 28 x 28


def test_heads_at_a_stage_of_their_own_and_heads_of_points_are_not_counted(make_config):
    unet = {"NETWORK.name": "unet", "NETWORK.deep_supervision": 1}
    config = make_config({**PLAIN, **unet, "TASK ct.tap": "decoder_2"})
    assert coarse_levels(config, build_tasks(config)) == {"organs": 1}


def test_what_a_gpu_holds_is_not_compared_with_the_memory_of_the_machine(make_config, monkeypatch):
    config = make_config({**PLAIN, "NETWORK.batch_size": 100_000})
    monkeypatch.setattr(memory, "has_gpu", lambda: True)
    assert training_batch(config, build_tasks(config)).filters == 0


def test_the_memory_of_this_machine_is_known_and_plausible():
    assert 1 << 28 < total_memory() < 1 << 50
