"""Sluice networks: independent and cross-stitch networks as special cases, mixtures of layers, hardening, saving."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.architecture.stage import Stage
from sfgkeras.layers.subspace_stitch import subspace_overlap
from sfgkeras.networks import MultiTaskNetwork, count_multiplies, count_parameters, harden
from sfgkeras.networks.onnx_export import build_onnx_model
from sfgkeras.sharing import Sluice

TASKS = {"ct": 1, "organs": 3}


@keras.saving.register_keras_serializable(package="tests")
class OddHourglass(MultiTaskNetwork):
    """Two levels down and up again, ways up per task, and odd sizes on every level of an image of 9."""

    stages = (
        Stage(8, name="down_1", pools=True),
        Stage(12, name="down_2", pools=True, num_blocks=1),
        Stage(12, name="bottom"),
        Stage(8, name="up_2", upsamples=True, skip="down_2"),
        Stage(4, name="up_1", upsamples=True, skip="down_1", per_task=True, num_blocks=1),
    )


@keras.saving.register_keras_serializable(package="tests")
class SmallTwelves(MultiTaskNetwork):
    """Layers whose filters fall into 2, 3 and 6 equal parts."""

    stages = (Stage(12, num_blocks=1, dilation=2), Stage(12), Stage(24))


def set_alpha(network, value):
    for unit in network.trunk.units:
        unit.alpha.assign(value(unit) if callable(value) else value)


def set_beta(network, value):
    for mixture in network.trunk.mixtures:
        mixture.beta.assign(value(mixture.beta.shape))


def one_hot_last(shape):
    return np.eye(shape[0])[-1]


def scrambled(network, seed=3):
    rng = np.random.default_rng(seed)
    set_alpha(network, lambda unit: rng.normal(size=unit.alpha.shape))
    set_beta(network, lambda shape: rng.normal(size=shape))
    return network


def copy_weights(source, target):
    """Copies every weight that both trunks and heads have, in their common order."""
    new_ones = ("sluice", "cross_stitch", "mixture")
    old, new = (
        [weight for weight in network.weights if not any(name in weight.path for name in new_ones)]
        for network in (source, target)
    )
    for ours, theirs in zip(new, old, strict=True):
        assert ours.shape == theirs.shape
        ours.assign(theirs)


def pair_of(other, rank=2, **settings):
    """Returns a network of another mechanism and a sluice network with its kernels."""
    first = SmallTwelves(TASKS, other, spatial_rank=rank, seed=0)
    sluice = SmallTwelves(TASKS, "sluice", spatial_rank=rank, seed=1, **settings)
    for network in (first, sluice):
        network.build((None, *(None,) * rank, 1))
    copy_weights(first, sluice)
    return first, sluice


@pytest.mark.parametrize(("rank", "training"), [(2, False), (2, True), (3, False)])
def test_the_identity_leaves_independent_networks(rank, training, images):
    alone, sluice = pair_of("single_task", rank)
    set_alpha(sluice, lambda unit: np.eye(unit.alpha.shape[0]))
    set_beta(sluice, one_hot_last)
    x = images(8, rank)
    expected, outputs = alone(x, training=training), sluice(x, training=training)
    for name in TASKS:
        np.testing.assert_allclose(outputs[name], expected[name], atol=1e-6)


@pytest.mark.parametrize("subspaces", [1, 2, 3])
def test_blocks_of_one_weight_are_cross_stitch(subspaces, images):
    stitched, sluice = pair_of("cross_stitch", subspaces=subspaces, beta=False)
    rng = np.random.default_rng(0)
    for stitch, unit in zip(stitched.trunk.units, sluice.trunk.units, strict=True):
        weights = rng.normal(size=(2, 2))
        stitch.alpha.assign(weights)
        unit.alpha.assign(np.kron(weights, np.eye(subspaces)))
    x = images(8)
    for name, expected in stitched(x).items():
        np.testing.assert_allclose(sluice(x)[name], expected, atol=1e-5 * np.abs(expected).max())


def test_all_weight_on_the_last_layer_is_no_mixture_of_layers(images):
    x = images(9)
    with_beta, without = (
        OddHourglass(TASKS, Sluice(beta=beta), heads={"ct": "map", "organs": "vector@bottom"}, seed=seed)
        for beta, seed in ((True, 0), (False, 1))
    )
    with_beta(x), without(x)
    copy_weights(without, with_beta)
    for source, target in zip(without.trunk.units, with_beta.trunk.units, strict=True):
        target.alpha.assign(source.alpha)
    set_beta(with_beta, one_hot_last)
    for name, expected in without(x).items():
        np.testing.assert_array_equal(with_beta(x)[name], expected)
    set_beta(with_beta, np.ones)
    for name, expected in without(x).items():
        assert np.abs(with_beta(x)[name] - expected).max() > 1e-3


def test_heads_read_the_weighted_sum_of_layers_of_one_width(images):
    """Without activations and normalisations, by hand: h_k are convolutions of h_(k-1), which are all as wide."""

    class Even(MultiTaskNetwork):
        stages = (Stage(4, normalisation="none"), Stage(4, normalisation="none"), Stage(4, normalisation="none"))

    network = Even({"a": 1, "b": 1}, Sluice(subspaces=1), activation="linear", seed=0)
    x = tf.constant(images(6))
    network(x)
    set_alpha(network, np.eye(2))
    betas = np.array([[0.5, -1.0, 2.0], [0.0, 3.0, 0.25]])
    for mixture, beta in zip(network.trunk.mixtures, betas, strict=True):
        mixture.beta.assign(beta)
    outputs = network(x)
    for task, name in enumerate(("a", "b")):
        features, mixed = x, 0.0
        for stage in range(3):
            layer = network.trunk.convolutions[f"{stage}_{task}"]
            features = tf.nn.conv2d(features, layer.kernel.value, 1, "SAME") + layer.bias.value
            mixed = mixed + betas[task, stage] * features
        head = network.heads[task].projection
        expected = tf.nn.conv2d(mixed, tf.reshape(head.kernel.value, (1, 1, 2, 1)), 1, "SAME") + head.bias.value
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-4, atol=1e-5)


def test_layers_of_other_width_and_size_are_projected_pooled_and_repeated(images):
    """The mixture of `up_2`, alone on its level: `down_1` pooled, `down_2` as large, `bottom` repeated and cut."""

    class Valley(MultiTaskNetwork):
        stages = OddHourglass.stages[:4]

    network = Valley({"a": 2}, Sluice(subspaces=1), heads={"a": "vector"}, seed=0)
    x = images(9)
    network(x)
    rng = np.random.default_rng(0)
    set_beta(network, lambda shape: rng.normal(size=shape))
    (mixture,) = network.trunk.mixtures
    left = []

    def run_stage(index, streams, sized_image):
        streams = network.trunk.run_stage(index, streams, sized_image, None, False)
        left.append(np.asarray(streams[0]))
        return streams

    (found,), _ = network.trunk.walk(tf.constant(x), run_stage)
    down_1, down_2, bottom, up_2 = left
    assert [len(values[0]) for values in left] == [9, 5, 3, 5]

    def pooled(values):
        padded = np.pad(values, [(0, 0), (0, 1), (0, 1), (0, 0)], constant_values=-np.inf)
        return padded.reshape(3, 5, 2, 5, 2, -1).max(axis=(2, 4))

    repeated = bottom.repeat(2, axis=1).repeat(2, axis=2)[:, :5, :5]
    parts = [pooled(down_1), down_2, repeated, up_2]
    kernels = [np.eye(8) if layer is None else np.asarray(layer.kernel)[0, 0] for layer in mixture.projections]
    # The first stage is as wide as the last one, and is taken as it is.
    assert [kernel.shape for kernel in kernels] == [(8, 8), (12, 8), (12, 8)]
    assert mixture.projections[0] is None
    beta = np.asarray(mixture.beta)
    terms = zip(beta, parts, [*kernels, np.eye(8)], strict=True)
    expected = sum(weight * part @ kernel for weight, part, kernel in terms)
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_the_penalty_is_the_overlap_of_subspaces_over_layers_and_tasks(small_network):
    penalties = []
    for orthogonality in (0.0, 0.5):
        network = small_network(TASKS, Sluice(orthogonality=orthogonality), width=2.0, seed=0)
        network.build((None, None, None, 1))
        penalties.append(float(sum(network.losses)))
    overlap = sum(
        float(subspace_overlap(network.trunk.convolutions[f"{stage}_{task}"].kernel.value, 2))
        for stage in range(3)
        for task in range(2)
    )
    assert penalties[1] - penalties[0] == pytest.approx(0.5 * overlap, rel=1e-4)


def test_stages_per_task_have_neither_units_nor_subspaces():
    network = OddHourglass(TASKS, Sluice(orthogonality=1.0), kernel_regularizer=None, seed=0)
    network.build((None, None, None, 1))
    assert len(network.trunk.units) == 4
    assert len(network.losses) == 4 * 2
    np.testing.assert_array_equal(network.sharing_matrix()["up_1"], np.eye(2))


def test_every_setting_changes_the_network(small_network, images):
    settings = [
        {"subspaces": 3}, {"orthogonality": 0.0}, {"beta": False}, {"initialisation": "uniform"}, {"weight": 0.7},
    ]  # fmt: skip

    @functools.cache
    def seen(sharing):
        network = small_network({"a": 1, "b": 1}, sharing, width=4.0, seed=0)
        outputs = network(images(6), training=True)
        return [np.asarray(outputs["a"]), np.asarray(float(sum(network.losses)))]

    for each in settings:
        pairs = zip(seen(Sluice()), seen(Sluice(**each)), strict=True)
        assert any(np.abs(first - second).max() > 1e-5 for first, second in pairs), each


def test_a_weight_beside_a_uniform_start_is_refused():
    with pytest.raises(ValueError, match="weight = 0.7 has no effect with initialisation = uniform"):
        Sluice(initialisation="uniform", weight=0.7)


def test_fewer_filters_than_subspaces_are_refused(small_network):
    with pytest.raises(ValueError, match="a layer has 6 filters for 2 tasks, each in 4 parts; raise the width"):
        small_network(TASKS, Sluice(subspaces=4))


def test_filters_that_cannot_be_shared_out_equally_are_left_out(small_network):
    network = small_network({"a": 1, "b": 1}, "sluice", width=2.0)  # 12, 18, 16
    assert [stage.filters for stage in network.trunk.architecture.stages] == [12, 16, 16]


@pytest.mark.parametrize(
    ("num_tasks", "rank", "subspaces"), [(1, 2, 2), (2, 3, 3), pytest.param(5, 2, 2, marks=pytest.mark.slow)]
)
def test_the_hardened_network_has_the_same_outputs(num_tasks, rank, subspaces, small_network, images, scramble):
    onnxruntime = pytest.importorskip("onnxruntime")
    tasks = {f"task_{number}": 1 + number % 3 for number in range(num_tasks)}
    network = small_network(tasks, Sluice(subspaces=subspaces), spatial_rank=rank, width=3.0, seed=0)
    x = images(8, rank)
    network(x)
    scramble(network)
    scrambled(network)
    expected, hardened = network(x), harden(network)
    session = onnxruntime.InferenceSession(build_onnx_model(hardened).SerializeToString())
    written = dict(zip([output.name for output in session.get_outputs()], session.run(None, {"image": x}), strict=True))
    for outputs in (hardened(x), harden(network, "task_0")(x), written):
        for name, output in outputs.items():
            np.testing.assert_allclose(output, expected[name], atol=1e-4 * np.abs(expected[name]).max())
    assert count_multiplies(hardened, x.shape[1:]) == count_multiplies(network, x.shape[1:])


@pytest.mark.parametrize("size", [pytest.param(8, marks=pytest.mark.slow), 9])
def test_mixtures_over_levels_harden_load_and_export(size, images, scramble, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    network = OddHourglass(TASKS, "sluice", heads={"organs": "vector@bottom"}, seed=0)
    x = images(size)
    network(x)
    scramble(network)
    scrambled(network)
    expected, hardened = network(x), harden(network)
    hardened.save(tmp_path / "hardened.keras")
    loaded = keras.saving.load_model(tmp_path / "hardened.keras", custom_objects={})
    session = onnxruntime.InferenceSession(build_onnx_model(hardened).SerializeToString())
    written = dict(zip([output.name for output in session.get_outputs()], session.run(None, {"image": x}), strict=True))
    for outputs in (loaded(x), written, harden(network, "organs")(x), harden(network, "ct")(x)):
        for name, output in outputs.items():
            np.testing.assert_allclose(output, expected[name], atol=1e-4 * np.abs(expected[name]).max())


def test_saving_and_loading_keeps_mixtures_and_penalty(images, tmp_path):
    sharing = Sluice(subspaces=1, orthogonality=0.01)
    network = OddHourglass(TASKS, sharing, heads={"organs": "vector@bottom"}, seed=0)
    x = images(9)
    network(x)
    scrambled(network)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert loaded.sharing == sharing
    assert float(sum(loaded.losses)) == float(sum(network.losses))
    for name, output in network(x).items():
        np.testing.assert_array_equal(loaded(x)[name], output)


def test_training_moves_every_mixture_and_a_gradient_reaches_every_variable(images):
    network = OddHourglass(TASKS, "sluice", heads={"organs": "vector@bottom"}, seed=0)
    with tf.GradientTape() as tape:
        outputs = network(images(8), training=True)
        loss = tf.add_n([*(tf.reduce_mean((output - 1) ** 2) for output in outputs.values()), *network.losses])
    variables = network.trainable_variables
    gradients = tape.gradient(loss, variables)
    assert all(gradient is not None for gradient in gradients)
    mixing = [
        gradient
        for variable, gradient in zip(variables, gradients, strict=True)
        if "sluice" in variable.path or "mixture" in variable.path
    ]
    assert len(mixing) == 4 + 2 + 3 + 1  # units, beta, projections of ct and of organs
    assert min(float(tf.reduce_max(tf.abs(gradient))) for gradient in mixing) > 1e-6


def test_what_is_shared_and_learned_is_told_by_stage():
    network = OddHourglass(TASKS, "sluice", heads={"organs": "vector@bottom"}, seed=0)
    network.build((None, None, None, 1))
    alpha = np.array([[0.5, 0.5, 0, 0], [0, 0, 1, 1], [0, 0, 2, 0], [0, 0, 0, -2]])
    network.trunk.units[0].alpha.assign(alpha)
    network.trunk.mixtures[1].beta.assign([1.0, 2.0, 3.0])
    # ct weighs its own two subspaces by 0.5 each and those of organs by 1 each, of 3; organs its own by 2 of 4 each.
    np.testing.assert_allclose(network.sharing_matrix()["down_1"], [[1, 2 / 3], [2 / 3, 1]], atol=1e-6)
    np.testing.assert_array_equal(network.sharing_matrix()["up_2"], np.eye(2))
    learned = network.learned()
    assert learned["alpha/down_1"].shape == (2, 2, 2, 2)
    np.testing.assert_array_equal(learned["alpha/down_1"][0, 1], [[0, 0], [1, 1]])
    assert np.isnan(learned["alpha/up_2"][1]).all()
    np.testing.assert_allclose(learned["beta/up_1"], [0.9, np.nan], rtol=1e-6)
    np.testing.assert_array_equal([learned[f"beta/{name}"][1] for name in ("down_1", "down_2", "bottom")], [1, 2, 3])


def test_mixtures_of_layers_cost_projections_alone(small_network):
    """Width 2: layers of 6, 8 and 8 filters a task, and the first one is projected; 3 + 3 beta, 16 alpha a unit."""
    with_beta, without = (small_network(TASKS, Sluice(beta=beta), width=2.0, seed=0) for beta in (True, False))
    for network in (with_beta, without):
        network.build((None, None, None, 1))
    assert count_parameters(with_beta) == count_parameters(without) + 2 * (6 * 8 + 3)
    assert count_multiplies(with_beta, (8, 8, 1)) == count_multiplies(without, (8, 8, 1)) + 2 * 64 * 6 * 8
