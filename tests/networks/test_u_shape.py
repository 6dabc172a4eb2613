"""A network with skips, taps and stages per task: against Keras' own layers, and under every sharing mechanism."""

import keras
import numpy as np
import pytest

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks import MultiTaskNetwork, count_multiplies, filter_activations, group_network, harden
from sfgkeras.sharing import SHARING

TASKS = {"ct": 1, "organs": 3, "sex": 2}
HEADS = {"sex": "vector@bottom"}


@keras.saving.register_keras_serializable(package="tests")
class SmallU(MultiTaskNetwork):
    """Two levels down and up again."""

    stages = (
        Stage(6, name="down_1", pools=True),
        Stage(8, name="down_2", pools=True, num_blocks=1),
        Stage(12, name="bottom"),
        Stage(8, name="up_2", upsamples=True, skip="down_2"),
        Stage(6, name="up_1", upsamples=True, skip="down_1"),
    )


@keras.saving.register_keras_serializable(package="tests")
class SmallPsi(MultiTaskNetwork):
    """The same with a way up for every task."""

    stages = (
        Stage(6, name="down_1", pools=True),
        Stage(8, name="down_2", pools=True),
        Stage(12, name="bottom"),
        Stage(8, name="up_2", upsamples=True, skip="down_2", per_task=True, num_blocks=1),
        Stage(6, name="up_1", upsamples=True, skip="down_1", per_task=True),
    )


def build(kind, sharing, scramble, images, **settings):
    network = kind(TASKS, sharing, heads=HEADS, seed=0, masks="mode", **settings)
    network(images(size=8, rank=settings.get("spatial_rank", 2)))
    scramble(network)
    return network


def ordinary(network, ways_up):
    """The same network of Keras' own layers, with one way up or one per task; weights are copied."""
    trunk, axes = network.trunk, [1, 2]
    shared = network.num_tasks

    def convolve(x, index, group):
        source = trunk.convolutions[f"{index}_{group}"]
        layer = keras.layers.Conv2D(source.filters, 3, padding="same", use_bias=False)
        x = layer(x)
        layer.set_weights([source.kernel.numpy()])
        return activate(x, trunk.activations[f"{index}_{group}"])

    def activate(x, source):
        norm, prelu = keras.layers.BatchNormalization(), keras.layers.PReLU(shared_axes=axes)
        x = prelu(norm(x))
        norm.set_weights([w.numpy() for w in source.normalization.weights])
        prelu.set_weights([source.activation.alpha.numpy().reshape(1, 1, -1)])
        return x

    def blocks(x, index, reader):
        section = trunk.sections.get(f"{index}_{reader}")
        for block in section.blocks if section else []:
            branch = x
            for activation, convolution in zip(block.activations, block.convolutions, strict=True):
                layer = keras.layers.Conv2D(convolution.filters, 3, padding="same", use_bias=False)
                branch = layer(activate(branch, activation))
                layer.set_weights([convolution.kernel.numpy()])
            x = keras.layers.Add()([x, branch])
        return x

    def head(x, task):
        source = network.heads[task]
        kernel, bias = (w.numpy() for w in source.projection.weights)
        if source.kind == "vector":
            x, layer = keras.layers.GlobalAveragePooling2D()(x), keras.layers.Dense(bias.size)
        else:
            layer = keras.layers.Conv2D(bias.size, 1)
        x = layer(x)
        layer.set_weights([kernel, bias])
        return x

    image = keras.Input((None, None, 1))
    pool, up, join = keras.layers.MaxPooling2D(padding="same"), keras.layers.UpSampling2D(), keras.layers.Concatenate()
    first = convolve(image, 0, shared)
    second = blocks(convolve(pool(first), 1, shared), 1, shared)
    bottom = convolve(pool(second), 2, shared)
    outputs = {"sex": head(bottom, 2)}
    for task in (0, 1):
        group = task if ways_up else shared
        x = blocks(convolve(join([up(bottom), second]), 3, group), 3, group)
        outputs[network.task_names[task]] = head(convolve(join([up(x), first]), 4, group), task)
    return keras.Model(image, outputs)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("kind", "ways_up"), [(SmallU, False), (SmallPsi, True)])
