"""Rows of data sets as images, label maps and values of subjects: shapes, places in space, ids, phases."""

import h5py
import numpy as np
import pytest

from sfgkeras.data.hdf5.source import Hdf5Source
from sfgkeras.data.references import ImageFile
from sfgkeras.data.sources import Place
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.tables.loaders import Hdf5Settings

RNG = np.random.default_rng(4)


def find(path, folders=(), **settings):
    source = Hdf5Source(Place("MR", path_to_search=tuple(folders), settings=Hdf5Settings(path, **settings)))
    return source.find()


@pytest.fixture
def write(tmp_path):
    """Returns a function: array, attributes, more data sets -> the file, with the array as `images`."""

    def make(array, attributes=None, name="images.h5", **more):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        with h5py.File(path, "w") as file:
            file["images"] = array
            file["images"].attrs.update(attributes or {})
            for key, value in more.items():
                file[key] = value
        return path

    return make


@pytest.mark.parametrize(
    ("shape", "attributes", "axes", "expected", "is_photo"),
    [
        ((5, 6), {}, "auto", (5, 6, 1), True),
        ((5, 6, 1), {}, "auto", (5, 6, 1), True),
        ((5, 6, 3), {}, "auto", (5, 6, 1, 3), True),
        ((5, 6, 3), {"spacing": [1, 2, 3]}, "auto", (5, 6, 3), False),
        ((5, 6, 3), {"affine": np.eye(4)}, "auto", (5, 6, 3), False),
        ((5, 6, 3), {}, "volume", (5, 6, 3), False),
        ((5, 6, 3), {"spacing": [1, 2]}, "auto", (5, 6, 1, 3), True),
        ((5, 6, 7), {}, "auto", (5, 6, 7), False),
        ((5, 6, 7), {}, "plane", (5, 6, 1, 7), True),
        ((5, 6, 7, 1), {}, "auto", (5, 6, 7), False),
        ((5, 6, 7, 2), {}, "auto", (5, 6, 7, 2), False),
    ],
)
def test_shape_and_voxel_size_say_what_a_row_is(write, shape, attributes, axes, expected, is_photo):
    array = RNG.normal(size=(2, *shape))
    image = find(write(array, attributes), axes=axes)["000001"]
    assert image.header().shape == image.read().array.shape == expected
    assert image.is_photo == is_photo
    assert image.is_image
    np.testing.assert_allclose(image.read().array.ravel(), array[1].ravel(), rtol=1e-6)
    wanted = attributes.get("spacing", [1, 1, 1])
    assert image.header().spacing == (*wanted, 1.0)[:3]


def test_every_row_may_have_a_place_of_its_own(write):
    affines = np.stack([np.diag([1.0, 2, 3, 1]), np.diag([-1.0, 1, 1, 1])])
    found = find(write(RNG.normal(size=(2, 4, 5, 6)), images_affine=affines), dataset="images")
    assert np.array_equal(found["000000"].header().affine, affines[0])
    assert found["000001"].header().axcodes == ("L", "A", "S")
    assert found["000000"].fingerprint() != found["000001"].fingerprint()


def test_labels_are_integers_whatever_their_type(write):
    labels = RNG.integers(0, 4, (2, 5, 6))
    for dtype in (np.uint8, np.int64, np.float32):
        found = find(write(labels.astype(dtype)))["000001"].read_labels().array
        assert found.dtype.kind in "iu"
        assert np.array_equal(found[..., 0], labels[1])
    with pytest.raises(DataError, match=r"images\.h5:/images\[0\]: is no label map, .* no integers"):
        find(write(labels + 0.5))["000000"].read_labels()


def test_rows_lie_in_places_of_their_own_however_the_file_is_reached(write, monkeypatch, tmp_path):
    path = write(RNG.integers(0, 9, (3, 4, 5), np.uint8))
    places = [image.place for image in find(path).values()]
    assert len(set(places)) == 3
    monkeypatch.chdir(tmp_path)
    assert [image.place for image in find(path.name).values()] == places


def test_a_fingerprint_is_of_the_row_alone(write):
    array = RNG.integers(0, 9, (3, 4, 5), np.uint8)
    before = [image.fingerprint() for image in find(write(array)).values()]
    changed = array.copy()
    changed[1, 0, 0] += 1
    after = [image.fingerprint() for image in find(write(np.concatenate([changed, array]))).values()]
    assert (before[0], before[2]) == (after[0], after[2])
    assert before[1] != after[1]


def test_values_have_names_or_numbers(write):
    box = np.array([[1, 2, 3, 4.5]], np.float32)
    assert find(write(box))["000000"].values() == {"0": "1", "1": "2", "2": "3", "3": "4.5"}
    named = find(write(box, {"columns": ["a", "b", "c", "d"]}))["000000"]
    assert named.values() == {"a": "1", "b": "2", "c": "3", "d": "4.5"}
    assert not named.is_image
    with pytest.raises(DataError, match="its attribute columns names a, b, and a row has 4 values"):
        find(write(box, {"columns": ["a", "b"]}))["000000"].values()


def test_files_of_phases_are_found_below_the_folder(write, tmp_path):
    for phase, count in (("train", 2), ("test", 1)):
        write(np.zeros((count, 4, 4)), name=f"data/{phase}/images.h5")
    found = find("images.h5", [tmp_path / "none", tmp_path / "data"])
    assert {key: image.phase for key, image in found.items()} == {
        "test_000000": "inference",
        "train_000000": "training",
        "train_000001": "training",
    }
    assert find(tmp_path / "data" / "images.h5") == found
    assert found["train_000000"] != found["train_000001"] != ImageFile(tmp_path)
    write(np.zeros((1, 4, 4)), name="data/images.h5")
    assert list(find("images.h5", [tmp_path / "data"])) == ["000000"]


@pytest.mark.parametrize(
    ("more", "attributes", "settings", "message"),
    [
        ({"ids": ["a", "a"]}, {}, {"dataset": "images", "ids": "ids"}, r"the id 'a' of row 1 is that of .*\[0\]"),
        ({"ids": ["a"]}, {}, {"dataset": "images", "ids": "ids"}, r"ids has 1 rows and images 2; correct hdf5_ids"),
        ({"ids": ["a", "b/c"]}, {}, {"dataset": "images", "ids": "ids"}, "leads into another folder"),
        ({"images_affine": np.zeros((2, 3, 3))}, {}, {"dataset": "images"}, "2 affines of 4 x 4 are needed"),
        ({}, {"affine": np.zeros(3)}, {}, "its attribute affine is not 4 x 4 numbers"),
        ({}, {"spacing": [1, -1, 1]}, {}, r"its attribute spacing, \[1, -1, 1\], is not two or three lengths"),
        ({}, {}, {"dataset": "image"}, r"no data set 'image', did you mean 'images'\? .* in \[MR\]"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(write, more, attributes, settings, message):
    path = write(np.zeros((2, 4, 4)), attributes, **more)
    with pytest.raises(DataError, match=message):
        find(path, **settings)


def test_rows_with_too_many_axes_and_a_source_without_a_file_are_refused(write):
    with pytest.raises(DataError, match=r"its rows have the shape \(2, 2, 2, 2, 2\), which is not \(x, y, z"):
        find(write(np.zeros((1, 2, 2, 2, 2, 2))))
    with pytest.raises(ConfigError, match=r"\[MR\] says no hdf5_file"):
        find(None)
