"""What the hardened network is expected to cost: exact at fixed groups, a mean elsewhere, part of the objective."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.architecture.graph import build_architecture
from sfgkeras.architecture.stage import Stage
from sfgkeras.grouping import grouping_probabilities
from sfgkeras.networks import VGG11, Head, UNet, count_multiplies, harden
from sfgkeras.networks.expected_multiplies import expected_multiplies, relative_multiplies
from sfgkeras.tables.networks import NETWORKS


def tasks_of(count):
    return {f"task_{index}": index + 1 for index in range(count)}


def of_network(network, probabilities, shape):
    trunk = network.trunk
    settings = trunk.sharing
    return float(
        expected_multiplies(
            trunk.architecture,
            probabilities,
            network.heads,
            (*shape[:-1], network.trunk_channels),
            settings.routing,
            settings.mask_residual,
            shape[-1] if network.is_siamese else 1,
        )
    )


CASES = [
    ("small", 2, 2, {}),
    ("small", 1, 3, {"routing": "dense"}),
    ("small", 3, 2, {"routing": "separate"}),
    ("small", 2, 2, {"mask_residual": False}),
    (UNet, 2, 2, {"width": 0.1}),
    (VGG11, 2, 2, {"width": 0.1, "heads": {"task_0": Head("vector", "stage_3", (5,)), "task_1": "vector"}}),
]


@pytest.mark.parametrize(("network_class", "num_tasks", "rank", "settings"), CASES)
def test_at_fixed_groups_it_is_what_the_hardened_network_multiplies(
    network_class, num_tasks, rank, settings, small_network, scramble
):
    if network_class == "small":
        network_class = small_network
    network = network_class(tasks_of(num_tasks), spatial_rank=rank, masks="mode", seed=0, **settings)
    shape = (9,) * rank + (2,)  # odd: pooling rounds up
    network.build((None, *shape))
    rng = np.random.default_rng(3)
    for skew in (5.0, 0.3):  # groups of all sizes, and empty ones
        groups = [
            rng.choice(grouping.num_groups, size=grouping.filters, p=rng.dirichlet(np.full(grouping.num_groups, skew)))
            for grouping in network.groupings().values()
        ]
        scramble(network, groups=groups)
        fixed = [np.round(p) for p in network.trunk.probabilities_of_all_groups()]
        assert of_network(network, fixed, shape) == count_multiplies(harden(network), shape)


def kinds_of_heads():
    """Every network of the table with every kind of head that it takes."""
    for name, entry in NETWORKS.items():
        for kind in sorted(entry.outputs):
            for pooling in ("average", "flatten") if kind == "vector" else ("average",):
                yield pytest.param(name, kind, pooling, id=f"{name}-{kind}-{pooling}")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind", "pooling"), kinds_of_heads())
def test_heads_of_every_network_cost_what_they_multiply(name, kind, pooling, scramble):
    usual = "map" if kind == "motion" else kind
    heads = {"first": Head(kind, layers=(5,), pooling=pooling), "second": Head(usual)}
    check_at_fixed_groups(name, {"first": 4, "second": 3}, heads, 3, scramble)


MOTION = Head("motion", layers=(5,))


@pytest.mark.parametrize(
    ("num_frames", "heads", "settings"),
    [
        (3, {"first": MOTION, "second": "map"}, {"reach": 1}),
        (2, {"first": MOTION, "second": "map"}, {}),
        pytest.param(4, {"first": "map", "second": Head("motion")}, {"reach": 2}, marks=pytest.mark.slow),
    ],
)
def test_heads_of_motion_cost_their_kernels_in_every_frame(num_frames, heads, settings, scramble):
    outputs = 2 * (num_frames - 1)
    small = {"scales": 2, "convolutions": 1, **settings}
    check_at_fixed_groups("qin", {"first": outputs, "second": outputs}, heads, num_frames, scramble, **small)


def check_at_fixed_groups(name, tasks, heads, channels, scramble, **settings):
    network = NETWORKS[name].load()(tasks, "sfg", heads=heads, width=0.1, masks="mode", seed=0, **settings)
    shape = (32, 32, channels)
    network.build((None, *shape))
    rng = np.random.default_rng(3)
    groups = [
        rng.choice(grouping.num_groups, size=grouping.filters, p=rng.dirichlet(np.full(grouping.num_groups, 1.0)))
        for grouping in network.groupings().values()
    ]
    scramble(network, groups=groups)
    fixed = [np.round(p) for p in network.trunk.probabilities_of_all_groups()]
    assert of_network(network, fixed, shape) == count_multiplies(harden(network), shape)


def test_frames_are_the_images_of_the_trunk_that_weigh_in_the_objective():
    network = NETWORKS["qin"].load()(
        {"first": 4, "second": 3}, "sfg", heads={"first": MOTION}, width=0.1, seed=0,
        scales=2, convolutions=1, cost_weight=0.5, initial_probabilities=(0, 0, 1),
    )  # fmt: skip
    network.build((None, 16, 16, 3))
    assert float(relative_multiplies(network)) == pytest.approx(1.0, abs=1e-4)
    assert float(network.losses[-1]) == pytest.approx(0.5, abs=1e-4)


def test_elsewhere_it_is_the_mean_over_all_allocations(small_network):
    """With `separate` routing every group has one reader, and nothing is approximated."""
    network = small_network(tasks_of(1), routing="separate", seed=0)
    network.build((None, 4, 4, 1))
    architecture = build_architecture([Stage(3, num_blocks=2), Stage(2), Stage(2)], 1.0, [None])
    rng = np.random.default_rng(0)
    probabilities = [rng.dirichlet((1, 1), size=stage.filters) for stage in architecture.stages]

    def multiplies(layers):
        return float(expected_multiplies(architecture, layers, network.heads, (4, 4, 1), "separate"))

    mean, rows = 0.0, np.concatenate(probabilities)
    for groups in itertools.product(range(2), repeat=7):
        corners = np.eye(2)[list(groups)]
        mean += rows[np.arange(7), list(groups)].prod() * multiplies(np.split(corners, [3, 5]))
    assert multiplies(probabilities) == pytest.approx(mean, rel=1e-5)


@pytest.fixture(scope="module")
def undecided(small_network):
    network = small_network(tasks_of(2), initial_probabilities="dirichlet", seed=0, cost_weight=0.5)
    network.build((None, None, None, 1))
    return network


def test_its_gradient_is_that_of_finite_differences(undecided):
    logits = [grouping.grouping_logits for grouping in undecided.groupings().values()]
    with tf.GradientTape() as tape:
        value = relative_multiplies(undecided)
    gradients = tape.gradient(value, [variable.value for variable in logits])
    rng, step = np.random.default_rng(0), 0.02
    before = [variable.numpy() for variable in logits]
    for layer, gradient in enumerate(gradients):
        direction = rng.choice([-1.0, 1.0], size=before[layer].shape).astype("float32")
        values = []
        for sign in (1, -1):
            logits[layer].assign(before[layer] + sign * step * direction)
            values.append(float(relative_multiplies(undecided)))
        logits[layer].assign(before[layer])
        slope = float((gradient.numpy() * direction).sum())
        assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=0.02, abs=1e-4)


def test_all_shared_is_one_and_weighs_in_the_objective(undecided, small_network):
    shared = small_network(tasks_of(2), initial_probabilities=(0, 0, 1), seed=0, entropy_decay=0.0)
    shared.build((None, None, None, 1))
    assert float(relative_multiplies(shared)) == pytest.approx(1.0, abs=1e-4)
    plain = small_network(tasks_of(2), initial_probabilities="dirichlet", seed=0)
    plain.build((None, None, None, 1))
    cost = float(sum(undecided.losses)) - float(sum(plain.losses))
    assert cost == pytest.approx(0.5 * float(relative_multiplies(undecided)), rel=1e-4)
    assert len(plain.losses) == len(undecided.losses) - 1
    undecided._losses_override = [1.0]  # what Keras does where it differentiates without state
    assert undecided.losses == [1.0]
    undecided._losses_override = []


@pytest.mark.slow
def test_a_higher_weight_trains_a_network_of_fewer_multiplies(small_network, images):
    x = images(8, batch=2)
    targets = {"task_0": x, "task_1": np.concatenate([x, -x], axis=-1)}
    found = []
    for weight in (0.0, 3.0):
        network = small_network(tasks_of(2), seed=0, cost_weight=weight, masks="mode")
        network.compile(optimizer="adam", loss={"task_0": "mse", "task_1": "mse"})
        network.optimizer.learning_rate = 0.1
        network.fit(x, targets, epochs=25, batch_size=2, verbose=0)
        found.append(count_multiplies(harden(network), (8, 8, 1)))
        p = [np.asarray(grouping_probabilities(g.grouping_logits)) for g in network.groupings().values()]
        assert all(np.isfinite(layer).all() for layer in p)
    assert found[1] < 0.8 * found[0]
