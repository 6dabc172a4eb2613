"""Runs of mechanisms that keep a state of their own besides kernels: a killed run goes on bitwise with it."""

import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.applications.training.network import build_network
from sfgkeras.errors import ConfigError

QUICK = {"TRAINING.validation_every_n": 0, "NETWORK.width": 1 / 4, "NETWORK.batch_norm": "population"}
MECHANISMS = {
    "deep_relationship": {"SHARING.update_every": 2, "SHARING.strength": 0.1},
    "joint_many": {"SHARING.trained": "in_turns", "SHARING.period": 2, "SHARING.strength": 0.1},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MECHANISMS)
def test_a_run_resumed_between_two_updates_is_bitwise_equal(name, make_config, tmp_path, network_arrays):
    settings = {**QUICK, "NETWORK.sharing": name, **MECHANISMS[name]}
    run.train(make_config({**settings, "TRAINING.max_iter": 5}, tmp_path / "whole"))
    run.train(make_config({**settings, "TRAINING.max_iter": 3}, tmp_path / "parts"))
    run.train(make_config({**settings, "TRAINING.max_iter": 5}, tmp_path / "parts"))
    whole, parts = (network_arrays(tmp_path / folder, 5) for folder in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for key, values in whole.items():
        np.testing.assert_array_equal(values, parts[key], err_msg=key)
    first = network_arrays(tmp_path / "whole", 0)
    state = [key for key in whole if "/prior/" in key or "/memory/" in key]
    assert any((whole[key] != first[key]).any() for key in state)
    if name == "deep_relationship":
        learned = np.load(tmp_path / "whole" / "logs" / "sharing_learned.npz")
        assert any("task_correlation" in key for key in learned.files)


@pytest.mark.slow
def test_a_run_with_an_adversary_resumes_bitwise_and_needs_none_to_predict(make_config, tmp_path, network_arrays):
    settings = {**QUICK, "NETWORK.sharing": "hard_sharing", "task.organs.adversarial_weight": 0.1}
    run.train(make_config({**settings, "TRAINING.max_iter": 4}, tmp_path / "whole"))
    run.train(make_config({**settings, "TRAINING.max_iter": 2}, tmp_path / "parts"))
    run.train(make_config({**settings, "TRAINING.max_iter": 4}, tmp_path / "parts"))
    whole, parts = (network_arrays(tmp_path / folder, 4) for folder in ("whole", "parts"))
    first = network_arrays(tmp_path / "whole", 0)
    own = [key for key in whole if key.startswith("adversaries/")]
    assert len(own) == 8
    assert all((whole[key] != first[key]).any() for key in own if key.endswith("kernel"))
    for key, values in whole.items():
        np.testing.assert_array_equal(values, parts[key], err_msg=key)
    with pytest.raises(ConfigError, match="adversarial_weight"):
        run.train(
            make_config({**settings, "task.organs.adversarial_weight": 0.2, "TRAINING.max_iter": 5}, tmp_path / "parts")
        )


def test_settings_that_do_not_fit_the_network_are_refused_by_file_section_and_key(make_config):
    for changes, message in (
        (
            {"NETWORK.sharing": "deep_relationship", "SHARING.task_layers": 6},
            "task_layers = 6 is more than the 5 stages",
        ),
        (
            {"NETWORK.sharing": "joint_many", "SHARING.order": "ct, organ"},
            "order = 'ct, organ' names 'organ', which is",
        ),
    ):
        config = make_config(changes)
        with pytest.raises(ConfigError, match=rf"tiny.ini: \[SHARING\] {message}"):
            build_network(config, build_tasks(config), 1)
