"""Constant masks: hard sharing, single task and a fixed allocation, against networks of Keras' own layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.networks import VGG11, HighResNet, count_multiplies, count_parameters

TASKS = {"ct": 1, "organs": 3}
PLAN = [(4, 1), (8, 2), (16, 4), (16, None), (16, None)]


def images(size=16, rank=2, batch=3, seed=0):
    shape = (batch, *(size,) * rank, 1)
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def scramble(network, seed=0):
    rng = np.random.default_rng(seed)
    for variable in network.trainable_variables:
        if variable.path.endswith(("gamma", "alpha")):
            variable.assign(rng.uniform(0.3, 1.2, size=variable.shape))
        elif variable.path.endswith(("beta", "bias")):
            variable.assign(rng.normal(size=variable.shape))


def ordinary_highresnet(rank, plan, tasks):
    """HighResNet from Keras' own layers, one trunk and a head per task."""
    conv = keras.layers.Conv2D if rank == 2 else keras.layers.Conv3D
    axes = list(range(1, rank + 1))

    def convolve(x, filters, dilation=1):
        return conv(filters, 3, padding="same", dilation_rate=dilation, use_bias=False)(x)

    def activate(x):
        return keras.layers.PReLU(shared_axes=axes)(keras.layers.BatchNormalization()(x))

    inputs = x = keras.Input((None,) * rank + (1,))
    for filters, dilation in plan:
        x = activate(convolve(x, filters))
        for _ in range(2 if dilation else 0):
            branch = convolve(activate(x), filters, dilation)
            x = keras.layers.Add()([x, convolve(activate(branch), filters, dilation)])
    return keras.Model(inputs, {name: conv(channels, 1, name=name)(x) for name, channels in tasks.items()})


def copy_section(section, convolutions, activations):
    for block in section.blocks:
        for activation, convolution in zip(block.activations, block.convolutions, strict=True):
            copy_activation(activation, activations)
            next(convolutions).kernel.assign(convolution.kernel)


def copy_activation(source, activations):
    norm, prelu = next(activations)
    norm.set_weights([w.numpy() for w in source.normalization.weights])
    prelu.alpha.assign(np.reshape(source.activation.alpha, prelu.alpha.shape))


def copy_group(network, ordinary, group, reader, heads):
    """Copies the layers of one group and of the stream it reads, in the order of computation."""
    kinds = (keras.layers.Conv2D, keras.layers.Conv3D)
    layers = ordinary.layers
    convolutions = iter([x for x in layers if isinstance(x, kinds) and x.name not in heads])
    norms = [x for x in layers if isinstance(x, keras.layers.BatchNormalization)]
    prelus = [x for x in layers if isinstance(x, keras.layers.PReLU)]
    activations = iter(list(zip(norms, prelus, strict=True)))
    trunk = network.trunk
    for index in range(len(trunk.architecture.stages)):
        next(convolutions).kernel.assign(trunk.convolutions[f"{index}_{group}"].kernel)
        copy_activation(trunk.activations[f"{index}_{group}"], activations)
        if f"{index}_{reader}" in trunk.sections:
            copy_section(trunk.sections[f"{index}_{reader}"], convolutions, activations)
    for head, name in zip(network.heads, network.tasks, strict=True):
        if name in heads:
            kernel, bias = (w.numpy() for w in head.projection.weights)
            ordinary.get_layer(name).set_weights([kernel, bias])


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("training", [False, True])
def test_hard_sharing_equals_an_ordinary_network_with_a_head_per_task(rank, training):
    network = HighResNet(TASKS, "hard_sharing", spatial_rank=rank, width=0.25, seed=0)
    x = images(16 if rank == 2 else 8, rank)
    network(x, training=True)
    scramble(network)
    ordinary = ordinary_highresnet(rank, PLAN, TASKS)
    copy_group(network, ordinary, group=2, reader=2, heads=TASKS)
    assert count_parameters(network) == count_parameters(ordinary)
    expected = ordinary(x, training=training)
    outputs = network(x, training=training)
    for name in TASKS:
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(outputs[name], expected[name], atol=1e-5 * scale)


def test_hard_sharing_has_the_gradients_of_the_ordinary_network():
    network = HighResNet(TASKS, "hard_sharing", width=0.25, seed=0, kernel_regularizer=None)
    x = images()
    network(x)
    scramble(network)
    ordinary = ordinary_highresnet(2, PLAN, TASKS)
    copy_group(network, ordinary, group=2, reader=2, heads=TASKS)
    gradients = []
    for model in (network, ordinary):
        kernels = [w for w in model.trainable_variables if w.path.endswith("kernel")]
        with tf.GradientTape() as tape:
            total = sum(tf.reduce_mean(output**2) for output in model(x, training=True).values())
        gradients.append([np.asarray(gradient) for gradient in tape.gradient(total, kernels)])
    norms = [sorted(float(np.linalg.norm(gradient)) for gradient in one) for one in gradients]
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-3)


