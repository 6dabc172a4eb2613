"""Volumes in rows of HDF5 files are preprocessed as the same volumes in NIfTI files are."""

import h5py
import numpy as np
import pytest

from sfgkeras.applications.subjects.new_subjects import find_subjects
from sfgkeras.applications.subjects.preprocessed import preprocess
from sfgkeras.applications.subjects.session import open_session
from sfgkeras.applications.subjects.unpacked import unpack_images
from sfgkeras.config import read_config
from sfgkeras.data.nifti import read_image, write_image
from sfgkeras.data.references import ImageFile, references
from sfgkeras.reporter import SilentReporter

INI = """
[MR]
{place}
spatial_window_size = 8, 8, 1
[SYSTEM]
model_dir = {folder}/model_{name}
[NETWORK]
name = highresnet
[PREPROCESSING]
steps = resample, whiten
resample_spacing = 2, 2, 2
output = {folder}/pre_{name}
pictures = no
[MULTITASK]
image = MR
[TASK again]
type = reconstruction
"""
ROWS = "loader = hdf5\nhdf5_file = {folder}/mr.h5\nhdf5_ids = ids\nhdf5_dataset = mr\nhdf5_axes = volume"
IDS = ["ann", "bob", "eve"]
AFFINE = np.array([[0, -2.5, 0, 40.0], [3.0, 0, 0, -20], [0, 0, 4, 7], [0, 0, 0, 1]])


def write_rows(path, array):
    with h5py.File(path.with_name("new"), "w") as file:
        file.create_dataset("mr", data=array).attrs["affine"] = AFFINE
        file["ids"] = IDS
    path.with_name("new").replace(path)


@pytest.fixture
def volumes(tmp_path):
    """Writes the same volumes as rows and as files."""
    array = np.random.default_rng(0).normal(100, 20, (3, 12, 11, 5)).astype(np.float32)
    write_rows(tmp_path / "mr.h5", array)
    (tmp_path / "files").mkdir()
    for name, volume in zip(IDS, array, strict=True):
        write_image(tmp_path / "files" / f"{name}.nii.gz", volume, AFFINE)
    return array


def configure(folder, name, place):
    path = folder / f"{name}.ini"
    path.write_text(INI.format(folder=folder, name=name, place=place.format(folder=folder)))
    return read_config(path)


def test_rows_become_what_files_become_and_are_written_once(volumes, tmp_path):
    rows, files = configure(tmp_path, "rows", ROWS), configure(tmp_path, "files", "path_to_search = {folder}/files")
    assert (preprocess(rows), preprocess(files)) == (0, 0)
    for name in IDS:
        one, other = (read_image(tmp_path / f"pre_{kind}" / "MR" / f"{name}.nii.gz") for kind in ("rows", "files"))
        np.testing.assert_array_equal(one.array, other.array)
        np.testing.assert_allclose(one.affine, other.affine, atol=1e-6)
    written = sorted((tmp_path / "pre_rows" / ".originals" / "MR").iterdir())
    assert [path.name[:4] for path in written] == ["ann_", "bob_", "eve_"]
    assert not (tmp_path / "pre_files" / ".originals").exists()
    stamps = [path.stat().st_mtime_ns for path in written]
    done = [path.stat().st_mtime_ns for path in sorted((tmp_path / "pre_rows" / "MR").glob("*.nii.gz"))]
    # What training sees is the same, too, on the grid of the steps, and nothing is made again.
    seen = []
    for config in (rows, files):
        session = open_session(config, SilentReporter(), training=False)
        seen.append([session.preparation.image(subject) for subject in session.cohort.subjects.values()])
    np.testing.assert_array_equal(seen[0], seen[1])
    assert seen[0][0].shape != (12, 11, 5, 1)
    assert [path.stat().st_mtime_ns for path in written] == stamps
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "pre_rows" / "MR").glob("*.nii.gz"))] == done


def test_a_row_that_changes_is_written_again_and_takes_the_place_of_the_old_one(volumes, tmp_path):
    config, folder = configure(tmp_path, "rows", ROWS), tmp_path / "unpacked"
    subjects, _ = find_subjects([str(tmp_path / "mr.h5")], config)
    first = unpack_images({subject.subject_id: subject.images["MR"] for subject in subjects}, folder)
    np.testing.assert_array_equal(read_image(first["bob"]).array, volumes[1])
    write_rows(tmp_path / "mr.h5", volumes + np.array([0, 1, 0], np.float32).reshape(3, 1, 1, 1))
    subjects, _ = find_subjects([str(tmp_path / "mr.h5")], config)
    again = unpack_images({subject.subject_id: subject.images["MR"] for subject in subjects}, folder)
    assert {name for name in IDS if first[name] != again[name]} == {"bob"}
    assert sorted(folder.iterdir()) == sorted(again.values())
    np.testing.assert_array_equal(read_image(again["bob"]).array, volumes[1] + 1)


def test_files_stay_where_they_are(volumes, tmp_path):
    images = references({name: tmp_path / "files" / f"{name}.nii.gz" for name in IDS})
    assert all(isinstance(image, ImageFile) for image in images.values())
    assert unpack_images(images, tmp_path / "unpacked") == {name: image.path for name, image in images.items()}
    assert not (tmp_path / "unpacked").exists()
