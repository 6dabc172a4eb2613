"""A tiny cohort and INI files over it; runs of a few iterations, seconds each."""

import shutil
import textwrap
from pathlib import Path

import numpy as np
import pytest

from sfgkeras.config import Config, read_config
from sfgkeras.data.phantom import write_phantom_cohort


@pytest.fixture(scope="session")
def cohort(tmp_path_factory) -> Path:
    """Four small phantoms."""
    folder = tmp_path_factory.mktemp("cohort")
    write_phantom_cohort(folder, 4, size="small", seed=5)
    return folder


INI = """
[MR]
path_to_search = {cohort}
filename_contains = _mr
filename_removefromid = _(mr|ct|organs)$
spatial_window_size = 24, 24, 1
pixdim = 8, 8, 8
axcodes = R, A, S

[CT]
path_to_search = {cohort}
filename_contains = _ct
filename_removefromid = _(mr|ct|organs)$
pixdim = 8, 8, 8
axcodes = R, A, S
scaling = ct
padding_value = -1024

[ORGANS]
path_to_search = {cohort}
filename_contains = _organs
filename_removefromid = _(mr|ct|organs)$
pixdim = 8, 8, 8
axcodes = R, A, S

[SYSTEM]
model_dir = {model_dir}
seed = 3

[NETWORK]
name = highresnet
sharing = hard_sharing
batch_norm = population
width = 0.25
batch_size = 4
whitening = yes
normalisation = yes
histogram_ref_file = landmarks.json

[TRAINING]
max_iter = 4
save_every_n = 2
tensorboard_every_n = 1
validation_every_n = 2
rotation_angle = -10, 10
scaling_percentage = -10, 10
exclude_fraction_for_validation = 0.25
exclude_fraction_for_inference = 0.25

[INFERENCE]
fill_constant = -1024

[MULTITASK]
image = MR
tasks = ct, organs
loss_border = 2

[TASK ct]
type = regression
target = CT
loss = rmse

[TASK organs]
type = segmentation
target = ORGANS
loss = dicecrossentropy
num_classes = 6
"""


@pytest.fixture(scope="session")
def config_maker(cohort):
    """Returns a function: folder -> function that makes configurations of the tiny run in it."""

    def in_folder(folder: Path):
        def make(
            overrides: dict[str, object] | None = None, model_dir: Path | None = None, text: str = INI, extra: str = ""
        ) -> Config:
            path = folder / "tiny.ini"
            filled = textwrap.dedent(text + extra).format(cohort=cohort, model_dir=model_dir or folder / "model")
            path.write_text(filled)
            return read_config(path, [(name, str(value)) for name, value in (overrides or {}).items()])

        return make

    return in_folder


@pytest.fixture
def make_config(config_maker, tmp_path):
    """Returns a function: overrides by "SECTION.KEY" -> Config of the tiny run."""
    return config_maker(tmp_path)


class RecordingReporter:
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.warnings: list[str] = []
        self.tables: dict[str, tuple[list[str], list[list[object]]]] = {}

    def message(self, text):
        self.messages.append(text)

    def warning(self, text):
        self.warnings.append(text)

    def table(self, title, columns, rows):
        self.tables[title] = (list(columns), [list(row) for row in rows])

    def stage(self, title, total, done=0):
        from sfgkeras.applications.reporter import SilentReporter

        return SilentReporter().stage(title, total, done)


@pytest.fixture
def reporter() -> RecordingReporter:
    return RecordingReporter()


@pytest.fixture
def network_arrays():
    """Returns a function: checkpoint folder, iteration -> its arrays."""
    from sfgkeras.applications.checkpoints import CheckpointFolder

    def read(model_dir: Path, iteration: int) -> dict[str, np.ndarray]:
        return dict(CheckpointFolder(model_dir / "checkpoints").read(iteration).arrays)

    return read


OLD_STATE = Path(__file__).parent / "states" / "iteration_000000000.npz"
"""The first state of the tiny run with these settings, written by version 0.1.0 with its smaller fingerprint."""

OLD_SETTINGS = {"NETWORK.sharing": "sfg", "NETWORK.width": 0.0625, "TRAINING.validation_every_n": 0}


@pytest.fixture
def make_started(make_config, tmp_path):
    """Returns a function: overrides -> Config of a tiny run that has a state of iteration 0, not trained here."""

    def make(overrides: dict[str, object] | None = None, **more) -> Config:
        config = make_config({**OLD_SETTINGS, **(overrides or {})}, **more)
        checkpoints = config.system.model_dir / "checkpoints"
        if not checkpoints.exists():
            checkpoints.mkdir(parents=True)
            shutil.copy(OLD_STATE, checkpoints)
        return config

    return make
