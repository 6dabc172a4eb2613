"""Rows of HDF5 files that `--input` names become the images that the INI file says, by its data sets and ids."""

import h5py
import numpy as np
import pytest

from sfgkeras.applications.subjects.new_subjects import find_subjects
from sfgkeras.config import read_config
from sfgkeras.errors import DataError

ROWS = """
[{name}]
loader = hdf5
hdf5_file = training/{file}
spatial_window_size = 8, 8, 1
"""
FILES = """
[PHOTO]
path_to_search = gone
spatial_window_size = 8, 8, 1
"""
REST = """
[SYSTEM]
model_dir = model
[NETWORK]
name = highresnet
[MULTITASK]
image = {images}
[TASK again]
type = reconstruction
"""
PHOTO, DEPTH = ROWS.format(name="PHOTO", file="images.h5"), ROWS.format(name="DEPTH", file="depths.h5")


@pytest.fixture
def find(tmp_path):
    """Returns a function: inputs below the folder -> subjects of a network that saw the images of `sections`."""

    def find(*inputs, sections=PHOTO, images="PHOTO", overrides=()):
        (tmp_path / "run.ini").write_text(sections + REST.format(images=images))
        config = read_config(tmp_path / "run.ini", overrides)
        given = [text.replace("@", f"{tmp_path}/") for text in inputs]
        subjects, find.how = find_subjects(given, config, photos=None)
        return {subject.subject_id: subject.images for subject in subjects}

    return find


@pytest.fixture
def write(tmp_path):
    """Returns a function: name, data sets -> the file."""

    def write(name, **sets):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        with h5py.File(tmp_path / name, "w") as file:
            for key, value in sets.items():
                file[key] = value
        return tmp_path / name

    return write


def photos(count, start=0):
    return (np.arange(count)[:, None, None, None] + start + np.zeros((count, 6, 5, 3))).astype(np.uint8)


def test_every_row_of_the_data_set_of_the_training_is_a_subject(find, write):
    write("new.h5", images=photos(3), masks=np.zeros((3, 6, 5), np.uint8), names=["ann", "bob", "eve"])
    overrides = [("PHOTO.hdf5_dataset", "images")]
    found = find("@new.h5", overrides=overrides)
    assert list(found) == ["000000", "000001", "000002"]
    assert find.how == ["[PHOTO]: 3 images, the only image of the network"]
    image = found["000002"]["PHOTO"]
    assert image.name.endswith("new.h5:/images[2]")
    assert image.is_photo
    assert np.array_equal(image.read().array[:, :, 0], photos(3)[2])
    assert list(find("PHOTO=@new.h5", overrides=[*overrides, ("PHOTO.hdf5_ids", "names")])) == ["ann", "bob", "eve"]
    assert find.how == ["[PHOTO]: 3 images, told as named by SOURCE=PATH"]


def test_a_file_called_as_that_of_training_is_found_in_a_folder(find, write, tmp_path):
    write("patients/images.h5", images=photos(2))
    assert [image["PHOTO"].name for image in find("@patients").values()] == [
        f"{tmp_path}/patients/images.h5:/images[{index}]" for index in (0, 1)
    ]
    with pytest.raises(DataError, match="holds no image, nor does a folder in it"):
        find("@patients", sections=FILES)


def test_another_data_set_is_named_behind_the_file(find, write):
    write("new.h5", mine=photos(2), others=photos(2, start=7))
    for sections in (PHOTO, FILES):
        found = find("PHOTO=@new.h5:/others", sections=sections)
        assert found["000001"]["PHOTO"].read().array.max() == 8
        with pytest.raises(DataError, match=r"new\.h5:/othrs: is no data set of the file, did you mean 'others'\?"):
            find("PHOTO=@new.h5:/othrs", sections=sections)
        with pytest.raises(DataError, match=r"has 2 data sets; say which one .*\(mine .*; others .*\) in \[PHOTO\]"):
            find("@new.h5", sections=sections)


def test_files_of_several_images_are_told_by_their_names_and_joined_by_row(find, write):
    write("new/images.h5", images=photos(2))
    write("new/depths.h5", depths=np.zeros((2, 6, 5), np.float32))
    both = {"sections": PHOTO + DEPTH, "images": "PHOTO, DEPTH"}
    found = find("@new/images.h5", "@new/depths.h5", **both)
    assert found.keys() == find("@new", **both).keys() == {"000000", "000001"}
    assert {name: image.rows.name for name, image in found["000001"].items()} == {"PHOTO": "images", "DEPTH": "depths"}
    assert find.how == ["[DEPTH]: 2 images, told by hdf5_file", "[PHOTO]: 2 images, told by hdf5_file"]
    write("two.h5", images=photos(2), depths=np.zeros((2, 6, 5), np.float32))
    found = find("PHOTO=@two.h5:/images", "DEPTH=@two.h5:/depths", **both)
    assert {name: image.rows.name for name, image in found["000001"].items()} == {"PHOTO": "images", "DEPTH": "depths"}
    with pytest.raises(DataError, match=r"two\.h5: the network sees 2 images, PHOTO, DEPTH, .*--input DEPTH=FILE"):
        find("@two.h5", **both)
    write("new/depths.h5", depths=np.zeros((1, 6, 5), np.float32))
    with pytest.raises(DataError, match=r"subject '000001' has no \[DEPTH\], only \[PHOTO\] .*images\.h5:/images\[1\]"):
        find("@new", **both)


def test_what_cannot_be_predicted_is_refused_with_what_to_write(find, write):
    write("boxes.h5", boxes=np.zeros((3, 4)))
    with pytest.raises(DataError, match=r"boxes\[0\] holds values, and \[PHOTO\] is an image; .*PHOTO=.*boxes\.h5:/NA"):
        find("@boxes.h5")
    with pytest.raises(DataError, match=r"none\.h5: does not exist; check the path"):
        find("@none.h5")
    write("a.h5", images=photos(1))
    write("b.h5", images=photos(1))
    with pytest.raises(DataError, match=r"b\.h5:/images\[0\]: has the subject id '000000', as has .*a\.h5:/im"):
        find("@a.h5", "@b.h5")
