"""Two logical CPU devices against one: the same batches must give the same losses and the same network."""

import csv
import subprocess
import sys

import numpy as np
import pytest

from sfgkeras.applications.records.candidates_file import read_candidates
from sfgkeras.applications.records.checkpoints import CheckpointFolder

SCRIPT = """
import sys
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from sfgkeras.applications import run
from sfgkeras.config import read_config

for strategy in ("one_device", "mirrored"):
    overrides = [("SYSTEM.strategy", strategy), ("SYSTEM.model_dir", f"{sys.argv[2]}/{strategy}")]
    config = read_config(sys.argv[1], overrides + [tuple(text.split("=", 1)) for text in sys.argv[3:]])
    run.train(config)
"""
AVERAGES = ("moving_mean", "moving_variance")
# Weights that make the regularisation as large as the losses, so that counting it twice would show.
HEAVY = {"NETWORK.decay": "1e-3", "MULTITASK.entropy_decay": "1e-3"}


def train_both(config, folder, **overrides):
    """Trains with one device and with two; returns the folders of both runs."""
    overrides = {"TRAINING.max_iter": "4", "NETWORK.batch_norm": "population", **HEAVY, **overrides}
    arguments = [f"{name}={value}" for name, value in overrides.items()]
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(config.path), str(folder), *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder / "one_device", folder / "mirrored"


def read_columns(path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def network_of(folder, iteration):
    arrays = CheckpointFolder(folder / "checkpoints").read(iteration).arrays
    return {key: value for key, value in arrays.items() if key.startswith(("network/", "random/"))}


def distance(first, second, keys):
    """The Euclidean distance over some arrays."""
    return np.sqrt(sum(((first[key].astype(np.float64) - second[key]) ** 2).sum() for key in keys))


def expected_regularisation(arrays):
    """lambda_1 times all squared kernels minus lambda_2 times the entropy of all p."""
    kernels = sum((value.astype(np.float64) ** 2).sum() for key, value in arrays.items() if key.endswith("/kernel"))
    entropy = 0.0
    for key, value in arrays.items():
        if key.endswith("grouping_logits"):
            rho = np.log1p(np.exp(value.astype(np.float64)))
            p = rho / rho.sum(1, keepdims=True)
            entropy -= (p * np.log(p)).sum()
    return 1e-3 * kernels - 1e-3 * entropy


@pytest.mark.slow
def test_two_devices_choose_and_train_the_candidate_that_one_device_does(make_config, tmp_path):
    one, two = train_both(
        make_config(), tmp_path,
        **{
            "NETWORK.sharing": "sfg", "NETWORK.name": "unet", "NETWORK.unet_levels": "1",
            "NETWORK.unet_convolutions": "1", "TRAINING.max_iter": "20", "TRAINING.auto_rungs": "0.25, 0.5",
            "TRAINING.auto_candidates": "learned, shared", "TRAINING.auto_windows": "8", "MULTITASK.entropy_decay": "0",
        },
    )  # fmt: skip
    tables = [read_candidates(folder / "explore.csv") for folder in (one, two)]
    for first, second in zip(*tables, strict=True):
        assert (first.name, first.chosen, first.multiplies) == (second.name, second.chosen, second.multiplies)
        for task, loss in first.losses.items():
            assert second.losses[task] == pytest.approx(loss, rel=1e-2)
    records = [CheckpointFolder(folder / "checkpoints").read(12).record["settled"] for folder in (one, two)]
    assert records[0] == records[1]
    before, after, mirrored = network_of(one, 12), network_of(one, 20), network_of(two, 20)
    weights = [key for key in after if after[key].dtype.kind == "f" and not key.endswith(AVERAGES)]
    assert distance(mirrored, after, weights) < 0.1 * distance(after, before, weights)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sharing", "balancing"),
    [pytest.param("hard_sharing", "uncertainty", marks=pytest.mark.ci_sample), ("sfg", "fixed")],
)
def test_two_devices_train_the_network_that_one_device_trains(make_config, tmp_path, sharing, balancing):
    chosen = {"NETWORK.sharing": sharing, "TRAINING.balancing": balancing}
    one, two = train_both(make_config(), tmp_path, **chosen)
    for name in ("training", "validation"):
        first, second = (read_columns(folder / "logs" / f"{name}.csv") for folder in (one, two))
        assert first.keys() == second.keys()
        assert first["iteration"].tolist() == ([1, 2, 3, 4] if name == "training" else [2, 4])
        # Validation sees weights that Adam, see below, has moved by rounding already; a voxel or two change label.
        tolerances = {"rtol": 1e-4, "atol": 0} if name == "training" else {"rtol": 1e-3, "atol": 2e-3}
        for column in first.keys() - {"seconds_per_iteration"}:
            np.testing.assert_allclose(second[column], first[column], **tolerances, err_msg=f"{name} {column}")
    before, after, mirrored = network_of(one, 0), network_of(one, 4), network_of(two, 4)
    assert before.keys() == after.keys() == mirrored.keys()
    for key, value in after.items():
        if value.dtype.kind != "f":
            np.testing.assert_array_equal(mirrored[key], value, err_msg=key)
    # Adam's first steps are nearly the sign of the gradient, whatever its size: where that is nearly 0, rounding
    # decides. Over all weights it makes a thousandth of the way, with drawn masks a hundredth; a gradient that is wrong
    # anywhere makes far more.
    limit = 0.03 if sharing == "sfg" else 0.003
    averages = [key for key in after if key.endswith(AVERAGES)]
    weights = [key for key in after if after[key].dtype.kind == "f" and key not in averages]
    for keys in (weights, averages):
        assert distance(mirrored, after, keys) < limit * distance(after, before, keys)
    moved = [key for key, value in after.items() if key.endswith("kernel") and (value != before[key]).any()]
    assert len(moved) == sum(key.endswith("kernel") for key in after)

    log = read_columns(two / "logs" / "training.csv")
    assert log["regularisation"][0] == pytest.approx(expected_regularisation(network_of(two, 0)), rel=1e-4)
    weighed = log["ct"] + log["organs"]
    if balancing == "uncertainty":
        ct, organs = log["weight_ct"], log["weight_organs"]
        # log s of a weight 1 / (2 s^2), and of 1 / s^2
        weighed = ct * log["ct"] + organs * log["organs"] - 0.5 * np.log(2 * ct) - 0.5 * np.log(organs)
        assert ct[0] != ct[-1]
    np.testing.assert_allclose(log["loss"], weighed + log["regularisation"], rtol=1e-5)


