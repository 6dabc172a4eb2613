"""Variables taken over from another run by name, and variables kept fixed by name."""

import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.records.checkpoints import CheckpointFolder, TrainingState, collect_arrays, variable_names
from sfgkeras.applications.training.fine_tuning import freeze_variables, restore_variables
from sfgkeras.errors import ConfigError, DataError, Problem


def build(seed, width=0.25, tasks=None, sharing="sfg"):
    from sfgkeras.networks import HighResNet

    network = HighResNet(tasks or {"ct": 1, "organs": 3}, sharing, width=width, seed=seed, name="network")
    network.build((None, None, None, 1))
    return network


@pytest.fixture(scope="module")
def donor():
    return build(seed=1)


@pytest.fixture(scope="module")
def model_dir(donor, tmp_path_factory):
    """The folder of another run, with two states; the newer one counts."""
    folder = tmp_path_factory.mktemp("donor")
    checkpoints = CheckpointFolder(folder / "checkpoints")
    arrays = collect_arrays(donor)
    checkpoints.write(TrainingState({key: np.zeros_like(value) for key, value in arrays.items()}, {"iteration": 5}))
    checkpoints.write(TrainingState(arrays, {"iteration": 10}))
    return folder


def values_of(network):
    """What the network learns, by name."""
    learned = [variable for variable in network.predicting_variables if str(variable.dtype).startswith("float")]
    names = variable_names(network, learned)
    assert len(set(names)) == len(names)
    return {name: np.array(variable) for name, variable in zip(names, learned, strict=True)}


def restored_and_kept(network, donor, before):
    """The paths that now hold the donor's values, and those that hold their own; of those in which the two differ."""
    theirs, now = values_of(donor), values_of(network)
    differing = [p for p in now if p in theirs and theirs[p].shape == now[p].shape and (theirs[p] != before[p]).any()]
    restored = {path for path in differing if np.array_equal(now[path], theirs[path])}
    kept = {path for path in now if np.array_equal(now[path], before[path])}
    return restored, kept


def training(**settings):
    return SimpleNamespace(**{"restore_from": None, "vars_to_restore": None, "vars_to_freeze": None} | settings)


@pytest.mark.parametrize("pattern", [None, "sfg_1/|sfg_3/", "head_organs", "^network/trunk"])
def test_the_variables_that_match_are_restored_and_no_others(pattern, donor, model_dir, reporter):
    network = build(seed=2)
    before = values_of(network)
    restore_variables(network, training(restore_from=model_dir, vars_to_restore=pattern), reporter)
    restored, kept = restored_and_kept(network, donor, before)
    matching = {path for path in before if re.search(pattern or "", path)}
    assert restored
    assert restored <= matching
    assert kept >= before.keys() - matching
    now, theirs = values_of(network), values_of(donor)
    for path in matching:
        np.testing.assert_array_equal(now[path], theirs[path], err_msg=path)
    assert f"restored {len(matching)} of {len(before)} variables" in reporter.messages[0]


def test_iteration_and_generators_begin_anew(donor, model_dir, reporter):
    donor.iteration.assign(200_000)
    try:
        folder = CheckpointFolder(model_dir / "late")
        folder.write(TrainingState(collect_arrays(donor), {"iteration": 200_000}))
    finally:
        donor.iteration.assign(0)
    network = build(seed=2)
    before = network.random_state()
    restore_variables(network, training(restore_from=model_dir / "late"), reporter)
    assert int(network.iteration) == 0
    for name, state in network.random_state().items():
        np.testing.assert_array_equal(state, before[name])


def test_names_of_variables_are_the_same_whatever_was_built_before(donor):
    assert collect_arrays(donor).keys() == collect_arrays(build(seed=3)).keys()


def test_a_checkpoint_file_serves_as_well_as_a_folder(donor, model_dir, reporter):
    network = build(seed=2)
    path = model_dir / "checkpoints" / "iteration_000000010.npz"
    restore_variables(network, training(restore_from=path), reporter)
    now, theirs = values_of(network), values_of(donor)
    assert now.keys() == theirs.keys()
    assert all(np.array_equal(now[name], theirs[name]) for name in now)


def test_another_task_is_learned_on_the_same_trunk(donor, model_dir, reporter):
    network = build(seed=2, tasks={"lesions": 2, "ct": 1})
    before = values_of(network)
    restore_variables(network, training(restore_from=model_dir, vars_to_restore="trunk"), reporter)
    restored, kept = restored_and_kept(network, donor, before)
    assert any("trunk" in path for path in restored)
    assert any("head_lesions" in path for path in kept)


