"""INI keys find the files that were meant and no others, or a list does; every finding is tried by `find_files`."""

import pytest

from sfgkeras.applications.planning.places import place_sources
from sfgkeras.applications.planning.plan import Plan, write_plan
from sfgkeras.applications.planning.sources import FoundSource
from sfgkeras.data.file_search import find_files
from sfgkeras.data.references import ImageFile
from sfgkeras.data.subjects import read_file_list
from sfgkeras.values import format_value


@pytest.fixture
def place(tmp_path):
    """Makes empty files, places sources of them, and returns these with the lists."""

    def place_files(contains=(), **sources):
        folder = tmp_path / "data"
        made = []
        for name, files in sources.items():
            for file in files.values():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).touch()
            images = {subject: ImageFile(folder / file) for subject, file in files.items()}
            made.append(FoundSource(name, (name.lower(),), images, dict(contains).get(name, ())))
        used = [source for source in made if source.name != "OTHER"]
        return used, place_sources(used, folder, tmp_path / "run.ini")

    return place_files


def found_by(source):
    """Returns what the keys of a source find, as a run would."""
    keys = dict(source.keys)
    parts = {key: tuple(part.strip() for part in text.split(",")) for key, text in keys.items() if key != "layout"}
    return find_files(**parts, **({"layout": keys["layout"]} if "layout" in keys else {}))


def as_meant(source):
    return {subject: image.path for subject, image in source.images.items()} == found_by(source)


def test_words_in_names_find_a_source_of_one_folder(place):
    (mr, ct), lists = place(
        {"MR": ("_mr",), "CT": ("_ct",)},
        MR={"1": "a_mr.nii", "2": "b_mr.nii"},
        CT={"1": "a_ct.nii", "2": "b_ct.nii"},
    )
    assert not lists.files
    assert as_meant(mr)
    assert as_meant(ct)
    assert set(mr.images) == {"a", "b"} == set(ct.images)  # ids are those of a run
    assert set(mr.keys) == {"path_to_search", "filename_contains"}
    assert "without these words" in mr.reason


def test_files_with_further_words_are_kept_out_by_these(place):
    (t1,), lists = place(
        {"T1": ("_T1",)},
        T1={"a": "a_T1.nii", "b": "b_T1.nii"},
        OTHER={"a": "a_T1_seg.nii", "b": "b_T1_seg.nii", "c": "c_T1-gd.nii"},
    )
    assert not lists.files
    assert as_meant(t1)
    assert set(t1.keys["filename_not_contains"].split(", ")) == {"_seg", "-gd"}


def test_folders_of_subjects_give_the_ids(place):
    (t1, seg), lists = place(
        {"T1": ("t1",), "SEG": ("seg",)},
        T1={"x": "P01/t1.nii", "y": "P02/t1.nii"},
        SEG={"x": "P01/seg.nii", "y": "P02/seg.nii"},
    )
    assert not lists.files
    assert as_meant(t1)
    assert as_meant(seg)
    assert set(t1.images) == {"P01", "P02"}
    assert t1.keys["layout"] == "subject_folders"


@pytest.mark.parametrize("intruder", ["deep/t1_old.nii", "_old_t1.nii", "deep/er/_old.nii_t1_old.nii"])
def test_a_second_file_of_a_subject_is_kept_out_whichever_is_found_first(place, intruder):
    (t1,), lists = place({"T1": ("t1",)}, T1={"x": "P01/t1.nii", "y": "P02/t1.nii"}, OTHER={"x": f"P01/{intruder}"})
    assert not lists.files
    assert as_meant(t1)
    assert t1.keys["filename_not_contains"]


def test_a_subject_whose_files_would_get_two_ids_makes_lists_of_all_sources(place, tmp_path):
    (mr, ct), lists = place(
        {"MR": ("_mr",)}, MR={"1": "a_mr.nii", "2": "b_mr.nii"}, CT={"1": "a_ct.nii", "2": "b_ct.nii"}
    )
    assert [path.name for path in lists.files] == ["run_mr.csv", "run_ct.csv"]
    for source in (mr, ct):
        assert set(source.images) == {"1", "2"}
        assert source.keys == {"csv_file": format_value(tmp_path / f"run_{source.name.lower()}.csv")}
        assert "no pattern of names finds these alone" in source.reason


def test_a_file_that_no_word_keeps_out_makes_a_list(place):
    (t1,), lists = place(
        {"T1": ("_T1",)}, T1={"a": "a_T1_x.nii", "b": "b_T1.nii"}, OTHER={"c": "T1_x.nii", "d": "_T1.nii"}
    )
    assert lists.files


def test_lists_are_read_back_whatever_their_names_have_in_them(place, tmp_path):
    files = {"Jörg, Ü": "Jörg, Ü 1_mr.nii", 'the "first"': 'the "first"_mr.nii', "": "_mr.nii"}
    # Without a word of its own the second source would give these subjects other ids: only a list has both.
    (mr, _), lists = place({"MR": ("_mr",)}, MR=files, CT={subject: f"{file}.mha" for subject, file in files.items()})
    write_plan(Plan(None, "text", None, lists, ()), tmp_path / "run.ini")
    found = read_file_list(tmp_path / "run_mr.csv")
    assert found == {subject: image.path for subject, image in mr.images.items()}
    assert set(found) == {"Jörg__Ü", "the__first", "data"}  # what has no name is called after the folder


def test_ids_that_become_alike_are_numbered(place):
    (t1,), _ = place(T1={"a b": "1/2/ab.nii", "a,b": "1/ab.nii"}, OTHER={"z": "1/2/z.nii"})
    assert set(t1.images) == {"a_b", "a_b_2"}