def test_hard_sharing_equals_a_network_of_keras_own_layers(kind, ways_up, training, images, scramble):
    network = build(kind, "hard_sharing", scramble, images)
    x = images(size=8)
    expected = ordinary(network, ways_up)(x, training=training)
    outputs = network(x, training=training)
    assert set(outputs) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(outputs[name], values, atol=2e-5 * np.abs(values).max())


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize(
    ("kind", "rank"),
    [
        (SmallU, 2),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((SmallU, 3), (SmallPsi, 2), (SmallPsi, 3))),
    ],
)
def test_every_mechanism_hardens_to_an_ordinary_network_that_loads(kind, sharing, rank, images, scramble, tmp_path):
    network = build(kind, sharing, scramble, images, spatial_rank=rank)
    x = images(size=8, rank=rank)
    expected = network(x)
    hardened = harden(network)
    hardened.save(tmp_path / "hardened.keras")
    loaded = keras.saving.load_model(tmp_path / "hardened.keras", custom_objects={})
    for name, values in expected.items():
        scale = np.abs(values).max()
        np.testing.assert_allclose(group_network(network)(x)[name], values, atol=1e-4 * scale)
        np.testing.assert_allclose(loaded(x)[name], values, atol=1e-4 * scale)
    assert count_multiplies(hardened, x.shape[1:]) <= count_multiplies(network, x.shape[1:])


@pytest.mark.parametrize("kind", [SmallU, SmallPsi])
@pytest.mark.parametrize("size", [5, 7, 9])
def test_sizes_that_do_not_divide_are_taken_as_they_are(kind, size, images, scramble):
    network = build(kind, "sfg", scramble, images)
    x = images(size=size)
    outputs = network(x)
    assert {name: output.shape for name, output in outputs.items()} == {
        "ct": (3, size, size, 1), "organs": (3, size, size, 3), "sex": (3, 2),
    }  # fmt: skip
    for same in (group_network(network), harden(network)):
        for name, values in same(x).items():
            np.testing.assert_allclose(values, outputs[name], atol=1e-4 * np.abs(outputs[name]).max())


@pytest.mark.parametrize("kind", [SmallU, SmallPsi])
def test_what_one_head_needs_can_be_cut_out(kind, images, scramble):
    network = build(kind, "sfg", scramble, images)
    x = images(size=8)
    for task in TASKS:
        alone = harden(network, task=task)
        np.testing.assert_allclose(alone(x)[task], network(x)[task], atol=1e-4 * np.abs(network(x)[task]).max())
    assert count_multiplies(harden(network, task="sex"), x.shape[1:]) < count_multiplies(
        harden(network, task="ct"), x.shape[1:]
    )


def test_the_gradient_of_one_task_leaves_the_ways_up_of_the_others_alone(images, scramble):
    import tensorflow as tf

    network = build(SmallPsi, "sfg", scramble, images)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(images(size=8))["ct"] ** 2)
    gradients = dict(
        zip(
            [variable.path for variable in network.trainable_variables],
            tape.gradient(loss, network.trainable_variables),
            strict=True,
        )
    )
    own = {path: gradient for path, gradient in gradients.items() if "_task_" in path and "kernel" in path}
    assert len(own) == 2 * 4  # the head of the third task sits before the ways up
    for path, gradient in own.items():
        moved = gradient is not None and float(tf.reduce_max(tf.abs(gradient))) > 0
        assert moved == ("task_1" in path)


@pytest.mark.parametrize("sharing", ["sfg", "cross_stitch"])
@pytest.mark.parametrize("kind", [SmallU, SmallPsi])
def test_a_saved_network_gives_the_same_when_it_is_loaded(kind, sharing, images, scramble, tmp_path):
    network = build(kind, sharing, scramble, images)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    loaded.masks = "mode"
    x = images(size=8)
    for name, values in network(x).items():
        np.testing.assert_array_equal(loaded(x)[name], values)


def test_filters_of_every_shared_stage_can_be_looked_at(images, scramble):
    network = build(SmallPsi, "sfg", scramble, images)
    shapes = {name: values.shape for name, values in filter_activations(network, images(size=8)).items()}
    assert shapes == {"sfg_1": (3, 8, 8, 6), "sfg_2": (3, 4, 4, 8), "sfg_3": (3, 2, 2, 12)}


