"""Cross-stitch networks: identity units leave independent networks, hardening and saving change nothing."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks import VGG11, HighResNet, MultiTaskNetwork, count_multiplies, count_parameters, harden

TASKS = {"ct": 1, "organs": 3}


def copy_weights(source, target):
    """Copies every weight that both trunks and heads have, in their common order."""
    ours = [w for w in target.weights if not w.path.endswith("alpha") or "cross_stitch" not in w.path]
    for old, new in zip(source.weights, ours, strict=True):
        assert old.shape == new.shape
        new.assign(old)


def set_alpha(network, change):
    for unit in network.trunk.units:
        unit.alpha.assign(change(np.asarray(unit.alpha)))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("network", "rank"), [(HighResNet, 2), (HighResNet, 3), (VGG11, 2)])
def test_units_at_the_identity_leave_independent_networks(network, rank, training, images):
    alone = network(TASKS, "single_task", spatial_rank=rank, width=0.25, seed=0)
    stitched = network(TASKS, "cross_stitch", spatial_rank=rank, width=0.25, seed=0, weight=1.0)
    x = images(8, rank)
    alone(x), stitched(x)
    copy_weights(alone, stitched)
    expected, outputs = alone(x, training=training), stitched(x, training=training)
    for name in TASKS:
        np.testing.assert_allclose(outputs[name], expected[name], atol=1e-6)


def test_a_task_gets_gradients_from_another_one_only_through_the_units(images):
    x = images(8)
    for weight, joined in [(1.0, False), (0.9, True)]:
        network = HighResNet(TASKS, "cross_stitch", width=0.25, seed=0, weight=weight)
        network(x)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(x, training=True)["organs"] ** 2)
        own = network.trunk.convolutions["0_0"].kernel  # of task ct
        gradient = tape.gradient(loss, own.value, unconnected_gradients="zero")
        assert (np.abs(gradient).max() > 0) == joined


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("tasks", "rank"), [({"a": 1}, 2), (TASKS, 2), (TASKS, 3), ({"a": 1, "b": 2, "c": 1}, 2)])
def test_the_hardened_network_has_the_same_outputs(tasks, rank, per_channel, small_network, images, scramble):
    network = small_network(tasks, "cross_stitch", spatial_rank=rank, seed=0, per_channel=per_channel)
    x = images(8, rank)
    network(x)
    scramble(network)
    rng = np.random.default_rng(3)
    set_alpha(network, lambda alpha: rng.normal(size=alpha.shape))
    expected = network(x)
    for task in [None, *tasks]:
        outputs = harden(network, task)(x)
        assert set(outputs) == (set(tasks) if task is None else {task})
        for name, output in outputs.items():
            np.testing.assert_allclose(output, expected[name], atol=1e-4 * np.abs(expected[name]).max())


def test_saving_and_loading_keeps_units_and_outputs(small_network, images, tmp_path):
    network = small_network(TASKS, "cross_stitch", seed=0, per_channel=True, decay=1e-3)
    x = images(8)
    network(x)
    rng = np.random.default_rng(3)
    set_alpha(network, lambda alpha: rng.normal(size=alpha.shape))
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    for name, output in network(x).items():
        np.testing.assert_array_equal(loaded(x)[name], output)
    assert len(loaded.losses) == len(network.losses)


def test_units_add_a_matrix_per_layer_and_little_else():
    """Capacity is that of independent networks; 5 layers, 2 x 2 weights each."""
    alone, stitched = (HighResNet(TASKS, sharing, width=0.5, seed=0) for sharing in ("single_task", "cross_stitch"))
    for network in (alone, stitched):
        network.build((None, None, None, 1))
    assert count_parameters(stitched) == count_parameters(alone) + 5 * 4
    assert count_multiplies(stitched, (16, 16, 1)) == count_multiplies(alone, (16, 16, 1))


def test_filters_that_cannot_be_shared_out_equally_are_left_out():
    network = HighResNet({"a": 1, "b": 1, "c": 1}, "cross_stitch", seed=0)
    assert [stage.filters for stage in network.trunk.architecture.stages] == [15, 30, 63, 63, 63]


def test_fewer_filters_than_tasks_are_refused():
    with pytest.raises(ValueError, match="a layer has 1 filters for 2 tasks"):
        HighResNet(TASKS, "cross_stitch", width=0.01)


def test_training_moves_the_units(images):
    class Two(MultiTaskNetwork):
        stages = (Stage(4), Stage(4))

    network = Two(TASKS, "cross_stitch", seed=0)
    network.compile(optimizer="adam", loss={"ct": "mse", "organs": "mse"})
    x = images(8, batch=4)
    network.fit(x, {"ct": np.zeros((4, 8, 8, 1)), "organs": np.ones((4, 8, 8, 3))}, epochs=2, verbose=0)
    moved = [np.abs(np.asarray(unit.alpha) - unit.initial_weights()).max() for unit in network.trunk.units]
    assert min(moved) > 1e-4
