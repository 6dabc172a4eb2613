"""Averages of the weights: their recursion by hand, and runs that validate, predict and resume with them."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.applications import run
from sfgkeras.applications.records.checkpoints import predicting_arrays
from sfgkeras.applications.training.averages import WeightAverages, averaged_variables
from sfgkeras.architecture.stage import Stage
from sfgkeras.errors import ConfigError
from sfgkeras.networks import MultiTaskNetwork

SMALL = {"NETWORK.width": 1, "NETWORK.normalisation": "no", "TRAINING.lr": 0.01, "NETWORK.name": "two_stages"}

pytestmark = pytest.mark.usefixtures("two_stages")


class SmallNetwork(MultiTaskNetwork):
    stages = (Stage(3), Stage(4))


@pytest.fixture
def network():
    network = SmallNetwork({"a": 1}, seed=2)
    network.build((None, 6, 6, 1))
    return network


def numbers(variables):
    return [np.array(keras.ops.convert_to_numpy(variable), np.float64) for variable in variables]


def test_averages_follow_their_recursion_and_leave_the_weights_alone(network):
    averages, variables = WeightAverages(network, 0.25, tf.distribute.get_strategy()), averaged_variables(network)
    assert {id(each) for each in network.trainable_variables} <= {id(each) for each in variables}
    assert len(variables) == len(network.trainable_variables) + 2 * len(network.normalizations())
    rng, expected = np.random.default_rng(0), None
    assert averages.arrays() == {}
    for count in range(6):
        for variable in variables:
            variable.assign(rng.normal(size=variable.shape))
        averages.update()
        decay = min(0.25, count / (count + 9))  # 0, 0.1, 0.18, 0.25, ...
        weights = numbers(variables)
        expected = weights if expected is None else expected
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, weights, strict=True)]
    with averages.in_use():
        for found, average in zip(numbers(variables), expected, strict=True):
            np.testing.assert_allclose(found, average, rtol=1e-5, atol=1e-6)
    for found, weight in zip(numbers(variables), weights, strict=True):
        np.testing.assert_array_equal(found, weight)
    averages.restart()
    averages.update()
    with averages.in_use():
        for found, weight in zip(numbers(variables), weights, strict=True):
            np.testing.assert_array_equal(found, weight)


def validations(folder):
    with (folder / "logs" / "validation.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_run_validates_predicts_and_resumes_with_averages_bit_for_bit(
    make_config, tmp_path, network_arrays, reporter
):
    with_averages = SMALL | {"TRAINING.ema_decay": 0.5, "SYSTEM.mixed_precision": "float16"}
    whole, parts, plain = (tmp_path / name for name in ("whole", "parts", "plain"))
    network = run.train(make_config(with_averages, whole), reporter)
    run.train(make_config(with_averages | {"TRAINING.max_iter": 2}, parts))
    run.train(make_config(with_averages, parts))
    run.train(make_config(with_averages | {"TRAINING.ema_decay": ""}, plain))
    arrays, resumed, without = (network_arrays(folder, 4) for folder in (whole, parts, plain))
    assert arrays.keys() == resumed.keys()
    for key, value in arrays.items():
        np.testing.assert_array_equal(resumed[key], value, err_msg=key)
    # Training goes on with the last weights, as without averages.
    for key, value in without.items():
        np.testing.assert_array_equal(arrays[key], value, err_msg=key)
    used = predicting_arrays(arrays)
    kernels = [key for key in used if key.startswith("network/") and key.endswith("kernel")]
    found = {f"network/{i:04d}": variable for i, variable in enumerate(network.predicting_variables)}
    assert kernels
    for key in kernels:
        assert (used[key] != arrays[key]).any(), key
        np.testing.assert_array_equal(found[key[:12]].numpy(), used[key], err_msg=key)
    assert [row["loss"] for row in validations(whole)] != [row["loss"] for row in validations(plain)]
    assert [row["loss"] for row in validations(whole)] == [row["loss"] for row in validations(parts)]
    assert any(text.startswith("ema_decay = 0.5: validation, best and inference use") for text in reporter.messages)

    # A run that had none begins with them where it is resumed: its first average is the weights.
    run.train(make_config(with_averages | {"TRAINING.max_iter": 5, "TRAINING.save_every_n": 1}, plain), reporter)
    begun = network_arrays(plain, 5)
    for key in kernels:
        np.testing.assert_array_equal(predicting_arrays(begun)[key], begun[key], err_msg=key)
    assert "resumes with other settings: [TRAINING] ema_decay from None to 0.5" in reporter.messages


def test_fine_tuning_takes_over_averages(make_config, tmp_path, network_arrays):
    first = SMALL | {"TRAINING.ema_decay": 0.5, "TRAINING.max_iter": 2, "TRAINING.validation_every_n": 0}
    run.train(make_config(first, tmp_path / "first"))
    run.train(make_config(
        SMALL | {"TRAINING.max_iter": 0, "TRAINING.restore_from": tmp_path / "first",
                 "TRAINING.validation_every_n": 0},
        tmp_path / "second",
    ))  # fmt: skip
    theirs, ours = predicting_arrays(network_arrays(tmp_path / "first", 2)), network_arrays(tmp_path / "second", 0)
    for key in (key for key in ours if key.startswith("network/") and key.endswith("kernel")):
        np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)


@pytest.mark.parametrize("value", [0, 1, "a lot"])
def test_a_decay_that_averages_nothing_or_everything_is_refused(make_config, value):
    with pytest.raises(ConfigError, match=r"\[TRAINING\] ema_decay = "):
        make_config({"TRAINING.ema_decay": value})
