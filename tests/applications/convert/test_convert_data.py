"""Folders of images become HDF5 and folders again, with nothing lost; nothing is replaced unasked."""

import csv
import shutil

import h5py
import numpy as np
import pytest
from PIL import Image

from sfgkeras.applications.convert.conversion import convert
from sfgkeras.applications.convert.found_data import find_data
from sfgkeras.applications.convert.settings import ConversionSettings
from sfgkeras.data.hdf5.rows import open_rows
from sfgkeras.data.nifti import read_image, write_image
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.reporter import SilentReporter

RNG = np.random.default_rng(8)
XML = (
    "<annotation><filename>{name}.jpg</filename><object><name>{kind}</name><bndbox><xmin>{0}</xmin><ymin>{1}</ymin>"
    "<xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object></annotation>"
)


class Reporter(SilentReporter):
    """Keeps what was said."""

    def __init__(self):
        self.said = []

    def message(self, text):
        self.said.append(text)

    warning = message


@pytest.fixture
def pets(tmp_path):
    """A folder as the Oxford pets: images, trimaps and boxes; one animal has no box."""
    folder = tmp_path / "pets"
    for name in ("images", "annotations/trimaps", "annotations/xmls"):
        (folder / name).mkdir(parents=True)
    for number in range(5):
        name = f"{'Bengal' if number % 2 else 'beagle'}_{number}"
        Image.fromarray(RNG.integers(0, 256, (30, 40, 3), np.uint8)).save(folder / "images" / f"{name}.png")
        trimap = np.full((30, 40), 2, np.uint8)
        trimap[5:20, 10:30] = 3
        trimap[6:19, 11:29] = 1
        Image.fromarray(trimap).save(folder / "annotations" / "trimaps" / f"{name}.png")
        if number < 4:
            text = XML.format(11, 6, 30, 20, name=name, kind="cat" if number % 2 else "dog")
            (folder / "annotations" / "xmls" / f"{name}.xml").write_text(text)
    return folder


def test_pictures_masks_and_boxes_become_rows_in_the_order_of_their_ids(pets, tmp_path):
    said = Reporter()
    convert(pets, tmp_path / "pets.h5", said, settings=ConversionSettings(foreground=(1, 3)))
    ids = ["Bengal_1", "Bengal_3", "beagle_0", "beagle_2"]
    with h5py.File(tmp_path / "pets.h5") as file:
        assert sorted(file) == ["bboxes", "binary", "ids", "images", "masks"]
        assert [name.decode() for name in file["ids"]] == ids
        for index, name in enumerate(ids):
            assert np.array_equal(file["images"][index], np.asarray(Image.open(pets / "images" / f"{name}.png")))
        mask = np.zeros((30, 40, 1), np.uint8)
        mask[5:20, 10:30] = 1
        assert all(np.array_equal(row, mask) for row in file["masks"])
        # Pixels 11 to 30 counted from 1, both inside, are columns 10 to 29: edges at 10 and 30.
        assert file["bboxes"][:].tolist() == [[10, 5, 30, 20]] * 4
        assert file["binary"][:, 0].tolist() == [0, 0, 1, 1]
        assert list(file["binary"].attrs["names"]) == ["cat", "dog"]
        assert list(file["bboxes"].attrs["columns"]) == ["x_min", "y_min", "x_max", "y_max"]
    assert any("1 subject without boxes, left out" in text for text in said.said)


def test_sizes_are_brought_to_one_and_boxes_with_them(pets, tmp_path):
    convert(pets, tmp_path / "half.h5", Reporter(), settings=ConversionSettings(size=(15, 20)))
    with h5py.File(tmp_path / "half.h5") as file:
        assert file["images"].shape == (4, 15, 20, 3)
        assert file["bboxes"][0].tolist() == [5, 2.5, 15, 10]
        assert set(np.unique(file["masks"])) == {1, 2, 3}
        picture = np.asarray(Image.open(pets / "images" / "Bengal_1.png"), np.float64)
        assert abs(file["images"][0].mean() - picture.mean()) < 2


