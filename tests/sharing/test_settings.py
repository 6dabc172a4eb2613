"""Mechanisms as settings: by name or as objects, known without Keras, refused by name."""

import dataclasses
import subprocess
import sys

import keras
import numpy as np
import pytest

from sfgkeras.networks import HighResNet
from sfgkeras.networks.earlier_configs import translate_config
from sfgkeras.sharing import SFG, SHARING, ConstantMask, ConstantP, CrossStitch, HardSharing, find_sharing

TASKS = {"a": 1, "b": 2}


@pytest.mark.parametrize("name", SHARING)
def test_settings_come_back_from_their_values(name):
    mechanism = SHARING[name]()
    assert SHARING[name].from_values(mechanism.values()) == mechanism


@pytest.mark.parametrize("name", SHARING)
def test_every_mechanism_has_a_name_a_summary_and_described_settings(name):
    mechanism = SHARING[name]
    assert mechanism.name == name
    assert mechanism.summary
    described = "".join(base.__doc__ or "" for base in mechanism.__mro__)
    assert all(f"        {setting}:" in described for setting in mechanism.setting_names())


def test_mechanisms_and_their_settings_are_known_without_keras():
    code = "import sys; from sfgkeras.sharing import SHARING; SHARING['sfg'](); print('keras' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_a_mechanism_by_name_with_its_settings_is_the_object():
    by_name = HighResNet(TASKS, "cross_stitch", width=0.125, weight=0.7, seed=0)
    by_object = HighResNet(TASKS, CrossStitch(weight=0.7), width=0.125, seed=0)
    assert by_name.sharing == by_object.sharing
    images = np.random.default_rng(0).normal(size=(1, 6, 6, 1)).astype("float32")
    for task, output in by_name(images).items():
        np.testing.assert_array_equal(by_object(images)[task], output)


@pytest.mark.parametrize(
    ("sharing", "settings", "message"),
    [
        ("sfg", {"fractions": 0.5}, "sharing = sfg has no setting 'fractions'; it has routing"),
        ("sfg", {"assignmnt": "hard"}, "sharing = sfg has no setting 'assignmnt', did you mean 'assignment'"),
        ("hard_sharing", {"routing": "mixed"}, "sharing = hard_sharing has no setting 'routing'; it has none"),
        ("constant_p", {"learn_grouping": True}, "sharing = constant_p has no setting 'learn_grouping'"),
        (SFG(), {"assignment": "hard"}, r"assignment stands beside sharing = SFG.*write sharing=SFG\(assignment=...\)"),
        (3, {}, "sharing = 3 is neither a name nor a mechanism; known are sfg"),
    ],
)
def test_settings_of_another_mechanism_are_refused_by_name(sharing, settings, message):
    with pytest.raises(TypeError, match=message):
        find_sharing(sharing, settings)


@pytest.mark.parametrize(
    ("mechanism", "settings", "message"),
    [
        (SFG, {"routing": "all"}, "routing = 'all' is not known; choose one of mixed, separate, dense"),
        (SFG, {"assignment": "sofd"}, "assignment = 'sofd' is not known, did you mean 'soft'"),
        (ConstantMask, {"routing": "mixd"}, "routing = 'mixd' is not known, did you mean 'mixed'"),
    ],
)
def test_values_that_no_mechanism_has_are_refused(mechanism, settings, message):
    with pytest.raises(ValueError, match=message):
        mechanism(**settings)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("initial_probabilities", (0.1, 0.1, 0.8)), ("assignment", "hard"), ("per_sample", True),
        ("entropy_decay", 0.5), ("cost_weight", 0.5),
        ("temperature", (2.0, 0.0, 0.5)), ("learn_grouping", False), ("routing", "separate"), ("mask_residual", False),
    ],
)  # fmt: skip
def test_every_setting_of_filter_groups_changes_the_network(setting, value):
    """The objective, what may be trained, or the outputs of a training call differ."""
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")

    def seen(sharing):
        network = HighResNet(TASKS, sharing, width=0.25, seed=0)
        outputs = network(images, training=True)
        return [*(np.asarray(output) for output in outputs.values()), float(sum(network.losses)),
                len(network.trainable_variables)]  # fmt: skip

    usual, changed = seen(SFG()), seen(dataclasses.replace(SFG(), **{setting: value}))
    assert any(np.any(first != second) for first, second in zip(usual, changed, strict=True))


def test_constant_p_draws_from_equal_probabilities_unless_told_otherwise():
    assert ConstantP().probabilities_of([0, 1, 2]) == pytest.approx((1 / 3,) * 3)
    assert ConstantP(initial_probabilities=[0.1, 0.2, 0.7]).probabilities_of([0, 1, 2]) == (0.1, 0.2, 0.7)


def test_a_network_loads_with_the_settings_of_its_mechanism(tmp_path):
    sharing = ConstantMask(fractions=[0.5, 0.25, 0.25], routing="separate")
    network = HighResNet(TASKS, sharing, width=0.25, seed=0)
    network.build((None, None, None, 1))
    network.save(tmp_path / "network.keras")
    assert keras.saving.load_model(tmp_path / "network.keras").sharing == sharing


def test_configurations_of_the_first_version_keep_the_settings_of_their_mechanism_only():
    old = {
        "sharing": "cross_stitch", "stitch_weight": 0.7, "stitch_per_channel": True, "stitch_decay": 0.1,
        "assignment": "hard", "temperature": [1.0, 0.5, 0.1], "kernel_decay": 0.25, "kernel_decay_type": "l1",
        "width": 0.5,
    }  # fmt: skip
    new = translate_config(old)
    assert new["sharing_settings"] == {"weight": 0.7, "per_channel": True, "decay": 0.1}
    assert float(keras.regularizers.deserialize(new["kernel_regularizer"]).l1) == pytest.approx(0.25)
    assert set(new) == {"sharing", "sharing_settings", "kernel_regularizer", "width"}
    assert translate_config(old | {"kernel_decay": 0.0})["kernel_regularizer"] is None


def test_hard_sharing_has_nothing_to_set():
    assert HardSharing().values() == {}