@pytest.mark.parametrize("training", [False, True])
def test_single_task_equals_two_networks_of_half_the_width(training):
    network = HighResNet(TASKS, "single_task", width=0.5, seed=0)
    x = images()
    network(x, training=True)
    scramble(network)
    outputs = network(x, training=training)
    for task, (name, channels) in enumerate(TASKS.items()):
        alone = ordinary_highresnet(2, PLAN, {name: channels})
        copy_group(network, alone, group=task, reader=task, heads=[name])
        expected = alone(x, training=training)[name]
        np.testing.assert_allclose(outputs[name], expected, atol=1e-5 * np.abs(expected).max())


def test_single_task_has_no_more_parameters_than_its_two_networks():
    network = HighResNet(TASKS, "single_task", width=0.5, seed=0)
    network(images())
    alone = [ordinary_highresnet(2, PLAN, {name: channels}) for name, channels in TASKS.items()]
    assert count_parameters(network) == sum(count_parameters(model) for model in alone)


def test_constant_masks_compute_nothing_that_is_known_to_be_zero():
    """By hand for VGG: a third each, so a task reads two thirds and the shared group one third."""
    network = VGG11({"a": 1, "b": 1}, "constant_mask", width=3 / 64, seed=0)
    filters = [3, 6, 12, 12, 24, 24, 24, 24]
    sizes = [32, 16, 8, 8, 4, 4, 2, 2]
    expected = sizes[0] ** 2 * 9 * 1 * filters[0]
    for before, now, size in zip(filters, filters[1:], sizes[1:], strict=False):
        third, owned = before // 3, now // 3
        expected += size**2 * 9 * owned * (2 * third + 2 * third + third)
    expected += 2 * 16
    assert count_multiplies(network, (32, 32, 1)) == expected


def test_a_constant_allocation_has_groups_of_suitable_sizes():
    network = HighResNet(TASKS, "constant_mask", seed=0, group_multiple=8)
    for one_hot in network.grouping_probabilities().values():
        assert not (one_hot.sum(axis=0) % 8).any()
    with pytest.raises(ValueError, match="group_multiple = 64 leaves a task without any of the 16 filters of a layer"):
        HighResNet(TASKS, "constant_mask", seed=0, group_multiple=64, fractions=(0.5, 0.5, 0.0))


def test_a_constant_allocation_has_the_asked_fractions_and_depends_on_the_seed():
    def draw(seed):
        network = HighResNet(TASKS, "constant_mask", seed=seed, fractions=(0.25, 0.25, 0.5))
        return network.grouping_probabilities()

    first, again, other = draw(0), draw(0), draw(1)
    for name, one_hot in first.items():
        np.testing.assert_array_equal(one_hot, again[name])
        np.testing.assert_allclose(one_hot.mean(0), [0.25, 0.25, 0.5])
    assert any((first[name] != other[name]).any() for name in first)


@pytest.mark.parametrize("mask_residual", [True, False])
@pytest.mark.parametrize("routing", ["mixed", "separate", "dense"])
def test_everything_that_exists_in_a_constant_network_gets_a_gradient(routing, mask_residual, small_network):
    network = small_network(TASKS, "constant_mask", seed=0, routing=routing, mask_residual=mask_residual)
    with tf.GradientTape() as tape:
        outputs = network(images(size=8), training=True)
        total = sum(tf.reduce_sum(output**2) for output in outputs.values())
    gradients = tape.gradient(total, network.trainable_variables)
    for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path


def test_a_head_that_reads_no_channel_is_its_bias():
    """All filters of the last layer belong to the first task."""
    allocation = [[2] * 4, [2] * 8, [2] * 16, [2] * 16, [0] * 16]
    network = HighResNet(TASKS, "constant_mask", width=0.25, seed=0, allocation=allocation)
    x = images(size=8)
    network(x)
    scramble(network)
    outputs = network(x)
    bias = network.heads[1].projection.bias.numpy()
    np.testing.assert_allclose(outputs["organs"], np.broadcast_to(bias, outputs["organs"].shape), rtol=1e-6)
    assert np.asarray(outputs["ct"]).std() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fractions": (0.5, 0.5)}, r"fractions = \[0.5, 0.5\] must be 3 numbers"),
        ({"fractions": (0.5, 0.6, 0.2)}, "with sum 1"),
        ({"allocation": [[0] * 4]}, r"allocation has \[4\] filters"),
        ({"allocation": [[3] * k for k in (4, 8, 16, 16, 16)]}, "with 2 tasks they are 0 to 2"),
        ({"sharing": "single_task", "width": 0.01}, "a layer has 1 filters for 2 tasks"),
    ],
)
def test_impossible_allocations_are_refused_with_their_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        HighResNet(**({"tasks": TASKS, "sharing": "constant_mask", "width": 0.25} | arguments))
