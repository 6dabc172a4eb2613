"""A kind of source from outside the package: one class and one line of the table, run from an INI file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.records.files import prediction_path
from sfgkeras.applications.subjects.session import open_session
from sfgkeras.config import read_config
from sfgkeras.data.nifti import Header, Image, build_header, read_label_map
from sfgkeras.data.references import ImageRef
from sfgkeras.data.sources import Source
from sfgkeras.data.volumes import file_fingerprint
from sfgkeras.errors import ConfigError
from sfgkeras.reporter import SilentReporter
from sfgkeras.settings import Settings, setting
from sfgkeras.tables.loaders import LOADERS, LoaderEntry


@dataclass(frozen=True)
class NumpySettings(Settings):
    """Settings of `numpy`."""

    name: str = setting("image", "Name of the array in each file.")
    spacing: float = setting(1.0, "Voxel size in mm.", gt=0)


@dataclass(frozen=True)
class NumpyImage(ImageRef):
    """An array of an `.npz` file."""

    file: Path
    key: str
    spacing: float

    @property
    def name(self) -> str:
        return f"{self.file}:{self.key}"

    @property
    def path(self) -> Path:
        return self.file

    def fingerprint(self) -> str:
        return file_fingerprint(self.file)

    def _array(self) -> np.ndarray:
        return np.load(self.file)[self.key]

    def _read_header(self) -> Header:
        affine = np.diag([*[self.spacing] * 3, 1.0])
        return build_header(self.file, self._array().shape, affine, self._array().dtype)

    def _read_image(self) -> Image:
        return Image(self._array().astype(np.float32), self.header().affine, self.header())

    def _read_labels(self) -> Image:
        return Image(self._array().astype(np.int32), self.header().affine, self.header())


class NumpySource(Source):
    """Arrays in `.npz` files of a folder, one file for each subject."""

    def find(self):
        settings, (folder,) = self.place.settings, self.place.path_to_search
        return {path.stem: NumpyImage(path, settings.name, settings.spacing) for path in sorted(folder.glob("*.npz"))}


INI = """
[MR]
loader = numpy
numpy_name = mr
numpy_spacing = {spacing}
path_to_search = {folder}
spatial_window_size = 16, 16, 1

[ORGANS]
loader = numpy
numpy_name = organs
numpy_spacing = {spacing}
path_to_search = {folder}

[SYSTEM]
model_dir = {folder}/model

[NETWORK]
name = highresnet
sharing = hard_sharing
width = 0.1
batch_size = 2
batch_norm = population

[TRAINING]
max_iter = 1
save_every_n = 1
validation_every_n = 1
exclude_fraction_for_validation = 0.2
exclude_fraction_for_inference = 0.2

[MULTITASK]
image = MR
tasks = organs

[TASK organs]
type = segmentation
target = ORGANS
num_classes = 3
"""


@pytest.fixture
def configure(tmp_path, monkeypatch):
    """Returns a function: spacing, overrides -> configuration over five subjects, with the source in the table."""
    monkeypatch.setitem(LOADERS, "numpy", LoaderEntry(lambda: NumpySource, "arrays of NumPy", NumpySettings))
    rng = np.random.default_rng(0)
    for number in range(5):
        labels = rng.integers(0, 3, (20, 18, 3))
        np.savez(tmp_path / f"p{number}.npz", mr=rng.normal(labels), organs=labels)

    def make(spacing=2.0, overrides=()):
        (tmp_path / "own.ini").write_text(INI.format(folder=tmp_path, spacing=spacing))
        return read_config(tmp_path / "own.ini", overrides)

    return make


def test_it_trains_infers_and_evaluates(configure):
    config = configure()
    run.train(config, SilentReporter())
    session = open_session(config, SilentReporter(), training=False)
    subject = session.cohort.phase("training")[0]
    assert session.preparation.grid(subject).spacing == (2.0, 2.0, 2.0)
    assert session.preparation.subject(subject).image.shape == (20, 18, 3, 1)
    run.infer(config, SilentReporter())
    (held_out,) = session.cohort.phase("inference")
    result = read_label_map(prediction_path(config, held_out.subject_id, "organs"))
    assert result.array.shape == (20, 18, 3)
    assert np.allclose(result.affine, np.diag([2.0, 2, 2, 1]))
    summary = run.evaluate(config, SilentReporter())
    assert {row["measure"] for row in summary["organs"]} >= {"dice"}


def test_its_settings_are_checked_as_those_of_any_other(configure):
    with pytest.raises(ConfigError, match=r"\[MR\] numpy_spacing = '-1' must be above 0"):
        configure(spacing=-1)
    with pytest.raises(ConfigError, match="numpy_nam"):
        configure(overrides=[("MR.numpy_nam", "x")])
