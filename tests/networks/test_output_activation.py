"""Outputs of regression heads that cannot leave a range: trained, saved, hardened and exported alike."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.networks import Head, group_network, harden
from sfgkeras.networks.heads import TaskHead, find_head
from sfgkeras.networks.onnx_export import build_onnx_model

EXPECTED = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "range": lambda x: np.clip(x, -0.25, 0.5),
}
HEADS = {name: Head("map", activation=name, bounds=(-0.25, 0.5) if name == "range" else None) for name in EXPECTED}


def build_head(activation: str, bounds=None, kind: str = "map") -> TaskHead:
    head = Head(kind, activation=activation, bounds=bounds)
    layer = TaskHead(head, 1, 2, [keras.initializers.RandomNormal(0, 1, seed=1)], ["zeros"], None, name="head_x")
    layer.build((None, 5, 5, 1))
    return layer


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["map", "vector"])
def test_outputs_are_those_of_a_linear_head_activated(training, kind, images):
    x = 30 * images(5, batch=8)
    linear = np.asarray(build_head("linear", kind=kind)(x))
    assert linear.min() < -0.25
    assert linear.max() > 0.5
    for name, activate in EXPECTED.items():
        layer = build_head(name, HEADS[name].bounds, kind)
        np.testing.assert_allclose(layer(x, training=training), activate(linear), atol=1e-6, err_msg=name)


def test_what_a_range_cuts_off_is_exact_and_keeps_its_gradient_in_training():
    layer = build_head("range", (0.0, 2.0))
    layer.projection.kernel.assign([[[[1.0]]]])
    layer.projection.bias.assign([0.0])
    x = tf.constant(np.array([-3.1, -1e-8, 0.7, 2.3, 4.4], "float32").reshape(1, 5, 1, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, training=True)
    np.testing.assert_array_equal(np.ravel(outputs), np.array([0.0, 0.0, 0.7, 2.0, 2.0], "float32"))
    np.testing.assert_array_equal(np.ravel(tape.gradient(outputs, x)), 1.0)


def test_a_range_is_none_until_it_is_set_and_is_saved(images, small_network, tmp_path):
    tasks = {"a": 1, "b": 1}
    network = small_network(tasks, "hard_sharing", seed=0, heads={"a": Head("map", activation="range")})
    x = 40 * images()
    before = np.asarray(network(x)["a"])
    lower, upper = np.quantile(before, (0.25, 0.75))
    network.heads[0].set_bounds(lower, upper)
    np.testing.assert_array_equal(network(x)["a"], np.clip(before, np.float32(lower), np.float32(upper)))
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(loaded(x)["a"], network(x)["a"])
    with pytest.raises(ValueError, match="'head_b' has the activation 'linear'; only 'range' has bounds"):
        network.heads[1].set_bounds(0, 1)
    with pytest.raises(ValueError, match=r"bounds = \(1, 1\) must be two numbers"):
        network.heads[0].set_bounds(1, 1)


def test_hardened_cut_to_one_task_and_in_onnx_outputs_stay_in_their_range(small_network, images, scramble, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    network = small_network(dict.fromkeys(EXPECTED, 1), masks="mode", seed=0, heads=HEADS)
    x = images()
    network(x)
    scramble(network)
    network.heads[-1].set_bounds(-1e9, 1e9)
    bounds = tuple(float(bound) for bound in np.quantile(network(x)["range"], (0.3, 0.7)).astype("float32"))
    network.heads[-1].set_bounds(*bounds)
    expected = {name: np.asarray(values) for name, values in network(x).items()}
    hardened = harden(network)
    hardened.save(tmp_path / "hardened.keras")
    session = onnxruntime.InferenceSession(build_onnx_model(hardened).SerializeToString())
    outputs = session.run(list(expected), {"image": x})
    loaded = keras.saving.load_model(tmp_path / "hardened.keras", safe_mode=True)
    found = {
        "grouped": group_network(network)(x),
        "hardened": hardened(x),
        "loaded": loaded(x),
        "alone": harden(network, "range")(x),
        "onnx": dict(zip(expected, outputs, strict=True)),
    }
    for form, values in found.items():
        for name, output in values.items():
            np.testing.assert_allclose(output, expected[name], atol=2e-4, err_msg=f"{form} {name}")
            if name == "range":
                assert (np.min(output), np.max(output)) == bounds, form


def test_heads_are_described_by_plain_values_as_before_where_they_are_linear():
    assert set(Head().values()) == {"kind", "tap", "layers", "pooling"}
    for head in HEADS.values():
        assert find_head(head.values()) == head


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "sigmoyd"}, "unknown activation of outputs 'sigmoyd', did you mean 'sigmoid'"),
        ({"activation": "relu", "bounds": (0, 1)}, "are for activation = 'range', not 'relu'"),
        ({"activation": "range", "bounds": (1, 0)}, "must be two numbers, the smaller one first"),
    ],
)
def test_activations_that_cannot_be_are_refused_with_what_was_written(arguments, message):
    with pytest.raises(ValueError, match=message):
        Head(**arguments)
