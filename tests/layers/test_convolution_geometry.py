"""Strides, padding and kernel sizes per axis of the convolutions, against Keras' own; and of SFG layers."""

import keras
import numpy as np
import pytest

from sfgkeras.group_multiples import assign_groups
from sfgkeras.grouping import initial_grouping_logits
from sfgkeras.layers import SFGConv2D, SFGConv3D
from sfgkeras.layers.convolution import Convolution
from sfgkeras.networks import harden, recalibrate

GEOMETRIES = [
    {"kernel_size": (3, 5)},
    {"kernel_size": 4, "strides": 2},
    {"kernel_size": (1, 3), "strides": (1, 3), "padding": "valid"},
    {"kernel_size": 3, "dilation": (1, 2)},
    {"kernel_size": 3, "dilation": 2, "padding": "valid"},
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_geometry_is_that_of_keras(geometry):
    images = np.random.default_rng(0).normal(size=(2, 11, 12, 3)).astype("float32")
    layer = Convolution(2, 4, **geometry)
    layer.build(images.shape)
    names = {"dilation": "dilation_rate"}
    reference = keras.layers.Conv2D(
        4, use_bias=False, **({"padding": "same"} | {names.get(name, name): value for name, value in geometry.items()})
    )
    reference.build(images.shape)
    reference.set_weights(layer.get_weights())
    outputs = layer(images)
    np.testing.assert_allclose(outputs, reference(images), atol=1e-5)
    assert layer.output_shape_of(images.shape) == tuple(outputs.shape)
    again = Convolution.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_size": 0}, "kernel_size = 0 must be a positive whole number, or 2 of them"),
        ({"kernel_size": 2.5}, "kernel_size = 2.5 must be a positive whole number"),
        ({"kernel_size": (3, 3, 3)}, r"kernel_size = \(3, 3, 3\) must be a positive whole number, or 2 of them"),
        ({"kernel_size": "3"}, "kernel_size = '3' must be"),
        ({"strides": -1}, "strides = -1 must be a positive"),
        ({"strides": 2, "dilation": 2}, "strides = 2 and dilation = 2: only one of them may be above 1"),
        ({"padding": "sane"}, "unknown padding 'sane', did you mean 'same'"),
        ({"filters": 0}, "filters = 0 must be a positive whole number"),
    ],
)
def test_a_geometry_that_cannot_be_is_refused_with_its_value(settings, message):
    with pytest.raises(ValueError, match=message):
        SFGConv2D(**({"filters": 4} | settings))


def test_inputs_that_do_not_fit_are_refused_with_their_shape():
    with pytest.raises(ValueError, match=r"shape \(8, 8, 1\).*2 spatial axes"):
        SFGConv2D(4)(np.zeros((8, 8, 1), "float32"))
    with pytest.raises(ValueError, match="received 2 streams; it has 3 groups"):
        SFGConv2D(4, num_tasks=2)([np.zeros((1, 8, 8, 1), "float32")] * 2)
    with pytest.raises(ValueError, match="leaves nothing of an input of shape"):
        SFGConv2D(4, 5, padding="valid")(np.zeros((1, 4, 4, 1), "float32"))


def functional_model(seed=0):
    inputs = keras.Input((16, 16, 1))
    streams = SFGConv2D(8, (3, 5), num_tasks=2, seed=1)(inputs)
    streams = SFGConv2D(8, 3, num_tasks=2, strides=2, seed=2)(streams)
    streams = [keras.layers.MaxPooling2D(padding="same")(stream) for stream in streams]
    streams = SFGConv2D(6, 2, num_tasks=2, padding="valid", use_bias=True, seed=3)(streams)
    first = keras.layers.Conv2D(1, 1)(keras.layers.Add()([streams[0], streams[2]]))
    second = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(streams[1] + streams[2]))
    model = keras.Model(inputs, {"map": first, "value": second})
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, SFGConv2D):
            groups = rng.integers(3, size=layer.filters)
            layer.grouping.grouping_logits.assign(np.where(np.eye(3)[groups] == 1, 5.0, -200.0))
            for variable in layer.trainable_variables:
                if variable.path.endswith(("beta", "gamma", "alpha", "bias")):
                    variable.assign(rng.uniform(0.2, 1.0, size=variable.shape))
    return model


