"""Which file of --input is whose, and which image of the network: told by names, or refused with what to write."""

import textwrap

import pytest

from sfgkeras.applications.subjects.new_subjects import find_subjects
from sfgkeras.config import read_config
from sfgkeras.errors import ConfigError, DataError

INI = """
[T2]
path_to_search = gone
filename_contains = {t2}
spatial_window_size = 8, 8, 1

[ADC]
path_to_search = gone
filename_contains = {adc}

[SYSTEM]
model_dir = model

[NETWORK]
name = highresnet

[REGRESSION]
image = {images}
output = T2
"""


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture
def find(tmp_path):
    """Returns a function: inputs below the folder -> `{id: {source: path below the folder}}`."""

    def find(*inputs, images="T2", t2="_t2", adc="_adc", photos=None, overrides=()):
        path = tmp_path / "run.ini"
        path.write_text(textwrap.dedent(INI).format(images=images, t2=t2, adc=adc))
        config = read_config(path, [("INFERENCE.save_seg_dir", str(tmp_path / "out")), *overrides])
        given = [
            f"{name.split('=')[0]}={tmp_path / name.split('=')[1]}" if "=" in name else str(tmp_path / name)
            for name in inputs
        ]
        subjects, find.how = find_subjects(given, config, photos)
        return {
            subject.subject_id: {name: str(image.path.relative_to(tmp_path)) for name, image in subject.images.items()}
            for subject in subjects
        }

    return find


def test_single_files_go_by_the_names_of_training_or_by_their_own(find, tmp_path):
    touch(tmp_path, "p1_t2.nii.gz", "other.nii", "x/scan.mha")
    assert find("p1_t2.nii.gz") == {"p1": {"T2": "p1_t2.nii.gz"}}
    assert find.how == ["[T2]: 1 image, told by filename_contains"]
    assert find("other.nii", "x/scan.mha") == {"other": {"T2": "other.nii"}, "scan": {"T2": "x/scan.mha"}}
    assert find.how == ["[T2]: 2 images, the only image of the network"]


def test_a_folder_of_images_gives_one_subject_each_and_leaves_other_modalities_out(find, tmp_path):
    touch(tmp_path, *(f"scans/p{n}_{kind}.nii.gz" for n in (1, 2) for kind in ("t2", "adc", "organs")))
    assert find("scans") == {f"p{n}": {"T2": f"scans/p{n}_t2.nii.gz"} for n in (1, 2)}
    assert find("scans", t2="axial")["p2"] == {"T2": "scans/p2_t2.nii.gz"}
    assert find.how == ["[T2]: 2 images, told by the section's name"]
    assert find("scans", images="T2, ADC")["p2"] == {"T2": "scans/p2_t2.nii.gz", "ADC": "scans/p2_adc.nii.gz"}


def test_a_folder_for_each_patient_gives_its_name_as_the_id(find, tmp_path):
    touch(
        tmp_path, "new/P07/t2.nii.gz", "new/P07/adc.nii.gz", "new/P08/mr/T2.nii", "new/notes/read.me", "new/P09/x.nii"
    )
    assert find("new") == {
        "P07": {"T2": "new/P07/t2.nii.gz"}, "P08": {"T2": "new/P08/mr/T2.nii"}, "P09": {"T2": "new/P09/x.nii"},
    }  # fmt: skip
    assert find("new/P07") == {"P07": {"T2": "new/P07/t2.nii.gz"}}
    assert find("new/P07", images="T2, ADC") == {"P07": {"T2": "new/P07/t2.nii.gz", "ADC": "new/P07/adc.nii.gz"}}
    touch(tmp_path, "new/out/P07_t2_predicted.nii.gz")
    assert "out" in find("new")
    assert "out" not in find("new", overrides=[("INFERENCE.save_seg_dir", str(tmp_path / "new" / "out"))])


def test_bids_subjects_are_found_as_a_folder_and_one_by_one(find, tmp_path):
    touch(tmp_path, *(f"bids/sub-0{n}/anat/sub-0{n}_T2w.nii.gz" for n in (1, 2)), "bids/derivatives/x/y_T2w.nii.gz")
    expected = {f"sub-0{n}": {"T2": f"bids/sub-0{n}/anat/sub-0{n}_T2w.nii.gz"} for n in (1, 2)}
    assert find("bids", t2="_T2w") == expected
    assert find("bids/sub-02", t2="_T2w") == {"sub-02": expected["sub-02"]}


