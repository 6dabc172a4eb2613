"""Networks that split while they are trained: nothing changes at a split, everything may after it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks import VGG11, HighResNet, MultiTaskNetwork, UNet, count_multiplies, count_parameters, harden
from sfgkeras.networks.onnx_export import build_onnx_model
from sfgkeras.networks.splitting import describe_tree, find_splitting, sample_errors
from sfgkeras.sharing import FullyAdaptive

TASKS = {"a": 1, "b": 2, "c": 1, "d": 1}
HEADS = {"b": "vector@bottom", "c": "vector@bottom"}
PAIRS = "down: a, d | b, c"


@keras.saving.register_keras_serializable(package="tests")
class GrowingU(MultiTaskNetwork):
    """One level down and up again."""

    stages = (
        Stage(8, name="down", pools=True, num_blocks=1),
        Stage(12, name="bottom"),
        Stage(8, name="up", upsamples=True, skip="down"),
    )


@keras.saving.register_keras_serializable(package="tests")
class GrowingVector(MultiTaskNetwork):
    """Two convolutions, for values of whole images."""

    stages = (Stage(16, name="first", pools=True), Stage(16, name="second"))
    usual_head = "vector"


def build(kind=GrowingU, rank=2, tasks=TASKS, heads=HEADS, **settings):
    network = kind(tasks, FullyAdaptive(**settings), spatial_rank=rank, seed=0, heads=heads)
    network.build((None, *(8,) * rank, 1))
    return network


def find_pairs(network, pairs=((0, 3), (1, 2)), seed=0):
    """Records errors by which tasks of a pair agree."""
    rng = np.random.default_rng(seed)
    errors = np.zeros((network.sharing.samples, network.num_tasks))
    for pair in pairs:
        errors[:, list(pair)] = rng.normal(size=(len(errors), 1))
    network.trunk.record_errors(errors)


def grow(network, optimizers=(), iteration=100):
    return find_splitting(network, 0, 100).split(iteration, optimizers)


@pytest.fixture(scope="module")
def grown():
    network = build()
    find_pairs(network)
    grow(network)
    return network


def test_all_tasks_begin_in_one_thin_branch():
    """A quarter of 8, 12 and 8 filters: kernels of 1 x 2, two of 2 x 2 in the block, 2 x 3, and (3 + 2) x 2."""
    network = build()
    assert network.sharing_matrix()["down"].min() == 1
    assert [stage.filters for stage in network.trunk.architecture.stages] == [2, 3, 2]
    trunk = 9 * (2 + 8 + 6 + 10) + 3 * (2 + 4 + 3 + 2)
    heads = (2 + 1) + (3 * 2 + 2) + (3 + 1) + (2 + 1)
    assert count_parameters(network) == trunk + heads
    wide = build(start_width=0.5)
    assert [stage.filters for stage in wide.trunk.architecture.stages] == [4, 6, 4]


@pytest.mark.parametrize("training", [False, True])
def test_a_split_changes_no_output(training, images, scramble):
    network = build()
    scramble(network)
    find_pairs(network)
    x, settled = images(8), count_multiplies(network, (8, 8, 1))
    network.counts_iterations = False
    before, parameters = network(x, training=training), count_parameters(network)
    lines = grow(network)
    assert describe_tree(network) == PAIRS
    assert lines[1].startswith("bottom: a, d | b, c (affinity a-b 0.")
    for name, output in network(x, training=training).items():
        np.testing.assert_allclose(output, before[name], atol=1e-5)
    assert count_parameters(network) > parameters
    assert count_multiplies(network, (8, 8, 1)) > settled


def test_after_a_split_a_task_has_no_gradient_in_branches_of_others(grown, images):
    variables = grown.trunk.trainable_variables
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(grown(images(8))["a"] ** 2)
    found = tape.gradient(loss, [variable.value for variable in variables], unconnected_gradients="zero")
    touched = {v.path.split("/")[2] for v, value in zip(variables, found, strict=True) if np.abs(value).max() > 0}
    assert {name.split("_", 1)[1] for name in touched} == {"1_task_1", "2_task_1", "3_task_1"}


def test_places_that_wait_have_a_gradient_of_0_and_no_regularisation(images):
    network = build()
    waiting = network.trunk.waiting_weights()
    # A kernel, the normalisation's two and slopes: with the block three times as many; one place of two at the end.
    assert len(waiting) == 3 * (4 + 8) + 3 * 4 + 4
    for weight in waiting:
        weight.assign(weight + 100.0)
    with tf.GradientTape() as tape:
        network(images(8), training=True)
        loss = tf.add_n(network.losses)
    assert loss < 1.0
    for gradient in tape.gradient(loss, [weight.value for weight in waiting]):
        assert np.abs(gradient).max() == 0


def test_probabilities_have_one_shape_whatever_has_parted(grown):
    before, after = build().grouping_probabilities(), grown.grouping_probabilities()
    assert {name: p.shape for name, p in before.items()} == {name: p.shape for name, p in after.items()}
    assert before["sfg_1"][:, 4].min() == 1
    np.testing.assert_array_equal(grown.grouping_probabilities()["sfg_1"][:, 4], np.ones(4 * 2))


def test_what_is_learned_draws_the_tree_and_tells_the_affinity(grown):
    """Leaves in the order a, d, b, c: a and d are at 0.5, b and c at 2.5 and end at the bottom."""
    learned = grown.learned()
    np.testing.assert_array_equal(build().learned()["tree/down"], [1.5, 1.5, 1.5, 1.5])
    np.testing.assert_array_equal(learned["tree/bottom"], [0.5, 2.5, 2.5, 0.5])
    np.testing.assert_array_equal(learned["tree/up"], [0.5, np.nan, np.nan, 0.5])
    assert learned["affinity/down"].shape == (4, 4)
    assert learned["affinity/down"][0, 3] == 1
    assert learned["affinity/down"][0, 1] < 0.7


def test_copies_have_the_moments_of_what_they_are_copies_of():
    network, optimizer = build(), keras.optimizers.Adam(0.01)
    optimizer.build(network.trainable_variables)
    rng = np.random.default_rng(0)
    for variable in optimizer.variables[2:]:  # behind the iteration and the rate
        variable.assign(rng.normal(size=variable.shape))
    moments = {variable.path: variable for variable in optimizer.variables}
    before = {path: np.array(variable) for path, variable in moments.items()}
    find_pairs(network)
    grow(network, [optimizer])
    for kind in ("momentum", "velocity"):
        source, copy = (next(p for p in moments if f"convolution_2_task_{t}_kernel_{kind}" in p) for t in (1, 2))
        np.testing.assert_array_equal(moments[copy], before[source])
        np.testing.assert_array_equal(moments[source], before[source])
        assert np.abs(before[copy] - before[source]).max() > 0.1


def test_the_last_errors_are_kept_in_turn():
    network = build(samples=5)
    for first in (0, 3, 6):
        network.trunk.record_errors(np.arange(first, first + 3)[:, None] * np.ones((1, 4)))
    assert sorted(np.array(network.trunk.errors)[:, 0]) == [4, 5, 6, 7, 8]
    network.trunk.record_errors(np.arange(20, 32)[:, None] * np.ones((1, 4)))
    assert sorted(np.array(network.trunk.errors)[:, 0]) == [27, 28, 29, 30, 31]


def test_errors_are_those_of_the_losses_sample_by_sample():
    network = build(GrowingVector, tasks={"a": 1, "b": 3}, heads=None)
    network.compile("sgd", loss={"a": "mae", "b": keras.losses.SparseCategoricalCrossentropy(from_logits=True)})
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]))
    found = sample_errors(
        network,
        {"a": np.array([[1.0], [5.0]]), "b": np.array([0, 1])},
        {"a": np.array([[3.0], [4.0]]), "b": logits},
        {"a": np.array([1.0, 0.0]), "b": None},
    )
    np.testing.assert_allclose(found, [[2.0, -np.log(0.5)], [np.nan, -np.log(0.8)]], rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "branches"),
    [
        ({}, "first: a, d | b, c"),
        ({"complexity_weight": 0.45}, "second: a, d | b, c"),  # twice 0.45 for the stage before the pooling
        ({"complexity_weight": 2.0}, "first: a, b, c, d"),
        ({"threshold": "mean"}, "first: a, b, c, d"),
        ({"split_at": (10, 90)}, "second: a, d | b, c"),
    ],
)
def test_settings_decide_what_is_split(settings, branches):
    """Half an iteration 80 is over; errors of which few are large agree by their mean, whatever the pairs."""
    network = build(GrowingVector, heads=None, **settings)
    rng = np.random.default_rng(1)
    errors = np.exp(4 * rng.normal(size=(256, 2)))[:, [0, 1, 1, 0]]
    network.trunk.record_errors(errors)
    grow(network, iteration=80)
    assert describe_tree(network).removeprefix("first: a, b, c, d > ") == branches


@pytest.mark.parametrize(("rank", "split"), [(2, False), (2, True), (3, True)])
def test_a_growing_network_hardens_at_any_time(rank, split, images, scramble):
    network = build(rank=rank)
    if split:
        find_pairs(network)
        grow(network)
    check_hardened(network, images(7, rank), scramble)


def check_hardened(network, x, scramble):
    scramble(network)
    expected = network(x)
    for task in [None, next(iter(network.tasks))]:
        for name, output in harden(network, task)(x).items():
            np.testing.assert_allclose(output, expected[name], atol=1e-4 * np.abs(expected[name]).max())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [HighResNet, VGG11, UNet])
def test_every_network_grows_and_hardens(kind, images, scramble):
    network = kind(TASKS, "fully_adaptive", seed=0, width=0.125)
    network(images(32, batch=1))
    find_pairs(network)
    grow(network)
    assert describe_tree(network) != f"{network.trunk.architecture.names[0]}: a, b, c, d"
    check_hardened(network, images(32, batch=1), scramble)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_tasks_grows(count, images, scramble):
    tasks = {f"task_{number}": 1 for number in range(count)}
    network = build(GrowingVector, tasks=tasks, heads=None, complexity_weight=0.01)
    find_pairs(network, [(task,) for task in range(count)])
    grow(network)
    np.testing.assert_array_equal(network.sharing_matrix()["second"], np.eye(count))
    check_hardened(network, images(8), scramble)


def test_saving_and_loading_keeps_the_tree(grown, images, tmp_path):
    grown.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert describe_tree(loaded) == describe_tree(grown)
    np.testing.assert_array_equal(loaded.learned()["affinity/up"], grown.learned()["affinity/up"])
    x = images(8)
    for name, output in grown(x).items():
        np.testing.assert_array_equal(loaded(x)[name], output)
    hardened = harden(grown, data=[x])
    assert set(hardened(x)) == set(TASKS)


def test_the_onnx_file_of_a_grown_network_has_the_same_outputs(grown, images):
    runtime = pytest.importorskip("onnxruntime")
    x, hardened = images(9), harden(grown)
    session = runtime.InferenceSession(build_onnx_model(hardened).SerializeToString())
    found = dict(zip([output.name for output in session.get_outputs()], session.run(None, {"image": x}), strict=True))
    for name, output in hardened(x).items():
        np.testing.assert_allclose(found[name], output, atol=1e-4 * np.abs(output).max())


def paired_tasks(seed, count=512):
    """Two regressions of an image's mean and two of its spread, each pair with noise in common."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 8, 8, 1)) * rng.uniform(0.5, 2.0, size=(count, 1, 1, 1))
    x = (x + rng.normal(size=(count, 1, 1, 1))).astype("float32")
    noise = 2 * rng.normal(size=(2, count, 1))
    mean, spread = x.mean(axis=(1, 2)) + noise[0], x.std(axis=(1, 2)) - 1.25 + noise[1]
    return x, {"a": mean, "d": -mean, "b": spread, "c": -spread}


