"""U-Net: against Keras' own layers, in every form, under every mechanism, and hardened."""

import keras
import numpy as np
import pytest

from sfgkeras.networks import Head, UNet, count_multiplies, group_network, harden
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
    network = build(sharing, scramble, images, rank=rank, levels=levels, convolutions=1, decoder_start=decoder_start)
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