def test_a_batch_that_the_devices_cannot_share_is_refused(make_config, monkeypatch):
    from types import SimpleNamespace

    from sfgkeras.applications.training import build as assembly
    from sfgkeras.errors import Problem

    monkeypatch.setattr(assembly, "build_strategy", lambda *arguments: SimpleNamespace(num_replicas_in_sync=3))
    with pytest.raises(Problem, match="batch_size = 4 cannot be shared by 3 devices.*multiple of 3") as caught:
        assembly.prepare_devices(make_config())
    assert (caught.value.section, caught.value.key, caught.value.value) == ("NETWORK", "batch_size", 4)


def test_a_gpu_that_is_not_there_is_refused_by_its_number():
    from sfgkeras.applications.workers.strategies import configure_devices
    from sfgkeras.errors import ConfigError

    with pytest.raises(ConfigError, match=r"cuda_devices = '0, 63' names GPU \d+, but (no GPU|1 GPU is|\d+ GPUs are) "):
        configure_devices("0, 63")


@pytest.fixture
def gpus(monkeypatch):
    """Returns a function that lets TensorFlow find so many GPUs."""
    import tensorflow as tf

    def find(number):
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"GPU:{i}" for i in range(number)])

    return find


def test_where_a_gpu_is_asked_for_and_none_is_found_one_line_says_what_to_install(make_config, gpus, monkeypatch):
    from sfgkeras.applications.workers.strategies import configure_devices, missing_gpu
    from sfgkeras.errors import ConfigError

    gpus(0)
    text = missing_gpu(make_config({"SYSTEM.num_gpus": 2}))
    assert text.startswith("[SYSTEM] num_gpus = 2, and no GPU is found: this runs on the CPU")
    assert "pip install 'sfgkeras[gpu]'" in text
    assert len(text.splitlines()) == 1
    assert missing_gpu(make_config()) == "", "nobody asked"
    assert missing_gpu(make_config({"SYSTEM.num_gpus": 0})) == ""
    with pytest.raises(ConfigError, match=r"cuda_devices = '0' names GPU 0, but no GPU is found; .*sfgkeras\[gpu\]"):
        configure_devices("0")
    gpus(1)
    assert missing_gpu(make_config({"SYSTEM.num_gpus": 2})) == ""
    with pytest.raises(ConfigError, match="names GPU 1, but 1 GPU is there; leave the key out"):
        configure_devices("1")


def test_the_extra_that_the_message_names_installs_tensorflow_with_cuda():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    assert any(line.startswith("tensorflow[and-cuda]") for line in project["optional-dependencies"]["gpu"])
