"""The animals: their truth fits their pictures, says what it should, and is the same for the same seed."""

import csv

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label

from sfgkeras.data.subjects import read_split, read_table
from sfgkeras.errors import DataError
from sfgkeras.phantom.cohort_files import phases
from sfgkeras.phantom.shapes import KIND_NAMES, LEAST_CONTRAST, SIDES, box_of, build_picture
from sfgkeras.phantom.shapes_files import write_disjoint_pictures, write_hdf5, write_pictures

SEED = 7


@pytest.fixture(scope="module")
def pictures():
    return [build_picture(SEED, subject) for subject in range(40)]


def test_an_animal_is_one_piece_and_lies_within_its_picture(pictures):
    for picture in pictures:
        assert picture.image.shape == (64, 64, 3)
        assert picture.mask.shape == (64, 64)
        assert (picture.image.dtype, picture.mask.dtype) == (np.uint8, np.uint8)
        parts, count = label(picture.mask, structure=np.ones((3, 3)))
        assert np.bincount(parts.ravel())[1:].max() > 0.97 * picture.mask.sum(), count
        assert 0.04 < picture.mask.mean() < 0.5
        border = np.concatenate([picture.mask[[0, -1]].ravel(), picture.mask[:, [0, -1]].ravel()])
        assert not border.any()


def test_a_box_touches_the_mask_on_all_sides_and_holds_all_of_it(pictures):
    for picture in pictures:
        x_min, y_min, x_max, y_max = picture.box.astype(int)
        inside = picture.mask[y_min:y_max, x_min:x_max]
        assert inside.sum() == picture.mask.sum()
        for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert edge.any()


def test_the_box_of_a_hand_drawn_mask_has_its_edges():
    mask = np.zeros((5, 8))
    mask[1:4, 2] = mask[2, 2:7] = 1
    assert box_of(mask).tolist() == [2, 1, 7, 4]
    with pytest.raises(ValueError, match="an empty mask has no box"):
        box_of(np.zeros((3, 3)))


def test_the_kinds_take_turns_and_differ_in_shape(pictures):
    assert [picture.kind for picture in pictures] == [0, 1] * 20
    tall = [
        np.median([np.subtract(*p.box[[3, 1]]) / np.subtract(*p.box[[2, 0]]) for p in pictures if p.kind == kind])
        for kind in range(len(KIND_NAMES))
    ]
    # Ears and tail of a cat point upwards.
    assert tall[0] > tall[1] + 0.05


def test_colours_say_nothing_of_the_kind_but_animal_and_ground_differ(pictures):
    colours = np.array([[p.image[p.mask == part].mean(axis=0) / 255 for part in (0, 1)] for p in pictures])
    kinds = np.array([picture.kind for picture in pictures])
    spread = colours.std(axis=0) * np.sqrt(4 / len(pictures))  # of a difference of two means
    for part in (0, 1):
        gap = colours[kinds == 0, part].mean(axis=0) - colours[kinds == 1, part].mean(axis=0)
        assert np.all(np.abs(gap) < 4 * spread[part])
    assert np.median(np.linalg.norm(colours[:, 0] - colours[:, 1], axis=1)) > LEAST_CONTRAST
    # No one brightness tells them apart in all pictures, as it would on a plain ground.
    best = max(
        np.mean([((p.image.mean(axis=2) > level) == p.mask).mean() for p in pictures]) for level in range(0, 256, 16)
    )
    assert best < 0.9


def test_a_subject_is_the_same_in_every_cohort_and_at_both_sizes():
    first, again = build_picture(SEED, 3), build_picture(SEED, 3)
    np.testing.assert_array_equal(first.image, again.image)
    large = build_picture(SEED, 3, "full")
    assert large.mask.shape == (SIDES["full"],) * 2
    assert abs(large.mask.mean() - first.mask.mean()) < 0.02
    np.testing.assert_allclose(large.box / 4, first.box, atol=1.1)
    assert np.any(build_picture(SEED + 1, 3).mask != first.mask)
    with pytest.raises(ValueError, match="size = 'huge' is not one of full, small"):
        build_picture(0, 0, "huge")


