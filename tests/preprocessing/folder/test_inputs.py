"""What a folder offers: images by the path that names them, and nothing that an earlier run wrote."""

import nibabel
import numpy as np
import pytest

from sfgkeras.data.nifti import write_image
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing.folder.inputs import (
    BESIDES,
    MANIFEST,
    find_inputs,
    is_output,
    output_name,
    read_labels_on_grid,
    read_subject,
)
from sfgkeras.preprocessing.folder.manifest import COLUMNS
from sfgkeras.preprocessing.folder.subjects import FolderSubjects, find_subjects
from sfgkeras.preprocessing.pipeline import build_pipeline

from .conftest import AFFINE, write_small


def make_output(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_text(",".join(COLUMNS) + "\n")
    return folder


def test_images_are_found_below_by_their_path_without_ending_in_order(tmp_path):
    for name in ("z.nii", "a.nii.gz", "site/b.nii.gz", "site/deep/c.nii"):
        write_small(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "site" / "p.png").write_bytes(b"x")
    found = find_inputs(tmp_path)
    assert list(found.files.items()) == [
        ("a", tmp_path / "a.nii.gz"),
        ("site/b", tmp_path / "site" / "b.nii.gz"),
        ("site/deep/c", tmp_path / "site" / "deep" / "c.nii"),
        ("z", tmp_path / "z.nii"),
    ]
    assert set(found.ignored) == {tmp_path / "notes.txt", tmp_path / "site" / "p.png"}
    assert found.left_out == ()


def test_hidden_files_and_folders_are_not_there(tmp_path):
    write_small(tmp_path / "a.nii.gz")
    write_small(tmp_path / "b.nii.gz").rename(tmp_path / "._a.nii.gz")
    write_small(tmp_path / ".cache" / "c.nii.gz")
    (tmp_path / ".notes").write_text("x")
    found = find_inputs(tmp_path)
    assert (list(found.files), found.ignored) == (["a"], ())


def test_a_folder_is_an_output_by_the_first_line_of_its_manifest(tmp_path):
    assert not is_output(tmp_path)
    assert is_output(make_output(tmp_path / "out"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / MANIFEST).write_text("name,age\n")
    assert not is_output(tmp_path / "other")
    (tmp_path / "folder" / MANIFEST).mkdir(parents=True)
    assert not is_output(tmp_path / "folder")


def test_outputs_below_are_left_out_and_of_an_output_itself_what_is_beside_its_results(tmp_path):
    write_small(tmp_path / "a.nii.gz")
    write_small(make_output(tmp_path / "earlier") / "a.nii.gz")
    write_small(tmp_path / "masks" / "a.nii.gz")
    found = find_inputs(tmp_path, exclude=[tmp_path / "masks"])
    assert list(found.files) == ["a"]
    assert set(found.left_out) == {tmp_path / "earlier", tmp_path / "masks"}
    for name in BESIDES:
        write_small(tmp_path / "earlier" / name / "a.nii.gz")
    of_output = find_inputs(tmp_path / "earlier")
    assert list(of_output.files) == ["a"]
    assert {path.name for path in of_output.left_out} == set(BESIDES)


def test_an_empty_folder_says_how_many_others_and_what_was_left_out(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    make_output(tmp_path / "earlier")
    with pytest.raises(ConfigError, match=r"no DICOM series \(1 other files; left out: earlier\); name another"):
        find_inputs(tmp_path)


@pytest.mark.parametrize(
    ("source", "expected"),
    [("a.nii", "p.nii"), ("a.nii.gz", "p.nii.gz"), ("a.mha", "p.nii.gz"), ("a.nrrd", "p.nii.gz"), ("", "p.nii.gz")],
)
def test_results_keep_the_ending_of_nifti_and_are_compressed_otherwise(source, expected, tmp_path):
    assert output_name("p", tmp_path / source) == expected


def test_an_image_with_channels_or_without_numbers_is_refused_by_name(tmp_path):
    write_image(tmp_path / "c.nii.gz", np.zeros((3, 3, 3, 2), np.float32), AFFINE)
    with pytest.raises(DataError, match=r"c\.nii\.gz: is 4-D \(3 x 3 x 3 x 2\) where a 3-D image is needed"):
        read_subject(tmp_path / "c.nii.gz", {})
    bad = np.ones((3, 3, 3), np.float32)
    bad[0, 0, :2] = np.nan, np.inf
    nibabel.save(nibabel.Nifti1Image(bad, AFFINE), tmp_path / "n.nii.gz")
    with pytest.raises(DataError, match=r"n\.nii\.gz: 2 of 27 voxels are not finite"):
        read_subject(tmp_path / "n.nii.gz", {})


def test_label_maps_on_another_grid_are_refused_with_what_differs(tmp_path):
    image = write_small(tmp_path / "a.nii.gz")
    labels = np.zeros((6, 5, 4), np.uint8)
    shifted = AFFINE.copy()
    shifted[0, 3] = 7.5
    write_image(tmp_path / "moved.nii.gz", labels, shifted)
    with pytest.raises(DataError, match=r"moved.*its corners lie up to 7\.50 mm off.*resample_like"):
        read_subject(image, {"labels": tmp_path / "moved.nii.gz"})
    write_image(tmp_path / "short.nii.gz", labels[:5], AFFINE)
    with pytest.raises(DataError, match=r"shape \(5, 5, 4\) where the image has \(6, 5, 4\)"):
        read_subject(image, {"labels": tmp_path / "short.nii.gz"})


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2)])
def test_label_maps_in_another_orientation_are_turned_onto_the_image_exactly(axes, flips, tmp_path):
    labels = np.arange(6 * 5 * 4, dtype=np.int16).reshape(6, 5, 4)
    turned, affine = labels, AFFINE.copy()
    for axis in flips:
        turned = np.flip(turned, axis)
        affine[:3, 3] += affine[:3, axis] * (labels.shape[axis] - 1)
        affine[:3, axis] *= -1
    turned, affine = np.transpose(turned, axes), affine[:, [*axes, 3]]
    write_image(tmp_path / "l.nii.gz", np.ascontiguousarray(turned), affine)
    found = read_labels_on_grid(tmp_path / "l.nii.gz", labels.shape, AFFINE, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(found, labels)


def test_files_by_subject_are_sorted_and_must_be_some_and_not_lie_in_the_output(tmp_path):
    one, two = write_small(tmp_path / "in" / "x.nii.gz"), write_small(tmp_path / "in" / "y.nii.gz")
    found = find_subjects({"p2": two, "p1": one}, tmp_path / "out", None)
    assert list(found.images.items()) == [("p1", one), ("p2", two)]
    assert (found.label_maps, found.ignored, found.left_out, found.strangers) == ({}, (), (), ())
    with pytest.raises(ConfigError, match="there is no subject to preprocess; look at path_to_search"):
        find_subjects({}, tmp_path / "out", None)
    with pytest.raises(ConfigError, match="in: holds the input itself; choose another output folder"):
        find_subjects({"p1": one}, tmp_path / "in", None)


def test_one_folder_cannot_be_two_things(tmp_path):
    write_small(tmp_path / "in" / "x.nii.gz")
    with pytest.raises(ConfigError, match="in: is the input folder itself"):
        find_subjects(tmp_path / "in", tmp_path / "in", None)
    with pytest.raises(ConfigError, match="in: is named as the folder of images and of label maps"):
        find_subjects(tmp_path / "in", tmp_path / "out", tmp_path / "in")


def test_label_maps_without_an_image_are_told_and_none_for_any_image_is_an_error(tmp_path):
    image, label_map = write_small(tmp_path / "in" / "x.nii.gz"), write_small(tmp_path / "labels" / "x.nii.gz")
    stray = write_small(tmp_path / "labels" / "q.nii.gz")
    found = find_subjects(tmp_path / "in", tmp_path / "out", tmp_path / "labels")
    assert (dict(found.label_maps), found.strangers) == ({"x": label_map}, (stray,))
    assert found.passed_over() == [f"ignored, a label map without an image: {stray}"]
    by_subject = find_subjects({"p": image}, tmp_path / "out", {"p": label_map, "q": stray})
    assert (dict(by_subject.label_maps), by_subject.strangers) == ({"p": label_map}, (stray,))
    with pytest.raises(ConfigError, match=r"no label map has the name of an image \(labels q, images x\)"):
        find_subjects(tmp_path / "in", tmp_path / "out", {"q": stray})


def test_what_is_passed_over_is_told_by_kind(tmp_path):
    found = FolderSubjects({}, {}, (tmp_path / "a.txt",), (tmp_path / "out",), (tmp_path / "l.nii",))
    told = found.passed_over()
    assert [text.split(":")[0] for text in told] == [
        "ignored, not a volume", "left out, holds label maps or what an earlier run wrote",
        "ignored, a label map without an image",
    ]  # fmt: skip


def test_all_that_a_run_reads_is_known_so_that_nothing_of_it_is_written_over(tmp_path):
    image = write_small(tmp_path / "in" / "x.nii.gz")
    own, shared = write_small(tmp_path / "refs" / "x.nii.gz"), write_small(tmp_path / "like.nii.gz")
    found = FolderSubjects({"x": image, "y": tmp_path / "y.nii.gz"}, {"x": tmp_path / "l.nii.gz"}, (), (), ())
    pipeline = build_pipeline("resample_like", {"resample_like_reference": str(tmp_path / "refs")})
    read = found.files_read(pipeline, tmp_path / "split.csv")
    assert set(read) == {
        image, tmp_path / "y.nii.gz", tmp_path / "l.nii.gz", tmp_path / "split.csv", tmp_path / "refs", own
    }  # fmt: skip
    by_file = build_pipeline("resample_like", {"resample_like_reference": str(shared)})
    assert shared in found.files_read(by_file, None)
    assert tmp_path / "split.csv" not in found.files_read(by_file, None)
