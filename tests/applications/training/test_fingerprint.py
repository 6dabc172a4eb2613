"""A state is used with the settings that give it its meaning, and with no others."""

import dataclasses
import json
from typing import ClassVar

import pytest

from sfgkeras.applications import run
from sfgkeras.applications.records.checkpoints import CheckpointFolder, read_record
from sfgkeras.applications.training.fingerprint import (
    IN_FINGERPRINT,
    MAY_CHANGE,
    MUST_STAY,
    compare_training,
    network_fingerprint,
    refuse_other_network,
    training_settings,
)
from sfgkeras.config.sections import Network, System, Training
from sfgkeras.config.task_sections import InputSource, Multitask, Task
from sfgkeras.errors import ConfigError
from sfgkeras.settings import setting
from sfgkeras.sharing import HardSharing
from sfgkeras.tables.sharing import SHARING, SharingEntry

from ..conftest import OLD_STATE

FREE = {
    "SYSTEM": {
        "model_dir", "dataset_split_file", "num_threads", "num_gpus", "cuda_devices", "strategy", "jit_compile",
        "rematerialise", "cache_dir",
    },
    "NETWORK": {"weight_initializer", "bias_initializer", "queue_length", "smaller_final_batch_mode"},
    "TRAINING": {
        "loss_type", "max_iter", "max_epochs", "starting_iter", "save_every_n", "max_checkpoints",
        "tensorboard_every_n",
        "exclude_fraction_for_validation", "exclude_fraction_for_inference", "restore_from", "vars_to_restore",
        "grouping_every_n", "restore_best", "trackers",
        # What a drawn split of folds depends on, which the written one holds.
        "fold_groups", "fold_strata",
    },
    # Other spellings of [NETWORK] sharing and width, and what only the first state depends on.
    "MULTITASK": {"learn_categorical", "constant_grouping", "random_p_init", "cross_stitch_init", "layer_scale"},
    # The last one changes labels after the network has spoken.
    "TASK": {"class_names", "output_prob", "unit", "inferred", "refinement"},
    "SOURCE": {
        "csv_file", "path_to_search", "filename_contains", "filename_not_contains", "filename_removefromid", "loader",
        "layout",
    },
}  # fmt: skip
"""What changes no weight and no intensity of a resumed run: places, words, devices, first values."""

SECTIONS = {
    "SYSTEM": System,
    "NETWORK": Network,
    "TRAINING": Training,
    "MULTITASK": Multitask,
    "TASK": Task,
    "SOURCE": InputSource,
}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_setting_is_held_or_may_change_or_is_known_to_change_nothing(name):
    held = {*IN_FINGERPRINT.get(name, ()), *MUST_STAY.get(name, ()), *MAY_CHANGE.get(name, ())}
    assert held | FREE[name] >= set(SECTIONS[name].model_fields)
    assert not held & FREE[name]
    assert held <= set(SECTIONS[name].model_fields)
    assert not set(MUST_STAY.get(name, ())) & set(MAY_CHANGE.get(name, ()))


def stored(values):
    return json.loads(json.dumps(values))


# Value that differs from the tiny run's, and the key that the message names.
MEANING = {
    "NETWORK.whitening": ("no", "whitening"),
    "NETWORK.norm_type": ("median", "normalisation"),
    "NETWORK.normalise_foreground_only": ("yes", "foreground"),
    "NETWORK.volume_padding_size": ("4, 4, 0", "volume_padding"),
    "NETWORK.mask_residual": ("no", "mask_residual"),
    "NETWORK.name": ("vgg11", "name"),
    "MULTITASK.group_connection": ("separate", "group_connection"),
    "MULTITASK.loss_border": ("3", "loss_border"),
    "TASK ct.output_activation": ("relu", "heads"),
    "MR.axcodes": ("L, P, S", r"\[MR\] axcodes"),
    "MR.pixdim": ("6, 6, 6", r"\[MR\] pixdim"),
    "MR.interp_order": ("3", r"\[MR\] interp_order"),
    "MR.padding_value": ("7", r"\[MR\] padding_value"),
}