@pytest.mark.parametrize(("count", "sizes"), [(1, (1, 0, 0)), (10, (6, 2, 2)), (100, (70, 15, 15))])
def test_every_subject_has_one_phase(count, sizes):
    found = phases(count)
    assert tuple(len(subjects) for subjects in found.values()) == sizes
    assert sorted(number for subjects in found.values() for number in subjects) == list(range(count))


def test_both_layouts_hold_the_same_subjects(tmp_path):
    write_hdf5(tmp_path / "h", 8, seed=SEED)
    write_pictures(tmp_path / "p", 8, seed=SEED)
    table, split = read_table(tmp_path / "p" / "subjects.csv"), read_split(tmp_path / "p" / "split.csv")
    for phase, folder in (("training", "train"), ("validation", "val"), ("inference", "test")):
        arrays = {}
        for name in ("images", "masks", "binary", "bboxes"):
            with h5py.File(tmp_path / "h" / folder / f"{name}.h5") as file:
                assert list(file) == [name]
                arrays[name] = file[name][()]
        assert {len(array) for array in arrays.values()} == {len(split[phase])}
        for row, subject in enumerate(split[phase]):
            image, mask = (np.asarray(Image.open(tmp_path / "p" / k / f"{subject}.png")) for k in ("images", "masks"))
            np.testing.assert_array_equal(arrays["images"][row], image)
            np.testing.assert_array_equal(arrays["masks"][row, ..., 0], mask)
            assert int(table[subject]["kind"]) == arrays["binary"][row, 0]
            box = [float(table[subject][key]) for key in ("x_min", "y_min", "x_max", "y_max")]
            assert box == arrays["bboxes"][row].tolist() == box_of(mask).tolist()


@pytest.mark.parametrize("write", [write_hdf5, write_pictures])
def test_files_are_replaced_only_when_allowed_and_the_same_seed_gives_the_same_bytes(write, tmp_path):
    files = write(tmp_path, 3, seed=1)
    before = {path: path.read_bytes() for path in files}
    with pytest.raises(DataError, match="exists already, as do"):
        write(tmp_path, 3, seed=2)
    assert {path: path.read_bytes() for path in files} == before
    write(tmp_path, 3, seed=1, overwrite=True)
    assert {path: path.read_bytes() for path in files} == before
    write(tmp_path, 3, seed=2, overwrite=True)
    assert any(path.read_bytes() != before[path] for path in files)
    with pytest.raises(ValueError, match="num_subjects = 0 must be 1 or more"):
        write(tmp_path, 0)


def test_the_table_names_its_columns(tmp_path):
    write_pictures(tmp_path, 2)
    with (tmp_path / "subjects.csv").open() as file:
        assert next(csv.reader(file)) == ["subject_id", "kind", "x_min", "y_min", "x_max", "y_max"]


def test_disjoint_data_sets_have_one_target_each_and_it_is_the_true_one(tmp_path):
    write_disjoint_pictures(tmp_path / "apart", 12, seed=SEED)
    write_pictures(tmp_path / "whole", 12, seed=SEED)
    apart, whole = (read_table(tmp_path / name / "subjects.csv") for name in ("apart", "whole"))
    known = {"kind": 0, "x_min": 0, "mask": 0}
    for name, row in apart.items():
        told = [column for column in ("kind", "x_min") if row[column]]
        mask = tmp_path / "apart" / "masks" / f"{name}.png"
        told += ["mask"] if mask.exists() else []
        assert len(told) == 1
        known[told[0]] += 1
        assert all(text in ("", whole[name][column]) for column, text in row.items())
        same = (tmp_path / "whole" / "images" / f"{name}.png").read_bytes()
        assert (tmp_path / "apart" / "images" / f"{name}.png").read_bytes() == same
    assert set(known.values()) == {4}
    assert {row["kind"] for row in apart.values()} == {"", "0", "1"}