@pytest.mark.parametrize("by_phase", [False, True])
def test_a_folder_that_goes_to_hdf5_comes_back_equal(pets, tmp_path, by_phase):
    settings = ConversionSettings()
    if by_phase:
        (tmp_path / "split.csv").write_text("beagle_0,training\nBengal_1,validation\nbeagle_2,inference\n")
        settings = ConversionSettings(split=tmp_path / "split.csv", compression=0)
    convert(pets, tmp_path / "rows", Reporter(), settings=settings)
    names = {path.relative_to(tmp_path / "rows").as_posix() for path in (tmp_path / "rows").rglob("*.h5")}
    files = ("bboxes", "binary", "images", "masks")
    phases = ("train/", "val/", "test/") if by_phase else ("",)
    assert names == {f"{phase}{name}.h5" for phase in phases for name in files}
    assert open_rows(tmp_path / "rows" / f"{phases[0]}images.h5").is_mapped == by_phase
    convert(tmp_path / "rows", tmp_path / "back", Reporter())
    ids = ["beagle_0", "Bengal_1", "beagle_2"] if by_phase else ["Bengal_1", "Bengal_3", "beagle_0", "beagle_2"]
    for name in ids:
        for was, now in (("images", "images"), ("annotations/trimaps", "masks")):
            one, other = (
                np.asarray(Image.open(path / f"{name}.png")) for path in (pets / was, tmp_path / "back" / now)
            )
            assert np.array_equal(one, other)
    with (tmp_path / "back" / "subjects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["subject_id"] for row in rows] == ids
    assert [row["binary"] for row in rows] == [str(int(name[0] == "b")) for name in ids]
    assert [rows[0][name] for name in ("x_min", "y_min", "x_max", "y_max")] == ["10", "5", "30", "20"]
    if by_phase:
        assert (tmp_path / "back" / "split.csv").read_text() == (tmp_path / "split.csv").read_text()
    # The table is read again, so that a second round gives the same rows.
    convert(tmp_path / "back", tmp_path / "again.h5", Reporter())
    with h5py.File(tmp_path / "again.h5") as file:
        assert file["bboxes"][:].tolist() == [[10, 5, 30, 20]] * len(ids)
        assert sorted(file["binary"][:, 0].tolist()) == sorted(int(name[0] == "b") for name in ids)


@pytest.mark.parametrize("flat", [False, True])
def test_volumes_keep_types_values_and_places(tmp_path, flat):
    folder, kept = tmp_path / "in", {}
    for number in range(3):
        affine = np.diag([1.5, 2, -3, 1]) + np.eye(4, k=3) * number
        for name, array in (
            ("mr", RNG.normal(size=(5, 6, 7)).astype(np.float32)),
            ("organs", RNG.integers(0, 4, (5, 6, 7), np.uint8)),
        ):
            path = folder / (f"p{number}_{name}.nii.gz" if flat else f"{name}/p{number}.nii.gz")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, array, affine)
            kept[number, name] = (array, affine)
    convert(folder, tmp_path / "rows.h5", Reporter())
    with h5py.File(tmp_path / "rows.h5") as file:
        assert (file["mr"].dtype, file["organs"].dtype) == (np.float32, np.uint8)
    convert(tmp_path / "rows.h5", tmp_path / "back", Reporter())
    for (number, name), (array, affine) in kept.items():
        image = read_image(tmp_path / "back" / name / f"p{number}.nii.gz")
        assert np.array_equal(image.array, array)
        np.testing.assert_allclose(image.affine, affine, atol=1e-6)
    assert not (tmp_path / "back" / "subjects.csv").exists()


