"""Matching files to subjects and subjects to phases, by NiftyNet's rules."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfgkeras.data import subjects
from sfgkeras.errors import ConfigError, DataError


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for name in names:
        (folder / name).touch()
    return folder


# ---------------------------------------------------------------- finding files


def test_the_example_of_niftynets_documentation(tmp_path):
    folder = touch(tmp_path, "T1_001_img.nii.gz", "T1_001_label.nii.gz", "T2_001_img.nii.gz", "T1_seg_img.nii.gz")
    found = subjects.find_files([folder], ["img", "T1"], ["label", "seg"])
    assert found == {"_001_": folder / "T1_001_img.nii.gz"}


def test_several_folders_are_searched_but_not_their_subfolders(tmp_path):
    touch(tmp_path / "a", "2.nii")
    touch(tmp_path / "a" / "deep", "3.nii")
    touch(tmp_path / "b", "1.nii.gz")
    found = subjects.find_files([tmp_path / "a", tmp_path / "b"])
    assert list(found.items()) == [("1", tmp_path / "b" / "1.nii.gz"), ("2", tmp_path / "a" / "2.nii")]


def test_a_folder_named_twice_is_no_duplicate(tmp_path):
    touch(tmp_path, "1.nii")
    assert list(subjects.find_files([tmp_path, tmp_path])) == ["1"]


def test_a_regular_expression_replaces_the_words_in_making_the_id(tmp_path):
    touch(tmp_path, "sub-01_ses-2_T2w.nii.gz")
    pattern = r"_ses-\d+|_T2w"
    assert list(subjects.find_files([tmp_path], ["T2w"], (), pattern)) == ["sub-01"]
    assert list(subjects.find_files([tmp_path], ["T2w"], (), r"_ses-\d+")) == ["sub-01_T2w"]


def test_a_longer_word_is_removed_before_one_that_it_contains(tmp_path):
    touch(tmp_path, "7T1cx.nii")
    assert list(subjects.find_files([tmp_path], ["T1", "T1c"])) == ["7x"]


def test_words_are_no_regular_expressions_and_letter_case_matters(tmp_path):
    touch(tmp_path, "1.t1+.nii", "2.T1+.nii", "3.t11.nii")
    assert list(subjects.find_files([tmp_path], [".t1+"])) == ["1"]


def test_what_is_no_image_is_skipped(tmp_path):
    touch(tmp_path, "1.nii", "._1.nii", ".2.nii", "notes.txt", "1.mat", "dataset_split.csv", "sub")
    touch(tmp_path / "empty folder")
    assert list(subjects.find_files([tmp_path])) == ["1"]


def test_a_pair_counts_once_and_a_lone_header_is_left_for_the_reader_to_refuse(tmp_path):
    touch(tmp_path, "1.hdr", "1.img", "2.hdr.gz", "2.img.gz", "3.hdr")
    found = subjects.find_files([tmp_path])
    assert {key: path.name for key, path in found.items()} == {"1": "1.img", "2": "2.img.gz", "3": "3.hdr"}


def test_a_folder_of_dicom_files_is_an_image(tmp_path):
    touch(tmp_path / "ct_01", "1-01.dcm", "1-02.dcm", "00 notes.txt")
    (tmp_path / "ct_02").mkdir()
    (tmp_path / "ct_02" / "IM0001").write_bytes(bytes(128) + b"DICM")
    assert list(subjects.find_files([tmp_path], ["ct_"])) == ["01", "02"]


def test_two_files_of_one_id_are_refused_naming_both(tmp_path):
    touch(tmp_path / "a", "1_T2.nii.gz")
    touch(tmp_path / "b", "1_T2.nii")
    with pytest.raises(DataError) as caught:
        subjects.find_files([tmp_path / "a", tmp_path / "b"], ["_T2"])
    assert str(tmp_path / "a" / "1_T2.nii.gz") in str(caught.value)
    assert str(tmp_path / "b" / "1_T2.nii") in str(caught.value)
    assert "subject id '1'" in str(caught.value)


def test_a_name_of_which_nothing_remains_is_refused(tmp_path):
    touch(tmp_path, "T2.nii.gz")
    with pytest.raises(DataError, match=r"T2\.nii\.gz: nothing remains .* set filename_removefromid"):
        subjects.find_files([tmp_path], ["T2"])


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "does not exist; check path_to_search"),
        (lambda folder: folder.touch(), "is a file; path_to_search names folders"),
        (lambda folder: folder.mkdir(), "holds no image; check path_to_search"),
        (lambda folder: touch(folder, "notes.txt"), "holds no image"),
        (
            lambda folder: touch(folder, "1_T1.nii"),
            "none of its 1 images (e.g. 1_T1.nii) has a name with 'T2'",
        ),
        (lambda folder: touch(folder, "1_T2_seg.nii"), "has a name with 'T2' and without 'seg'"),
    ],
)
def test_a_folder_without_matching_files_is_refused_in_one_line(tmp_path, prepare, message):
    prepare(tmp_path / "data")
    with pytest.raises(DataError) as caught:
        subjects.find_files([tmp_path / "data"], ["T2"], ["seg"])
    assert str(caught.value).startswith(str(tmp_path / "data"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_regular_expression_is_a_mistake_in_the_settings(tmp_path):
    with pytest.raises(ConfigError, match=r"filename_removefromid = '\(' is no regular expression"):
        subjects.find_files([touch(tmp_path, "1.nii")], (), (), "(")


@pytest.mark.real_data
def test_real_files_of_two_sources_are_matched(real_data):
    folder = real_data / "mr_brain_multi"
    sources = {
        "t1": subjects.find_files([folder], ["ilist", "_T1"]),
        "tissue": subjects.find_files([folder], ["slist", "_tissue"]),
    }
    matched = subjects.match_subjects(sources)
    assert [subject.subject_id for subject in matched] == ["1", "13", "2", "4", "5", "57", "9"]
    assert matched[1].files["tissue"] == folder / "slist13_tissue.nii.gz"
    photos = subjects.find_files([real_data / "pets" / "images"])
    assert len(photos) > 50
    assert "Abyssinian_100" not in {key for key, path in photos.items() if path.suffix == ".mat"}


# ---------------------------------------------------------------- lists and tables


def test_a_list_of_files_gives_ids_and_paths(tmp_path):
    touch(tmp_path / "images", "a.nii")
    (tmp_path / "t2.csv").write_text("subject_1, images/a.nii\n\nsubject_2,/elsewhere/b.nii.gz\n")
    assert subjects.read_file_list(tmp_path / "t2.csv") == {
        "subject_1": tmp_path / "images" / "a.nii",
        "subject_2": Path("/elsewhere/b.nii.gz"),
    }


def test_a_path_that_is_not_beside_the_list_is_taken_from_the_working_folder(tmp_path):
    (tmp_path / "t2.csv").write_text("1,images/a.nii\n")
    assert subjects.read_file_list(tmp_path / "t2.csv") == {"1": Path("images/a.nii")}


def test_a_table_gives_the_columns_of_each_subject(tmp_path):
    text = 'Subject_ID,age,"site, town"\n01,63,"Bonn, Rhine"\n02,,x\n'
    (tmp_path / "table.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert subjects.read_table(tmp_path / "table.csv") == {
        "01": {"age": "63", "site, town": "Bonn, Rhine"},
        "02": {"age": "", "site, town": "x"},
    }


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (subjects.read_file_list, "", "is empty; add a line for each subject"),
        (subjects.read_file_list, "\n\n", "is empty"),
        (subjects.read_file_list, "1,a.nii\n2\n", ":2: '2' is not of the form 'subject_id,path'"),
        (subjects.read_file_list, "1,a.nii\n\n1,b.nii\n", ":3: subject '1' is already in line 1"),
        (subjects.read_table, "", "is empty"),
        (subjects.read_table, "id,age\n1,2\n", ":1: 'id,age' does not name the columns"),
        (subjects.read_table, "subject_id,age,age\n1,2,3\n", ":1: 'subject_id,age,age' does not name"),
        (subjects.read_table, "subject_id,age\n", "has no subjects"),
        (
            subjects.read_table,
            "subject_id,age\n1,2\n2\n",
            ":3: '2' has 1 fields where the first line names 2",
        ),
        (subjects.read_table, "subject_id,age\n1,2\n1,3\n", ":3: subject '1' is already in line 2"),
        (subjects.read_split, "", "is empty"),
        (
            subjects.read_split,
            "1,training\n2,validate\n",
            ":2: unknown phase 'validate' of subject '2', did you",
        ),
        (
            subjects.read_split,
            "1,all\n",
            ":1: unknown phase 'all' of subject '1'; phases are training, valid",
        ),
        (
            subjects.read_split,
            "1,training\n2,inference\n1,inference\n",
            ":3: subject '1' is already in line 1",
        ),
        (subjects.read_split, "1,training,x\n", ":1: '1,training,x' is not of the form 'subject_id,phase'"),
    ],
)
def test_a_table_of_another_form_is_refused_with_the_line(tmp_path, read, content, message):
    path = tmp_path / "table.csv"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


@pytest.mark.parametrize("read", [subjects.read_file_list, subjects.read_table, subjects.read_split])
def test_a_table_that_is_missing_or_no_text_is_refused(tmp_path, read):
    with pytest.raises(DataError, match=r"none\.csv: does not exist"):
        read(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match=r"binary\.csv: is no text table"):
        read(tmp_path / "binary.csv")


# ---------------------------------------------------------------- matching


def paths(**ids: str) -> dict[str, dict[str, Path]]:
    return {source: {name: Path(f"{source}/{name}.nii") for name in names.split()} for source, names in ids.items()}


def test_subjects_are_those_with_every_source_and_the_others_are_told():
    sources = paths(t2="1 2 3", ct="3 2 4")
    matched = subjects.match_subjects(sources)
    assert [subject.subject_id for subject in matched] == ["2", "3"]
    assert matched[0].files == {"t2": Path("t2/2.nii"), "ct": Path("ct/2.nii")}
    assert subjects.unmatched_ids(sources) == {"t2": ["4"], "ct": ["1"]}


def test_sources_without_a_common_id_are_refused_showing_one_of_each():
    with pytest.raises(DataError) as caught:
        subjects.match_subjects(paths(t2="1_t2 2_t2", ct="1_ct 2_ct"))
    assert "[t2] '1_t2' of t2/1_t2.nii; [ct] '1_ct' of ct/1_ct.nii" in str(caught.value)
    assert "filename_removefromid" in str(caught.value)


# ---------------------------------------------------------------- phases


def test_a_split_survives_writing_and_reading(tmp_path):
    split = {"training": ["a", "b,c", 'd "e"'], "validation": ["f"], "inference": []}
    subjects.write_split(tmp_path / "dataset_split.csv", split)
    assert subjects.read_split(tmp_path / "dataset_split.csv") == split
    assert (tmp_path / "dataset_split.csv").read_text().startswith("a,training\n")


def test_phases_are_read_whatever_their_letter_case(tmp_path):
    (tmp_path / "split.csv").write_text("1, Training\n2,INFERENCE\n")
    split = subjects.read_split(tmp_path / "split.csv")
    assert split == {"training": ["1"], "validation": [], "inference": ["2"]}


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"training": ["1"], "test": ["2"]}, "unknown phase 'test'"),
        ({"training": ["1"], "validation": ["1"]}, "subject '1' occurs twice"),
        ({"training": []}, "without subjects"),
    ],
)
def test_a_split_that_could_not_be_read_is_not_written(tmp_path, split, message):
    with pytest.raises(DataError, match=message):
        subjects.write_split(tmp_path / "split.csv", split)
    assert not (tmp_path / "split.csv").exists()


@given(
    number=st.integers(1, 60),
    validation=st.floats(0, 0.5),
    inference=st.floats(0, 0.5),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_split_is_a_partition_with_the_promised_sizes_whatever_the_order_of_ids(number, validation, inference, seed):
    ids = [f"s{index}" for index in range(number)]
    split = subjects.make_split(ids, validation, inference, seed)
    assert sorted(sum(split.values(), [])) == sorted(ids)
    assert split == subjects.make_split(ids[::-1], validation, inference, seed)
    assert split["training"]
    wanted = [name for name, fraction in (("validation", validation), ("inference", inference)) if fraction > 1e-9]
    if number > len(wanted):
        assert all(split[name] for name in wanted)
    for name, fraction in (("validation", validation), ("inference", inference)):
        assert len(split[name]) <= np.ceil(fraction * number)
        assert fraction > 0 or not split[name]


def test_exact_fractions_are_not_rounded_up_by_floating_point():
    split = subjects.make_split([str(index) for index in range(100)], 0.07, 0.29, 0)
    assert [len(split[phase]) for phase in subjects.PHASES] == [64, 7, 29]


def test_another_seed_is_another_split():
    ids = [str(index) for index in range(30)]
    splits = {tuple(subjects.make_split(ids, 0.2, 0.2, seed)["validation"]) for seed in range(5)}
    assert len(splits) == 5


def test_one_subject_is_kept_for_training_even_if_the_fractions_take_all():
    assert subjects.make_split(["a"], 0.5, 0.5, 0) == {"training": ["a"], "validation": [], "inference": []}
    assert len(subjects.make_split(list("abcd"), 0.0, 1.0, 0)["inference"]) == 3


@pytest.mark.parametrize("fractions", [(-0.1, 0.0), (0.0, 1.5), (0.6, 0.6)])
def test_impossible_fractions_are_refused(fractions):
    with pytest.raises(ConfigError, match="exclude_fraction_for_validation = "):
        subjects.make_split(["a", "b"], *fractions, 0)


def test_a_split_of_nothing_or_of_repeated_ids_is_refused():
    with pytest.raises(DataError, match="no subjects"):
        subjects.make_split([], 0.1, 0.1, 0)
    with pytest.raises(DataError, match="subject 'a' occurs twice"):
        subjects.make_split(["a", "a"], 0.1, 0.1, 0)
