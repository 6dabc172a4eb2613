"""A CT series with rescale slope and intercept on a tilted grid: through a folder run, and as training's target."""

import textwrap

import numpy as np
import pytest
import SimpleITK as sitk

from sfgkeras.applications.subjects.preprocessing_settings import read_run
from sfgkeras.applications.subjects.session import open_session, prepare_phase
from sfgkeras.data.checks import SourceInfo, check_subjects
from sfgkeras.data.nifti import read_image, write_image
from sfgkeras.data.references import references
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError
from sfgkeras.preprocessing.folder import run_folder
from sfgkeras.reporter import SilentReporter

SLOPE, INTERCEPT = 2, -1024
SPACING, ORIGIN = (1.5, 1.25, 3.0), (10.0, -20.0, 30.0)
# 20 degrees about z, then 15 about x; columns are the directions of the three axes in the scanner (LPS).
TILT = np.array([[1, 0, 0], [0, np.cos(0.2618), -np.sin(0.2618)], [0, np.sin(0.2618), np.cos(0.2618)]])
TURN = np.array([[np.cos(0.3491), -np.sin(0.3491), 0], [np.sin(0.3491), np.cos(0.3491), 0], [0, 0, 1]])
DIRECTION = TILT @ TURN


def write_series(folder, hu):
    """Writes `hu` (x, y, z) slice by slice, stored as `(hu - INTERCEPT) / SLOPE`; returns the affine in RAS mm."""
    folder.mkdir(parents=True)
    volume = sitk.GetImageFromArray(np.ascontiguousarray(hu.T))
    volume.SetSpacing(SPACING)
    volume.SetOrigin(ORIGIN)
    volume.SetDirection(DIRECTION.ravel().tolist())
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(hu.shape[2]):
        piece = volume[:, :, number]
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2", "0008|0018": f"1.2.3.2.{number + 1}", "0008|0060": "CT",
            "0020|000d": "1.2.3.1", "0020|000e": "1.2.3.2", "0020|0013": str(number + 1),
            "0020|0032": "\\".join(map(str, volume.TransformIndexToPhysicalPoint((0, 0, number)))),
            "0020|0037": "\\".join(map(str, [*DIRECTION[:, 0], *DIRECTION[:, 1]])),
            "0028|1052": str(INTERCEPT), "0028|1053": str(SLOPE),
        }  # fmt: skip
        for tag, value in tags.items():
            piece.SetMetaData(tag, value)
        # Names that sort against the slices, as scanners' do.
        writer.SetFileName(str(folder / f"i{99 - number}.dcm"))
        writer.Execute(piece)
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ DIRECTION @ np.diag(SPACING)
    affine[:3, 3] = np.diag([-1.0, -1.0, 1.0]) @ ORIGIN
    return affine


@pytest.fixture
def hu():
    values = np.random.default_rng(0).integers(-512, 1250, (13, 16, 6)) * SLOPE
    return values.astype(np.int16)


def test_the_files_hold_other_numbers_than_hounsfield_units(tmp_path, hu):
    write_series(tmp_path / "ct", hu)
    content = (tmp_path / "ct" / "i99.dcm").read_bytes()
    stored = np.frombuffer(content[-hu[:, :, 0].nbytes :], np.uint16).reshape(16, 13).T
    np.testing.assert_array_equal(stored.astype(int) * SLOPE + INTERCEPT, hu[:, :, 0])
    assert not np.array_equal(stored, hu[:, :, 0])


def test_a_folder_run_keeps_hounsfield_units_and_places(tmp_path, hu):
    affine = write_series(tmp_path / "in" / "patient_ct", hu)
    result = run_folder(tmp_path / "in", tmp_path / "out", "convert", pictures=False)
    assert result.done == ("patient_ct",)
    written = read_image(result.outputs["patient_ct"])
    np.testing.assert_array_equal(written.array, hu)
    np.testing.assert_allclose(written.affine, affine, atol=1e-4)
    scaled = run_folder(tmp_path / "in", tmp_path / "scaled", "ct", pictures=False).outputs["patient_ct"]
    np.testing.assert_allclose(read_image(scaled).array, np.clip(hu, -1024, 2500) / 1024 + 1, atol=1e-6)


