"""Files of cohorts: which there are, what they hold, and that nothing is replaced or half written."""

import csv
from math import floor

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sfgkeras.data.subjects import read_split, read_table
from sfgkeras.errors import DataError
from sfgkeras.phantom.cohort_files import Drawn, phases, prepare_files, subject_generator, write_cohort

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])


def draw(number):
    picture, volume = np.full((2, 3, 3), number, np.uint8), np.full((2, 3, 4), number, np.int16)
    return Drawn({"photo": picture, "mr": volume, "slice": volume[..., 0]}, AFFINE, (number, f'a "{number}", b'))


def files(folder, number=4):
    return {
        f"p{n}": {
            "photo": folder / "photo" / f"p{n}.png",
            "mr": folder / f"p{n}_mr.nii.gz",
            "slice": folder / f"p{n}_s.nii.gz",
        }
        for n in range(number)
    }


@given(st.integers(1, 2000))
def test_phases_follow_each_other_and_nobody_is_in_two(number):
    found = phases(number)
    assert [n for subjects in found.values() for n in subjects] == list(range(number))
    assert len(found["validation"]) == len(found["inference"]) <= len(found["training"])
    assert abs(len(found["inference"]) - 0.15 * number) <= 0.5
    assert floor(0.7 * number) - 1 <= len(found["training"])


def test_pictures_volumes_a_table_and_a_split_are_written_in_order(tmp_path):
    seen = []
    written = write_cohort(
        tmp_path, files(tmp_path), draw, False, lambda *at: seen.append(at), ("n", "text"), splits=True
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(written)
    assert np.asarray(Image.open(tmp_path / "photo" / "p3.png")).tolist() == np.full((2, 3, 3), 3).tolist()
    for name, shape in (("mr", (2, 3, 4)), ("s", (2, 3, 1))):
        image = nibabel.load(tmp_path / f"p2_{name}.nii.gz")
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), np.full(shape, 2))
        np.testing.assert_allclose(image.affine, AFFINE)
    assert read_table(tmp_path / "subjects.csv")["p1"] == {"n": "1", "text": 'a "1", b'}
    assert read_split(tmp_path / "split.csv") == {"training": ["p0", "p1"], "validation": ["p2"], "inference": ["p3"]}
    with (tmp_path / "subjects.csv").open(newline="", encoding="utf-8") as stream:
        assert next(csv.reader(stream)) == ["subject_id", "n", "text"]


def test_without_columns_there_is_no_table_and_a_split_only_where_it_is_asked_for(tmp_path):
    write_cohort(tmp_path, files(tmp_path, 1), draw, False, None)
    assert not list(tmp_path.glob("*.csv"))


@pytest.mark.parametrize(
    ("there", "told"), [(["p1_mr.nii.gz"], "already; choose"), (["subjects.csv", "p1_mr.nii.gz"], "as do 1 more")]
)
def test_what_is_there_stops_everything_before_anything_is_drawn(tmp_path, there, told):
    def never(number):
        raise AssertionError("drawn")

    for name in there:
        (tmp_path / name).write_text("mine")
    with pytest.raises(DataError, match=f"{tmp_path}.*: exists already.*choose another folder") as refused:
        write_cohort(tmp_path, files(tmp_path), never, False, None, ("n",))
    assert told in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(there)
    write_cohort(tmp_path, files(tmp_path), draw, True, None, ("n", "text"))
    assert all((tmp_path / name).read_bytes() != b"mine" for name in there)


def test_an_interrupt_leaves_whole_subjects_and_no_table(tmp_path):
    def stop(number):
        if number == 2:
            raise KeyboardInterrupt
        return draw(number)

    with pytest.raises(KeyboardInterrupt):
        write_cohort(tmp_path, files(tmp_path), stop, False, None, ("n", "text"), splits=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "p0_mr.nii.gz",
        "p0_s.nii.gz",
        "p1_mr.nii.gz",
        "p1_s.nii.gz",
        "photo",
    ]


def test_a_cohort_of_nobody_and_a_size_that_there_is_not_are_refused(tmp_path):
    with pytest.raises(ValueError, match="num_subjects = 0 must be 1 or more"):
        prepare_files([], 0, False)
    with pytest.raises(ValueError, match="size = 'medium' is not one of full, small"):
        subject_generator(0, 0, "medium", {"full": 1, "small": 2})


def test_a_subject_has_a_generator_of_its_own():
    drawn = {
        (seed, subject): subject_generator(seed, subject, "a", {"a": 1}).random()
        for seed in (0, 1)
        for subject in (0, 1)
    }
    assert len(set(drawn.values())) == 4
    assert subject_generator(1, 0, "a", {"a": 1}).random() == drawn[1, 0]
