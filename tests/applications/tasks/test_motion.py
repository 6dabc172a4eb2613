"""Motion as a task: from voxels of the network's grid to vectors in mm, what is refused, and a run on hearts."""

import nibabel
import numpy as np
import pytest

from sfgkeras.analysis.motion import evaluate_motion, folding, jacobian, unmoved_mae, warp_volume, warped_mae
from sfgkeras.applications import run
from sfgkeras.applications.inference.result_maps import MapFinisher
from sfgkeras.applications.records.files import prediction_path
from sfgkeras.applications.report.page import write_report
from sfgkeras.applications.tasks.motion import MotionTask
from sfgkeras.config import read_config
from sfgkeras.config.task_sections import InputSource, Task
from sfgkeras.data.grids import Grid
from sfgkeras.data.nifti import read_channels, write_image
from sfgkeras.data.orientation import reorient
from sfgkeras.data.scratch import Scratch
from sfgkeras.errors import ConfigError
from sfgkeras.phantom.heart import write_hearts

INI = """
[FRAME_1]
path_to_search = {folder}/data
filename_contains = _frame1
spatial_window_size = 32, 32, 1
[FRAME_2]
path_to_search = {folder}/data
filename_contains = _frame2
[FRAME_3]
path_to_search = {folder}/data
filename_contains = _frame3
[LABELS]
path_to_search = {folder}/data
filename_contains = _labels1
[SYSTEM]
model_dir = {folder}/model
seed = 1
[NETWORK]
name = qin
width = 0.125
qin_scales = 2
qin_convolutions = 1
batch_size = 2
whitening = yes
[TRAINING]
max_iter = 4
validation_every_n = 2
exclude_fraction_for_validation = 0.25
exclude_fraction_for_inference = 0.25
[MULTITASK]
image = FRAME_1, FRAME_2, FRAME_3
[TASK motion]
type = motion
[TASK heart]
type = segmentation
target = LABELS
num_classes = 4
"""


def task(axes=(0, 1)):
    return MotionTask("motion", "MR", Task(type="motion", target="MR", loss="warping"), InputSource(), (), axes)


@pytest.fixture(scope="module")
def ini(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hearts")
    write_hearts(folder / "data", 6, seed=2)
    (folder / "run.ini").write_text(INI.format(folder=folder))
    return folder / "run.ini"


def test_displacements_become_mm_along_the_axes_of_the_scanner():
    # The grid's first axis runs to the back in steps of 2 mm, its second to the right in steps of 3 mm.
    affine = np.array([[0, 3, 0, 5], [-2, 0, 0, 1], [0, 0, 4, 0], [0, 0, 0, 1]], float)
    grid = Grid((2, 2, 1), affine)
    outputs = np.zeros((2, 2, 1, 4), np.float32)
    outputs[0, 0, 0] = 1, 0, 0.5, 2  # of the second frame, and of the third
    moved = task().in_world(outputs, grid)
    assert moved[0, 0, 0].tolist() == [0, -2, 0, 6, -1, 0]
    np.testing.assert_allclose(task().read_result(moved, affine)[0, 0, 0], [[1, 0, 0], [0.5, 2, 0]], atol=1e-6)


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "PIR"])
def test_a_result_says_the_same_on_the_subjects_own_grid_however_it_is_turned(axcodes, tmp_path):
    rng = np.random.default_rng(0)
    shape, affine = (5, 6, 3), np.diag([2.0, 1.5, 4.0, 1.0])
    outputs = rng.normal(size=(*shape, 4)).astype(np.float32)
    stand_in, native = reorient(np.zeros(shape), affine, tuple(axcodes))
    finisher = MapFinisher(task(), Grid(shape, affine), Grid(stand_in.shape, native), 1, 0.0, Scratch(tmp_path))
    finisher.add((slice(None),) * 3, outputs, {})
    found = finisher.results()[""]
    path = tmp_path / "motion.nii.gz"
    write_image(path, found.reshape(*found.shape[:3], 2, 3), native)
    image = nibabel.load(path)
    assert image.header.get_intent()[0] == "vector"
    assert image.shape == (*stand_in.shape, 2, 3)
    # Where a voxel of the result lies in the world, the vector is that of the grid's voxel at the same place.
    for index in ((0, 0, 0), (1, 2, 1)):
        place = native @ (*index, 1)
        voxel = np.rint(np.linalg.inv(affine) @ place)[:3].astype(int)
        expected = [[2 * x, 1.5 * y, 0] for x, y in outputs[tuple(voxel)].reshape(2, 2)]
        np.testing.assert_allclose(image.get_fdata()[index], expected, rtol=1e-5)


