"""U-Net: against Keras' own layers, in every form, under every mechanism, and hardened."""

import keras
import numpy as np
import pytest

from sfgkeras.networks import Head, UNet, count_multiplies, filter_activations, group_network, harden, recalibrate
from sfgkeras.sharing import SHARING

TASKS = {"mask": 1, "image": 2, "class": 3}
HEADS = {"class": Head("vector", layers=(5, 4))}
WIDTH = 1 / 16


def build(sharing, scramble, images, tasks=TASKS, size=8, rank=2, **settings):
    """A tiny U-Net whose weights show every mistake; four filters on the first level."""
    heads = {name: head for name, head in HEADS.items() if name in tasks}
    settings = {"levels": 2, "width": WIDTH, "heads": heads, "seed": 0, "masks": "mode"} | settings
    network = UNet(tasks, sharing, spatial_rank=rank, **settings)
    network(images(size=size, rank=rank))
    scramble(network)
    return network


def ordinary(network, rank, levels, convolutions, normalises, skips, upsampling, ways_up):
    """The same network of Keras' own layers, written down after the paper, with the weights of a hard shared one."""
    trunk, shared, axes = network.trunk, network.num_tasks, list(range(1, rank + 1))
    of = {name: index for index, name in enumerate(trunk.architecture.names)}
    conv, pool, up, average = (
        getattr(keras.layers, f"{name}{rank}D") for name in ("Conv", "MaxPooling", "UpSampling", "GlobalAveragePooling")
    )

    def convolve(x, name, group, side=3):
        key = f"{of[name]}_{group}"
        source, activation = trunk.convolutions[key], trunk.activations[key]
        layer = conv(source.filters, side, padding="same", use_bias=not normalises)
        x = layer(x)
        layer.set_weights([np.asarray(weight) for weight in source.weights])
        if normalises:
            layer = keras.layers.BatchNormalization()
            x = layer(x)
            layer.set_weights([np.asarray(weight) for weight in activation.normalization.weights])
        layer = keras.layers.PReLU(shared_axes=axes)
        x = layer(x)
        layer.set_weights([np.asarray(activation.activation.alpha).reshape((1,) * rank + (-1,))])
        return x

    def level(x, name, group):
        for number in range(1, convolutions):
            x = convolve(x, f"{name}_{number}", group)
        return convolve(x, name, group)

    def way_up(x, group):
        for number in range(levels, 0, -1):
            x = up(2)(x)
            if upsampling == "convolution":
                x = convolve(x, f"decoder_{number}_up", group, side=2)
            if skips:
                x = keras.layers.Concatenate()([x, left[number]])
            x = level(x, f"decoder_{number}", group)
        return x

    def head(x, task):
        source = network.heads[task]
        x = average()(x) if source.kind == "vector" else x
        for product in source.products:
            kernel, bias = (np.asarray(weight) for weight in product.weights)
            layer = keras.layers.Dense(bias.size, activation=None if product is source.projection else "relu")
            x = layer(x)  # over the last axis, also of a map
            layer.set_weights([kernel.reshape(kernel.shape[-2:]), bias])
        return x

    image = keras.Input((*(None,) * rank, 1))
    x, left = image, {}
    for number in range(1, levels + 1):
        left[number] = level(x, f"encoder_{number}", shared)
        x = pool(2)(left[number])
    encoding = level(x, "encoding", shared)
    outputs = {}
    for task, name in enumerate(network.tasks):
        is_map = network.heads[task].kind == "map"
        outputs[name] = head(way_up(encoding, task if ways_up else shared) if is_map else encoding, task)
    return keras.Model(image, outputs)


FORMS = {
    "as the report": {},
    "a way up per task": {"decoder_start": "decoder"},
    "three levels": {"levels": 3, "convolutions": 1},
    "three convolutions": {"convolutions": 3, "levels": 1},
    "no normalisation": {"normalisation": "none"},
    "no skips": {"skips": False, "decoder_start": "decoder"},
    "learned upsampling": {"upsampling": "convolution", "decoder_start": "decoder"},
}


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("form", FORMS)
def test_it_equals_a_network_of_keras_own_layers(form, rank, images, scramble):
    shape = {"levels": 2} | FORMS[form]
    if rank == 3:
        shape["levels"] = 1
    network = build("hard_sharing", scramble, images, rank=rank, **shape)
    x = images(size=8, rank=rank)
    expected = ordinary(
        network, rank, shape["levels"], shape.get("convolutions", 2), shape.get("normalisation") != "none",
        shape.get("skips", True), shape.get("upsampling", "repeat"), "decoder_start" in shape,
    )  # fmt: skip
    for training in (False, True):
        wanted, outputs = expected(x, training=training), network(x, training=training)
        assert set(outputs) == set(wanted)
        for name, values in wanted.items():
            np.testing.assert_allclose(outputs[name], values, atol=1e-5 * np.abs(values).max(), err_msg=name)


