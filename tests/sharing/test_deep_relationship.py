"""Deep relationship networks: the prior against SciPy, its updates against NumPy, and what training makes of them."""

import keras
import numpy as np
import pytest
import scipy.stats
from keras import ops

from sfgkeras.architecture.stage import Stage
from sfgkeras.layers.tensor_normal import log_density, next_factors, quadratic_form, stack_kernels
from sfgkeras.networks import Head, HighResNet, MultiTaskNetwork, harden, recalibrate
from sfgkeras.sharing.tensor_normal_prior import TensorNormalPrior, correlation_of

TASKS = {"a": 1, "b": 1, "c": 2}
SHAPE = (4, 3, 2)


def covariance(size, rng):
    root = rng.normal(size=(size, size))
    return root @ root.T + 0.5 * np.eye(size)


@pytest.fixture
def stack():
    return np.random.default_rng(0).normal(size=SHAPE).astype("float32")


@pytest.fixture
def covariances():
    rng = np.random.default_rng(1)
    return [covariance(size, rng) for size in SHAPE]


def factors_of(covariances):
    return [None if one is None else np.linalg.cholesky(one).astype("float32") for one in covariances]


@pytest.mark.parametrize("without", [None, 0, 1, 2])
def test_the_density_is_that_of_a_normal_vector_with_the_kronecker_product_as_covariance(without, stack, covariances):
    """In the order features x classes x tasks, for the vector in which tasks run fastest."""
    kept = [None if axis == without else one for axis, one in enumerate(covariances)]
    features, classes, tasks = (np.eye(n) if one is None else one for n, one in zip(SHAPE, kept, strict=True))
    whole = np.kron(features, np.kron(classes, tasks))
    expected = scipy.stats.multivariate_normal(np.zeros(24), whole).logpdf(stack.ravel())
    assert float(log_density(stack, factors_of(kept))) == pytest.approx(expected, rel=1e-4)


def test_the_gradient_of_the_penalty_equals_finite_differences(covariances):
    import tensorflow as tf

    rng = np.random.default_rng(2)
    kernels = [tf.Variable(rng.normal(size=(2, 1, 2, 3)).astype("float32")) for _ in range(2)]
    prior = TensorNormalPrior(0.3, 1e-3, ("features", "classes", "tasks"))
    prior.build({"place": SHAPE})
    for variable, factor in zip(prior.weights, factors_of(covariances), strict=True):
        variable.assign(factor)
    with tf.GradientTape() as tape:
        (penalty,) = prior.penalties({"place": kernels})
    gradients = np.stack([gradient.numpy().reshape(4, 3) for gradient in tape.gradient(penalty, kernels)], axis=-1)
    whole = np.kron(covariances[0], np.kron(covariances[1], covariances[2]))
    values = np.stack([kernel.numpy().reshape(4, 3) for kernel in kernels], axis=-1).astype("float64")

    def value(vector):
        return 0.15 * vector @ np.linalg.solve(whole, vector)

    assert float(penalty) == pytest.approx(value(values.ravel()), rel=1e-4)
    for place in range(24):
        step = np.zeros(24)
        step[place] = 1e-4
        difference = (value(values.ravel() + step) - value(values.ravel() - step)) / 2e-4
        assert gradients.ravel()[place] == pytest.approx(difference, rel=1e-3, abs=1e-4)


def test_an_update_is_the_flip_flop_formula(stack, covariances):
    found = [np.asarray(factor) @ np.asarray(factor).T for factor in next_factors(stack, factors_of(covariances), 0.01)]
    wanted, letters = list(covariances), "abc"
    for axis in range(3):
        others = [k for k in range(3) if k != axis]
        rows = np.moveaxis(stack.astype("float64"), axis, 0).reshape(SHAPE[axis], -1)
        inverse = np.linalg.inv(np.kron(wanted[others[0]], wanted[others[1]]))
        likely = rows @ inverse @ rows.T / rows.shape[1]
        wanted[axis] = likely + 0.01 * np.trace(likely) / SHAPE[axis] * np.eye(SHAPE[axis])
        np.testing.assert_allclose(found[axis], wanted[axis], rtol=1e-3, atol=1e-4, err_msg=letters[axis])


def test_covariances_that_are_not_learned_stay_the_identity(stack):
    factors = next_factors(stack, [None, None, np.eye(2, dtype="float32")], 1e-6)
    assert factors[:2] == [None, None]
    rows = np.moveaxis(stack, -1, 0).reshape(2, -1)
    np.testing.assert_allclose(factors[2] @ np.transpose(factors[2]), rows @ rows.T / 12, rtol=1e-4)


def test_with_identities_the_penalty_is_half_the_sum_of_squares(stack):
    assert float(quadratic_form(stack, [np.eye(n, dtype="float32") for n in SHAPE])) == pytest.approx(
        float((stack**2).sum()), rel=1e-5
    )