def test_measures_by_hand():
    first = np.zeros((6, 5, 1))
    first[2:4, 1:4] = 1
    frames = np.stack([first, np.roll(first, -1, axis=0)], axis=-1)  # one voxel back along x
    flow = np.zeros((6, 5, 1, 1, 3))
    flow[..., 0] = 1
    measures = {"warped_mae": warped_mae, "unmoved_mae": unmoved_mae, "folding": folding}
    known = np.ones((6, 5, 1), bool)
    (row,) = evaluate_motion(frames, flow, (2, 1, 1), measures, known)
    assert (row["region"], row["num_voxels"], row["warped_mae"], row["folding"]) == ("frame 2", 30, 0, 0)
    assert row["unmoved_mae"] == pytest.approx(6 / 30)
    rows = evaluate_motion(frames, flow, (2, 1, 1), measures, known, {"disc": first == 1})
    assert [row["region"] for row in rows] == ["frame 2", "frame 2: disc"]
    assert rows[1]["unmoved_mae"] == pytest.approx(3 / 6)
    # x + u(x) = -x turns the first axis round.
    mirrored = -2.0 * np.indices((6, 5, 1))[0][..., None] * np.array([1.0, 0, 0])
    assert jacobian(mirrored).max() == pytest.approx(-1)
    np.testing.assert_array_equal(warp_volume(first, flow[..., 0, :], order=0), frames[..., 1])


def test_a_report_draws_squares_that_move():
    still = np.zeros((24, 24, 1, 1, 3), np.float32)
    moved = still.copy()
    moved[..., 0] = 3 * 2.0  # three voxels of 2 mm
    affine = np.diag([2.0, 2, 2, 1])
    board, shifted = (task().drawn(array, affine) for array in (still, moved))
    assert board[:4, :4].max() == 0
    assert board[4:8, :4].min() == 1
    np.testing.assert_array_equal(shifted[:-3], board[3:])
    assert task().picture(moved).max() == 6


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("NETWORK.name", "unet", "needs a network that sees frames one by one, and unet does not; use qin"),
        ("MULTITASK.image", "FRAME_1", "is told from the frames of a sequence, and there is one image only"),
        ("NETWORK.window_sampling", "resize", "changes the size of voxels, which displacements count"),
        ("TASK motion.target", "LABELS", "is no image, and a motion learns from the image alone"),
        ("TASK motion.inferred", "FRAME_1", "is measured against what the network sees"),
        ("TASK motion.loss", "mse", "belongs to regression"),
        ("TASK motion.refinement", "crf", "is for labels of voxels, and has no meaning for a motion"),
        ("TASK motion.crf_radius", "2", "crf"),
        ("TASK motion.num_classes", "2", "has no meaning for a motion"),
    ],
)
def test_what_cannot_be_is_refused(ini, key, value, message):
    with pytest.raises(ConfigError, match=message):
        read_config(ini, [(key, value)])


def test_a_file_comes_back_as_it_was(ini, tmp_path):
    config = read_config(ini)
    assert (config.tasks["motion"].target, config.tasks["motion"].loss) == ("FRAME_1", "warping")
    assert config.tasks["motion"].settings_of("loss") == {"smoothness": 0.1}
    assert config.tasks["heart"].refinement == "none"
    (tmp_path / "again.ini").write_text(config.effective_text())
    assert read_config(tmp_path / "again.ini") == config


@pytest.mark.slow
def test_hearts_are_trained_on_written_measured_refined_and_drawn(ini, reporter):
    config = read_config(ini)
    run.train(config, reporter)
    run.infer(config, reporter, dataset="all")
    found = run.evaluate(config, reporter, dataset="all")
    assert {row["region"] for row in found["motion"]} == {"frame 2", "frame 3"}
    measured = {row["measure"]: row for row in found["motion"] if row["region"] == "frame 2"}
    assert measured["displacement"]["unit"] == "mm"
    path = prediction_path(config, "heart_000", "motion")
    result = read_channels(path)
    assert result.array.shape == (64, 64, 1, 2, 3)
    assert nibabel.load(path).header.get_intent()[0] == "vector"
    assert not result.array[..., 2].any()
    lengths = np.linalg.norm(result.array[..., 0, :], axis=-1).mean()
    assert 0 < lengths < 2  # of a network that has hardly begun
    labels = prediction_path(config, "heart_000", "heart").read_bytes()
    refining = read_config(ini, [("TASK heart.refinement", "crf"), ("TASK heart.crf_smoothness_weight", "5")])
    run.infer(refining, reporter, dataset="all", overwrite=True)
    refined = prediction_path(config, "heart_000", "heart").read_bytes()
    assert refined != labels
    unbound = [("TASK heart.crf_smoothness_weight", "0"), ("TASK heart.crf_appearance_weight", "0")]
    run.infer(read_config(ini, [("TASK heart.refinement", "crf"), *unbound]), reporter, dataset="all", overwrite=True)
    assert prediction_path(config, "heart_000", "heart").read_bytes() == labels
    page = write_report(config, reporter).read_text()
    assert "squares of the first frame, where they are in the frame that moved most" in page
