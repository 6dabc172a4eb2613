"""Finding the images of a source and the ids of subjects: NiftyNet's rules, a folder for each subject, a tree."""

import os
from pathlib import Path

import pytest

from sfgkeras.data import subjects
from sfgkeras.data.file_search import find_files
from sfgkeras.data.references import references
from sfgkeras.errors import ConfigError, DataError


def touch(folder: Path, *names: str) -> Path:
    for name in names or ("",):
        path = folder / name
        (path.parent if name else path).mkdir(exist_ok=True, parents=True)
        if name:
            path.touch()
    return folder


def test_the_example_of_niftynets_documentation(tmp_path):
    folder = touch(tmp_path, "T1_001_img.nii.gz", "T1_001_label.nii.gz", "T2_001_img.nii.gz", "T1_seg_img.nii.gz")
    found = find_files([folder], ["img", "T1"], ["label", "seg"])
    assert found == {"_001_": folder / "T1_001_img.nii.gz"}


def test_several_folders_are_searched_but_not_their_subfolders(tmp_path):
    touch(tmp_path / "a", "2.nii")
    touch(tmp_path / "a" / "deep", "3.nii")
    touch(tmp_path / "b", "1.nii.gz")
    found = find_files([tmp_path / "a", tmp_path / "b"])
    assert list(found.items()) == [("1", tmp_path / "b" / "1.nii.gz"), ("2", tmp_path / "a" / "2.nii")]


def test_a_folder_named_twice_is_no_duplicate(tmp_path):
    touch(tmp_path, "1.nii")
    assert list(find_files([tmp_path, tmp_path])) == ["1"]


def test_a_regular_expression_replaces_the_words_in_making_the_id(tmp_path):
    touch(tmp_path, "sub-01_ses-2_T2w.nii.gz")
    pattern = r"_ses-\d+|_T2w"
    assert list(find_files([tmp_path], ["T2w"], (), pattern)) == ["sub-01"]
    assert list(find_files([tmp_path], ["T2w"], (), r"_ses-\d+")) == ["sub-01_T2w"]


def test_a_longer_word_is_removed_before_one_that_it_contains(tmp_path):
    touch(tmp_path, "7T1cx.nii")
    assert list(find_files([tmp_path], ["T1", "T1c"])) == ["7x"]


def test_words_are_no_regular_expressions_and_letter_case_matters(tmp_path):
    touch(tmp_path, "1.t1+.nii", "2.T1+.nii", "3.t11.nii")
    assert list(find_files([tmp_path], [".t1+"])) == ["1"]


def test_what_is_no_image_is_skipped(tmp_path):
    touch(tmp_path, "1.nii", "._1.nii", ".2.nii", "notes.txt", "1.mat", "dataset_split.csv", "sub")
    touch(tmp_path / "empty folder")
    assert list(find_files([tmp_path])) == ["1"]


def test_a_pair_counts_once_and_a_lone_header_is_left_for_the_reader_to_refuse(tmp_path):
    touch(tmp_path, "1.hdr", "1.img", "2.hdr.gz", "2.img.gz", "3.hdr")
    found = find_files([tmp_path])
    assert {key: path.name for key, path in found.items()} == {"1": "1.img", "2": "2.img.gz", "3": "3.hdr"}


def test_a_folder_of_dicom_files_is_an_image(tmp_path):
    touch(tmp_path / "ct_01", "1-01.dcm", "1-02.dcm", "00 notes.txt")
    (tmp_path / "ct_02").mkdir()
    (tmp_path / "ct_02" / "IM0001").write_bytes(bytes(128) + b"DICM")
    assert list(find_files([tmp_path], ["ct_"])) == ["01", "02"]


def test_two_files_of_one_id_are_refused_naming_both(tmp_path):
    touch(tmp_path / "a", "1_T2.nii.gz")
    touch(tmp_path / "b", "1_T2.nii")
    with pytest.raises(DataError) as caught:
        find_files([tmp_path / "a", tmp_path / "b"], ["_T2"])
    assert str(tmp_path / "a" / "1_T2.nii.gz") in str(caught.value)
    assert str(tmp_path / "b" / "1_T2.nii") in str(caught.value)
    assert "subject id '1'" in str(caught.value)