def test_nothing_is_replaced_unasked(pets, tmp_path):
    convert(pets, tmp_path / "a.h5", Reporter())
    content = (tmp_path / "a.h5").read_bytes()
    with pytest.raises(DataError, match=r"a\.h5: exists; choose another name, or add --overwrite"):
        convert(pets, tmp_path / "a.h5", Reporter(), settings=ConversionSettings(foreground=(1,)))
    assert (tmp_path / "a.h5").read_bytes() == content
    convert(pets, tmp_path / "a.h5", Reporter(), overwrite=True, settings=ConversionSettings(foreground=(1,)))
    assert (tmp_path / "a.h5").read_bytes() != content
    with pytest.raises(DataError, match="is the file to convert"):
        convert(pets, pets, Reporter(), overwrite=True)


@pytest.mark.parametrize("damage", ["size", "xml", "box", "image", "second"])
def test_what_cannot_be_converted_is_refused_by_name_and_leaves_nothing(pets, tmp_path, damage):
    xml = pets / "annotations" / "xmls" / "beagle_2.xml"
    message = {
        "size": r"beagle_2\.png: is \(20, 20, 3\), and .* \(30, 40, 3\); rows of one data set need one shape: .*--size",
        "xml": r"beagle_2\.xml: is no Pascal VOC annotation",
        "box": r"beagle_2\.xml: its box .* has no extent",
        "image": r"beagle_2\.png",
        "second": r"images: is a second data set 'images'",
    }[damage]
    if damage == "size":
        Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(pets / "images" / "beagle_2.png")
    elif damage == "xml":
        xml.write_text("<annotation>")
    elif damage == "box":
        xml.write_text(XML.format(5, 5, 4, 4, name="x", kind="cat"))
    elif damage == "image":
        (pets / "images" / "beagle_2.png").write_bytes(b"no picture")
    else:
        (pets / "other" / "images").mkdir(parents=True)
        Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(pets / "other" / "images" / "x.png")
    with pytest.raises(DataError, match=message):
        convert(pets, tmp_path / "a.h5", Reporter())
    assert list(tmp_path.iterdir()) == [pets]


def objects(*named):
    """Returns a Pascal VOC file of several objects: name and corners of each."""
    one = XML[XML.index("<object>") : XML.index("</annotation>")]
    return f"<annotation>{''.join(one.format(*corners, kind=kind) for kind, *corners in named)}</annotation>"


CROWD = objects(("cat", 1, 1, 4, 3), ("dog", 11, 6, 30, 20), ("cat", 21, 11, 28, 19))


@pytest.mark.parametrize(
    ("box_of", "kind", "box"),
    [
        ("largest", "dog", [10, 5, 30, 20]),
        ("all", "dog", [0, 0, 30, 20]),
        ("cat", "cat", [20, 10, 28, 19]),
        ("dog", "dog", [10, 5, 30, 20]),
    ],
)
def test_of_several_objects_the_one_that_is_asked_for_gives_the_box(pets, tmp_path, box_of, kind, box):
    (pets / "annotations" / "xmls" / "beagle_2.xml").write_text(CROWD)
    convert(pets, tmp_path / "a.h5", Reporter(), settings=ConversionSettings(box_of=box_of))
    with h5py.File(tmp_path / "a.h5") as file:
        ids = [name.decode() for name in file["ids"]]
        # Pictures with other objects only have no box, and are left out.
        cats, dogs = ["Bengal_1", "Bengal_3", "beagle_2"], ["beagle_0", "beagle_2"]
        everyone = ["Bengal_1", "Bengal_3", "beagle_0", "beagle_2"]
        assert ids == {"cat": cats, "dog": dogs}.get(box_of, everyone)
        assert file["bboxes"][ids.index("beagle_2")].tolist() == box
        (kinds,) = (file[name] for name in ("binary", "classes") if name in file)
        assert kinds.attrs["names"][int(kinds[ids.index("beagle_2"), 0])] == kind


