"""A tiny cohort and INI files over it; runs of a few iterations, seconds each."""

import shutil
import textwrap
from pathlib import Path

import numpy as np
import pytest

from sfgkeras.applications.records.files import RunFolder, prediction_path
from sfgkeras.callbacks import GroupingHistory, learned_path
from sfgkeras.callbacks.sharing_history import write_learned
from sfgkeras.config import Config, read_config
from sfgkeras.data.nifti import read_image, read_label_map, write_image
from sfgkeras.phantom.pelvis import write_phantom_cohort
from sfgkeras.preprocessing.resampling import resample_like


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


@pytest.fixture(scope="module")
def two_stages():
    """The name of a network of two convolutions, which takes seconds where the shipped ones take a minute."""
    from sfgkeras.architecture.stage import Stage
    from sfgkeras.networks import MultiTaskNetwork
    from sfgkeras.tables import networks

    class TwoStages(MultiTaskNetwork):
        stages = (Stage(6, name="first"), Stage(5, name="second"))

    networks.NETWORKS["two_stages"] = networks.NetworkEntry(lambda: TwoStages, "two convolutions")
    yield "two_stages"
    del networks.NETWORKS["two_stages"]


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
        from sfgkeras.reporter import SilentReporter

        return SilentReporter().stage(title, total, done)


@pytest.fixture
def reporter() -> RecordingReporter:
    return RecordingReporter()


@pytest.fixture
def network_arrays():
    """Returns a function: checkpoint folder, iteration -> its arrays."""
    from sfgkeras.applications.records.checkpoints import CheckpointFolder

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


SPLIT = "phantom_000,training\nphantom_001,training\nphantom_002,validation\nphantom_003,inference\n"


def _write_run(config, subject_id="phantom_003"):
    """Leaves what training, inference and evaluation of a run leave, without their work."""
    run = RunFolder(config.system.model_dir)
    run.logs.mkdir(parents=True)
    run.configuration.write_text(config.effective_text())
    config.system.dataset_split_file.write_text(SPLIT)
    (run.logs / "training.csv").write_text(
        "iteration,loss,regularisation,ct,organs,seconds_per_iteration\n1,3,0.1,1,2,0.5\n2,2,0.1,0.8,1.2,0.5\n"
    )
    (run.logs / "validation.csv").write_text("iteration,loss,ct_loss,organs_loss,organs_dice\n2,2.1,0.9,1.2,0.4\n")
    run.network_size.write_text('{"parameters": 12345, "multiplies": 67890123, "window": [28, 28]}')
    history = GroupingHistory(run.grouping, 1)
    rng = np.random.default_rng(0)
    for iteration in range(3):
        history.note(iteration, {f"sfg_{n}": rng.dirichlet([1, 1, 1], size=4) for n in (1, 2)})
    history.write()
    _write_sharing(run)
    evaluation = config.evaluation.save_csv_dir
    evaluation.mkdir()
    (evaluation / "ct_summary.csv").write_text(
        "region,measure,mean,std,median,n,n_missing\nall,mae,61.87,2.73,61,3,0\n"
    )
    (evaluation / "ct_subjects.csv").write_text("subject_id,region,num_voxels,mae\nphantom_003,all,100,61.5\n")
    (evaluation / "organs_summary.csv").write_text(
        "label,measure,mean,std,median,n,n_missing\nbladder,dice,0.73,0.1,0.7,2,1\n"
    )
    _write_predictions(config, subject_id)
    return run


def _write_sharing(run):
    """Notes two stages, of which tasks share more and more of the first, and weights that were learned there."""
    shared = GroupingHistory(run.sharing, 1)
    for iteration in range(3):
        part = 0.25 * (1 + iteration)
        shared.note(iteration, {"stage_1": np.array([[1, part], [part / 3, 1]]), "stage_2": np.eye(2)})
    shared.write()
    write_learned(learned_path(run.sharing), 2, {"stitch_weights/stage_1": np.array([[0.8125, 0.1875], [0, 1]])})


def _write_predictions(config, subject_id):
    """Writes slightly wrong predictions and an uncertainty map."""
    config.inference.save_seg_dir.mkdir(exist_ok=True)
    cohort = config.sources["MR"].path_to_search[0]
    mr = read_image(cohort / f"{subject_id}_mr.nii.gz")
    shape, affine = mr.array.shape, mr.affine
    ct, organs = read_image(cohort / f"{subject_id}_ct.nii.gz"), read_label_map(cohort / f"{subject_id}_organs.nii.gz")
    hu = resample_like(ct.array, ct.affine, shape, affine, 1, fill=-1024)
    labels = resample_like(organs.array, organs.affine, shape, affine, 0)
    write_image(prediction_path(config, subject_id, "ct"), hu + 50, affine)
    write_image(prediction_path(config, subject_id, "organs"), np.roll(labels, 1, axis=0), affine)
    write_image(prediction_path(config, subject_id, "ct", "_std"), np.abs(hu) / 10, affine)


@pytest.fixture
def write_run():
    """Returns a function: configuration, subject -> the folder of a run as training and all else would leave it."""
    return _write_run


@pytest.fixture
def write_predictions():
    """Returns a function: configuration, subject -> slightly wrong predictions of it and an uncertainty map."""
    return _write_predictions


@pytest.fixture
def finished(make_config):
    """A run that is done; see `write_run`."""
    config = make_config({"NETWORK.sharing": "sfg"})
    _write_run(config)
    return config
