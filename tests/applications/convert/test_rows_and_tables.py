"""What becomes of columns, boxes, types and sizes on the way to HDF5 and back: each rule by itself, small."""

import csv

import h5py
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sfgkeras.applications.convert.conversion import convert
from sfgkeras.applications.convert.found_data import find_data, is_labels
from sfgkeras.applications.convert.pascal_voc import read_boxes
from sfgkeras.applications.convert.settings import ConversionSettings
from sfgkeras.errors import DataError
from sfgkeras.reporter import SilentReporter

SILENT = SilentReporter()


@pytest.fixture
def photos(tmp_path):
    """Makes a folder of three photos of 6 x 8 pixels, and a table beside them."""

    def make(table="", mode="RGB", shape=(6, 8)):
        folder = tmp_path / "photos"
        (folder / "images").mkdir(parents=True)
        for number in range(3):
            channels = (*shape, 3) if mode == "RGB" else shape
            array = np.random.default_rng(number).integers(0, 256 if mode != "I;16" else 60_000, channels)
            Image.fromarray(array.astype(np.uint16 if mode == "I;16" else np.uint8)).save(
                folder / "images" / f"p{number}.png"
            )
        if table:
            (folder / "subjects.csv").write_text(table, encoding="utf-8")
        return folder

    return make


def rows_of(folder, tmp_path, **settings):
    """Converts a folder to one file; returns its data sets and their attributes."""
    convert(folder, tmp_path / "rows.h5", SILENT, settings=ConversionSettings(**settings))
    with h5py.File(tmp_path / "rows.h5") as file:
        return {name: file[name][:] for name in file}, {name: dict(file[name].attrs) for name in file}


def test_whole_numbers_stay_whole_and_texts_are_for_people(photos, tmp_path):
    table = "subject_id,age,grade,score,remark,gap\np0,40,1,0.5,good,1\np1,51,0,2,,\np2,62,1,-1e3,bad,3\n"
    rows, _ = rows_of(photos(table), tmp_path)
    assert set(rows) == {"images", "ids", "age", "grade", "score"}
    assert (rows["age"].dtype, rows["age"].tolist()) == (np.int64, [[40], [51], [62]])
    assert (rows["score"].dtype, rows["score"].tolist()) == (np.float64, [[0.5], [2], [-1000]])


@pytest.mark.parametrize("deep", [False, True])
def test_corners_in_a_table_are_one_box_of_a_picture_or_of_a_volume(photos, tmp_path, deep):
    names = [f"{axis}_{end}" for end in ("min", "max") for axis in ("xyz" if deep else "xy")]
    table = [",".join(["subject_id", "age", *reversed(names)])]
    table += [",".join([f"p{n}", "7", *(str(n + 0.5 * k) for k in reversed(range(len(names))))]) for n in range(3)]
    rows, attributes = rows_of(photos("\n".join(table)), tmp_path)
    assert set(rows) == {"images", "ids", "age", "bboxes"}
    assert list(attributes["bboxes"]["columns"]) == names
    assert rows["bboxes"].tolist() == [[n + 0.5 * k for k in range(len(names))] for n in range(3)]
    convert(tmp_path / "rows.h5", tmp_path / "back", SILENT)
    with (tmp_path / "back" / "subjects.csv").open(newline="") as file:
        back = list(csv.DictReader(file))
    assert [float(back[2][name]) for name in names] == rows["bboxes"][2].tolist()


def test_boxes_follow_the_size_along_each_axis(photos, tmp_path):
    table = "subject_id,x_min,y_min,x_max,y_max\n" + "".join(f"p{n},2,3,8,6\n" for n in range(3))
    rows, _ = rows_of(photos(table), tmp_path, size=(12, 4))
    assert rows["images"].shape == (3, 12, 4, 3)
    assert rows["bboxes"].tolist() == [[1, 6, 4, 12]] * 3


def test_subjects_that_a_table_does_not_name_are_left_out_in_order(photos, tmp_path):
    rows, _ = rows_of(photos("subject_id,age\np2,1\nnobody,5\np0,2\n"), tmp_path)
    assert rows["ids"].tolist() == [b"p0", b"p2"]
    assert rows["age"].tolist() == [[2], [1]]