def test_several_objects_are_refused_where_nobody_says_whose_box_is_meant(pets, tmp_path):
    for name in ("beagle_0", "beagle_2"):
        (pets / "annotations" / "xmls" / f"{name}.xml").write_text(CROWD)
    message = (
        r"beagle_0\.xml: has 3 objects, cat, dog, cat \(so have 1 other file\), and a picture has one box; say whose: "
        r"--box-of largest, --box-of all .*, or a name, --box-of cat"
    )
    with pytest.raises(DataError, match=message):
        convert(pets, tmp_path / "a.h5", Reporter())
    with pytest.raises(DataError, match=r"--box-of horse: no file in .*xmls has an object .*; there are cat, dog"):
        convert(pets, tmp_path / "a.h5", Reporter(), settings=ConversionSettings(box_of="horse"))
    shutil.rmtree(pets / "annotations" / "xmls")
    with pytest.raises(DataError, match=r"holds no Pascal VOC file .* whose box --box-of could choose; leave it out"):
        convert(pets, tmp_path / "a.h5", Reporter(), settings=ConversionSettings(box_of="largest"))
    assert list(tmp_path.iterdir()) == [pets]


@pytest.mark.parametrize(
    ("old", "new", "settings", "error", "message"),
    [
        ("none", "x.h5", {}, DataError, "none: does not exist"),
        ("empty", "x.h5", {}, DataError, "empty: holds no image"),
        ("text.txt", "x", {}, DataError, r"text\.txt: has no ending that can be converted"),
        ("a.h5", "b.h5", {}, DataError, r"b\.h5: HDF5 becomes a folder of images"),
        ("a.h5", "b", {"size": (2, 2)}, ConfigError, "--size has no use for"),
        ("a.h5", "b", {"box_of": "largest"}, ConfigError, "--box-of has no use for"),
        ("pets", "b.h5", {"split": "split.csv"}, DataError, "--split makes files for each phase"),
        ("pets", "b", {"split": "wrong.csv"}, DataError, r"wrong\.csv: subject 'nobody' is not among the 4"),
    ],
)
def test_a_conversion_that_has_no_meaning_is_refused(pets, tmp_path, old, new, settings, error, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("x")
    (tmp_path / "split.csv").write_text("beagle_0,training\n")
    (tmp_path / "wrong.csv").write_text("beagle_0,training\nnobody,inference\n")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = np.zeros((2, 4, 4, 3), np.uint8)
    given = {key: tmp_path / value if key == "split" else value for key, value in settings.items()}
    with pytest.raises(error, match=message):
        convert(tmp_path / old, tmp_path / new, Reporter(), settings=ConversionSettings(**given))


@pytest.mark.real_data
def test_real_pets_come_back_equal(real_data, tmp_path):
    folder = real_data / "pets"
    convert(folder, tmp_path / "pets.h5", Reporter(), settings=ConversionSettings(size=(64, 96), foreground=(1, 3)))
    found = find_data(folder)
    ids, _ = found.subjects()
    assert len(ids) == 52
    with h5py.File(tmp_path / "pets.h5") as file:
        assert [name.decode() for name in file["ids"]] == ids
        assert file["images"].shape == (52, 64, 96, 3)
        kinds = [file["binary"].attrs["names"][index] for index in file["binary"][:, 0]]
        listed = (folder / "annotations" / "list.txt").read_text().splitlines()
        species = {line.split()[0]: ("cat", "dog")[int(line.split()[2]) - 1] for line in listed if line[:1] != "#"}
        assert kinds == [species[name] for name in ids]
        for index, name in enumerate(ids):
            photo = Image.open(folder / "images" / f"{name}.jpg").convert("RGB")
            expected = np.asarray(photo.resize((96, 64), Image.Resampling.BILINEAR), np.float64)
            assert np.abs(file["images"][index] - expected).max() <= 2
            trimap = Image.open(folder / "annotations" / "trimaps" / f"{name}.png").resize((96, 64), Image.NEAREST)
            assert np.array_equal(file["masks"][index, ..., 0], np.asarray(trimap) != 2)
        images, boxes = file["images"][:], file["bboxes"][:]
    assert (boxes[:, 0] < boxes[:, 2]).all()
    assert (boxes.max(0) <= [96, 64, 96, 64]).all()
    convert(tmp_path / "pets.h5", tmp_path / "back", Reporter())
    for index, name in enumerate(ids):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "back" / "images" / f"{name}.png")), images[index])