@pytest.mark.parametrize("fold", [True, False])
def test_a_functional_model_hardens_to_the_same_numbers_and_fewer_multiplies(fold, tmp_path):
    model = functional_model()
    model.compile("adam", loss={"map": "mse", "value": "mse"}, jit_compile=False)
    images = np.random.default_rng(1).normal(size=(8, 16, 16, 1)).astype("float32")
    targets = {name: 0 * value for name, value in model.predict(images, verbose=0).items()}
    model.fit(images, targets, batch_size=4, verbose=0)
    with pytest.raises(ValueError, match=r"recalibrate\(network, dataset\)"):
        harden(model)
    recalibrate(model, [images])
    hardened = harden(model, fold=fold)
    expected = model.predict(images, verbose=0)
    for name, output in hardened.predict(images, verbose=0).items():
        np.testing.assert_allclose(output, expected[name], atol=1e-5 * np.abs(expected[name]).max())
    assert not [layer for layer in hardened.layers if type(layer).__module__.startswith("sfgkeras")]
    kernels = [layer.kernel for layer in hardened.layers if isinstance(layer, keras.layers.Conv2D)]
    owned = sum(kernel.shape[-1] for kernel in kernels) - 1  # without the head
    groups = [layer.grouping.probabilities() for layer in model.layers if isinstance(layer, SFGConv2D)]
    empty = sum(3 - len(set(np.argmax(p, axis=-1))) for p in groups)  # one filter of zeros for the size of each
    assert owned == 8 + 8 + 6 + empty
    hardened.save(tmp_path / "hardened.keras")
    np.testing.assert_array_equal(
        keras.saving.load_model(tmp_path / "hardened.keras").predict(images, verbose=0)["map"],
        hardened.predict(images, verbose=0)["map"],
    )


def test_groups_of_a_functional_model_hold_multiples(recwarn):
    model = functional_model()
    weights = model.get_weights()
    images = np.random.default_rng(1).normal(size=(2, 16, 16, 1)).astype("float32")
    hardened = harden(model, multiple_of=4)
    filters = [layer.filters for layer in hardened.layers if isinstance(layer, keras.layers.Conv2D)]
    assert {count % 4 for count in filters if count not in (1, 2)} == {0}  # 1: the head or zeros; 2: the rest of 6
    assert [warning for warning in recwarn if "multiples of 4; on images of noise" in str(warning.message)]
    for now, before in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, before)
    layers = [layer for layer in model.layers if isinstance(layer, SFGConv2D)]
    for layer in layers:
        groups = assign_groups(np.asarray(layer.grouping.log_probabilities()), 4)
        layer.grouping.grouping_logits.assign(initial_grouping_logits(np.eye(layer.num_groups)[groups]))
    for name, output in hardened(images).items():
        np.testing.assert_allclose(output, model(images)[name], atol=1e-5)


def test_one_output_of_a_functional_model_can_be_cut_out():
    model = functional_model()
    images = np.random.default_rng(1).normal(size=(2, 16, 16, 1)).astype("float32")
    alone = harden(model, task="value")
    assert list(alone.output) == ["value"]
    np.testing.assert_allclose(alone(images)["value"], model(images)["value"], atol=1e-5)
    with pytest.raises(ValueError, match="has no task 'valu', did you mean 'value'"):
        harden(model, task="valu")
    with pytest.raises(ValueError, match="nothing to harden"):
        harden(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))


def test_three_axes_have_geometry_too():
    images = np.random.default_rng(0).normal(size=(1, 6, 7, 8, 1)).astype("float32")
    streams = SFGConv3D(4, (1, 3, 3), num_tasks=1, strides=(1, 2, 2))(images)
    assert [tuple(stream.shape) for stream in streams] == [(1, 6, 4, 4, 4)] * 2
