"""What an INI file says of bounding boxes, and what is refused of it."""

import pytest

from sfgkeras.config import read_config
from sfgkeras.errors import ConfigError

INI = """\
[PHOTOS]
path_to_search = ./photos
loader = pillow
spatial_window_size = 32, 32, 1
[BOXES]
csv_file = boxes.csv
loader = table
[SYSTEM]
model_dir = ./model
[NETWORK]
name = vgg11
window_sampling = resize
[TRAINING]
max_iter = 2
[MULTITASK]
image = PHOTOS
[TASK box]
type = bounding_box
target = BOXES
"""


@pytest.fixture
def read(tmp_path):
    path = tmp_path / "run.ini"

    def made(*overrides, text=INI):
        path.write_text(text)
        return read_config(path, overrides)

    return made


def test_the_columns_of_a_box_follow_from_the_rank_of_the_windows(read):
    task = read().tasks["box"]
    assert task.attribute == "x_min, y_min, x_max, y_max"
    assert (task.loss, task.metrics, task.units) == ("mse", ("box_iou",), "pixels")
    whole = read(("PHOTOS.spatial_window_size", "32, 32, 32"))
    assert whole.tasks["box"].attribute == "x_min, y_min, z_min, x_max, y_max, z_max"
    assert whole.target_kind("box") == "points"


def test_a_file_with_a_box_comes_back_as_it_was(read):
    config = read(("TASK box.attribute", "left, top, right, bottom"), ("TASK box.units", "fractions"))
    assert read(text=config.effective_text()) == config


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "TASK box.attribute",
            "a, b, c",
            r"names 3 columns, and a box in windows of 32, 32, 1 has 4; write e.g. x_min",
        ),
        ("TASK box.attribute", "a, b, c, d, e, f", "names 6 columns, and a box in windows of 32, 32, 1 has 4"),
        ("TASK box.attribute", "a, b, c, a", "names a column twice"),
        ("PHOTOS.spatial_window_size", "1, 32, 32", "slices across another axis than z, and the box of task 'box'"),
        ("TASK box.units", "mm", "is for landmarks; boxes lie along the voxels"),
        ("TASK box.num_classes", "2", "has no meaning for a bounding_box"),
        ("TASK box.unit", "mm", "has no meaning for a bounding_box"),
        ("TASK box.scale", "2", "only a regression is scaled"),
        ("TASK box.output_prob", "yes", "has no meaning for a bounding_box"),
        ("TASK box.loss", "crossentropy", "belongs to segmentation and classification, not bounding_box"),
        ("TASK box.metrics", "dice", "belongs to segmentation, not bounding_box"),
        ("TASK box.per", "window", "places of a bounding_box are those of the whole image"),
        ("TASK box.target", "PHOTOS", "gives volumes, and a bounding_box needs"),
    ],
)
def test_what_no_box_can_have_is_refused_by_name(read, key, value, message):
    with pytest.raises(ConfigError, match=message):
        read((key, value))


def test_only_boxes_have_units(read):
    with pytest.raises(ConfigError, match=r"\[TASK box\] units = 'fractions' has no meaning for a regression"):
        read(("TASK box.type", "regression"), ("TASK box.units", "fractions"))


def test_columns_of_a_file_name_must_be_there(read):
    text = INI.replace("csv_file = boxes.csv\nloader = table", "path_to_search = ./b\nfilename_attributes = x, y, u, v")
    assert read(("TASK box.attribute", "x, y, u, v"), text=text).tasks["box"].attribute == "x, y, u, v"
    with pytest.raises(ConfigError, match=r"is not among filename_attributes of \[BOXES\]; choose one of x, y, u, v"):
        read(("TASK box.attribute", "x, y, u, w"), text=text)
