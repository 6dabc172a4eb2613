"""What `import sfgkeras` alone gives: the rooms, when asked for, and classes that Keras finds in saved files."""

import subprocess
import sys

import keras
import numpy as np
import pytest

import sfgkeras
from sfgkeras import registration
from sfgkeras.networks import HighResNet


def run(code, *arguments):
    return subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True).stdout


def test_the_rooms_are_there_after_one_import():
    code = """
import sys, sfgkeras
assert not {"keras", "tensorflow", "numpy", "sfgkeras.networks"} & set(sys.modules), "loaded too early"
assert "networks" in dir(sfgkeras)
sfgkeras.preprocessing
assert not {"keras", "tensorflow"} & set(sys.modules), "preprocessing loads Keras"
print(sfgkeras.networks.HighResNet.__name__, sfgkeras.layers.SFGConv2D.__name__, sfgkeras.losses.Huber.__name__,
      sfgkeras.metrics.Dice.__name__, sfgkeras.callbacks.GroupingMonitor.__name__, sfgkeras.grouping.entropy.__name__)
"""
    assert run(code).split() == ["HighResNet", "SFGConv2D", "Huber", "Dice", "GroupingMonitor", "entropy"]


def test_a_room_that_does_not_exist_is_refused_by_name():
    with pytest.raises(AttributeError, match="'sfgkeras' has no attribute 'network'; it has .*networks"):
        _ = sfgkeras.network


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A compiled network in a file, an image, and what the network gives."""
    folder = tmp_path_factory.mktemp("saved")
    network = HighResNet({"ct": 1, "organs": 3}, width=0.1, seed=0)
    losses = {"ct": sfgkeras.losses.Huber(), "organs": sfgkeras.losses.DiceCrossEntropy()}
    network.compile("adam", loss=losses, metrics={"organs": [sfgkeras.metrics.Dice(3)]})
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 1)).astype("float32")
    output = network.predict(image, verbose=0)["ct"]
    network.save(folder / "network.keras")
    np.savez(folder / "expected.npz", image=image, output=output)
    return folder


@pytest.mark.parametrize(
    "imports", ["import keras, sfgkeras", pytest.param("import sfgkeras, keras", marks=pytest.mark.slow)]
)
def test_a_saved_network_loads_after_one_import_in_either_order(saved, imports):
    code = f"""
import sys
{imports}
import numpy as np
network = keras.saving.load_model(sys.argv[1] + "/network.keras", safe_mode=True)
expected = np.load(sys.argv[1] + "/expected.npz")
np.testing.assert_array_equal(network.predict(expected["image"], verbose=0)["ct"], expected["output"])
print(type(network).__name__, type(network.loss["ct"]).__module__)
"""
    assert run(code, str(saved)).split() == ["HighResNet", "sfgkeras.losses.regression"]


def test_every_class_that_is_registered_is_in_the_table():
    for room in ("layers", "losses", "metrics", "networks"):
        getattr(sfgkeras, room)
    registered = {
        name: found
        for name, found in keras.saving.get_custom_objects().items()
        if name.startswith("sfgkeras") and found.__module__.startswith("sfgkeras.")
    }
    table = {
        registration.registered_name(module, name): (module, name)
        for module, names in registration.REGISTERED.items()
        for name in names
    }
    assert set(table) == set(registered)
    for name, (module, class_name) in table.items():
        assert getattr(sys.modules[module], class_name) is registration.StandIn(module, class_name).resolve()
        assert registered[name] is registration.StandIn(module, class_name).resolve()


def test_a_room_that_lacks_a_backend_of_keras_says_what_installs_one(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    monkeypatch.setattr(sfgkeras.importlib, "import_module", missing)
    with pytest.raises(
        ImportError, match=r'sfgkeras.networks computes with Keras.*pip install "sfgkeras\[tensorflow\]"'
    ):
        sfgkeras.__getattr__("networks")

    def broken(name):
        raise ModuleNotFoundError("No module named 'other'", name="other")

    monkeypatch.setattr(sfgkeras.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="other"):
        sfgkeras.__getattr__("networks")
