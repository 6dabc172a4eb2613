"""One answer to whether two grids are one, and to how many voxels a resampled volume has."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfgkeras.applications.check import check_run
from sfgkeras.applications.subjects.session import open_session
from sfgkeras.config import read_config
from sfgkeras.data.checks import SourceInfo, check_subjects
from sfgkeras.data.grids import Grid, resampled_shape
from sfgkeras.data.nifti import write_image
from sfgkeras.data.references import references
from sfgkeras.data.subjects import Subject
from sfgkeras.preprocessing.folder.inputs import read_labels_on_grid
from sfgkeras.preprocessing.resampling import resample_like, resample_to_spacing
from sfgkeras.reporter import SilentReporter

SHAPE = (32, 32, 4)
AFFINE = np.diag([1.46, 1.46, 5.0, 1.0])

INI = """
[MR]
path_to_search = {folder}
filename_contains = _mr
spatial_window_size = 16, 16, 1

[CT]
path_to_search = {folder}
filename_contains = _ct

[SYSTEM]
model_dir = {folder}/model

[NETWORK]
name = highresnet

[MULTITASK]
image = MR
tasks = ct

[TASK ct]
type = regression
target = CT
"""


def moved(millimetres):
    affine = AFFINE.copy()
    affine[0, 3] += millimetres
    return affine


@pytest.mark.parametrize(("voxels", "same"), [(0.0, True), (0.02, True), (0.045, True), (0.06, False), (1, False)])
def test_checking_training_labels_and_resampling_agree_on_what_one_grid_is(tmp_path, voxels, same):
    affine = moved(voxels * 1.46)
    assert Grid(SHAPE, AFFINE).is_same(Grid(SHAPE, affine)) is same
    rng = np.random.default_rng(0)
    for number in range(2):
        write_image(tmp_path / f"s{number}_mr.nii.gz", rng.normal(size=SHAPE), AFFINE)
        write_image(tmp_path / f"s{number}_ct.nii.gz", rng.normal(size=SHAPE), affine)
    (tmp_path / "run.ini").write_text(INI.format(folder=tmp_path))
    config = read_config(tmp_path / "run.ini")
    assert check_run(config, SilentReporter()) is same
    if same:
        session = open_session(config, SilentReporter(), training=True)
        prepared = session.preparation.subject(next(iter(session.cohort.subjects.values())))
        assert prepared.targets["ct"].shape[:3] == SHAPE
    write_image(tmp_path / "labels.nii.gz", rng.integers(0, 3, SHAPE).astype(np.uint8), affine)
    arguments = (tmp_path / "labels.nii.gz", SHAPE, AFFINE, tmp_path / "image.nii.gz")
    if same:
        read_labels_on_grid(*arguments)
    else:
        with pytest.raises(Exception, match="on another grid"):
            read_labels_on_grid(*arguments)
    volume = rng.normal(size=SHAPE).astype(np.float32)
    assert np.array_equal(resample_like(volume, AFFINE, SHAPE, affine), volume) is same


# Exact halves (255 voxels of 0.5 mm are 127.5 mm) go down; counts that were found to differ.
@pytest.mark.parametrize(
    ("length", "old", "new", "count"), [(255, 0.5, 1, 127), (511, 0.5, 1, 255), (101, 1.5, 1, 151)]
)
def test_checking_and_resampling_count_the_same_voxels(tmp_path, length, old, new, count):
    volume = np.random.default_rng(0).normal(size=(length, 8, 4)).astype(np.float32)
    affine = np.diag([old, 1.0, 1.0, 1.0])
    resampled, _ = resample_to_spacing(volume, affine, (new, 1.0, 1.0))
    assert resampled.shape == (count, 8, 4)
    write_image(tmp_path / "p.nii.gz", volume, affine)
    subjects = [Subject("p", references({"MR": tmp_path / "p.nii.gz"}))]
    for window, problems in ((count, 0), (count + 1, 1)):
        found = check_subjects(
            subjects, {"MR": SourceInfo("image", pixdim=(new, 1.0, 1.0))}, window_size=(window, 8, 4), read_voxels=False
        )
        assert len(found) == problems


@given(
    length=st.integers(1, 600),
    old=st.floats(0.2, 6).map(lambda size: round(size, 3)),
    new=st.floats(0.2, 6).map(lambda size: round(size, 3)),
)
def test_the_last_voxel_lies_inside_the_old_box(length, old, new):
    (count, _, _) = resampled_shape((length, 1, 1), (old, 1, 1), (new, 1, 1))
    extent = length * old
    assert count >= 1
    if count > 1:
        assert (count - 0.5) * new <= extent + 1e-3 * new
    assert extent < (count + 0.5) * new + 1e-3 * new