def test_ids_of_any_letters_come_back(photos, tmp_path):
    folder = photos("subject_id,age\nJörg_Ü,1\np0,2\n")
    (folder / "images" / "p1.png").rename(folder / "images" / "Jörg_Ü.png")
    rows, _ = rows_of(folder, tmp_path)
    assert [name.decode() for name in rows["ids"]] == ["Jörg_Ü", "p0"]
    convert(tmp_path / "rows.h5", tmp_path / "back", SILENT)
    assert {path.name for path in (tmp_path / "back" / "images").iterdir()} == {"Jörg_Ü.png", "p0.png"}


@pytest.mark.parametrize(("mode", "dtype"), [("L", np.uint8), ("I;16", np.uint16)])
def test_grey_photos_keep_all_their_bits(photos, tmp_path, mode, dtype):
    folder = photos(mode=mode)
    rows, _ = rows_of(folder, tmp_path)
    assert rows["images"].dtype == dtype
    for number in range(3):
        expected = np.asarray(Image.open(folder / "images" / f"p{number}.png"))
        np.testing.assert_array_equal(rows["images"][number][..., 0], expected)


def test_labels_of_photos_that_are_resized_stay_labels_and_photos_are_averaged(tmp_path):
    folder = tmp_path / "photos"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    array = np.kron(np.array([[0, 200], [100, 40]], np.uint8), np.ones((4, 4), np.uint8))
    array[0, 0] = 16
    Image.fromarray(array).save(folder / "images" / "p.png")
    Image.fromarray(np.minimum(array, 9)).save(folder / "masks" / "p.png")
    rows, _ = rows_of(folder, tmp_path, size=(2, 2))
    assert set(np.unique(rows["masks"])) <= set(np.unique(np.minimum(array, 9)))
    # PIL's bilinear filter spans two output pixels; away from the edges between squares it is a mean.
    assert rows["images"].mean() == pytest.approx(array.mean(), abs=3)
    rows, _ = rows_of_again(folder, tmp_path, foreground=(9,))
    np.testing.assert_array_equal(rows["masks"][0, ..., 0], np.minimum(array, 9) == 9)


def rows_of_again(folder, tmp_path, **settings):
    (tmp_path / "rows.h5").unlink()
    return rows_of(folder, tmp_path, **settings)


def write_volumes(folder, *shapes, scaled=False):
    folder.mkdir(parents=True)
    for number, shape in enumerate(shapes):
        image = nib.Nifti1Image(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), np.diag([1, 2, 3, 1]))
        if scaled:
            image.header.set_slope_inter(0.5, -3)
        nib.save(image, folder / f"p{number}.nii")


def test_volumes_with_a_slope_are_stored_as_what_they_mean(tmp_path):
    write_volumes(tmp_path / "v" / "images", (3, 4, 5), scaled=True)
    rows, _ = rows_of(tmp_path / "v", tmp_path)
    np.testing.assert_allclose(rows["images"][0], np.asanyarray(nib.load(tmp_path / "v/images/p0.nii").dataobj))
    np.testing.assert_allclose(rows["images_affine"][0], np.diag([1, 2, 3, 1]))


@pytest.mark.parametrize(
    ("shapes", "settings", "message"),
    [
        (((3, 4, 5), (3, 4, 6)), {}, r"p1\.nii: is \(3, 4, 6\), and .*p0\.nii \(3, 4, 5\); .* --steps resample_like"),
        (((3, 4, 5),), {"size": (2, 2)}, r"p0\.nii: is a volume, which --size does not resize; .* --steps resample"),
    ],
)
def test_volumes_of_other_shapes_are_refused_with_the_step_that_helps(tmp_path, shapes, settings, message):
    write_volumes(tmp_path / "v" / "images", *shapes)
    with pytest.raises(DataError, match=message):
        rows_of(tmp_path / "v", tmp_path, **settings)
    assert not (tmp_path / "rows.h5").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("masks", True), ("p_mask", True), ("T2_Organs", True), ("mask_t2", False), ("organsx", False), ("trimaps", True)],
)
def test_data_sets_of_labels_are_known_by_the_last_word_of_their_names(name, expected):
    assert is_labels(name) == expected


