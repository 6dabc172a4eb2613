"""Soft sharing: the penalty between the tasks' kernels, what it draws together, and what it leaves alone."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.architecture.stage import Stage
from sfgkeras.layers.kernel_coupling import DISTANCES
from sfgkeras.networks import MultiTaskNetwork, count_multiplies, count_parameters, harden
from sfgkeras.sharing import SoftSharing

TASKS = {"ct": 1, "organs": 3}


@keras.saving.register_keras_serializable(package="tests")
class SmallDecoders(MultiTaskNetwork):
    """A stage with blocks, and one that every task has for itself."""

    stages = (Stage(8, name="common", num_blocks=1), Stage(4, name="own", per_task=True, num_blocks=1))


def build(tasks=TASKS, kind=None, image_channels=1, **settings):
    network = kind(tasks, seed=0, **settings)
    network.build((None, *(None,) * network.spatial_rank, image_channels))
    return network


def kernels_of(network):
    """The kernels of every layer by name, one per task: `(tasks, entries)`."""
    found = {}
    for name, layers in network.trunk.kernel_layers():
        found[name] = np.stack([np.asarray(layer.kernel).ravel() for layer in layers])
    return found


def penalty(network):
    return float(sum(network.losses))


def squares(kernels):
    return sum(float(((a - b) ** 2).sum()) for a, b in itertools.combinations(kernels, 2))


def test_the_penalty_is_the_distance_over_all_kernels_and_pairs(small_network):
    network = build({"a": 1, "b": 1, "c": 1}, small_network, sharing=SoftSharing(strength=0.5), kernel_regularizer=None)
    kernels = kernels_of(network)
    assert list(kernels) == [
        "stage_1/convolution", "stage_1/block_1/convolution_1", "stage_1/block_1/convolution_2",
        "stage_2/convolution", "stage_3/convolution",
    ]  # fmt: skip
    assert penalty(network) == pytest.approx(0.5 * sum(map(squares, kernels.values())), rel=1e-5)


def test_the_decay_of_kernels_stays_beside_the_penalty(small_network):
    decay = keras.regularizers.L2(0.01)
    soft = build(TASKS, small_network, sharing="soft_sharing", kernel_regularizer=decay)
    distance = sum(map(squares, kernels_of(soft).values()))
    decayed = sum(0.01 * float((kernels**2).sum()) for kernels in kernels_of(soft).values())
    heads = sum(0.01 * float((np.asarray(head.projection.kernel) ** 2).sum()) for head in soft.heads)
    assert penalty(soft) == pytest.approx(1e-3 * distance + decayed + heads, rel=1e-5)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["stage_1"], ["stage_1/convolution", "stage_1/block_1/convolution_1", "stage_1/block_1/convolution_2"]),
        (["*/convolution"], ["stage_1/convolution", "stage_2/convolution", "stage_3/convolution"]),
        (["*/block_*", "stage_3"], ["stage_1/block_1/convolution_1", "stage_1/block_1/convolution_2",
                                    "stage_3/convolution"]),
    ],
)  # fmt: skip
def test_patterns_choose_the_kernels(layers, expected, small_network):
    network = build(TASKS, small_network, sharing=SoftSharing(layers=layers), kernel_regularizer=None)
    kernels = kernels_of(network)
    assert penalty(network) == pytest.approx(1e-3 * sum(squares(kernels[name]) for name in expected), rel=1e-5)


def test_a_pattern_that_meets_nothing_is_refused_with_what_there_is(small_network):
    with pytest.raises(
        ValueError,
        match="layers = 'zzz' meets no kernel of the network; they are called stage_1/con",
    ):
        small_network(TASKS, SoftSharing(layers=["stage_1", "zzz"]))


def test_stages_per_task_are_left_alone_unless_they_are_named():
    for layers, stages in [((), ("common",)), (("own",), ("own",)), (("*",), ("common", "own"))]:
        network = build(TASKS, SmallDecoders, sharing=SoftSharing(layers=layers), kernel_regularizer=None)
        expected = sum(squares(k) for name, k in kernels_of(network).items() if name.partition("/")[0] in stages)
        assert penalty(network) == pytest.approx(1e-3 * expected, rel=1e-5)


def test_strength_0_is_single_task(small_network, images):
    x, seen = images(8), []
    for sharing in ("single_task", SoftSharing(strength=0.0)):
        network = small_network(TASKS, sharing, width=2.0, seed=0)
        outputs = network(x, training=True)
        seen.append([penalty(network), *(np.asarray(output) for output in outputs.values())])
    for ours, expected in zip(*seen, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_a_single_task_has_nothing_to_share(small_network, images):
    outputs = [small_network({"a": 1}, sharing, seed=0)(images(8))["a"] for sharing in ("single_task", "soft_sharing")]
    np.testing.assert_array_equal(*outputs)
    network = build({"a": 1}, small_network, sharing="soft_sharing", kernel_regularizer=None)
    assert penalty(network) == 0
    np.testing.assert_array_equal(network.sharing_matrix()["stage_1"], [[1.0]])


def train(network, x, rate, steps):
    """Takes steps of gradient descent on the mean squares of the outputs' distance to the images, and the penalty."""
    optimizer = keras.optimizers.SGD(rate)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            outputs = network(x, training=True)
            errors = [tf.reduce_mean((output - x) ** 2) for output in outputs.values()]
            loss = tf.add_n([*errors, *network.losses])
        variables = network.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)


