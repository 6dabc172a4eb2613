"""Outputs keep to the range of the training targets, from the INI file to the written results."""

import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.applications.training.network import build_network
from sfgkeras.applications.training.output_ranges import set_output_ranges, target_range
from sfgkeras.data.prepared import PreparedSubject
from sfgkeras.errors import ConfigError, DataError

RANGE = {"TASK ct.output_activation": "range"}


def subject(values, known=None):
    target = np.asarray(values, "float32").reshape(2, 2, 1)
    masks = {} if known is None else {"ct": np.asarray(known, bool).reshape(2, 2, 1)}
    return PreparedSubject("s", np.zeros((2, 2, 1, 1), "float32"), {"ct": target}, known=masks)


def test_the_range_is_that_of_the_known_targets_and_told_in_their_unit(make_config, reporter):
    config = make_config(RANGE)
    tasks = build_tasks(config)
    subjects = [subject([0, 0.25, 1, 1]), subject([0, -9, 3, 9], known=[1, 0, 1, 0])]
    assert target_range(tasks["ct"], subjects) == (0.0, 3.0)
    network = build_network(config, tasks, 1)
    assert [head.head.activation for head in network.heads] == ["range", "linear"]
    set_output_ranges(network, tasks, subjects, reporter)
    np.testing.assert_array_equal(network.heads[0].limits, [0.0, 3.0])
    assert reporter.messages == ["outputs of ct are between -1024 and 2048 HU, as the targets of training"]
    with pytest.raises(DataError, match=r"\[TASK ct\] output_activation = range: all targets of the training are 2"):
        set_output_ranges(network, tasks, [subject([2, 2, 2, 2])], reporter)


def test_classes_have_no_range(make_config):
    with pytest.raises(ConfigError, match="output_activation.*has no meaning for a segmentation; remove it"):
        make_config({"TASK organs.output_activation": "relu"})


@pytest.mark.slow
def test_a_run_trains_saves_and_infers_within_the_range(make_config, reporter):
    config = make_config(RANGE | {"TRAINING.max_iter": 2})
    network = run.train(config, reporter)
    lower, upper = (float(bound) for bound in network.heads[0].limits.numpy())
    (message,) = [message for message in reporter.messages if message.startswith("outputs of ct are between")]
    assert message.startswith(f"outputs of ct are between {(lower - 1) * 1024:g} and {(upper - 1) * 1024:g} HU")
    assert 0 <= lower < upper
    again = run.train(make_config(RANGE | {"TRAINING.max_iter": 3}), reporter)  # resumed: not measured again
    assert sum(message.startswith("outputs of ct") for message in reporter.messages) == 1
    np.testing.assert_array_equal(again.heads[0].limits, [lower, upper])
    outputs = np.asarray(again(50 * np.random.default_rng(0).normal(size=(2, 24, 24, 1)).astype("float32"))["ct"])
    assert (outputs.min(), outputs.max()) == (np.float32(lower), np.float32(upper))