def test_another_width_is_refused_with_the_variable_and_both_shapes(model_dir, reporter):
    network = build(seed=2, width=0.5)
    with pytest.raises(ConfigError, match=r"vars_to_restore.*has shape \(.*\) in .* and \(.*\) here"):
        restore_variables(network, training(restore_from=model_dir), reporter)


def test_a_pattern_that_matches_nothing_is_refused_with_an_example(model_dir, reporter):
    with pytest.raises(DataError, match=r"no variable matches .*'decoder'; the first one there is 'network/"):
        restore_variables(build(seed=2), training(restore_from=model_dir, vars_to_restore="decoder"), reporter)


def test_a_thin_network_starts_from_the_chosen_filters_of_a_hard_sharing_run(tmp_path, reporter):
    wide = build(seed=1, sharing="hard_sharing")
    CheckpointFolder(tmp_path / "checkpoints").write(TrainingState(collect_arrays(wide), {"iteration": 10}))
    thin = build(seed=2, sharing="fully_adaptive")
    restore_variables(thin, training(restore_from=tmp_path), reporter)
    theirs = np.array(wide.trunk.convolutions["0_2"].kernel)
    taken = np.array(thin.trunk.convolutions["0_0"].kernel)
    assert taken.shape[-1] == theirs.shape[-1] // 2
    for filter_ in np.moveaxis(taken, -1, 0):
        assert any(np.array_equal(filter_, other) for other in np.moveaxis(theirs, -1, 0))
    assert f"thin layers of the filters of {tmp_path}" in reporter.messages[0]
    with pytest.raises(
        Problem, match=r"restore_from = .* has \(.*\) for network/trunk.* has shape .*same network, width"
    ):
        restore_variables(build(3, 0.5, sharing="fully_adaptive"), training(restore_from=tmp_path), reporter)


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_place_without_checkpoint_is_refused(name, tmp_path, reporter):
    with pytest.raises(DataError, match=re.escape(str(tmp_path))):
        restore_variables(build(seed=2), training(restore_from=tmp_path / name), reporter)


@pytest.mark.parametrize(("pattern", "word"), [("decoder", "no"), (".", "every")])
def test_freezing_nothing_or_everything_is_refused(pattern, word, reporter):
    network = build(seed=2)
    with pytest.raises(ConfigError, match=rf"vars_to_freeze = '{re.escape(pattern)}' matches {word} trainable"):
        freeze_variables(network, pattern, reporter)


def test_frozen_variables_are_not_among_the_trained(reporter):
    network = build(seed=2)
    before = variable_names(network, network.trainable_variables)
    freeze_variables(network, "sfg_1/", reporter)
    after = variable_names(network, network.trainable_variables)
    assert set(before) - set(after) == {name for name in before if "sfg_1/" in name}
    logits = [name for name in before if name.startswith("network/trunk/sfg_1/") and "grouping_logits" in name]
    assert len(logits) == 1
    assert logits[0] not in after
    assert reporter.messages == [f"frozen: {len(before) - len(after)} variables, {len(after)} are trained"]


@pytest.mark.slow
def test_in_a_run_frozen_variables_do_not_move_and_the_others_do(make_config, tmp_path, network_arrays):
    """A run on another one's trunk, resumed when the other one is gone."""
    checkpoints = CheckpointFolder(tmp_path / "other" / "checkpoints")
    donor = collect_arrays(build(seed=1, sharing="hard_sharing"))
    checkpoints.write(TrainingState(donor, {"iteration": 10}))
    overrides = {
        "TRAINING.restore_from": tmp_path / "other", "TRAINING.vars_to_restore": "trunk",
        "TRAINING.vars_to_freeze": "trunk/convolution_(1|3)", "NETWORK.batch_norm": "population",
        "TRAINING.validation_every_n": 0, "TRAINING.max_iter": 1, "TRAINING.lr": 0.01,
    }  # fmt: skip
    run.train(make_config(overrides))
    shutil.rmtree(tmp_path / "other")
    run.train(make_config(overrides | {"TRAINING.max_iter": 2}))
    first, last = (network_arrays(tmp_path / "model", iteration) for iteration in (0, 2))
    for key in donor:
        if "trunk" in key and key.startswith("network"):
            np.testing.assert_array_equal(first[key], donor[key], err_msg=key)
    kernels = [key for key in donor if key.endswith("kernel")]
    frozen = {key for key in kernels if re.search("trunk/convolution_(1|3)", key)}
    assert len(frozen) == 2
    moved = {key for key in kernels if (first[key] != last[key]).any()}
    assert moved == set(kernels) - frozen