def test_dicom_folders_are_images_wherever_they_lie(find, tmp_path):
    touch(tmp_path, "P1/1.dcm", "P2/T2/1.dcm", "P2/ADC/1.dcm", "all/A/study/series/1.dcm", "all/B/1.dcm")
    assert find("P1") == {"P1": {"T2": "P1"}}
    assert find("P2", images="T2, ADC") == {"P2": {"T2": "P2/T2", "ADC": "P2/ADC"}}
    assert find("all/B", "P1") == {"B": {"T2": "all/B"}, "P1": {"T2": "P1"}}
    assert find("all/A") == {"study": {"T2": "all/A/study/series"}}


def test_several_images_of_one_subject_are_told_by_rule_by_section_or_as_named(find, tmp_path):
    touch(tmp_path, "a_t2.nii", "a_adc.nii", "ADC-map.nii", "T2-tra.nii", "one.nii", "two.nii")
    both = {"images": "T2, ADC"}
    assert find("a_adc.nii", "a_t2.nii", **both) == {"a": {"T2": "a_t2.nii", "ADC": "a_adc.nii"}}
    # One image each is one subject, whatever the names.
    assert find("ADC-map.nii", "T2-tra.nii", **both) == {"tra": {"T2": "T2-tra.nii", "ADC": "ADC-map.nii"}}
    assert find("adc=two.nii", "T2=one.nii", **both) == {"one": {"T2": "one.nii", "ADC": "two.nii"}}
    assert find.how == ["[ADC]: 1 image, told as named by SOURCE=PATH", "[T2]: 1 image, told as named by SOURCE=PATH"]
    assert find("adc=two.nii", "one.nii", **both) == {"one": {"T2": "one.nii", "ADC": "two.nii"}}


def test_folders_named_by_their_modality_are_joined_by_id(find, tmp_path):
    touch(tmp_path, "t2/p1.nii", "t2/p2.nii", "adc/p1.nii", "adc/p2.nii")
    found = find("T2=t2", "ADC=adc", images="T2, ADC")
    assert found == {f"p{n}": {"T2": f"t2/p{n}.nii", "ADC": f"adc/p{n}.nii"} for n in (1, 2)}


def test_a_file_whose_name_is_the_word_alone_goes_by_its_folder(find, tmp_path):
    touch(tmp_path, "P07/t2.nii")
    assert find("P07/t2.nii", t2="t2") == {"P07": {"T2": "P07/t2.nii"}}


def test_a_path_with_an_equals_sign_is_a_path(find, tmp_path):
    touch(tmp_path, "T2=weird/p1.nii")
    (tmp_path / "T2=weird").is_dir()
    assert find_ids(find, tmp_path) == ["p1"]


def find_ids(find, folder):
    path = folder / "run.ini"
    path.write_text(textwrap.dedent(INI).format(images="T2", t2="_t2", adc="_adc"))
    return [subject.subject_id for subject in find_subjects([str(folder / "T2=weird")], read_config(path))[0]]


def test_photos_and_volumes_of_a_folder_are_told_apart(find, tmp_path):
    touch(tmp_path, "mixed/a.jpg", "mixed/b.nii")
    assert list(find("mixed", photos=True)) == ["a"]
    assert list(find("mixed", photos=False)) == ["b"]
    touch(tmp_path, "photos/a.jpg")
    with pytest.raises(DataError, match=r"the network sees volumes, and here are only photos \(1\)"):
        find("photos", photos=False)


@pytest.mark.parametrize(
    ("names", "inputs", "images", "error", "message"),
    [
        ([], ["nowhere.nii"], "T2", DataError, r"nowhere\.nii: does not exist"),
        (["x.nii"], ["CT=x.nii"], "T2", ConfigError, r"\[CT\] is no image that the network sees; these are T2"),
        (["d/read.me"], ["d"], "T2", DataError, "holds no image, nor does a folder in it"),
        (["a.nii", "b.nii"], ["a.nii", "b.nii"], "T2, ADC", DataError, r"sees 2 images.*--input T2=FILE --input ADC=F"),
        (["p_t2.nii"], ["p_t2.nii"], "T2, ADC", DataError, r"the 1 image here do not tell"),
        (["P/a.nii", "P/b.nii"], ["."], "T2", DataError, r"a\.nii could both be \[T2\].*--input T2=.*b\.nii"),
        (
            ["1/p_t2.nii", "2/p_t2.nii"],
            ["1/p_t2.nii", "2/p_t2.nii"],
            "T2",
            DataError,
            r"subject id 'p', as has .*1/p_t2",
        ),
        (
            ["s/p_t2.nii", "s/p_adc.nii", "s/q_t2.nii"],
            ["s"],
            "T2, ADC",
            DataError,
            r"subject 'q' has no \[ADC\], only \[T2\] .*trained with T2, ADC; add it",
        ),
    ],
)
def test_what_cannot_be_told_is_refused_with_what_to_write(find, tmp_path, names, inputs, images, error, message):
    touch(tmp_path, *names)
    with pytest.raises(error, match=message):
        find(*inputs, images=images)
