"""The hearts: their motion is the one that was drawn, one to one, and says where labels were."""

import numpy as np
import pytest
from scipy.ndimage import label, map_coordinates

from sfgkeras.analysis.motion import jacobian, warp_volume
from sfgkeras.data.nifti import read_channels, read_label_map
from sfgkeras.phantom.heart import FRAMES, NOISE, build_heart, write_hearts

SEED = 3


@pytest.fixture(scope="module")
def hearts():
    return [build_heart(SEED, subject) for subject in range(8)]


def in_pixels(heart, frame):
    flow = np.zeros((*heart.flow.shape[:2], 1, 3))
    flow[..., 0, :2] = heart.flow[:, :, frame - 1] / heart.spacing
    return flow


def test_every_frame_is_the_first_one_at_the_places_that_the_motion_says(hearts):
    for heart in hearts:
        for frame in range(1, len(FRAMES)):
            places = np.indices(heart.frames.shape[:2]) + np.moveaxis(
                heart.flow[:, :, frame - 1] / heart.spacing, -1, 0
            )
            moved = map_coordinates(heart.frames[..., 0], places, order=3, mode="nearest")
            error = np.abs(moved - heart.frames[..., frame])
            assert np.median(error) < 3 * NOISE
            assert error.mean() < 0.3 * np.abs(heart.frames[..., 0] - heart.frames[..., frame]).mean() + NOISE


def test_labels_move_with_the_tissue_and_the_chamber_shrinks(hearts):
    for heart in hearts:
        sizes = (heart.labels == 1).sum(axis=(0, 1))
        assert sizes[2] < sizes[3] < sizes[1] < sizes[0]
        for frame in range(1, len(FRAMES)):
            moved = warp_volume(heart.labels[..., :1], in_pixels(heart, frame), order=0)[..., 0]
            assert (moved == heart.labels[..., frame]).mean() > 0.97
        assert all(label(heart.labels[..., 0] == part)[1] == 1 for part in (1, 2, 3))


def test_the_motion_neither_folds_nor_is_none(hearts):
    for heart in hearts:
        assert 1.5 < np.linalg.norm(heart.flow[:, :, 1], axis=-1).max() / heart.spacing < 6
        assert jacobian(in_pixels(heart, 2)).min() > 0.2


def test_files_hold_what_is_drawn(tmp_path):
    files = write_hearts(tmp_path, 2, seed=SEED)
    assert len(files) == 2 * 9
    heart = build_heart(SEED, 1)
    frame, flow = (read_channels(tmp_path / f"heart_001_{part}.nii.gz") for part in ("frame3", "flow"))
    np.testing.assert_array_equal(frame.array[..., 0], heart.frames[..., 2])
    np.testing.assert_array_equal(
        read_label_map(tmp_path / "heart_001_labels2.nii.gz").array[..., 0], heart.labels[..., 1]
    )
    assert flow.array.shape == (64, 64, 1, 3, 3)
    np.testing.assert_array_equal(flow.array[..., 0, :, :2], heart.flow)
    assert not flow.array[..., 2].any()
    assert flow.header.nifti.get_intent()[0] == "vector"
    with pytest.raises(ValueError, match="size = 'tiny' is not one of full, small"):
        build_heart(0, 0, "tiny")