def both(make_config, overrides):
    """Returns the configurations of the tiny run before and after overrides that change it."""
    start = {"NETWORK.sharing": "sfg"}
    moved = {}
    for key, value in overrides.items():
        moved[key] = value
        if key in ("MR.axcodes", "MR.pixdim"):
            moved |= {key.replace("MR", name): value for name in ("CT", "ORGANS")}
    return make_config(start), lambda: make_config({**start, **moved})


@pytest.mark.parametrize("key", [key for key in MEANING if key != "NETWORK.name"])
def test_a_state_is_not_used_where_its_intensities_or_weights_would_mean_something_else(make_config, key, tmp_path):
    value, name = MEANING[key]
    config, other = both(make_config, {key: value})
    saved = stored(network_fingerprint(config))
    refuse_other_network(config, saved, tmp_path)
    with pytest.raises(ConfigError, match=rf"{tmp_path} was trained with {name} = .*, the configuration now says"):
        refuse_other_network(other(), saved, tmp_path)


def test_what_has_no_effect_is_not_compared(make_config, tmp_path):
    saved = stored(network_fingerprint(make_config()))
    for key, value in {
        "NETWORK.foreground_type": "mean_plus",  # measured over all voxels
        "NETWORK.volume_padding_mode": "edge",  # nothing is padded
        "MULTITASK.group_connection": "separate",  # hard sharing has no groups
        "TRAINING.grouping_lr": "0.1",  # nor logits
    }.items():
        refuse_other_network(make_config({key: value}), saved, tmp_path)


def test_a_learning_rate_of_logits_that_are_not_there_does_not_refuse_a_state(make_config, tmp_path):
    refuse_other_network(
        make_config(), stored(network_fingerprint(make_config({"TRAINING.grouping_lr": "0.1"}))), tmp_path
    )
    # Neither one that an earlier version recorded.
    refuse_other_network(make_config(), {**stored(network_fingerprint(make_config())), "grouping_lr": True}, tmp_path)


def test_edited_landmarks_are_noticed_and_reformatted_ones_are_not(make_config, tmp_path):
    config = make_config()
    path = config.network.histogram_ref_file
    path.parent.mkdir(parents=True)
    values = [0.0, 10, 20, 30, 40, 50, 60, 70, 80, 85, 90, 95, 100]
    path.write_text(f"MR {' '.join(map(str, values))}\n")
    saved = stored(network_fingerprint(config))
    path.write_text(f"MR   {'  '.join(f'{value:.3f}' for value in values)}\n")
    refuse_other_network(config, saved, tmp_path)
    values[3] += 0.5
    path.write_text(f"MR {' '.join(map(str, values))}\n")
    with pytest.raises(ConfigError, match="was trained with landmarks = "):
        refuse_other_network(config, saved, tmp_path)


TRAINED = {
    "TASK ct.loss": "mae",
    "MR.spatial_window_size": "16, 16, 1",
    "NETWORK.keep_prob": "0.9",
    "CT.interp_order": "3",
    "TRAINING.best_metric": "ct_mae",
}


@pytest.mark.parametrize("key", TRAINED)
def test_a_resumed_run_refuses_what_would_teach_it_something_else(make_config, key, tmp_path):
    saved = stored(training_settings(make_config()))
    assert compare_training(make_config(), saved, tmp_path) == []
    with pytest.raises(ConfigError, match=rf"{tmp_path} was trained with .*; a resumed run must go on with what it"):
        compare_training(make_config({key: TRAINED[key]}), saved, tmp_path)


def test_settings_of_what_was_chosen_stay_or_change_with_the_key_that_chooses(make_config, tmp_path):
    chosen = {"NETWORK.name": "unet", "NETWORK.unet_levels": "2", "TASK ct.loss": "huber", "TASK ct.huber_delta": "2"}
    config = make_config(chosen)
    fingerprint, settings = stored(network_fingerprint(config)), stored(training_settings(config))
    assert compare_training(config, settings, tmp_path) == []
    with pytest.raises(ConfigError, match="was trained with unet_levels = 2, the configuration now says 1"):
        refuse_other_network(make_config({**chosen, "NETWORK.unet_levels": "1"}), fingerprint, tmp_path)
    with pytest.raises(ConfigError, match=r"was trained with \[TASK ct\] huber_delta = 2.0, the configuration now"):
        compare_training(make_config({**chosen, "TASK ct.huber_delta": "3"}), settings, tmp_path)
    changed = make_config({**chosen, "TRAINING.adam_beta_1": "0.5"})
    assert compare_training(changed, settings, tmp_path) == ["[TRAINING] adam_beta_1 from 0.9 to 0.5"]


