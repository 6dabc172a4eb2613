"""Runs with `[NETWORK] deep_supervision`: what they log, that they resume bitwise, and need none of it to predict."""

import csv
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.applications.training.network import build_network
from sfgkeras.errors import ConfigError

U = {"NETWORK.name": "unet", "NETWORK.unet_levels": 2, "NETWORK.width": 1 / 16, "NETWORK.deep_supervision": 1}
QUICK = {**U, "NETWORK.sharing": "hard_sharing", "NETWORK.batch_norm": "population", "TRAINING.validation_every_n": 0}


def rows(folder):
    with (folder / "logs" / "training.csv").open() as stream:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(stream)]


@pytest.mark.slow
def test_a_run_logs_every_head_resumes_bitwise_and_predicts_without_them(make_config, tmp_path, network_arrays):
    run.train(make_config({**QUICK, "TRAINING.max_iter": 4}, tmp_path / "whole"))
    run.train(make_config({**QUICK, "TRAINING.max_iter": 2}, tmp_path / "parts"))
    run.train(make_config({**QUICK, "TRAINING.max_iter": 4}, tmp_path / "parts"))
    plain = make_config({**QUICK, "NETWORK.deep_supervision": 0, "TRAINING.max_iter": 4}, tmp_path / "plain")
    run.train(plain)
    whole, parts, first = (
        network_arrays(tmp_path / name, at) for name, at in (("whole", 4), ("parts", 4), ("whole", 0))
    )
    for key, values in whole.items():
        np.testing.assert_array_equal(values, parts[key], err_msg=key)
    own = [key for key in whole if key.startswith("deep_supervision/")]
    assert len(own) == 4
    assert all((whole[key] != first[key]).any() for key in own)
    others = network_arrays(tmp_path / "plain", 4)
    assert {key for key in whole if key.startswith("network/")} == {key for key in others if key.startswith("network/")}
    assert any((whole[key] != others[key]).any() for key in others if key.startswith("network/"))
    for row in rows(tmp_path / "whole"):
        supervised = [2 / 3 * row[task] + 1 / 3 * row[f"{task}@decoder_2"] for task in ("ct", "organs")]
        assert row["loss"] == pytest.approx(sum(supervised) + row["regularisation"], rel=1e-4)
    (with_heads, *_), (without, *_) = rows(tmp_path / "whole"), rows(tmp_path / "plain")
    assert without.keys() == with_heads.keys() - {"ct@decoder_2", "organs@decoder_2"}
    assert with_heads["ct"] == pytest.approx(without["ct"], rel=1e-5)
    with pytest.raises(ConfigError, match="deep_supervision"):
        run.train(make_config({**QUICK, "NETWORK.deep_supervision": 0, "TRAINING.max_iter": 5}, tmp_path / "parts"))
    # The heads of training are no part of what predicts, so that the key may change there.
    for name, levels in (("whole", 1), ("parts", 0)):
        changed = {**QUICK, "NETWORK.deep_supervision": levels, "TRAINING.max_iter": 4}
        run.infer(make_config(changed, tmp_path / name))
    found = {name: sorted((tmp_path / name).rglob("*.nii*")) for name in ("whole", "parts")}
    assert [path.name for path in found["whole"]] == [path.name for path in found["parts"]] != []
    for one, other in zip(*found.values(), strict=True):
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_candidates_of_the_schedule_auto_are_supervised_too(make_config, tmp_path):
    settings = {
        **QUICK, "NETWORK.sharing": "sfg", "TRAINING.schedule": "auto", "TRAINING.max_iter": 600,
        "TRAINING.save_every_n": 0, "TRAINING.auto_rungs": "0.05", "TRAINING.auto_candidates": "learned, shared",
    }  # fmt: skip
    run.train(make_config(settings, tmp_path / "auto"))
    assert {"ct@decoder_2", "organs@decoder_2"} <= rows(tmp_path / "auto")[-1].keys()


def test_only_maps_of_targets_have_further_heads_and_networks_without_a_way_up_are_refused(make_config):
    config = make_config(QUICK)
    network = build_network(config, build_tasks(config), 1)
    assert network.deep_names == ["ct@decoder_2", "organs@decoder_2"]
    levels = {"NETWORK.deep_supervision": 1, "NETWORK.width": 1 / 4}
    for changes, message in (
        (
            {**QUICK, "NETWORK.deep_supervision": 2},
            "deep_supervision = 2 is more levels .* UNet has 1; write 1 at most",
        ),
        (levels, "deep_supervision = 1 is more .* HighResNet has none; write 0, or use a network with a way up"),
    ):
        refused = make_config(changes)
        with pytest.raises(ConfigError, match=rf"tiny.ini: \[NETWORK\] {message}"):
            build_network(refused, build_tasks(refused), 1)


TWO_DEVICES = """
    import keras
    import numpy as np
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    from sfgkeras.applications.training.optimizers import Optimizers, build_optimizer
    from sfgkeras.applications.training.step import TrainingStep
    from sfgkeras.losses import CrossEntropy, MeanSquaredError
    from sfgkeras.networks import UNet

    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 6, 6, 1)).astype("float32")
    targets = {"seg": rng.integers(0, 2, (4, 6, 6)), "ct": rng.normal(size=(4, 6, 6, 1)).astype("float32")}
    weights = {"seg": np.ones((4, 6, 6), "float32"), "ct": np.ones((4, 6, 6), "float32")}
    weights["ct"][0] = 0.0
    strategies = [tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])]
    results = []
    for strategy in strategies:
        with strategy.scope():
            # Without normalisation: it sees the windows of its own device.
            network = UNet({"seg": 2, "ct": 1}, "hard_sharing", width=1 / 16, levels=2, normalisation="none", seed=0,
                           deep_supervision=1)
            network.build((None, 6, 6, 1))
            optimizers = Optimizers(build_optimizer("sgd", 0.1))
            optimizers.build(network)
        losses = {"seg": CrossEntropy(), "ct": MeanSquaredError()}
        take = TrainingStep(network, optimizers, losses, network.balancer, strategy, 4)
        data = tf.data.Dataset.from_tensors((images, targets, weights)).unbatch().batch(4)
        batch = next(iter(strategy.experimental_distribute_dataset(data)))
        logged = {name: float(value) for name, value in take(batch).items()}
        results.append((logged, [np.array(variable) for variable in network.trainable_variables]))
    (one, ours), (two, theirs) = results
    assert "ct@decoder_2" in one and one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5, err_msg=name)
    for first, second in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-6)
    """


@pytest.mark.slow
def test_two_devices_take_the_step_of_one():
    """In a process of its own, where the CPU is two devices."""
    command = [sys.executable, "-c", textwrap.dedent(TWO_DEVICES)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert result.returncode == 0, result.stderr[-3000:]
