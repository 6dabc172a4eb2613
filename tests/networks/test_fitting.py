"""What `fit` adds: statistics that fit the weights, whatever the data; errors that name the task. Hardening warns."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras import losses
from sfgkeras.architecture.stage import Stage
from sfgkeras.networks import HighResNet, MultiTaskNetwork, harden, recalibrate

TASKS = {"ct": 1, "organs": 3}


@keras.saving.register_keras_serializable(package="tests")
class TwoLayers(MultiTaskNetwork):
    """As little as has statistics behind statistics: tracing is what these tests wait for."""

    stages = (Stage(4), Stage(3))


def data(count=12, size=8, seed=0):
    images = np.random.default_rng(seed).normal(5.0, 3.0, size=(count, size, size, 1)).astype("float32")
    return images, {"ct": images / 4, "organs": (images[..., 0] > 5).astype("int32")}


def compiled(network):
    by_task = {"ct": losses.RootMeanSquaredError(), "organs": losses.DiceCrossEntropy()}
    network.compile("adam", loss=by_task, jit_compile=False)  # compiling takes longer than all the steps
    return network


class Sequence(keras.utils.PyDataset):
    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def batches_of(images, targets, size=4):
    starts = range(0, len(images), size)
    return [(images[i : i + size], {name: y[i : i + size] for name, y in targets.items()}) for i in starts]


def forms(images, targets):
    batches = batches_of(images, targets)
    return {
        "arrays": {"x": images, "y": targets, "batch_size": 4},
        "dataset": {"x": tf.data.Dataset.from_tensor_slices((images, targets)).batch(4)},
        "endless dataset": {
            "x": tf.data.Dataset.from_tensor_slices((images, targets)).batch(4).repeat(),
            "steps_per_epoch": 3,
        },
        "sequence": {"x": Sequence(batches)},
        "generator": {"x": iter(batches), "steps_per_epoch": 3},
    }


@pytest.mark.parametrize("form", ["arrays", "dataset", "endless dataset", "sequence", "generator"])
def test_after_fit_the_statistics_are_those_of_the_data_whatever_its_form(form):
    images, targets = data()
    network = compiled(TwoLayers(TASKS, seed=0))
    network.fit(**forms(images, targets)[form], shuffle=False, verbose=0)
    assert network.statistics_fit
    found = [np.asarray(layer.moving_mean) for layer in network.normalizations()]
    recalibrate(network, [images])
    for layer, mean in zip(network.normalizations(), found, strict=True):
        deviation = np.sqrt(np.asarray(layer.moving_variance).mean())
        np.testing.assert_allclose(mean, layer.moving_mean, atol=0.25 * deviation)
    # The moving averages of three steps would still be where they began, at 0.
    first = np.asarray(network.trunk.convolutions[0].activations[0].normalization.moving_mean)
    assert np.abs(first).max() > 0.5


def test_the_validation_of_fit_sees_the_statistics_that_inference_will_see():
    images, targets = data()
    network = compiled(TwoLayers(TASKS, seed=0))
    history = network.fit(images, targets, batch_size=4, epochs=2, validation_data=(images, targets), verbose=0).history
    after = network.evaluate(images, targets, verbose=0, return_dict=True)
    assert history["val_ct_loss"][-1] == pytest.approx(after["ct_loss"], rel=1e-4)
    assert network.statistics_measured_at == 6


def test_statistics_belong_to_the_weights_that_early_stopping_puts_back():
    images, targets = data()
    network = compiled(TwoLayers(TASKS, seed=0))
    stop = keras.callbacks.EarlyStopping("loss", mode="max", patience=0, restore_best_weights=True)
    network.fit(images, targets, batch_size=4, epochs=3, callbacks=[stop], verbose=0)
    assert network.statistics_fit
    expected = [np.asarray(layer.moving_mean) for layer in network.normalizations()]
    recalibrate(network, [images])
    deviation = [np.sqrt(np.asarray(layer.moving_variance).mean()) for layer in network.normalizations()]
    for layer, mean, unit in zip(network.normalizations(), expected, deviation, strict=True):
        np.testing.assert_allclose(mean, layer.moving_mean, atol=0.25 * unit)


@pytest.mark.parametrize("batch_norm", ["population", "batch"])
def test_fit_leaves_statistics_that_inference_does_not_take_from_recalibration(batch_norm):
    images, targets = data()
    network = compiled(TwoLayers(TASKS, seed=0, batch_norm=batch_norm))
    network.fit(images, targets, batch_size=4, verbose=0)
    assert not network.statistics_fit
    assert harden(network) is not None


def test_a_file_remembers_whether_the_statistics_fit(tmp_path):
    images, targets = data()
    network = compiled(TwoLayers(TASKS, seed=0))
    network.fit(images, targets, batch_size=4, verbose=0)
    network.save(tmp_path / "fits.keras")
    network.train_on_batch(images, targets)
    network.save(tmp_path / "stale.keras")
    assert keras.saving.load_model(tmp_path / "fits.keras").statistics_fit
    stale = keras.saving.load_model(tmp_path / "stale.keras")
    with pytest.raises(ValueError, match=r"recalibrate\(network, dataset\).* or harden\(network, data=dataset\)"):
        harden(stale)


def test_hardening_undecided_filters_warns_and_says_what_it_costs(capsys):
    images, targets = data()
    network = compiled(TwoLayers(TASKS, seed=0))
    network.fit(images, targets, batch_size=4, verbose=0)
    with pytest.warns(UserWarning, match="100% of the filters of .* not what was trained; harden"):
        harden(network)
    before = network.get_weights()
    with pytest.warns(UserWarning, match="100% of the filters"):
        hardened = harden(network, data=batches_of(images, targets))
    printed = capsys.readouterr().out
    expected = losses.RootMeanSquaredError()(targets["ct"], hardened.predict(images, verbose=0)["ct"])
    shown = float(printed.split("hardened ")[1].split("\n")[0])
    assert shown == pytest.approx(float(expected), rel=0.02)  # a mean over batches of a root over each sample
    assert printed.startswith("ct: loss ")
    assert "organs: loss " in printed
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_statistics_for_hardening_are_measured_with_its_own_masks():
    images, targets = data()
    network = compiled(TwoLayers(TASKS, seed=0, initial_probabilities=(0.45, 0.35, 0.2)))
    network.fit(images, targets, batch_size=12, epochs=2, verbose=0)
    with pytest.warns(UserWarning, match="filters"):
        hardened = harden(network, data=[(images, targets)])
    network.masks = "mode"
    recalibrate(network, [images])
    expected = network.predict(images, verbose=0)["ct"]
    np.testing.assert_allclose(hardened.predict(images, verbose=0)["ct"], expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": {"ct": 0, "organ": 0}}, "targets: the network has no task 'organ', did you mean 'organs'"),
        ({"y": {"ct": 0}}, "targets: none for task 'organs'; the dict of targets needs ct, organs"),
        ({"y": np.zeros((4, 8, 8, 1))}, "targets: one array of shape .* for 2 tasks; give {'ct': ..., 'organs': ...}"),
        ({"sample_weight": {"cts": 0}}, "sample weight: the network has no task 'cts', did you mean 'ct'"),
    ],
)
def test_fit_names_the_task_that_is_wrong(change, message):
    images, targets = data(4)
    if isinstance(change.get("y"), dict):
        change = {"y": {name: targets.get(name, images) for name in change["y"]}}
    with pytest.raises(ValueError, match=message):
        compiled(TwoLayers(TASKS, seed=0)).fit(images, **({"y": targets} | change), verbose=0)


def test_a_task_misspelt_in_a_data_set_or_in_the_losses_is_named():
    images, targets = data(4)
    misspelt = tf.data.Dataset.from_tensors((images, {"ct": targets["ct"], "organ": targets["organs"]}))
    with pytest.raises(ValueError, match="targets: the network has no task 'organ', did you mean 'organs'"):
        compiled(TwoLayers(TASKS, seed=0)).fit(misspelt, verbose=0)
    network = TwoLayers(TASKS, seed=0)
    network.compile("adam", loss={"ct": "mse", "organ": "mse"})
    with pytest.raises(ValueError, match="loss: the network has no task 'organ', did you mean 'organs'"):
        network.fit(images, targets, verbose=0)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (["ct"], r"tasks = \['ct'\] does not say how many output channels .* \{'ct': 1\}"),
        ("ct", "tasks = 'ct' does not say how many output channels"),
        ({}, "tasks is empty"),
    ],
)
def test_tasks_without_channels_are_refused_with_what_to_write(tasks, message):
    with pytest.raises(ValueError, match=message):
        HighResNet(tasks)


def test_the_summary_lists_stages_streams_heads_and_their_parameters(small_network):
    network = small_network(TASKS, seed=0)
    lines = []
    network.summary(print_fn=lines.append)
    assert "not built yet" in lines[-1]
    network.build((None, None, None, 1))
    lines.clear()
    network.summary(print_fn=lines.append)
    rows = {line.split()[0]: line.split() for line in lines}
    assert [name for name in rows if name.startswith(("sfg", "blocks", "head"))] == [
        "sfg_1", "blocks_1_task_1", "blocks_1_task_2", "blocks_1_shared", "sfg_2", "sfg_3", "head_ct", "head_organs",
    ]  # fmt: skip
    assert rows["sfg_1"][1:6] == ["SFGConv2D", "3", "x", "3", "6"]
    assert rows["head_organs"][-1] == str(8 * 3 + 3)
    counted = sum(
        int(row[-1].replace(",", "")) for name, row in rows.items() if name.startswith(("sfg", "blo", "head"))
    )
    assert lines[-3].startswith(f"{counted:,} parameters are trained")
    assert "100% of the filters are undecided" in lines[-2]
    assert "of the multiplies of a network that shares all filters" in lines[-1]