@pytest.mark.parametrize(
    ("files", "sets"),
    [
        (["p1_mr", "p1_ct", "p2_mr", "p2_ct"], {"mr", "ct"}),
        (["p1_mr", "p1_ct", "p2_mr"], {"images"}),  # not the same subjects of each kind
        (["img_0001", "img_0002", "img_0003"], {"images"}),  # numbered pictures
        (["a_0000", "a_0001", "b_0000", "b_0001"], {"0000", "0001"}),  # and channels
        (["one_mr", "one_ct"], {"mr", "ct"}),
        (["a_mr", "b_mr"], {"images"}),
        (["a_mr", "a_ct", "x"], {"images"}),
    ],
)
def test_kinds_are_words_that_all_subjects_have(tmp_path, files, sets):
    for name in files:
        Image.new("L", (3, 3)).save(tmp_path / f"{name}.png")
    assert set(find_data(tmp_path).images) == sets


def test_the_first_data_set_is_the_images_and_hidden_folders_are_none(tmp_path):
    for name in ("a_masks", "images", ".hidden", "deep/er/z", "deep/er/too/deep"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("L", (3, 3)).save(tmp_path / name / "p.png")
    assert list(find_data(tmp_path).images) == ["images", "a_masks"]


OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
CORNERS = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(0, 9), st.integers(0, 9))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(["cat", "dog"]), CORNERS), min_size=1, max_size=4))
def test_boxes_of_pascal_voc_cover_their_pixels_and_the_largest_is_taken(tmp_path_factory, objects):
    path = tmp_path_factory.mktemp("voc") / "p.xml"
    boxes = [(name, (x, y, x + width, y + height)) for name, (x, y, width, height) in objects]
    path.write_text(f"<annotation>{''.join(OBJECT.format(name, *box) for name, box in boxes)}</annotation>")
    pixels = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for _, box in boxes]  # both corners are inside
    found = read_boxes([path], "largest")["p"]
    assert found.area == max(pixels)
    assert found.name == boxes[pixels.index(max(pixels))][0]
    around = read_boxes([path], "all")["p"]
    corners = np.array([box for _, box in boxes])
    assert around.edges.tolist() == [*(corners[:, :2].min(0) - 1), *corners[:, 2:].max(0)]
    assert around.name == found.name
    cats = [count for (name, _), count in zip(boxes, pixels, strict=True) if name == "cat"]
    if cats:
        assert read_boxes([path], "cat")["p"].area == max(cats)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation></annotation>", "is an XML file without <annotation> or <object>; remove it"),
        (f"<other>{OBJECT.format('a', 1, 1, 2, 2)}</other>", "is an XML file without <annotation>"),
        ("no XML", "is no Pascal VOC annotation"),
        ("<annotation><object><name>a</name></object></annotation>", "is no Pascal VOC annotation"),
        (f"<annotation>{OBJECT.format('a', 0, 1, 2, 2)}</annotation>", "begins before pixel 1; correct it"),
        (f"<annotation>{OBJECT.format('a', 3, 1, 2, 2)}</annotation>", "has no extent"),
        (f"<annotation>{OBJECT.format('a', 'nan', 1, 2, 2)}</annotation>", "has no extent"),
    ],
)
def test_damaged_annotations_are_refused_by_name(tmp_path, text, message):
    (tmp_path / "p.xml").write_text(text)
    with pytest.raises(DataError, match=rf"p\.xml: .*{message}"):
        read_boxes([tmp_path / "p.xml"])


def test_a_box_of_fractions_of_pixels_and_a_name_in_any_letters(tmp_path):
    (tmp_path / "p.xml").write_text(f"<annotation>{OBJECT.format(' Kätzchen ', 1.5, 1, 2.25, 2)}</annotation>", "utf-8")
    found = read_boxes([tmp_path / "p.xml"])["p"]
    assert (found.name, found.edges.tolist()) == ("Kätzchen", [0.5, 0, 2.25, 2])
    assert read_boxes([]) == {}