def test_a_large_strength_makes_towers_equal(small_network, images):
    network = build(TASKS, small_network, sharing=SoftSharing(strength=1000.0))
    before = kernels_of(network)
    assert min(np.abs(a - b).max() for a, b in before.values()) > 0.1
    train(network, images(6), 2e-4, 12)
    after = kernels_of(network)
    assert max(np.abs(a - b).max() for a, b in after.values()) < 1e-3
    assert max(np.abs(kernels).max() for kernels in after.values()) > 0.1
    for name, matrix in network.sharing_matrix().items():
        np.testing.assert_allclose(matrix, 1.0, atol=1e-3, err_msg=name)


def test_the_trace_norm_leaves_one_kernel_in_common_before_all_are_gone(small_network):
    """Proximal steps shrink singular values alike, so that the small one of two related kernels is gone first."""
    network = build(TASKS, small_network, sharing=SoftSharing(strength=1.0, distance="trace_norm", layers=["stage_2"]),
                    kernel_regularizer=None)  # fmt: skip
    first, second = (network.trunk.convolutions[f"1_{task}"].kernel for task in range(2))
    second.assign(first + 0.3 * second)
    optimizer = keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.05, 1, 0.97))
    for _ in range(60):
        with tf.GradientTape() as tape:
            loss = tf.add_n(network.losses)
        optimizer.apply(tape.gradient(loss, [first, second]), [first, second])
    singular = np.linalg.svd(kernels_of(network)["stage_2/convolution"], compute_uv=False)
    assert singular[1] < 0.02 * singular[0]
    assert singular[0] > 0.5


def test_every_distance_changes_the_loss(small_network):
    values = [penalty(build(TASKS, small_network, sharing=SoftSharing(distance=name))) for name in DISTANCES]
    assert len(set(np.round(values, 6))) == len(DISTANCES)


def test_the_sharing_matrix_is_the_likeness_of_kernels(small_network):
    network = build(TASKS, small_network, sharing=SoftSharing(layers=["stage_1", "stage_2"]))
    for index, (first, second) in enumerate(
        [([3.0, 4.0], [3.0, 4.0]), ([1.0, 0.0], [1.0, 1.0]), ([1.0, 0.0], [1.0, 0.0])]
    ):
        for task, values in enumerate((first, second)):
            kernel = network.trunk.convolutions[f"{index}_{task}"].kernel
            entries = np.zeros(kernel.shape).ravel()
            entries[:2] = values
            kernel.assign(entries.reshape(kernel.shape))
    # Equal ones, then 2 * 1 / (1 + 2), and then what no penalty couples.
    expected = {"stage_1": 1.0, "stage_2": 2 / 3, "stage_3": 0.0}
    found = network.sharing_matrix()
    assert list(found) == list(expected)
    for name, matrix in found.items():
        np.testing.assert_allclose(matrix, [[1, expected[name]], [expected[name], 1]], rtol=1e-6)


@pytest.mark.parametrize(("num_tasks", "rank"), [(1, 3), (2, 2), (3, 3), (5, 2)])
def test_the_hardened_network_has_the_same_outputs(num_tasks, rank, small_network, images, scramble):
    tasks = {f"task_{number}": 1 + number % 3 for number in range(num_tasks)}
    network = small_network(tasks, "soft_sharing", spatial_rank=rank, seed=0)
    x = images(8, rank)
    network(x)
    scramble(network)
    expected = network(x)
    for name, output in harden(network)(x).items():
        np.testing.assert_allclose(output, expected[name], atol=1e-4 * np.abs(expected[name]).max())
    alone = harden(network, "task_0")
    np.testing.assert_allclose(alone(x)["task_0"], expected["task_0"], atol=1e-4 * np.abs(expected["task_0"]).max())


def test_saving_and_loading_keeps_kernels_and_penalty(small_network, images, tmp_path):
    sharing = SoftSharing(strength=0.01, distance="trace_norm", layers=["stage_1"])
    network = build(TASKS, small_network, sharing=sharing)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert loaded.sharing == sharing
    assert penalty(loaded) == penalty(network)
    for name, output in network(images(8)).items():
        np.testing.assert_array_equal(loaded(images(8))[name], output)


def test_parameters_and_multiplies_are_those_of_independent_networks(small_network):
    alone, soft = (build(TASKS, small_network, sharing=name, width=4.0) for name in ("single_task", "soft_sharing"))
    assert count_parameters(soft) == count_parameters(alone)
    assert count_multiplies(soft, (16, 16, 1)) == count_multiplies(alone, (16, 16, 1))


def test_fewer_filters_than_tasks_are_refused(small_network):
    with pytest.raises(ValueError, match="a layer has 1 filters for 2 tasks"):
        small_network(TASKS, "soft_sharing", width=0.01)
