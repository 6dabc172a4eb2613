"""What lies in a folder, and data sets that describe themselves: what is read, and how what is not is told."""

import json

import numpy as np
import pytest

from sfgkeras.applications.planning.described_sets import described_sources
from sfgkeras.applications.planning.sources import group_images
from sfgkeras.applications.planning.survey import survey
from sfgkeras.errors import DataError
from sfgkeras.reporter import SilentReporter

BOX = np.arange(60, dtype=np.int16).reshape(5, 4, 3)


@pytest.fixture
def look(tmp_path, write):
    """Writes images and texts into a folder and looks through it."""

    def look_through(*images, **texts):
        for name in images:
            write(tmp_path / name, BOX)
        for name, text in texts.items():
            path = tmp_path / name.replace("__", "/").replace("_csv", ".csv").replace("_json", ".json")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return survey(tmp_path, SilentReporter())

    return look_through


def test_tables_a_split_and_other_lists_are_told_apart(look):
    found = look(
        "a.nii",
        b_csv="subject_id,age\na,3\n",
        c_csv="a,training\n",
        d_csv="a,validation\n",
        e_csv="age,height\n1,2\n",
        deep__f_csv="subject_id,grade\na,1\n",
    )
    assert [path.name for path in found.tables] == ["b.csv", "f.csv"]
    assert found.split.name == "c.csv"  # the first one
    (odd,) = found.odd_tables.values()
    assert "first of them subject_id" in odd


def test_hidden_files_and_folders_are_passed_over(look, tmp_path, write):
    write(tmp_path / ".cache" / "b.nii", BOX)
    (tmp_path / ".t.csv").write_text("subject_id,age\na,3\n")
    (tmp_path / ".cache" / "t.csv").write_text("subject_id,age\na,3\n")
    found = look("a.nii")
    assert [image.file.name for image in found.images] == ["a.nii"]
    assert not found.tables


def test_damaged_images_are_kept_with_their_reason_and_alone_they_are_refused(look, tmp_path):
    (tmp_path / "bad.nii").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of its 1 images can be used, e\.g\. .*bad\.nii"):
        look()
    found = look("a.nii")
    assert [path.name for path in found.broken] == ["bad.nii"]


def test_what_is_not_read_is_said(look, tmp_path):
    for name in ("a.xml", "b.xml", "participants.tsv"):
        (tmp_path / name).touch()
    notes = look("a.nii").notes
    assert len(notes) == 2
    assert notes[0].startswith(f"2 XML files (e.g. {tmp_path / 'a.xml'})")
    assert f"{tmp_path / 'participants.tsv'}: is a table with tabs" in notes[1]


def test_a_description_that_is_no_json_is_refused_and_one_of_something_else_passed_over(look):
    with pytest.raises(DataError, match=r"dataset\.json: cannot be read as JSON .*correct it, or move it away"):
        look("a.nii", dataset_json="{")
    for text in ("[]", "{}", '{"labels": [1, 2]}'):
        assert look("a.nii", dataset_json=text).dataset is None


def describe(look, images, **said):
    return described_sources(look(*images, dataset_json=json.dumps(said)))


NNUNET = ("imagesTr/a_0000.nii", "imagesTr/a_0001.nii", "labelsTr/a.nii")
DECATHLON = ("imagesTr/a.nii", "labelsTr/a.nii")


def test_channels_are_named_in_the_order_of_their_numbers(look):
    (first, second, labels), notes = describe(
        look, NNUNET, channel_names={"1": "ADC-map", "0": "7T"}, labels={"background": 0, "b": 2, "a": 1}
    )
    assert [first.name, second.name, labels.name] == ["CHANNEL_0", "ADC_MAP", "LABELS"]
    assert second.words == ("adc", "map")
    assert [each.file.name for each in (*first.images.values(), *second.images.values())] == [
        "a_0000.nii",
        "a_0001.nii",
    ]
    assert list(first.images) == ["a"] == list(labels.images)
    assert (first.contains, second.contains, labels.contains) == (("_0000",), ("_0001",), ())
    assert labels.class_names == ("background", "a", "b")
    assert not notes


def test_files_without_numbers_of_channels_are_one_source_whatever_is_described(look):
    sources, _ = describe(look, DECATHLON, modality={"0": "T2", "1": "ADC"}, labels={"0": "background", "1": "PZ"})
    assert [source.name for source in sources] == ["T2", "LABELS"]
    assert sources[0].contains == ()


@pytest.mark.parametrize(
    ("channel", "name"), [("labels", "CHANNEL_0"), ("(T1)", "T1"), ("", "CHANNEL_0"), ("Ünter", "ÜNTER")]
)
def test_names_of_channels_become_headers(look, channel, name):
    sources, _ = describe(look, DECATHLON, modality={"0": channel}, labels={"0": "x"})
    assert sources[0].name == name


def test_names_of_labels_with_a_gap_are_not_used(look):
    sources, _ = describe(look, DECATHLON, labels={"background": 0, "a": 1, "b": 3})
    assert sources[-1].class_names == ()


def test_regions_that_overlap_are_refused(look, tmp_path):
    with pytest.raises(DataError, match=r"dataset\.json: label 'whole' is a region of the labels \[1, 2\]"):
        describe(look, DECATHLON, labels={"background": 0, "whole": [1, 2]})


def test_test_images_are_noted_and_damaged_training_images_refused(look, tmp_path):
    _, notes = describe(look, (*DECATHLON, "imagesTs/b.nii", "imagesTs/c.nii"), labels={"0": "x"})
    assert notes == ["2 images of imagesTs have no labels; sfgkeras predict takes them"]
    (tmp_path / "imagesTr" / "a.nii").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"imagesTr.a\.nii"):
        describe(look, (), labels={"0": "x"})
    (tmp_path / "imagesTr" / "a.nii").unlink()
    with pytest.raises(DataError, match=r"imagesTr: holds no image; check the folder"):
        describe(look, (), labels={"0": "x"})


def test_without_its_folders_a_description_says_nothing(look):
    assert describe(look, ("imagesTr/a.nii",), labels={"0": "x"}) is None


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (("p1_network.nii", "p2_network.nii", "p1_task.nii", "p2_task.nii"), ["IMAGES_NETWORK", "IMAGES_TASK"]),
        (("p1_T1.nii", "p2_T1.nii", "p1_T1.png", "p2_T1.png"), ["T1", "T1_2"]),  # photos and volumes are not one kind
        (("p1.nii", "p2.nii"), ["IMAGE"]),
        (("p1_0000.nii", "p2_0000.nii", "p1_0001.nii", "p2_0001.nii"), ["CHANNEL_0000", "CHANNEL_0001"]),
    ],
)
def test_headers_of_sources(look, tmp_path, files, names):
    from PIL import Image

    for name in files:
        if name.endswith(".png"):
            Image.new("RGB", (4, 4)).save(tmp_path / name)
    sources, _ = group_images(look(*(name for name in files if name.endswith(".nii"))))
    assert [source.name for source in sources] == names


def test_a_second_image_of_one_kind_and_subject_is_left_out_and_named(look, tmp_path):
    found = look("a/t1.nii", "b/t1.nii", "c/t1.nii")
    (source,), doubles = group_images(found)
    assert not doubles
    found.images.append(found.images[0])
    (again,), doubles = group_images(found)
    assert len(again.images) == len(source.images)
    assert doubles == [f"{found.images[0]}: would be a second image of one kind and subject, as {found.images[0]} is"]
