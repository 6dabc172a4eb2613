"""Networks, layers and losses on JAX and PyTorch, in environments without TensorFlow; see CONTRIBUTING.md."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = os.environ.get("SFGKERAS_BACKENDS_PYTHON")

PROGRAM = """
import sys
import keras, sfgkeras
import numpy as np
from sfgkeras import balancing, layers, losses
from sfgkeras.balancing import Uncertainty
from sfgkeras.networks import MultiTaskNetwork, harden, recalibrate
from sfgkeras.architecture.stage import Stage

assert keras.backend.backend() == sys.argv[1]
assert "tensorflow" not in sys.modules
folder = sys.argv[2]


@keras.saving.register_keras_serializable(package="tests")
class Small(MultiTaskNetwork):
    stages = (Stage(6, num_blocks=1, dilation=2), Stage(8))


images = np.random.default_rng(0).normal(5, 2, size=(16, 8, 8, 1)).astype("float32")
targets = {"ct": images / 4 + 1, "organs": (images[..., 0] > 5).astype("int32")}
network = Small({"ct": 1, "organs": 2}, seed=0, balancing=Uncertainty({"organs": 1.0}))
network.compile(
    keras.optimizers.Adam(1e-2), loss={"ct": losses.RootMeanSquaredError(), "organs": losses.DiceCrossEntropy()}
)
history = network.fit(
    images, targets, batch_size=4, epochs=5, validation_data=(images, targets), verbose=0
).history
assert history["ct_loss"][-1] < 0.8 * history["ct_loss"][0], history
learned = network.balancer.current_weights()
assert abs(learned["organs"] - np.exp(-2.0)) > 0.01 and abs(learned["ct"] - 0.5) > 0.01, learned
# With moving averages, which begin at 0, the images' mean of 5 would come out as an error of several times as much.
assert history["val_ct_loss"][-1] < 1.2 * history["ct_loss"][-1], history
assert network.statistics_fit and int(keras.ops.convert_to_numpy(network.iteration)) == 20
outputs = network.predict(images, verbose=0)
np.testing.assert_array_equal(outputs["ct"], network.predict(images, verbose=0)["ct"])
after = network.evaluate(images, targets, verbose=0, return_dict=True)
np.testing.assert_allclose(after["ct_loss"], history["val_ct_loss"][-1], rtol=1e-3)

network.save(folder + "/network.keras")
loaded = keras.saving.load_model(folder + "/network.keras")
np.testing.assert_allclose(loaded.predict(images, verbose=0)["ct"], outputs["ct"], atol=1e-5)
assert loaded.balancer.current_weights() == learned
assert loaded.statistics_fit

network.masks = "mode"
recalibrate(network, [(images, targets)])
expected = network.predict(images, verbose=0)
hardened = harden(network)
for task, output in hardened.predict(images, verbose=0).items():
    np.testing.assert_allclose(output, expected[task], atol=1e-4 * np.abs(expected[task]).max())
hardened.save(folder + "/hardened.keras")
again = keras.saving.load_model(folder + "/hardened.keras").predict(images, verbose=0)
np.testing.assert_allclose(again["ct"], hardened.predict(images, verbose=0)["ct"], atol=1e-5)

from sfgkeras.networks import Head, UNet

unet = UNet(
    {"mask": 1, "size": 1}, width=1 / 16, levels=2, convolutions=1, decoder_start="decoder", seed=0,
    heads={"size": Head("vector", layers=(4,))},
)
unet.compile("adam", loss={"mask": "mse", "size": "mse"})
unet.fit(images[:, :7], {"mask": images[:, :7], "size": images[:, 0, 0]}, verbose=0)
unet.masks = "mode"
recalibrate(unet, [images[:, :7]])
expected = unet.predict(images[:, :7], verbose=0)
harden(unet).save(folder + "/unet.keras")
plain = keras.saving.load_model(folder + "/unet.keras").predict(images[:, :7], verbose=0)
assert plain["mask"].shape == (16, 7, 8, 1)
for task, output in plain.items():
    np.testing.assert_allclose(output, expected[task], atol=1e-4 * np.abs(expected[task]).max())

from sfgkeras.layers.kernel_coupling import DISTANCES

# A weight whose only gradient is that of its penalty.
class Rows(keras.layers.Layer):
    def __init__(self, start, penalty):
        super().__init__()
        self.rows = self.add_weight(shape=start.shape, initializer=keras.initializers.Constant(start))
        self.rows.regularizer = penalty

    def call(self, inputs):
        return inputs + 0 * keras.ops.sum(self.rows)


for start in (np.random.default_rng(0).normal(size=(3, 5)), np.ones((3, 5))):
    left, singular, right = np.linalg.svd(start, full_matrices=False)
    slopes = {
        "squared": 6 * (start - start.mean(axis=0)),
        "absolute": np.sign(start[:, None] - start).sum(axis=1),
        "trace_norm": (left * (singular > 1e-6)) @ right,
    }
    for distance, slope in slopes.items():
        model = keras.Sequential([Rows(start, DISTANCES[distance])])
        model.compile(keras.optimizers.SGD(0.125), loss="mse")
        model.fit(np.zeros((1, 2)), np.zeros((1, 2)), verbose=0)
        moved = keras.ops.convert_to_numpy(model.layers[0].rows)
        np.testing.assert_allclose(moved, start - 0.125 * slope, atol=1e-5, err_msg=distance)