def test_settings_of_a_mechanism_that_no_other_section_says_must_stay(make_config, tmp_path, monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Toy(HardSharing):
        name: ClassVar[str] = "toy"
        strength: float = setting(0.5, "How strong it is.")

    monkeypatch.setitem(SHARING, "toy", SharingEntry(lambda: Toy, "a toy", constant=True))
    saved = stored(training_settings(make_config({"NETWORK.sharing": "toy"})))
    with pytest.raises(ConfigError, match=r"was trained with \[SHARING\] strength = 0.5, the configuration now"):
        compare_training(make_config({"NETWORK.sharing": "toy", "SHARING.strength": "0.75"}), saved, tmp_path)


def test_what_may_change_is_said(make_config, tmp_path):
    saved = stored(training_settings(make_config()))
    changed = make_config({"TRAINING.lr": "0.01", "TASK ct.weight": "2", "NETWORK.batch_size": 2})
    assert compare_training(changed, saved, tmp_path) == [
        "[NETWORK] batch_size from 4 to 2",
        "[TRAINING] lr from 0.001 to 0.01",
        "[TASK ct] weight from 1.0 to 2.0",
    ]


@pytest.mark.slow
def test_states_of_the_first_version_are_resumed_and_used(make_started, reporter):
    config = make_started({"TRAINING.max_iter": 1, "NETWORK.normalisation": "no"})
    assert "whitening" not in read_record(OLD_STATE)["fingerprint"]
    run.train(config, reporter)
    assert any("resumed from iteration 0" in text for text in reporter.messages)
    assert any("the state does not tell them: an earlier version wrote it" in text for text in reporter.messages)
    checkpoints = CheckpointFolder(config.system.model_dir / "checkpoints")
    record = read_record(checkpoints.path(1))
    assert record["fingerprint"]["whitening"] is True
    assert len(record["trained_on"]) == 2
    run.infer(config, reporter)
    with pytest.raises(ConfigError, match="was trained with whitening = True, the configuration now says False"):
        run.infer(make_started({"NETWORK.normalisation": "no", "NETWORK.whitening": "no"}), reporter, overwrite=True)
    _a_trained_subject_that_is_held_out_now_is_said(config, reporter, record["trained_on"])
    _predictions_of_an_older_state_are_said(config, reporter, checkpoints)


def _a_trained_subject_that_is_held_out_now_is_said(config, reporter, trained_on):
    split = config.system.dataset_split_file
    before = split.read_text()
    split.write_text(before.replace(f"{trained_on[0]},training", f"{trained_on[0]},inference"))
    reporter.warnings.clear()
    run.infer(config, reporter)
    said = f"1 subject held out now was trained on before, e.g. {trained_on[0]!r}"
    assert any(said in text for text in reporter.warnings)
    reporter.warnings.clear()
    run.evaluate(config, reporter)
    assert any(said in text for text in reporter.warnings)
    split.write_text(before)


def _predictions_of_an_older_state_are_said(config, reporter, checkpoints):
    reporter.warnings.clear()
    run.evaluate(config, reporter)
    assert not any("by other settings" in text for text in reporter.warnings)
    state = checkpoints.read(1)
    checkpoints.write(type(state)(state.arrays, {**state.record, "iteration": 2}))
    run.evaluate(config, reporter)
    assert any("was made by another state than that of iteration 2" in text for text in reporter.warnings)


def test_subjects_that_came_after_the_split_are_said(make_config):
    from sfgkeras.applications.subjects.cohort import find_cohort

    config = make_config()
    config.system.dataset_split_file.parent.mkdir(parents=True)
    config.system.dataset_split_file.write_text("phantom_000,training\nphantom_001,inference\n")
    (warning,) = [text for text in find_cohort(config).warnings if "none of its phases" in text]
    assert "2 of 4 subjects are in none of its phases and are passed over: 'phantom_002', 'phantom_003';" in warning
