"""Photos in a report: in colour where they have colours, and all else in grey."""

import base64
import io

import h5py
import numpy as np
import pytest
from PIL import Image

from sfgkeras.applications.records.files import prediction_path
from sfgkeras.applications.report.slices import show_subjects
from sfgkeras.applications.report.volumes import RunData
from sfgkeras.applications.subjects.cohort import find_cohort
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.config import read_config
from sfgkeras.data.nifti import write_image
from sfgkeras.reporter import SilentReporter

INI = """
[IMAGE]
{source}
spatial_window_size = 32, 32, 1

[MASK]
path_to_search = {folder}/masks

[SYSTEM]
model_dir = {folder}/model

[NETWORK]
name = highresnet
width = 0.1
window_sampling = uniform

[TRAINING]
max_iter = 1

[MULTITASK]
image = IMAGE
tasks = mask

[TASK mask]
type = segmentation
target = MASK
num_classes = 2
"""
SIDE = 32
RED, BLUE = (200, 30, 20), (10, 40, 160)


def write_photo(folder, pixels):
    (folder / "images").mkdir()
    Image.fromarray(pixels).save(folder / "images" / "one.png")
    return f"path_to_search = {folder}/images\nloader = pillow"


def write_rows(folder, pixels):
    with h5py.File(folder / "images.h5", "w") as file:
        file["images"] = pixels[None]
        file["ids"] = np.array([b"one"])
    return f"path_to_search = {folder}\nloader = hdf5\nhdf5_file = images.h5\nhdf5_dataset = images\nhdf5_ids = ids"


def write_contrasts(folder, pixels):
    return f"{write_rows(folder, pixels[:, :, None])}\nhdf5_axes = volume"


@pytest.fixture
def shown(tmp_path):
    """Shows a picture that `write` writes, with a predicted mask; returns its panels' pictures and scales."""

    def show(write, pixels):
        mask = np.zeros((SIDE, SIDE, 1), np.uint8)
        mask[8:20, 4:12] = 1
        (tmp_path / "masks").mkdir()
        if write is write_contrasts:
            write_image(tmp_path / "masks" / "one.nii.gz", mask, np.eye(4))
        else:
            Image.fromarray(mask[..., 0]).save(tmp_path / "masks" / "one.png")
        (tmp_path / "run.ini").write_text(INI.format(source=write(tmp_path, pixels), folder=tmp_path))
        config = read_config(tmp_path / "run.ini")
        path = prediction_path(config, "one", "mask")
        path.parent.mkdir(parents=True)
        write_image(path, mask, np.eye(4))
        run = RunData(config, build_tasks(config), find_cohort(config))
        found = show_subjects(run, list(run.cohort.subjects.values()), SilentReporter())
        (viewer,) = found.viewers
        assert [panel.title for panel in viewer.panels] == ["IMAGE", "mask: outlines"]
        return [(picture_of(panel.images[0]), panel.scale) for panel in viewer.panels]

    return show


def picture_of(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def two_halves(number_type=np.uint8):
    pixels = np.empty((SIDE, SIDE, 3), number_type)
    pixels[:, : SIDE // 2], pixels[:, SIDE // 2 :] = RED, BLUE
    return pixels


@pytest.mark.parametrize("write", [write_photo, write_rows])
def test_a_photo_has_its_own_colours_also_beneath_outlines(write, shown):
    pixels = two_halves()
    for picture, scale in shown(write, pixels):
        np.testing.assert_array_equal(np.asarray(picture), pixels)
        assert scale is None


def test_what_is_transparent_keeps_its_colours(shown):
    pixels = np.concatenate([two_halves(), np.full((SIDE, SIDE, 1), 9, np.uint8)], axis=-1)
    for picture, _ in shown(write_rows, pixels):
        np.testing.assert_array_equal(np.asarray(picture), pixels[..., :3])


@pytest.mark.parametrize(
    ("write", "pixels"),
    [
        pytest.param(write_contrasts, two_halves(np.float32), id="three contrasts of a volume"),
        pytest.param(write_contrasts, two_halves(), id="three contrasts as bytes"),
        pytest.param(write_rows, two_halves(np.float32), id="rows of quantities"),
        pytest.param(write_photo, two_halves()[..., 0], id="a grey photo"),
    ],
)
def test_all_else_is_grey_with_a_scale(write, pixels, shown):
    (picture, scale), _ = shown(write, pixels)
    assert picture.mode == "L"
    assert len(np.unique(np.asarray(picture))) == 2
    assert scale is not None