def test_kernels_of_zeros_have_covariances(stack):
    for factor in next_factors(0 * stack, [np.eye(n, dtype="float32") for n in SHAPE], 1e-3):
        assert np.isfinite(factor).all()
        assert (np.diag(factor) > 0).all()


def test_voxels_are_counted_among_the_features():
    kernel = np.arange(3 * 2 * 4 * 5).reshape(3, 2, 4, 5)
    stack = stack_kernels([kernel, kernel + 1])
    assert stack.shape == (24, 5, 2)
    assert float(stack[(2 * 2 + 1) * 4 + 3, 4, 0]) == kernel[2, 1, 3, 4]


def places(network):
    return {place.name: place.tasks for place in network.trunk._find_places()}


@keras.saving.register_keras_serializable(package="tests")
class WithBlocks(MultiTaskNetwork):
    """Blocks behind the last shared stage and behind the first one of the tasks."""

    stages = (Stage(4, name="first", num_blocks=1), Stage(7, name="second", num_blocks=1), Stage(6, name="third"))


@pytest.fixture(scope="module")
def network():
    built = WithBlocks(TASKS, "deep_relationship", seed=0, task_layers=2, update_every=2, strength=0.5)
    built.build((None, None, None, 1))
    return built


def test_what_tasks_have_in_one_place_has_a_prior(network):
    assert places(network) == {
        "second": (0, 1, 2), "second_block_1_1": (0, 1, 2), "second_block_1_2": (0, 1, 2), "third": (0, 1, 2),
        "head_logits_of_1_2": (0, 1),
    }  # fmt: skip
    assert [stage.filters for stage in network.trunk.architecture.stages] == [4, 6, 6]


def test_what_tasks_share_is_shared_up_to_its_last_block(network):
    names = [layer.name for layer in network.trunk.sections.values()]
    assert names == ["blocks_1_shared", "blocks_2_task_1", "blocks_2_task_2", "blocks_2_task_3"]


def test_hidden_layers_of_heads_are_places_while_their_shapes_agree():
    heads = {"a": Head("vector", layers=(5, 4)), "b": Head("vector", layers=(5, 3)), "c": Head("vector", layers=(5, 4))}
    built = WithBlocks(TASKS, "deep_relationship", seed=0, task_layers=0, heads=heads)
    built.build((None, None, None, 1))
    assert places(built) == {"head_layer_1_of_1_2_3": (0, 1, 2), "head_layer_2_of_1_3": (0, 2)}
    sizes = [factor.shape[0] for factor in built.trunk.prior.weights]
    assert sizes == [6, 5, 3, 5, 4, 2]


@pytest.mark.parametrize("same_start", [True, False])
def test_kernels_of_one_place_start_equal_if_asked(same_start):
    built = WithBlocks(TASKS, "deep_relationship", seed=0, same_start=same_start)
    built.build((None, None, None, 1))
    for kernels in built.trunk._kernels().values():
        for other in kernels[1:]:
            assert np.array_equal(kernels[0], other) == same_start


@pytest.fixture(scope="module")
def trained(network):
    """The network after three steps, and the covariances and kernels before and after each."""
    import tensorflow as tf

    x = np.random.default_rng(0).normal(size=(2, 6, 6, 1)).astype("float32")
    optimizer = keras.optimizers.SGD(0.05)
    seen = []
    for _ in range(4):
        kernels = {name: [np.array(kernel) for kernel in own] for name, own in network.trunk._kernels().items()}
        with tf.GradientTape() as tape:
            outputs = network(x, training=True)
            total = sum(tf.reduce_mean((output - 1) ** 2) for output in outputs.values()) + tf.add_n(network.losses)
        optimizer.apply(tape.gradient(total, network.trainable_variables), network.trainable_variables)
        seen.append((kernels, [np.array(factor) for factor in network.trunk.prior.weights]))
    return seen


def test_covariances_are_the_identity_until_the_first_update_and_then_change_only_when_due(trained, network):
    (_, first), (_, second), (kernels, third), (_, fourth) = trained
    for before, factor in zip(first, second, strict=True):
        np.testing.assert_array_equal(before, np.eye(len(before)))
        np.testing.assert_array_equal(before, factor)
    expected = []
    for own in kernels.values():
        stack = stack_kernels(own)
        expected += next_factors(stack, [np.eye(n, dtype="float32") for n in stack.shape], 1e-2)
    for wanted, factor, after in zip(expected, third, fourth, strict=True):
        np.testing.assert_allclose(factor, wanted, rtol=1e-4, atol=1e-5)
        assert (factor != np.eye(len(factor))).any()
        np.testing.assert_array_equal(factor, after)