def write_hdf5(path, columns=None, **data_sets):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in data_sets.items():
            file[name] = array
            if columns and name in columns:
                file[name].attrs["columns"] = columns[name]


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ({"a.h5": {"x": np.ones(3)}, "b.h5": {"y": np.ones(2)}}, r"b\.h5.*: has 2 rows and .*a\.h5.* 3; rows are"),
        ({"a.h5": {"x": np.ones(3)}, "b.h5": {"x": np.ones(3)}}, r"b\.h5.*: is a second data set of this name"),
        ({"train/a.h5": {"x": np.ones(2), "ids": [b"a", b"b"]}, "val/a.h5": {"x": np.ones(1), "ids": [b"b"]}},
         "the id 'b' occurs twice"),
        ({"a.h5": {"x": np.ones(2), "ids": [b"a", b"../b"]}}, r"'\.\./b' leads into another folder"),
        ({"deep/a.h5": {"x": np.ones(3)}}, "holds no HDF5 file, nor do train, val and test in it"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_together_are_refused(tmp_path, sets, message):
    for name, data_sets in sets.items():
        write_hdf5(tmp_path / "old" / name, **data_sets)
    with pytest.raises(DataError, match=message):
        convert(tmp_path / "old", tmp_path / "new", SILENT)


def test_columns_are_named_by_the_file_by_the_data_set_or_by_number(tmp_path):
    boxes = np.arange(8.0).reshape(2, 4)
    write_hdf5(
        tmp_path / "a.h5", {"boxes": ["x_min", "y_min", "x_max", "y_max"]}, boxes=boxes, age=[40, 50], two=boxes[:, :2]
    )
    convert(tmp_path / "a.h5", tmp_path / "new", SILENT)
    with (tmp_path / "new" / "subjects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == {"subject_id", "age", "x_min", "y_min", "x_max", "y_max", "two_0", "two_1"}
    assert [row["subject_id"] for row in rows] == ["000000", "000001"]
    assert [float(rows[1][name]) for name in ("age", "x_max", "two_1")] == [50, 6, 5]


def test_a_column_of_two_data_sets_is_refused_before_a_picture_is_written(tmp_path):
    boxes, photos = np.arange(8.0).reshape(2, 4), np.zeros((2, 4, 5, 3), np.uint8)
    names = ["x_min", "y_min", "x_max", "y_max"]
    write_hdf5(tmp_path / "a.h5", {"boxes": names, "found": names}, a_photo=photos, boxes=boxes, found=boxes + 1)
    with pytest.raises(DataError, match=r"a\.h5.*found.*: its column 'x_min' is one of another data set, too"):
        convert(tmp_path / "a.h5", tmp_path / "new", SILENT)
    assert not list((tmp_path / "new").rglob("*.png"))


@pytest.mark.parametrize(
    ("dtype", "shape", "ending"),
    [
        (np.uint8, (4, 5), "png"),
        (np.uint8, (4, 5, 1), "png"),
        (np.uint8, (4, 5, 3), "png"),
        (np.uint16, (4, 5), "png"),
        (np.float32, (4, 5), "nii.gz"),  # no picture holds these
        (np.int16, (4, 5, 6), "nii.gz"),
    ],
)
def test_rows_become_pictures_where_these_hold_them(tmp_path, dtype, shape, ending):
    array = np.random.default_rng(0).integers(0, 200, (2, *shape)).astype(dtype)
    write_hdf5(tmp_path / "a.h5", images=array)
    convert(tmp_path / "a.h5", tmp_path / "new", SILENT)
    path = tmp_path / "new" / "images" / f"000001.{ending}"
    found = np.asarray(Image.open(path)) if ending == "png" else np.asanyarray(nib.load(path).dataobj)
    np.testing.assert_array_equal(found.reshape(shape), array[1])