def test_fit_splits_while_it_trains(capfd):
    x, y = paired_tasks(0, 80)
    tasks = {"a": 1, "b": 1, "c": 1, "d": 1}
    network = build(GrowingVector, tasks=tasks, heads=None, complexity_weight=0, split_at=(3,))
    network.compile("adam", loss="mse")
    network.fit(x, y, batch_size=16, epochs=1, verbose=1)
    printed = capfd.readouterr().out
    assert "iteration 3: second: a | b | c | d (affinity a-b" in printed
    assert "iteration 3: first: a | b | c | d (affinity a-b" in printed
    kernels = [np.array(network.trunk.convolutions[key].kernel) for key in ("0_0", "0_1")]
    assert 0 < np.abs(kernels[0] - kernels[1]).max() < 0.1  # a copy, which other tasks have trained since


def test_fractions_of_a_training_without_a_known_length_are_refused():
    network = build(GrowingVector, tasks={"a": 1}, heads=None)
    network.compile("sgd", loss="mse")
    x, y = paired_tasks(0, 8)
    with pytest.raises(ValueError, match="whose length is not known: give steps_per_epoch"):
        network.fit(((x, {"a": y["a"]}) for _ in range(3)), verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_learned_tree_separates_two_related_pairs(seed):
    x, y = paired_tasks(seed)
    tasks = {"a": 1, "b": 1, "c": 1, "d": 1}
    network = GrowingVector(tasks, FullyAdaptive(samples=512, split_at=(0.5,)), seed=seed)
    network.compile(keras.optimizers.Adam(3e-3), loss="mse")
    network.fit(x, y, batch_size=16, epochs=6, verbose=0)
    pairs = np.eye(4)
    pairs[[0, 3, 1, 2], [3, 0, 2, 1]] = 1
    for matrix in network.sharing_matrix().values():
        np.testing.assert_array_equal(matrix, pairs)