def test_what_was_learned_is_told_and_drawn_from(trained, network):
    learned = network.trunk.learned()
    assert list(learned) == [f"task_correlation/{name}" for name in places(network)]
    task_factor = np.asarray(network.trunk.prior.weights[2])
    expected = correlation_of(task_factor @ task_factor.T)
    np.testing.assert_allclose(learned["task_correlation/second"], expected)
    assert expected[0, 1] == pytest.approx(
        (task_factor[0] @ task_factor[1]) / np.linalg.norm(task_factor[0]) / np.linalg.norm(task_factor[1]), rel=1e-5
    )
    heads = learned["task_correlation/head_logits_of_1_2"]
    assert np.isnan(heads[2]).all()
    assert np.isfinite(heads[:2, :2]).all()
    matrices = network.trunk.sharing_matrix()
    np.testing.assert_array_equal(matrices["first"], np.ones((3, 3)))
    np.testing.assert_allclose(matrices["second"], np.abs(expected))


def test_covariances_are_saved_and_loaded(trained, network, tmp_path):
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    for one, two in zip(network.trunk.prior.weights, loaded.trunk.prior.weights, strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_hardened_network_shares_what_the_network_shares(trained, network):
    x = np.random.default_rng(1).normal(size=(2, 7, 6, 1)).astype("float32")
    recalibrate(network, [x])
    for task in [None, "b"]:
        hardened = harden(network, task)
        for name, values in hardened(x).items():
            np.testing.assert_allclose(values, network(x)[name], atol=1e-4)
        convolutions = [layer for layer in hardened.layers if isinstance(layer, keras.layers.Conv2D)]
        # Shared: 1 + 2; of each task: 1 + 2 + 1 and its head.
        assert len(convolutions) == 3 + 5 * (3 if task is None else 1)


def test_covariances_of_tasks_alone_and_epsilon_are_what_was_asked_for():
    built = WithBlocks(TASKS, "deep_relationship", seed=0, covariances="tasks", epsilon=0.25, same_start=True)
    built.build((None, None, None, 1))
    assert [factor.shape for factor in built.trunk.prior.weights] == [(3, 3), (2, 2)]
    built.trunk.prior.learn(built.trunk._kernels(), True)
    # Equal kernels: the covariance is v everywhere, and v + v / 4 on the diagonal.
    assert built.trunk.learned()["task_correlation/third"][0, 1] == pytest.approx(1 / 1.25)


def test_one_task_has_no_prior():
    built = HighResNet({"a": 1}, "deep_relationship", width=0.25, seed=0)
    built(np.zeros((1, 6, 6, 1), "float32"), training=True)
    assert places(built) == {}
    assert built.trunk.penalties() == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task_layers": 4}, "task_layers = 4 is more than the 3 stages of the network"),
        ({"width": 0.25}, "a layer has 2 filters for 3 tasks"),
    ],
)
def test_what_cannot_be_split_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        WithBlocks(TASKS, "deep_relationship", **settings)


def test_the_penalty_counts_by_its_strength(network):
    penalties = {}
    for strength in (0.0, 1.0, 3.0):
        built = WithBlocks(TASKS, "deep_relationship", seed=0, strength=strength, kernel_regularizer=None)
        built(np.zeros((1, 6, 6, 1), "float32"))
        penalties[strength] = float(ops.convert_to_numpy(sum(built.losses)))
        squares = sum(float(np.sum(np.square(kernel))) for own in built.trunk._kernels().values() for kernel in own)
        assert penalties[strength] == pytest.approx(strength / 2 * squares, rel=1e-5)
    assert penalties[3.0] == pytest.approx(3 * penalties[1.0]) != 0


@pytest.mark.slow
@pytest.mark.parametrize("covariances", ["all", "tasks"])
def test_of_two_related_pairs_the_learned_correlation_separates_the_pairs(covariances):
    """Targets are filtered images: two filters, and each of them again with a little noise."""

    class Small(MultiTaskNetwork):
        stages = (Stage(8), Stage(16))

    rng = np.random.default_rng(0)
    images = rng.normal(size=(64, 10, 10, 1)).astype("float32")
    first, second = rng.normal(size=(2, 3, 3)) / 3
    filters = {"a": first, "b": first, "c": second, "d": second}
    filters = {task: kernel + rng.normal(size=(3, 3)) * 0.05 for task, kernel in filters.items()}
    targets = {
        task: np.tanh(2 * np.asarray(ops.conv(images, kernel[..., None, None].astype("float32"), padding="same")))
        for task, kernel in filters.items()
    }
    network = Small(dict.fromkeys(filters, 1), "deep_relationship", seed=0, update_every=20, covariances=covariances)
    network.compile(keras.optimizers.Adam(1e-2), loss="mse")
    network.fit(images, targets, batch_size=16, epochs=60, verbose=0)
    correlation = network.trunk.learned()["task_correlation/stage_2"]
    related = [correlation[0, 1], correlation[2, 3]]
    unrelated = correlation[:2, 2:]
    assert min(related) > 0.9
    assert np.abs(unrelated).max() < 0.7
