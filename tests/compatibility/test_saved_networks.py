"""What an earlier version saved loads, and gives the same numbers: see make_saved.py for how the archives were made."""

import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from sfgkeras.applications.records.checkpoints import read_state, restore_arrays
from sfgkeras.networks import harden

ARCHIVES = sorted(Path(__file__).parent.glob("saved_*.zip"))
SIZE = 12


def names(ending: str) -> list:
    found = []
    for archive in ARCHIVES:
        members = zipfile.ZipFile(archive).namelist()
        found += [
            pytest.param(archive, name.removesuffix(ending), id=f"{archive.stem}-{name.removesuffix(ending)}")
            for name in members
            if name.endswith(ending) and (ending != ".keras" or "_hardened" not in name)
        ]
    return found


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """Returns a function: archive, file name -> path of the unpacked file."""
    folder = tmp_path_factory.mktemp("saved")

    def unpack(archive: Path, name: str) -> Path:
        return Path(zipfile.ZipFile(archive).extract(name, folder / archive.stem))

    return unpack


@pytest.fixture(scope="module")
def expected(unpacked):
    """Returns a function: archive, network -> input and outputs by task, as they were when it was saved."""

    def read(archive: Path, name: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        outputs = dict(np.load(unpacked(archive, f"{name}_expected.npz")))
        rank = 3 if name.endswith("3d") else 2
        images = np.random.default_rng(1).normal(size=(2, *(SIZE,) * rank, 2)).astype("float32")
        return images, outputs

    return read


def assert_same(outputs, expected) -> None:
    assert set(outputs) == set(expected)
    for task, output in expected.items():
        np.testing.assert_allclose(np.asarray(outputs[task]), output, rtol=1e-5, atol=1e-5 * np.abs(output).max())


@pytest.mark.parametrize(("archive", "name"), names(".keras"))
def test_a_saved_network_gives_what_it_gave(archive, name, unpacked, expected):
    images, outputs = expected(archive, name)

    network = keras.saving.load_model(unpacked(archive, f"{name}.keras"))
    network.masks = "mode"

    assert_same(network(images), outputs)


@pytest.mark.parametrize(("archive", "name"), names("_state.npz"))
def test_a_training_state_gives_what_it_gave(archive, name, unpacked, expected):
    images, outputs = expected(archive, name)
    saved = keras.saving.load_model(unpacked(archive, f"{name}.keras"))
    network = type(saved).from_config(saved.get_config())
    network.build((None, *images.shape[1:]))
    before = network(images)

    restore_arrays(read_state(unpacked(archive, f"{name}_state.npz")).arrays, network)
    network.masks = "mode"

    assert any(np.abs(np.asarray(before[task]) - outputs[task]).max() > 1e-3 for task in outputs)
    assert_same(network(images), outputs)


@pytest.mark.parametrize(("archive", "name"), names("_hardened.keras"))
def test_a_hardened_network_gives_what_the_masked_one_gave(archive, name, unpacked, expected):
    images, outputs = expected(archive, name)

    hardened = keras.saving.load_model(unpacked(archive, f"{name}_hardened.keras"))

    for task, output in outputs.items():
        tolerance = 1e-4 * np.abs(output).max()
        np.testing.assert_allclose(np.asarray(hardened(images)[task]), output, atol=tolerance)


@pytest.mark.parametrize(("archive", "name"), names("_hardened.keras"))
def test_a_saved_network_hardens_to_what_was_hardened_then(archive, name, unpacked, expected):
    images, _ = expected(archive, name)
    network = keras.saving.load_model(unpacked(archive, f"{name}.keras"))
    then = keras.saving.load_model(unpacked(archive, f"{name}_hardened.keras"))

    now = harden(network)

    assert now.count_params() == then.count_params()
    for task, output in then(images).items():
        np.testing.assert_allclose(np.asarray(now(images)[task]), np.asarray(output), atol=1e-4)
