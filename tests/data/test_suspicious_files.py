"""What a check says of files that can be read and may not mean what they say."""

import os

import nibabel as nib
import numpy as np
import pytest

from sfgkeras.data.checks import SourceInfo, check_shared_files, check_subjects
from sfgkeras.data.nifti import read_image
from sfgkeras.data.references import references
from sfgkeras.data.subjects import Subject
from sfgkeras.data.volumes import file_fingerprint
from sfgkeras.errors import DataError

SHAPE = (12, 10, 8)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def check(path, values=None, change=None, **info):
    """Returns level and message of what is found in one file."""
    values = np.random.default_rng(0).normal(100, 20, SHAPE) if values is None else values
    image = nib.Nifti1Image(values.astype(np.float32), AFFINE)
    image.header.set_xyzt_units("mm")
    if change:
        change(image.header)
    nib.save(image, path)
    source = SourceInfo("image", **info)
    return [
        (each.level, each.message) for each in check_subjects([Subject("p", references({"MR": path}))], {"MR": source})
    ]


@pytest.mark.parametrize("unit", ["micron", "meter"])
def test_lengths_in_other_units_are_said(tmp_path, unit):
    path = tmp_path / "p.nii.gz"
    assert check(path) == []
    ((level, message),) = check(path, change=lambda header: header.set_xyzt_units(unit))
    assert level == "warning"
    assert f"{path}: says that its lengths are in {unit} (2 x 2 x 3); they are taken as mm" in message


def test_two_places_in_space_are_said_and_rounding_is_none(tmp_path):
    path = tmp_path / "p.nii.gz"

    def apart(millimetres):
        moved = AFFINE.copy()
        moved[0, 3] = millimetres

        def change(header):
            header.set_sform(AFFINE, 1)
            header.set_qform(moved, 1)

        return change

    assert check(path, change=apart(0.4)) == []
    ((level, message),) = check(path, change=apart(7))
    assert level == "warning"
    assert "its sform and its qform are up to 7.0 mm apart; the sform is taken" in message


def ct(air=-1000.0):
    values = np.full(SHAPE, air)
    values[3:9, 3:8, 2:6] = np.random.default_rng(0).normal(40, 30, (6, 5, 4))
    values[5:6, 5:6, 3:5] = 900
    return values


def test_a_ct_with_1024_added_is_said(tmp_path):
    path = tmp_path / "p.nii.gz"
    assert check(path, ct(), is_ct=True) == []
    assert check(path, ct()[3:9, 3:8, 2:6], is_ct=True) == []  # no air in the picture
    ((level, message),) = check(path, np.maximum(ct() + 1024, 0), is_ct=True)
    assert level == "warning"
    assert "they look like Hounsfield units with 1024 added" in message
    assert check(path, ct() + 1024) == []


def test_a_constant_image_is_an_error_where_it_is_to_be_whitened(tmp_path):
    path = tmp_path / "p.nii.gz"
    assert [level for level, _ in check(path, np.full(SHAPE, 7))] == ["warning"]
    ((level, message),) = check(path, np.full(SHAPE, 7), must_vary=True)
    assert level == "error"
    assert "holds the value 7 only, which whitening cannot bring to unit variance" in message


def test_weights_may_be_constant_and_not_negative_or_all_zero(tmp_path):
    path = tmp_path / "p.nii.gz"
    weights = np.ones(SHAPE)
    assert check(path, weights, is_weight=True) == []
    weights[0, 0, :3] = -0.5
    ((level, message),) = check(path, weights, is_weight=True)
    assert level == "error"
    assert "holds 3 negative weights, down to -0.5" in message
    ((level, message),) = check(path, np.zeros(SHAPE), is_weight=True)
    assert level == "error"
    assert "holds no weight above 0" in message


def test_one_file_for_several_subjects_is_said(tmp_path):
    path = tmp_path / "a.nii.gz"
    check(path)
    (tmp_path / "link.nii.gz").symlink_to(path)
    subjects = [
        Subject("p1", references({"MR": path})),
        Subject("p2", references({"MR": tmp_path / "link.nii.gz"})),
        Subject("p3", {}),
    ]
    (problem,) = check_shared_files(subjects, ["MR"])
    assert problem.level == "warning"
    assert f"{path}: is the file of 2 subjects in [MR], e.g. 'p1' and 'p2'" in problem.message
    assert check_shared_files(subjects[1:], ["MR"]) == []


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    path = tmp_path / "p.nii"
    os.mkfifo(path)
    for read in (read_image, file_fingerprint):
        with pytest.raises(DataError, match="is a pipe, a socket or a device and no file"):
            read(path)
