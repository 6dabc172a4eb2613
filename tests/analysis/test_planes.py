"""Volumes for the browser, read back with nibabel: values, places and labels are those that went in."""

import base64
import gzip
import json
import re

import nibabel
import numpy as np
import pytest

from sfgkeras.analysis.planes import (
    STEPS,
    PlaneVolume,
    block_factors,
    block_means,
    body_box,
    pack_subject,
    planes_html,
)
from sfgkeras.analysis.windows import Window

WINDOWS = {"MR": Window((0, 100), (0, 100)), "d": Window((-40, 40), (-50, 50), "HU")}
AFFINE = np.array([[-1.5, 0.1, 0, 30], [0, 2, 0, -20], [0, 0.2, 3, 5], [0, 0, 0, 1.0]])


def unpack(entry):
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(entry["data"])))


@pytest.fixture
def subject():
    """A bright box in a dark image, with a label outside of it."""
    rng = np.random.default_rng(0)
    image = np.zeros((20, 22, 12))
    image[5:15, 6:18, 3:9] = rng.uniform(20, 100, (10, 12, 6))
    labels = np.zeros(image.shape, np.int64)
    labels[7:9, 8:12, 3:10] = 1
    labels[10, 10, 4] = 3
    difference = rng.normal(0, 15, image.shape)
    difference[7] = 0
    return [PlaneVolume("MR", image, "MR"), PlaneVolume("d", difference, "d", "difference"), PlaneVolume("l", labels)]


def test_values_and_places_survive_to_half_a_step(subject):
    packed = pack_subject("a", subject, AFFINE, WINDOWS, 10**6)
    assert packed.factors == (1, 1, 1)
    box = body_box(subject[0].array, WINDOWS["MR"], [subject[2].array])
    for volume, entry in zip(subject[:2], packed.volumes, strict=True):
        found = unpack(entry)
        low, high = WINDOWS[volume.window].reach
        assert found.get_data_dtype() == np.uint8
        expected = np.clip(volume.array[box], low, high)
        assert np.abs(found.get_fdata() - expected).max() <= (high - low) / STEPS / 2 + 1e-4
        # The first voxel of the box lies where it lay.
        corner = [part.start for part in box]
        np.testing.assert_allclose(found.affine[:3, 3], (AFFINE @ [*corner, 1])[:3], atol=1e-4)
        np.testing.assert_allclose(found.affine[:3, :3], AFFINE[:3, :3], atol=1e-4)
    # No difference is no difference, and not half a step of one.
    assert np.abs(unpack(packed.volumes[1]).get_fdata()[7 - box[0].start]).max() < 1e-5
    labels = unpack(packed.labels[0])
    assert (np.asarray(labels.dataobj) == subject[2].array[box]).all()
    assert labels.header.get_intent()[0] == "label"
    assert packed.labels[0]["colours"]["A"] == [0, 255, 255, 255]


def test_thinned_volumes_keep_their_means_and_their_place(subject):
    packed = pack_subject("a", subject, AFFINE, WINDOWS, 300)
    found = unpack(packed.volumes[0])
    assert np.prod(found.shape) <= 300
    box = body_box(subject[0].array, WINDOWS["MR"], [subject[2].array])
    first = tuple(slice(part.start, part.start + factor) for part, factor in zip(box, packed.factors, strict=True))
    assert found.get_fdata()[0, 0, 0] == pytest.approx(subject[0].array[first].mean(), abs=100 / STEPS / 2)
    middle = [part.start + (factor - 1) / 2 for part, factor in zip(box, packed.factors, strict=True)]
    np.testing.assert_allclose(found.affine[:3, 3], (AFFINE @ [*middle, 1])[:3], atol=1e-4)
    assert unpack(packed.labels[0]).shape == found.shape
    assert packed.factors[0] >= packed.factors[2]


def test_means_over_blocks_agree_with_a_loop():
    array = np.random.default_rng(1).normal(size=(5, 4, 7))
    found = block_means(array, (2, 1, 3))
    for x, y, z in np.ndindex(found.shape):
        block = array[2 * x : 2 * x + 2, y : y + 1, 3 * z : 3 * z + 3]
        assert found[x, y, z] == pytest.approx(block.mean(), abs=1e-5)


def test_the_finest_axis_is_thinned_first():
    assert block_factors((100, 100, 10), (1, 1, 5), 10**6) == (1, 1, 1)
    factors = block_factors((100, 100, 10), (1, 1, 5), 30_000)
    assert factors == (2, 2, 1)


def test_nothing_bright_keeps_the_whole_volume():
    assert body_box(np.zeros((3, 4, 5)), WINDOWS["MR"]) == (slice(0, 3), slice(0, 4), slice(0, 5))


def test_the_page_gets_windows_and_colours_once(subject):
    packed = [pack_subject(name, subject, AFFINE, WINDOWS, 10**6) for name in ("a", "b")]
    text = planes_html(packed, WINDOWS, {"bladder": "#123456"})
    first, second = (json.loads(found) for found in re.findall(r'application/json">(.*?)</script>', text))
    assert first["windows"]["d"] == {"limits": [-40, 40], "reach": [-50, 50], "unit": "HU"}
    assert "windows" not in second
    colours = first["maps"]["difference"]
    assert colours["I"][0] == 0
    assert colours["I"][-1] == 255
    # Blue below, red above, nearly white between.
    assert colours["B"][0] > colours["R"][0]
    assert colours["R"][-1] > colours["B"][-1]
    assert min(colours[channel][8] for channel in "RGB") > 240
    assert "steps of 0.394 (MR), 0.394 HU (d)" in text