def assert_close(outputs, expected, tolerance=1e-4):
    assert set(outputs) == set(expected)
    for name, values in expected.items():
        values = np.asarray(values)
        np.testing.assert_allclose(outputs[name], values, atol=tolerance * np.abs(values).max(), err_msg=name)


@pytest.mark.parametrize(
    ("sharing", "decoder_start", "rank"),
    [
        *((sharing, "decoder", 2) for sharing in SHARING),
        ("sfg", None, 2),
        ("sfg", "encoding", 2),
        ("cross_stitch", None, 2),
        ("sfg", "decoder", 3),
        ("constant_mask", None, 3),
    ],
)
def test_every_mechanism_hardens_for_sizes_that_do_not_divide(sharing, decoder_start, rank, images, scramble):
    levels = 2 if rank == 2 else 1
    # Each of the three tasks has two parts of every stage there.
    width = 1.5 * WIDTH if sharing == "sluice" else WIDTH
    network = build(
        sharing, scramble, images, rank=rank, levels=levels, convolutions=1, decoder_start=decoder_start, width=width
    )
    hardened = harden(network)
    for size in (8, 7) if rank == 3 else (8, 5, 7):
        x = images(size=size, rank=rank)[:, : size - 1]  # axes of different lengths
        expected = network(x)
        assert expected["mask"].shape == (3, *x.shape[1:-1], 1)
        assert_close(group_network(network)(x), expected)
        assert_close(hardened(x), expected)
    assert count_multiplies(hardened, (8,) * rank + (1,)) <= count_multiplies(network, (8,) * rank + (1,))
    alone = harden(network, task="class")
    assert_close(alone(x), {"class": expected["class"]})