@keras.saving.register_keras_serializable(package="tests")
class SmallBlocks(MultiTaskNetwork):
    """Residual blocks wherever streams part: before a head, before stages per task, and at the end."""

    stages = (
        Stage(6, name="down_1", pools=True, num_blocks=1),
        Stage(8, name="down_2", pools=True, num_blocks=1),
        Stage(12, name="bottom", num_blocks=1),
        Stage(8, name="up_2", upsamples=True, skip="down_2", num_blocks=1),
        Stage(6, name="up_1", upsamples=True, skip="down_1", per_task=True, num_blocks=1),
    )


@keras.saving.register_keras_serializable(package="tests")
class SmallEnd(MultiTaskNetwork):
    """A chain that ends in residual blocks, with a head on the way."""

    stages = (Stage(6), Stage(9, name="bottom", num_blocks=1), Stage(8, num_blocks=1))


@pytest.mark.parametrize("routing", ["mixed", "separate", "dense"])
@pytest.mark.parametrize(
    ("kind", "mask_residual"),
    [(SmallU, True), (SmallPsi, True), (SmallBlocks, True), (SmallBlocks, False), (SmallEnd, True)],
)
def test_heads_and_stages_per_task_read_their_own_and_shared_filters_in_every_routing(
    kind, routing, mask_residual, images, scramble
):
    network = build(kind, "sfg", scramble, images, routing=routing, mask_residual=mask_residual)
    x = images(size=8)
    expected = network(x)
    for same in (group_network(network), harden(network)):
        for name, values in same(x).items():
            np.testing.assert_allclose(values, expected[name], atol=1e-4 * np.abs(expected[name]).max())
    # The features of the bottom, channel by channel: the head reads those of its own filters and of shared ones.
    bottom = network.trunk.architecture.names.index("bottom")
    groups = np.asarray(network.trunk.most_probable_groups()[bottom])
    head = network.heads[2].projection.kernel
    kernel = np.array(head)
    silent = np.flatnonzero((groups != 2) & (groups != 3))
    kernel[silent] += 5.0
    head.assign(kernel)
    moved = np.abs(np.asarray(network(x)["sex"]) - expected["sex"]).max()
    # Blocks without masks write into every channel.
    assert (moved > 1e-3) == (not mask_residual and bool(network.trunk.architecture.stages[bottom].num_blocks))


@pytest.mark.parametrize("sharing", SHARING)
def test_behind_the_head_of_a_task_nothing_is_made_for_it(sharing, images, scramble):
    import tensorflow as tf

    network = build(SmallU, sharing, scramble, images)
    probabilities = network.grouping_probabilities()
    for stage, p in enumerate(probabilities.values()):
        assert p.shape[1] == 4
        assert (p[:, 2].sum() == 0) >= (stage > 2)
    with tf.GradientTape() as tape:
        outputs = network(images(size=8), training=True)
        loss = tf.add_n([tf.reduce_sum(values**2) for values in outputs.values()])
    gradients = tape.gradient(loss, network.trainable_variables)
    waiting = {id(variable) for variable in network.trunk.waiting_weights()}  # for branches that tasks may get
    untouched = [
        variable.path
        for variable, gradient in zip(network.trainable_variables, gradients, strict=True)
        if gradient is None and id(variable) not in waiting
    ]
    assert untouched == []


def test_a_network_of_stages_per_task_alone_shares_nothing(images, scramble):
    @keras.saving.register_keras_serializable(package="tests")
    class Apart(MultiTaskNetwork):
        stages = (Stage(4, per_task=True), Stage(4, per_task=True))

    network = Apart({"ct": 1, "organs": 2}, "sfg", seed=0)
    x = images(size=6)
    outputs = network(x, training=True)
    assert {name: values.shape for name, values in outputs.items()} == {"ct": (3, 6, 6, 1), "organs": (3, 6, 6, 2)}
    assert network.grouping_probabilities() == {}


def test_fractions_that_leave_a_stage_without_filters_are_refused():
    with pytest.raises(ValueError, match="give all filters to tasks whose heads sit before the end"):
        SmallU(TASKS, "constant_mask", heads=HEADS, fractions=[0, 0, 1, 0])
    with pytest.raises(ValueError, match="give all filters to tasks whose heads sit before the end"):
        SmallU(TASKS, "sfg", heads=HEADS, initial_probabilities=[0, 0, 1, 0])


def test_a_map_from_a_stage_that_is_smaller_than_the_image_is_refused():
    with pytest.raises(ValueError, match="task 'ct' wants a map, but SmallU pools"):
        SmallU(TASKS, heads={"ct": "map@bottom"})
