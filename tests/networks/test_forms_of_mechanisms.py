"""Mechanisms with layers of their own, written in every form and read again as a user would."""

import keras
import numpy as np
import pytest

from sfgkeras.applications.export.formats import FORMATS
from sfgkeras.architecture.stage import Stage
from sfgkeras.networks import Head, MultiTaskNetwork, UNet, harden

pytest.importorskip("onnxruntime")


@keras.saving.register_keras_serializable(package="tests_forms")
class Three(MultiTaskNetwork):
    """Three stages, blocks behind the second, which pools."""

    stages = (Stage(6, name="first"), Stage(6, name="second", num_blocks=1, pools=True), Stage(6, name="third"))
    usual_head = "vector"


NETWORKS = {
    "deep_relationship": lambda: Three({"a": 2, "b": 2}, "deep_relationship", task_layers=2, seed=0),
    "deep_relationship of maps": lambda: UNet({"a": 2, "b": 1}, "deep_relationship", width=1 / 16, levels=1, seed=0),
    "joint_many": lambda: UNet({"a": 2, "b": 1}, "joint_many", width=1 / 16, levels=1, seed=0),
    "joint_many that feeds maps and vectors": lambda: Three(
        {"a": 3, "b": 2, "c": 1},
        "joint_many",
        seed=0,
        feed_outputs=("a", "b: sigmoid"),
        heads={"a": Head("map", tap="first"), "b": Head("vector", tap="second")},
    ),
}


@pytest.mark.parametrize("form", ["onnx", "saved_model"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_what_is_written_gives_the_numbers_of_the_network(kind, form, tmp_path, scramble, images):
    network = NETWORKS[kind]()
    x = images(7)
    network(x)
    scramble(network)
    path = tmp_path / f"network{FORMATS[form].ending}"
    FORMATS[form].write(harden(network, keep_prelu=FORMATS[form].has_prelu), path)
    predict = FORMATS[form].load(path)
    for shape in (x.shape, (1, 6, 9, x.shape[-1])):
        inputs = np.random.default_rng(1).normal(size=shape).astype("float32")
        found = predict(inputs)
        assert set(found) == set(network.tasks)
        for name, expected in network(inputs).items():
            expected = np.asarray(expected)
            assert np.abs(expected).max() > 0
            np.testing.assert_allclose(found[name], expected, atol=1e-4 * np.abs(expected).max())