def test_a_name_of_which_nothing_remains_is_refused(tmp_path):
    touch(tmp_path, "T2.nii.gz")
    with pytest.raises(DataError, match=r"T2\.nii\.gz: nothing remains .* set filename_removefromid"):
        find_files([tmp_path], ["T2"])


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
        find_files([tmp_path / "data"], ["T2"], ["seg"])
    assert str(caught.value).startswith(str(tmp_path / "data"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_regular_expression_is_a_mistake_in_the_settings(tmp_path):
    with pytest.raises(ConfigError, match=r"filename_removefromid = '\(' is no regular expression"):
        find_files([touch(tmp_path, "1.nii")], (), (), "(")


# ---------------------------------------------------------------- a folder for each subject, and trees of folders


def test_a_folder_for_each_subject_gives_its_name_as_the_id(tmp_path):
    """SynthRAD: every folder holds files of the same names."""
    names = [f"{subject}/{name}.nii.gz" for subject in ("1PA001", "1PA004") for name in ("mr", "ct", "mask")]
    folder = touch(tmp_path, *names, "overview/overview.xlsx", ".hidden/mr.nii.gz")
    found = find_files([folder], ["mr"], layout="subject_folders")
    assert found == {name: folder / name / "mr.nii.gz" for name in ("1PA001", "1PA004")}


def test_a_bids_folder_gives_subjects_from_folders_or_subjects_and_sessions_from_names(tmp_path):
    one = touch(tmp_path / "one", "sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz", "README")
    touch(one, "derivatives/fmriprep/sub-01/anat/sub-01_T1w.nii.gz", "sub-01/func/sub-01_bold.nii.gz")
    assert sorted(find_files([one], ["_T1w"], layout="subject_folders")) == ["sub-01", "sub-02"]
    two = touch(tmp_path / "two", *(f"sub-01/ses-{n}/anat/sub-01_ses-{n}_T1w.nii.gz" for n in (1, 2)))
    assert sorted(find_files([two], ["_T1w"], layout="tree")) == ["sub-01_ses-1", "sub-01_ses-2"]
    with pytest.raises(DataError, match=r"'sub-01', as has .*ses-1.*csv_file, or, .* session, write layout = tree"):
        find_files([two], ["_T1w"], layout="subject_folders")


def test_decathlon_and_nnunet_folders_are_two_flat_ones(tmp_path):
    decathlon = touch(tmp_path, "imagesTr/la_003.nii.gz", "imagesTr/._la_003.nii.gz", "labelsTr/la_003.nii.gz")
    assert list(find_files([decathlon / "imagesTr"])) == list(find_files([decathlon / "labelsTr"])) == ["la_003"]
    nnunet = touch(tmp_path / "nnunet", "case_01_0000.nii.gz", "case_01_0001.nii.gz")
    assert list(find_files([nnunet], ["_0001"])) == ["case_01"]


def test_series_below_the_folder_of_a_subject_are_images(tmp_path):
    touch(tmp_path, "P1/T2/1.dcm", "P1/ADC/1.dcm", "P2/study/T2/1.dcm", "P3/1.dcm")
    assert find_files([tmp_path], ["T2"], layout="subject_folders") == {
        "P1": tmp_path / "P1" / "T2", "P2": tmp_path / "P2" / "study" / "T2",
    }  # fmt: skip
    assert sorted(find_files([tmp_path], (), ["ADC"], layout="subject_folders")) == ["P1", "P2", "P3"]


def test_what_is_removed_from_ids_is_removed_from_names_of_folders_too(tmp_path):
    touch(tmp_path, "case01_mr/mr.nii")
    assert list(find_files([tmp_path], ["mr"], (), "_mr$", "subject_folders")) == ["case01"]
    assert list(find_files([tmp_path], ["mr"], layout="subject_folders")) == ["case01_mr"]


def test_folders_that_lead_in_circles_are_seen_once(tmp_path):
    touch(tmp_path, "P1/mr.nii")
    (tmp_path / "P1" / "again").symlink_to(tmp_path / "P1")
    assert list(find_files([tmp_path], ["mr"], layout="subject_folders")) == ["P1"]


@pytest.mark.parametrize(
    ("names", "words", "layout", "message"),
    [
        (["P1/mr.nii"], ["mr"], "flat", r"\(e\.g\. P1/mr\.nii\).* layout = subject_folders.* layout = tree"),
        (["x_ct.nii", "P1/mr.nii"], ["mr"], "flat", r"none of its 1 .* subfolders do hold .* layout = subject_folders"),
        (["P1/mr.nii", "P2/mr.nii"], [], "tree", r"P2/mr\.nii: .* 'mr', as has .*P1.* layout = subject_folders"),
        (["P1/mr.nii"], ["mr"], "tree", r"nothing remains .* or layout = subject_folders"),
        (["mr_1.nii"], ["mr"], "subject_folders", r"in the folder itself, .* layout = flat"),
        (
            ["P1/ct.nii"],
            ["mr"],
            "subject_folders",
            r"\(e\.g\. P1/ct\.nii\) has a name with 'mr'; check filename_contains",
        ),
        (
            ["P1/ct.nii", "P1/mr.nii"],
            [],
            "subject_folders",
            r"P1/mr\.nii: .* 'P1', as has .*P1/ct\.nii; .* filename_con",
        ),
        (["list.csv"], [], "flat", r"holds no image; check path_to_search"),
    ],
)
def test_a_search_that_fails_names_the_layout_that_fits(tmp_path, names, words, layout, message):
    touch(tmp_path, *names)
    with pytest.raises(DataError, match=message):
        find_files([tmp_path], words, layout=layout)


def test_folders_of_subjects_named_one_by_one_lead_to_the_folder_above(tmp_path):
    touch(tmp_path, "P1/mr.nii", "P2/mr.nii")
    with pytest.raises(DataError, match=rf"layout = subject_folders with path_to_search = {tmp_path}"):
        find_files([tmp_path / "P1", tmp_path / "P2"], ["mr"])


def test_a_list_named_as_a_folder_is_told_where_it_belongs(tmp_path):
    with pytest.raises(DataError, match=rf"write csv_file = {tmp_path}/mr\.csv"):
        find_files([touch(tmp_path, "mr.csv") / "mr.csv"])


@pytest.mark.real_data
def test_a_real_folder_for_each_patient(real_data):
    found = find_files([real_data / "pairs_t2_adc"], ["adc"], layout="subject_folders")
    assert found["ProstateX-0000"] == real_data / "pairs_t2_adc" / "ProstateX-0000" / "adc.nii.gz"


@pytest.mark.real_data
def test_real_files_of_two_sources_are_matched(real_data):
    folder = real_data / "mr_brain_multi"
    sources = {
        "t1": references(find_files([folder], ["ilist", "_T1"])),
        "tissue": references(find_files([folder], ["slist", "_tissue"])),
    }
    matched = subjects.match_subjects(sources)
    assert [subject.subject_id for subject in matched] == ["1", "13", "2", "4", "5", "57", "9"]
    assert matched[1].images["tissue"].path == folder / "slist13_tissue.nii.gz"
    photos = find_files([real_data / "pets" / "images"])
    assert len(photos) > 50
    assert "Abyssinian_100" not in {key for key, path in photos.items() if path.suffix == ".mat"}


@pytest.mark.parametrize("name", [b"caf\xe9_1_mr.nii.gz", b"1_mr_\xff.nii.gz"])
def test_a_name_that_is_not_utf8_is_refused_with_its_bytes(tmp_path, name):
    (tmp_path / os.fsdecode(name)).touch()
    with pytest.raises(DataError, match=r"\\x[ef][9f].*its name is not UTF-8; rename it") as refused:
        find_files([tmp_path], ["_mr"])
    str(refused.value).encode()
    assert find_files([touch(tmp_path / "other", "1_mr.nii.gz")], ["_mr"])
