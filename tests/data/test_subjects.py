"""Matching files to subjects and subjects to phases, by NiftyNet's rules."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfgkeras.data import subjects
from sfgkeras.data.references import ImageRef, references
from sfgkeras.errors import ConfigError, DataError


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for name in names:
        (folder / name).touch()
    return folder


# ---------------------------------------------------------------- ids

UNUSABLE = {
    "../../evil0": "leads into another folder",
    "/tmp/evil0": "leads into another folder",
    "sub/dir2": "leads into another folder",
    "sub\\dir2": "leads into another folder",
    "..": "is no name for a file",
    ".hidden": "is no name for a file",
    "a\x07b": r"has the control character '\\x07'",
    "a\u202eb": "has the control character",
    "p" * 201: "has 201 bytes, which leaves no room",
    "ä" * 101: "has 202 bytes",
}


@pytest.mark.parametrize(("subject_id", "message"), UNUSABLE.items())
def test_an_id_that_cannot_name_a_result_is_refused_with_its_line(tmp_path, subject_id, message):
    table = tmp_path / "table.csv"
    for read, text in (
        (subjects.read_file_list, f"p1,a.nii\n{subject_id},b.nii\n"),
        (subjects.read_table, f"subject_id,age\n{subject_id},3\n"),
        (subjects.read_split, f"p1,training\n{subject_id},inference\n"),
    ):
        table.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=f":2: the subject id .* {message}"):
            read(table)


@pytest.mark.parametrize("subject_id", ["P 01", "père-é", "a.b", "01", "x" * 200, "sub-01_ses-1", "a'b"])
def test_ids_of_letters_of_any_language_are_fine(tmp_path, subject_id):
    (tmp_path / "list.csv").write_text(f"{subject_id},a.nii\n", encoding="utf-8")
    assert list(subjects.read_file_list(tmp_path / "list.csv")) == [subject_id]


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


def paths(**ids: str) -> dict[str, dict[str, ImageRef]]:
    return {
        source: references({name: Path(f"{source}/{name}.nii") for name in names.split()})
        for source, names in ids.items()
    }


def test_subjects_are_those_with_every_source_and_the_others_are_told():
    sources = paths(t2="1 2 3", ct="3 2 4")
    matched = subjects.match_subjects(sources)
    assert [subject.subject_id for subject in matched] == ["2", "3"]
    assert matched[0].images == references({"t2": Path("t2/2.nii"), "ct": Path("ct/2.nii")})
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


def test_a_zero_byte_in_a_list_is_refused_at_its_line(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(b"a,a.nii.gz\nb,b\0.nii.gz\n")
    with pytest.raises(DataError, match=r"list\.csv:2: holds a zero byte"):
        subjects.read_file_list(path)