INI = """
    [MR]
    path_to_search = {folder}
    filename_contains = _mr
    spatial_window_size = 8, 8, 1

    [CT]
    path_to_search = {folder}
    filename_contains = _ct
    scaling = ct

    [SYSTEM]
    model_dir = {folder}/model

    [NETWORK]
    name = highresnet

    [REGRESSION]
    image = MR
    output = CT
"""


@pytest.mark.parametrize("preprocessing", ["", "[PREPROCESSING]\nsteps = reorient, whiten\npictures = no\n"])
def test_training_reads_a_series_in_hounsfield_units_on_the_grid_of_its_image(tmp_path, hu, preprocessing):
    affine = write_series(tmp_path / "p1_ct", hu)
    mr = np.random.default_rng(1).integers(0, 900, hu.shape).astype(np.int16)
    write_image(tmp_path / "p1_mr.nii.gz", mr, affine)
    path = tmp_path / "run.ini"
    path.write_text(textwrap.dedent(INI).format(folder=tmp_path) + preprocessing)
    session = open_session(read_run(path), SilentReporter(), training=True)
    (subject,) = prepare_phase(session, "training", SilentReporter())
    found = np.asarray(subject.target("regression")).reshape(subject.image.shape[:3])
    expected = np.clip(hu, -1024, 2500) / 1024 + 1
    if preprocessing:
        # LPS to RAS: both in-plane axes are flipped, whatever the tilt.
        expected = expected[::-1, ::-1]
        assert subject.image[0, 0, 0, 0] == pytest.approx((mr[-1, -1, 0] - mr.mean()) / mr.std(), abs=1e-4)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_series_is_preprocessed_as_the_image_of_a_run(tmp_path, hu):
    affine = write_series(tmp_path / "p1_mr", hu)
    write_image(tmp_path / "p1_ct.nii.gz", hu, affine)
    path = tmp_path / "run.ini"
    path.write_text(textwrap.dedent(INI).format(folder=tmp_path))
    steps = [("PREPROCESSING.steps", "clip"), ("PREPROCESSING.clip_limits", "-900, 900")]
    session = open_session(read_run(path, steps), SilentReporter(), training=True)
    (subject,) = prepare_phase(session, "training", SilentReporter())
    assert session.preprocessed.images["MR"]["p1"].path.name == "p1.nii.gz"
    np.testing.assert_array_equal(subject.image[..., 0], np.clip(hu, -900, 900))
    np.testing.assert_allclose(session.preparation.native_grid(session.cohort.subjects["p1"]).affine, affine, atol=1e-4)


@pytest.mark.parametrize("damage", ["empty", "truncated"])
@pytest.mark.parametrize("slice_name", ["i99.dcm", "i94.dcm"])
def test_an_outer_slice_that_cannot_be_read_is_not_dropped(tmp_path, hu, damage, slice_name):
    write_series(tmp_path / "ct", hu)
    path = tmp_path / "ct" / slice_name
    path.write_bytes(b"" if damage == "empty" else path.read_bytes()[:200])
    with pytest.raises(DataError, match=rf"1 of its files should be slices of its series .*\({slice_name}\)"):
        read_image(tmp_path / "ct")


def test_files_beside_the_slices_are_named_by_check(tmp_path, hu):
    write_series(tmp_path / "ct", hu)
    (tmp_path / "ct" / "notes.txt").write_text("x")
    assert read_image(tmp_path / "ct").array.shape == hu.shape
    (problem,) = check_subjects([Subject("p", references({"CT": tmp_path / "ct"}))], {"CT": SourceInfo("image")})
    assert problem.level == "warning"
    assert "has 1 file beside the slices of its series, not read: notes.txt" in problem.message