mechanisms = [
    ("soft_sharing", {"strength": 0.01, "distance": "trace_norm"}), ("sluice", {}),
    ("deep_relationship", {"update_every": 2, "task_layers": 2}), ("joint_many", {"feed_outputs": ("ct",)}),
    ("joint_many", {"trained": "in_turns", "period": 2}),
]
for sharing, settings in mechanisms:
    mixed = Small({"ct": 1, "organs": 2}, sharing, width=2.0, seed=0, **settings)
    mixed.compile(keras.optimizers.Adam(1e-2), loss={"ct": "mse", "organs": losses.DiceCrossEntropy()})
    history = mixed.fit(images, targets, batch_size=4, epochs=4, verbose=0).history["loss"]
    # In turns the loss of an epoch is that of whose turn it was.
    assert history[-1] < 0.9 * history[0 if "trained" not in settings else 1], (sharing, history)
    expected = mixed.predict(images, verbose=0)
    for task, output in harden(mixed).predict(images, verbose=0).items():
        np.testing.assert_allclose(output, expected[task], atol=1e-4 * np.abs(expected[task]).max())

# In the turn of ct nothing of organs moves, whatever momentum has gathered, nor the other way round.
turns = Small({"ct": 1, "organs": 2}, "joint_many", seed=0, trained="in_turns", period=1)
turns.compile(keras.optimizers.AdamW(1e-2), loss={"ct": "mse", "organs": losses.DiceCrossEntropy()})
turns(images)
for step in range(6):
    before = [[keras.ops.convert_to_numpy(v) for v in head.trainable_variables] for head in turns.heads]
    turns.fit(images[:4], {name: values[:4] for name, values in targets.items()}, batch_size=4, verbose=0)
    after = [[keras.ops.convert_to_numpy(v) for v in head.trainable_variables] for head in turns.heads]
    moved = [any((a != b).any() for a, b in zip(*pair)) for pair in zip(before, after)]
    assert moved == [step % 2 == 0, step % 2 == 1], (step, moved)

inputs = keras.Input((8, 8, 1))
streams = layers.SFGConv2D(4, (3, 5), strides=2, seed=0)(inputs)
streams = layers.SFGConv2D(4, seed=1)(streams)
model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(streams[0] + streams[2]))
model.compile("sgd", loss="mse")
model.fit(images, np.zeros((16, 4)), verbose=0)
recalibrate(model, [images])
for layer in model.layers:
    if isinstance(layer, layers.SFGConv2D):
        layer.masks = "mode"
to_numpy = keras.ops.convert_to_numpy
np.testing.assert_allclose(to_numpy(harden(model)(images)), to_numpy(model(images)), atol=1e-5)

rules = {
    "dynamic_average": {"interval": 1, "temperature": 0.1}, "random": {}, "sum_of_gradients": {},
}
for name, settings in rules.items():
    weighed = Small({"ct": 1, "organs": 2}, seed=0, balancing=balancing.BALANCING[name](**settings))
    weighed.compile(keras.optimizers.Adam(1e-2), loss={"ct": "mse", "organs": losses.DiceCrossEntropy()})
    history = weighed.fit(images, targets, batch_size=4, epochs=4, verbose=0).history
    assert history["ct_loss"][-1] < 0.9 * history["ct_loss"][0], (name, history)
    weights = weighed.balancer.current_weights()
    assert (weights["ct"] != 1.0) == (name != "sum_of_gradients"), weights
    np.testing.assert_allclose(sum(weights.values()), 2.0, rtol=1e-5)
for name in ("pcgrad", "mgda", "cagrad", "gradnorm"):
    refused = Small({"ct": 1, "organs": 2}, seed=0, balancing=name)
    refused.compile("sgd", loss={"ct": "mse", "organs": losses.DiceCrossEntropy()})
    try:
        refused.fit(images, targets, verbose=0)
    except ValueError as error:
        assert f"balancing = {name} needs the gradients of the single tasks" in str(error), error
    else:
        raise AssertionError(name)

import doctest, importlib, pkgutil
from sfgkeras.layers import kernel_coupling, subspace_stitch
mathematics = [sfgkeras.grouping, sfgkeras.boxes, kernel_coupling, subspace_stitch]
for room in (losses, sfgkeras.metrics, balancing):
    found = pkgutil.iter_modules(room.__path__, room.__name__ + ".")
    mathematics += [importlib.import_module(each.name) for each in found]
for module in mathematics:
    assert doctest.testmod(module).failed == 0, module
print("all of it works")
"""


@pytest.mark.slow
@pytest.mark.ci_sample
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_networks_train_save_and_harden_without_tensorflow(backend, tmp_path):
    if PYTHON is None:
        pytest.skip("no environment with JAX and PyTorch: set SFGKERAS_BACKENDS_PYTHON to its Python (CONTRIBUTING.md)")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [PYTHON, "-W", "ignore", str(program), backend, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all of it works" in done.stdout
