"""Trees of tasks: between hard sharing and independent networks, and branches that know nothing of each other."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.architecture.stage import Stage
from sfgkeras.errors import Problem
from sfgkeras.networks import VGG11, HighResNet, MultiTaskNetwork, UNet, harden
from sfgkeras.networks.onnx_export import build_onnx_model
from sfgkeras.sharing import Tree

TASKS = {"ct": 1, "organs": 3, "sex": 2}
HEADS = {"sex": "vector@bottom"}
UNET = {"width": 0.1, "levels": 2}
TREE = "bottom: ct, sex | organs > up_2"


@keras.saving.register_keras_serializable(package="tests")
class TreeU(MultiTaskNetwork):
    """Two levels down and up again, with residual blocks where branches are read more than once."""

    stages = (
        Stage(6, name="down_1", pools=True),
        Stage(8, name="down_2", pools=True, num_blocks=1),
        Stage(12, name="bottom"),
        Stage(8, name="up_2", upsamples=True, skip="down_2", num_blocks=1),
        Stage(6, name="up_1", upsamples=True, skip="down_1"),
    )


def build(network, sharing, rank=2, tasks=TASKS, **settings):
    built = network(tasks, sharing, spatial_rank=rank, seed=0, **settings)
    built.build((None, *(8,) * rank, 1))
    return built


@pytest.fixture(scope="module")
def tree():
    return build(TreeU, Tree(TREE), heads=HEADS)


def assert_equal(network, other, x, tolerance=1e-5):
    assert [weight.shape for weight in network.weights] == [weight.shape for weight in other.weights]
    for ours, theirs in zip(network.trainable_weights, other.trainable_weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    expected, outputs = other(x), network(x)
    for name in expected:
        np.testing.assert_allclose(outputs[name], expected[name], atol=tolerance)


@pytest.mark.parametrize(
    ("network", "rank", "settings", "first"),
    [
        (TreeU, 2, {"heads": HEADS}, "down_1"),
        pytest.param(HighResNet, 2, {"width": 0.25}, "stage_1", marks=pytest.mark.slow),
        pytest.param(HighResNet, 3, {"width": 0.25}, "stage_1", marks=pytest.mark.slow),
        pytest.param(VGG11, 2, {"width": 0.1}, "stage_1", marks=pytest.mark.slow),
        pytest.param(UNet, 2, UNET, "encoder_1_1", marks=pytest.mark.slow),
        pytest.param(UNet, 2, {**UNET, "decoder_start": "decoder"}, "encoder_1_1", marks=pytest.mark.slow),
    ],
)
def test_one_branch_is_hard_sharing_and_a_branch_each_is_independent_networks(network, rank, settings, first, images):
    x = images(8, rank)
    together = f"{first}: {', '.join(TASKS)}"
    assert_equal(build(network, Tree(together), rank, **settings), build(network, "hard_sharing", rank, **settings), x)
    assert_equal(build(network, Tree(first), rank, **settings), build(network, "single_task", rank, **settings), x)


def test_a_task_has_no_gradient_in_the_branches_of_others(tree, images):
    x = images(8)
    variables = {variable.path: variable for variable in tree.trunk.trainable_variables}
    touched = {}
    for task in TASKS:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tree(x)[task] ** 2)
        found = tape.gradient(loss, [variable.value for variable in variables.values()], unconnected_gradients="zero")
        touched[task] = {path for path, value in zip(variables, found, strict=True) if np.abs(value).max() > 0}
    layers = {task: {path.split("/")[2].split("_", 1)[1] for path in paths} for task, paths in touched.items()}
    trunk = {"1_shared", "2_shared"}
    assert layers["sex"] == trunk | {"3_tasks_1_3"}
    assert layers["ct"] == trunk | {"3_tasks_1_3", "4_task_1", "5_task_1"}
    assert layers["organs"] == trunk | {"3_task_2", "4_task_2", "5_task_2"}


def test_branches_have_the_filters_of_their_tasks(tree):
    """Of 12 at the bottom two tasks have 8 and one 4; of 8 and 6 above it, which sex does not reach, each has half."""
    filters = {key: convolution.filters for key, convolution in tree.trunk.convolutions.items()}
    assert filters == {"0_0": 6, "1_0": 8, "2_0": 8, "2_1": 4, "3_0": 4, "3_1": 4, "4_0": 3, "4_1": 3}
    groups = [list(found.sum(axis=0)) for found in tree.grouping_probabilities().values()]
    assert groups == [[0, 0, 0, 6], [0, 0, 0, 8], [0, 4, 0, 8], [4, 4, 0, 0], [3, 3, 0, 0]]


def test_a_skip_joins_a_branch_with_its_own_ancestor(images):
    """With branches from the first stage on the way up of a task reads its own way down: 3 + 4 channels of 6 + 8."""
    network = build(TreeU, Tree("down_1"), tasks={"ct": 1, "organs": 3})
    assert network.trunk.convolutions["4_1"].kernel.shape == (3, 3, 4 + 3, 3)
    later = build(TreeU, Tree("up_2"), tasks={"ct": 1, "organs": 3})
    assert later.trunk.convolutions["4_1"].kernel.shape == (3, 3, 4 + 6, 3)
    x = images(8)
    before = network(x)["organs"]
    network.trunk.convolutions["0_0"].kernel.assign(network.trunk.convolutions["0_0"].kernel * 2)
    np.testing.assert_array_equal(network(x)["organs"], before)


@pytest.mark.parametrize("num_tasks", [1, 5, *(pytest.param(count, marks=pytest.mark.slow) for count in (2, 3, 4))])
def test_the_hardened_network_has_the_same_outputs(num_tasks, small_network, images, scramble):
    tasks = {f"task_{number}": 1 + number % 2 for number in range(num_tasks)}
    pairs = " | ".join(", ".join(list(tasks)[first : first + 2]) for first in range(0, num_tasks, 2))
    network = build(small_network, Tree(f"stage_2: {pairs} > stage_3"), tasks=tasks)
    check_hardened(network, images(8), scramble)


@pytest.mark.parametrize("rank", [2, 3])
def test_maps_and_vectors_of_a_tree_with_skips_harden(rank, images, scramble):
    check_hardened(build(TreeU, Tree(TREE), rank, heads=HEADS), images(9, rank), scramble)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "settings"), [(HighResNet, {"width": 0.25}), (VGG11, {"width": 0.1}), (UNet, UNET)]
)
def test_networks_of_trees_harden(network, settings, images, scramble):
    check_hardened(build(network, "tree", **settings), images(9), scramble)


def check_hardened(network, x, scramble):
    scramble(network)
    expected = network(x)
    for task in [None, *network.tasks]:
        outputs = harden(network, task)(x)
        assert set(outputs) == (set(network.tasks) if task is None else {task})
        for name, output in outputs.items():
            np.testing.assert_allclose(output, expected[name], atol=1e-4 * np.abs(expected[name]).max())


def test_one_task_hardens_to_its_own_branches_only(tree):
    """By hand, 3 x 3 kernels: 1 x 6, 6 x 8, two of 8 x 8 in the block, 8 x 8 (bottom, two tasks), then (8 + 8) x 4."""
    convolutions = [layer for layer in harden(tree, "sex").layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.kernel.shape[-2:] for layer in convolutions] == [(1, 6), (6, 8), (8, 8), (8, 8), (8, 8)]


def test_the_onnx_file_has_the_same_outputs(tree, images, scramble):
    runtime = pytest.importorskip("onnxruntime")
    scramble(tree)
    x = images(9)
    session = runtime.InferenceSession(build_onnx_model(harden(tree)).SerializeToString())
    found = dict(zip([output.name for output in session.get_outputs()], session.run(None, {"image": x}), strict=True))
    for name, output in harden(tree)(x).items():
        np.testing.assert_allclose(found[name], output, atol=1e-4 * np.abs(output).max())


def test_saving_and_loading_keeps_branches_and_outputs(tree, images, tmp_path):
    x = images(8)
    tree.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert loaded.sharing == Tree(TREE)
    for name, output in tree(x).items():
        np.testing.assert_array_equal(loaded(x)[name], output)


def test_the_matrix_of_sharing_is_1_where_tasks_are_in_one_branch(tree):
    shared, pair, none = np.ones((3, 3)), np.eye(3), np.eye(3)
    pair[0, 2] = pair[2, 0] = 1
    expected = {"down_1": shared, "down_2": shared, "bottom": pair, "up_2": none, "up_1": none}
    found = tree.trunk.sharing_matrix()
    assert list(found) == list(expected)
    for stage, matrix in expected.items():
        np.testing.assert_array_equal(found[stage], matrix)


@pytest.mark.parametrize(
    ("branches", "message"),
    [
        ("midle", "branches = 'midle' names 'midle', which is no stage of the network"),
        ("bottom: ct, organs", "branches = 'bottom: ct, organs' leaves out task 'sex' at stage 'bottom'"),
    ],
)
def test_branches_that_the_network_has_not_are_refused(branches, message):
    with pytest.raises(Problem, match=message):
        TreeU(TASKS, "tree", branches=branches)


def test_without_branches_all_tasks_part_where_the_second_half_begins():
    network = build(TreeU, "tree", heads=HEADS)
    assert network.trunk.connections.branches == build(TreeU, Tree("up_2"), heads=HEADS).trunk.connections.branches
    assert sorted(network.trunk.convolutions) == ["0_0", "1_0", "2_0", "3_0", "3_1", "4_0", "4_1"]
