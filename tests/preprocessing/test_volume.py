"""What travels from step to step, and the files of a subject that a step may need besides."""

import numpy as np
import pytest

from sfgkeras.data.nifti import write_image
from sfgkeras.errors import DataError
from sfgkeras.preprocessing.volume import SideResult, StepContext, Volume, name_without_suffix

AFFINE = np.array([[0.0, -2, 0, 5], [1.5, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])


@pytest.fixture
def volume():
    return Volume(
        np.zeros((2, 3, 4), np.float32), AFFINE, {"organs": np.ones((2, 3, 4), np.uint8)}, ("one",),
        (SideResult("bias_field", ".nii.gz"),), ("look",), np.ones((2, 3, 4), bool),
    )  # fmt: skip


def test_spacing_is_the_length_of_the_affines_columns(volume):
    assert volume.spacing == (1.5, 2.0, 3.0)


def test_other_intensities_keep_all_the_rest_and_add_notes(volume):
    other = volume.with_array(np.ones((2, 3, 4)), "two", "three")
    assert other.array.all()
    assert other.notes == ("one", "two", "three")
    for name in ("affine", "labels", "side_results", "concerns", "foreground"):
        assert getattr(other, name) is getattr(volume, name)
    assert volume.notes == ("one",)


def test_another_grid_takes_labels_and_leaves_the_foreground_of_the_old_one(volume):
    labels = {"organs": np.zeros((1, 1, 1), np.uint8)}
    other = volume.with_grid(np.zeros((1, 1, 1)), np.eye(4), labels, "cut")
    assert other.foreground is None
    assert other.labels == labels
    assert other.labels is not labels
    assert (other.notes, other.concerns, other.side_results) == (("one", "cut"), ("look",), volume.side_results)


def test_concerns_are_told_after_the_notes_and_an_empty_one_is_none(volume):
    assert volume.with_concern("") is volume
    assert volume.with_concern("again").all_notes == ("one", "look", "again")


def test_a_companion_is_the_file_itself_or_that_of_the_subjects_name_in_a_folder(tmp_path):
    for name in ("s1.nii.gz", "s10.nii.gz", ".s1.nii", "site/s1.nii"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_image(tmp_path / name, np.zeros((2, 2, 2), np.uint8), AFFINE)
    context = StepContext("s1")
    assert context.companion(tmp_path / "s10.nii.gz") == tmp_path / "s10.nii.gz"
    assert context.companion(tmp_path / "nothing.nii") == tmp_path / "nothing.nii", "whoever reads it will say so"
    assert context.companion(tmp_path) == tmp_path / "s1.nii.gz"
    assert StepContext("site/s1").companion(tmp_path) == tmp_path / "site" / "s1.nii"


def test_a_subject_without_or_with_two_companions_is_refused(tmp_path):
    with pytest.raises(DataError, match="has no image named s1; give each subject one file of its name"):
        StepContext("s1").companion(tmp_path)
    with pytest.raises(DataError, match="has no image named site/s1"):
        StepContext("site/s1").companion(tmp_path)
    for name in ("s1.nii", "s1.nii.gz"):
        write_image(tmp_path / name, np.zeros((2, 2, 2), np.uint8), AFFINE)
    with pytest.raises(DataError, match="has 2 images named s1"):
        StepContext("s1").companion(tmp_path)


def test_the_grid_of_a_companion_is_that_of_its_header_and_its_voxels_are_read(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    write_image(tmp_path / "s1.nii.gz", array, AFFINE)
    grid, image = StepContext("s1").grid_of(tmp_path), StepContext("s1").read_companion(tmp_path)
    assert grid.shape == (2, 3, 4)
    np.testing.assert_allclose(grid.affine, AFFINE, atol=1e-6)
    np.testing.assert_array_equal(image.array, array)


@pytest.mark.parametrize(
    ("name", "expected"), [("a.nii", "a"), ("a.nii.gz", "a"), ("a.b.nii.gz", "a.b"), ("a.mha", "a"), ("a", "a")]
)
def test_names_lose_the_ending_of_an_image_whole(name, expected, tmp_path):
    assert name_without_suffix(tmp_path / name) == expected
    (tmp_path / "series.nii").mkdir()
    assert name_without_suffix(tmp_path / "series.nii") == "series.nii", "a folder has no ending"
