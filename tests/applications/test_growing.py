"""Fully adaptive sharing through the whole line: split at iterations of an INI file, resumed, exported, two devices."""

import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.export.hardened import export_network
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.applications.training.network import build_network
from sfgkeras.errors import ConfigError

GROWING = {
    "NETWORK.sharing": "fully_adaptive",
    "NETWORK.width": 1 / 4,
    "SHARING.split_at": "2, 4",
    "SHARING.samples": 8,
    "SHARING.complexity_weight": 0,
    "TRAINING.validation_every_n": 3,
    "TRAINING.save_every_n": 3,
    "TRAINING.max_iter": 6,
}


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("start_width", "0.25", "start_width"),
        ("split_at", "0.5", "split_at"),
        ("complexity_weight", "0.4", "complexity_weight"),
        ("threshold", "mean", "threshold"),
        ("samples", "32", "samples"),
    ],
)
def test_settings_of_an_ini_file_reach_the_mechanism(key, value, field, make_config):
    usual, changed = (
        make_config({"NETWORK.sharing": "fully_adaptive", **more}) for more in ({}, {f"SHARING.{key}": value})
    )
    assert {
        name for name in usual.sharing.setting_names() if getattr(usual.sharing, name) != getattr(changed.sharing, name)
    } == {field}


def test_moments_that_no_stage_or_no_iteration_is_left_for_are_refused_by_file_and_key(make_config, reporter):
    more = make_config({**GROWING, "SHARING.split_at": "0.1, 0.2, 0.3, 0.4, 0.5, 0.6"})
    with pytest.raises(ConfigError, match="tiny.ini: .SHARING. split_at = .* has 6 moments for 5 stages"):
        build_network(more, build_tasks(more), 1)
    later = make_config({**GROWING, "SHARING.split_at": "2, 40"})
    with pytest.raises(
        ConfigError, match="tiny.ini: .SHARING. split_at = .* behind the last iteration, 6; write smaller"
    ):
        run.train(later, reporter)


@pytest.mark.slow
def test_a_run_splits_goes_on_where_it_was_and_is_exported(make_config, reporter, network_arrays, tmp_path):
    whole = make_config(GROWING, model_dir=tmp_path / "whole")
    run.train(whole, reporter)
    told = [line for line in reporter.messages if line.startswith("iteration ") and "affinity" in line]
    assert [line.split("(")[0].strip() for line in told] == [
        "iteration 2: stage_5: ct | organs",
        "iteration 2: stage_4: ct | organs",
        "iteration 2: stage_3: ct | organs",
        "iteration 4: stage_2: ct | organs",
        "iteration 4: stage_1: ct | organs",
    ]
    assert "tree of tasks: stage_1: ct | organs" in reporter.messages
    halves = tmp_path / "halves"
    shutil.copytree(tmp_path / "whole", halves)
    (halves / "checkpoints" / "iteration_000000006.npz").unlink()  # the newest one is between the two splits
    resumed = make_config(GROWING, model_dir=halves)
    run.train(resumed, reporter)
    first, second = network_arrays(tmp_path / "whole", 6), network_arrays(halves, 6)
    assert set(first) == set(second)
    for key, value in first.items():
        np.testing.assert_array_equal(second[key], value, err_msg=key)
    run.infer(resumed, reporter=reporter)
    for file_format in ("keras", "onnx"):
        assert export_network(resumed, reporter, file_format=file_format).is_file()
    assert build_network(resumed, build_tasks(resumed), 1).sharing_matrix()["stage_1"].min() == 1


@pytest.mark.slow
def test_two_devices_record_the_errors_of_the_whole_batch():
    """In a process of its own, where the CPU is two devices."""
    script = """
        import keras
        import numpy as np
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from sfgkeras.applications.training.optimizers import Optimizers
        from sfgkeras.applications.training.step import TrainingStep
        from sfgkeras.losses import MeanSquaredError
        from sfgkeras.networks import HighResNet
        from sfgkeras.networks.splitting import find_splitting

        rng = np.random.default_rng(0)
        images = rng.normal(size=(4, 6, 6, 1)).astype("float32")
        targets = {name: rng.normal(size=(4, 6, 6, 1)).astype("float32") for name in "ab"}
        weights = {name: np.ones((4, 6, 6), "float32") for name in "ab"}
        weights["b"][3] = 0
        data = (images, targets, weights)
        found = []
        for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
            with strategy.scope():
                network = HighResNet({"a": 1, "b": 1}, "fully_adaptive", width=0.125, seed=0, samples=6, split_at=(1,))
                network.build((None, 6, 6, 1))
                optimizers = Optimizers(keras.optimizers.SGD(0.1)).build(network)
            losses = {name: MeanSquaredError() for name in "ab"}
            step = TrainingStep(network, optimizers, losses, network.balancer, strategy, 4)
            batches = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensors(data).unbatch().batch(4))
            step(next(iter(batches)))
            splitting = find_splitting(network, 0, 2)
            lines = splitting.split(1, optimizers)
            step(next(iter(batches)))
            found.append((np.array(network.trunk.errors), lines, [np.array(v) for v in network.trainable_variables]))
        one, two = found
        np.testing.assert_allclose(two[0], one[0], rtol=1e-4)
        assert np.isnan(one[0]).sum() == 2, one[0]
        assert one[1] == two[1] and len(one[1]) == 5, (one[1], two[1])
        for mine, other in zip(one[2], two[2], strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-5)
        """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False, env=os.environ
    )
    assert result.returncode == 0, result.stderr[-3000:]