def losses_of(network, x):
    """Gradients of the sum of squares of all outputs, by variable."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = tf.add_n([tf.reduce_sum(tf.square(values)) for values in network(x, training=True).values()])
    return dict(
        zip(
            [variable.path for variable in network.trainable_variables],
            tape.gradient(loss, network.trainable_variables),
            strict=True,
        )
    )


@pytest.mark.parametrize("num_tasks", [1, 2, 4, 5])
def test_any_number_of_tasks_shares_a_unet_and_reaches_every_variable(num_tasks, images, scramble):
    tasks = {f"task {number}": number + 1 for number in range(num_tasks)}
    network = build("sfg", scramble, images, tasks, levels=1, convolutions=1, decoder_start="decoder", width=1 / 8)
    x = images(size=8)
    assert_close(harden(network)(x), network(x))
    network = UNet(tasks, levels=1, convolutions=2, width=1 / 8, seed=0)
    gradients = losses_of(network, x)
    assert [path for path, gradient in gradients.items() if gradient is None or not np.abs(gradient).max() > 0] == []


@pytest.mark.parametrize("settings", [{}, {"normalisation": "none", "levels": 1, "upsampling": "convolution"}])
def test_a_saved_unet_loads_with_its_settings_and_numbers(settings, images, scramble, tmp_path):
    network = build("sfg", scramble, images, decoder_start="decoder", skips=False, **settings)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    loaded.masks = "mode"
    assert loaded.shape == network.shape
    assert loaded.get_config() == network.get_config()
    for name, values in network(images(size=7)).items():
        np.testing.assert_array_equal(loaded(images(size=7))[name], values)


@pytest.mark.parametrize("normalisation", ["batch", "none"])
def test_making_features_again_changes_neither_outputs_nor_gradients(normalisation, images):
    networks = [
        UNet(TASKS, normalisation=normalisation, levels=1, width=WIDTH, heads=HEADS, seed=0, rematerialise=again)
        for again in ("none", "activations", "blocks")
    ]
    x = images(size=7)
    usual, *others = [list(losses_of(network, x).values()) for network in networks]
    for other in others:
        for gradient, expected in zip(other, usual, strict=True):
            np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_in_half_precision_it_computes_the_same_roughly(images, scramble):
    outputs = []
    for dtype in ("float32", "mixed_bfloat16"):
        network = build("sfg", scramble, images, decoder_start="decoder", dtype=dtype, width=1 / 8)
        outputs.append(network(images(size=7)))
    for name, values in outputs[0].items():
        assert outputs[1][name].dtype == "float32"
        assert 0 < np.abs(outputs[1][name] - values).max() < 0.2 * np.abs(values).max()


@pytest.mark.parametrize("sharing", ["sfg", "hard_sharing"])
def test_without_normalisation_there_is_nothing_to_measure_and_hardening_follows_training(sharing, images):
    network = UNet(TASKS, sharing, normalisation="none", levels=1, width=WIDTH, heads=HEADS, seed=0)
    x = images(size=6)
    network.compile("sgd", loss=dict.fromkeys(TASKS, "mse"), jit_compile=False)
    targets = {name: np.zeros_like(values) for name, values in network(x).items()}
    network.fit(x, targets, verbose=0)
    assert network.normalizations() == []
    recalibrate(network, [x])
    network.masks = "mode"
    assert_close(harden(network, data=[x])(x), network(x))
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in harden(network, data=[x]).layers)


def test_a_step_of_training_repeats_bit_by_bit(images):
    import tensorflow as tf

    x = images(size=7)
    steps = []
    for _ in range(2):
        network = UNet(TASKS, "sfg", levels=1, convolutions=1, width=WIDTH, heads=HEADS, seed=0)
        network(x)
        gradients = tf.function(lambda network=network: losses_of(network, x), autograph=False)()
        steps.append([np.asarray(gradient) for gradient in gradients.values()])
    for first, second in zip(*steps, strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_setting_of_the_report_is_one_way_down_and_one_way_up_per_dense_task():
    network = UNet(
        {"mask": 1, "image": 3, "class": 1, "box": 4},
        "hard_sharing",
        heads={name: Head("vector", layers=(128, 64)) for name in ("class", "box")},
        decoder_start="decoder",
    )
    architecture = network.trunk.architecture
    shared = [stage for stage in architecture.stages if not stage.per_task]
    assert [stage.filters for stage in shared] == [64, 64, 128, 128, 256, 256, 512, 512, 1024, 1024]
    encoding = architecture.names.index("encoding")
    assert architecture.spatial_shape(architecture.levels[encoding], (256, 256)) == (16, 16)
    assert architecture.taps == (len(architecture.stages) - 1,) * 2 + (encoding,) * 2
    assert architecture.tasks_behind(encoding + 1) == [0, 1]
    assert UNet({"mask": 1}, levels=3).trunk.architecture.stages[6].filters == 512


def test_the_summary_says_which_level_a_layer_is_of_and_what_a_head_reads():
    network = UNet(
        {"mask": 1, "class": 2}, levels=1, convolutions=1, width=WIDTH, decoder_start="decoder", heads=HEADS, seed=0
    )
    network.build((None, None, None, 1))
    lines = []
    network.summary(print_fn=lines.append)
    of = {line.split()[0]: line.split()[-1] for line in lines}
    assert of["sfg_1"] == "encoder_1"
    assert of["convolution_3_task_1"] == of["activation_3_task_1"] == of["head_mask"] == "decoder_1"
    assert of["head_class"] == "encoding"


def test_with_vectors_alone_there_is_no_way_up(images):
    network = UNet({"class": 2, "box": 4}, heads={"class": "vector", "box": "vector"}, width=WIDTH, seed=0)
    assert network.trunk.architecture.names[-1] == "encoding"
    assert network(images(size=9))["box"].shape == (3, 4)


def test_filters_of_all_shared_levels_can_be_looked_at(images, scramble):
    network = build("sfg", scramble, images, levels=1, decoder_start="decoder")
    maps = filter_activations(network, images(size=6))
    assert [values.shape for values in maps.values()] == [(3, 6, 6, 4)] * 2 + [(3, 3, 3, 8)] * 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levels": 0}, "levels = 0 must be at least 1"),
        ({"convolutions": 0}, "convolutions = 0 must be at least 1"),
        ({"normalisation": "layer"}, "normalisation = 'layer' is not known"),
        ({"upsampling": "nearest"}, "upsampling = 'nearest' is not known"),
        ({"decoder_start": "decoder_5"}, "decoder_start = 'decoder_5' is no part of the network"),
        ({"levles": 2}, "levles"),
    ],
)
def test_shapes_that_cannot_be_are_refused_by_the_setting(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        UNet(TASKS, **settings)
