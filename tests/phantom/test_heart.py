"""The hearts: their motion is the one that was drawn, one to one, and says where labels were."""

import nibabel
import numpy as np
import pytest
from scipy.ndimage import label, map_coordinates

from sfgkeras.analysis.motion import jacobian, warp_volume
from sfgkeras.data.nifti import read_channels, read_label_map
from sfgkeras.phantom.heart import (
    BLOOD,
    FIELD,
    FRAMES,
    NOISE,
    SIDES,
    WALL,
    Anatomy,
    build_heart,
    draw,
    draw_anatomy,
    write_hearts,
)
from sfgkeras.phantom.solids import Ellipsoid, Texture

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


def anatomy(contraction=0.4, twist=0.2, reach=35.0, centre=(3.0, -4.0), parts=()):
    return Anatomy(np.array(centre), tuple(parts), Texture(np.zeros((4, 4, 4), np.float32)), contraction, twist, reach)


def test_the_middle_of_the_heart_stays_and_nothing_moves_far_away_or_before_the_beat():
    heart = anatomy()
    points = np.array([[3.0, -4.0], [300.0, 0.0], [3.0, 400.0]])
    np.testing.assert_allclose(heart.moved(points, 1.0), points, atol=1e-9)
    anywhere = np.random.default_rng(0).uniform(-60, 60, (5, 7, 2))
    np.testing.assert_allclose(heart.moved(anywhere, 0.0), anywhere)
    assert heart.moved(anywhere, 1.0).shape == anywhere.shape


@pytest.mark.parametrize(("contraction", "twist", "share"), [(0.4, 0.0, 1.0), (0.0, 0.2, 1.0), (0.3, -0.15, 0.45)])
def test_points_were_further_out_by_the_contraction_and_turned_by_the_twist(contraction, twist, share):
    """Worked out with complex numbers: z (1 + c f) exp(i w f), with f = share exp(-|z|^2 / reach^2)."""
    heart = anatomy(contraction, twist)
    points = np.random.default_rng(1).uniform(-50, 50, (40, 2))
    z = (points - heart.centre) @ (1, 1j)
    fading = share * np.exp(-(np.abs(z) ** 2) / 35.0**2)
    expected = z * (1 + contraction * fading) * np.exp(1j * twist * fading)
    found = (heart.moved(points, share) - heart.centre) @ (1, 1j)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_heart_is_drawn_as_chamber_in_a_wall_beside_a_chamber():
    for seed in range(20):
        heart = draw_anatomy(np.random.default_rng(seed))
        inner, outer, right = heart.parts
        np.testing.assert_array_equal(inner.center, outer.center)
        np.testing.assert_array_equal(inner.center[:2], heart.centre)
        thickness = np.subtract(outer.radii, inner.radii)
        assert thickness[0] == pytest.approx(thickness[1])
        assert 8 <= thickness[0] <= 11
        assert thickness[2] == 0, "slices: the third axis is none"
        assert 26 <= np.linalg.norm(np.subtract(right.center, inner.center)) <= 30
        assert right.center[0] < inner.center[0], "beside it, to the left of the picture"
        assert 0.3 <= heart.contraction <= 0.45
        assert abs(heart.twist) <= 0.2


def test_the_chamber_lies_over_the_wall_and_the_wall_over_the_other_chamber():
    flat = (100.0,)
    inner, outer = Ellipsoid((0, 0, 0), (10, 10, *flat)), Ellipsoid((0, 0, 0), (18, 18, *flat))
    right = Ellipsoid((-20, 0, 0), (14, 14, *flat))
    steps = (np.arange(80) + 0.5) - 40
    places = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1)
    image, labels = draw(anatomy(parts=(inner, outer, right)), places, 1.0)
    radius, beside = np.linalg.norm(places, axis=-1), np.linalg.norm(places - (-20, 0), axis=-1)
    expected = np.select([radius < 10, radius < 18, beside < 14], [1, 2, 3], 0)
    assert (labels == expected).mean() > 0.999
    far = np.abs(np.stack([radius - 10, radius - 18, beside - 14])).min(axis=0) > 1
    np.testing.assert_allclose(image[far], np.select([labels == 2, labels > 0], [WALL, BLOOD], 0.5)[far], atol=1e-6)


def test_the_twist_and_contraction_of_the_frames_follow_their_shares(hearts):
    """The motion of the second frame is between none and that of the third, everywhere in the same sense."""
    for heart in hearts:
        lengths = np.linalg.norm(heart.flow, axis=-1)
        shares = lengths.mean(axis=(0, 1)) / lengths[:, :, 1].mean()
        np.testing.assert_allclose(shares, [FRAMES[1], 1.0, FRAMES[3]], atol=0.02)


def test_subjects_differ_and_larger_pictures_show_the_same_heart():
    small, large = build_heart(1, 0), build_heart(1, 0, "full")
    assert (small.spacing, large.spacing) == (FIELD / SIDES["small"], FIELD / SIDES["full"])
    assert large.frames.shape == (192, 192, 4)
    np.testing.assert_allclose(large.flow[1::3, 1::3], small.flow, atol=1e-5)
    np.testing.assert_array_equal(large.labels[1::3, 1::3], small.labels)
    assert not np.array_equal(build_heart(1, 1).labels, small.labels)
    np.testing.assert_array_equal(build_heart(1, 0).frames, small.frames)


def test_the_middle_of_the_files_is_the_middle_of_the_field(tmp_path):
    write_hearts(tmp_path, 1)
    for part in ("frame1", "labels4", "flow"):
        affine = nibabel.load(tmp_path / f"heart_000_{part}.nii.gz").affine
        np.testing.assert_allclose(np.diag(affine), [2, 2, 8, 1])
        np.testing.assert_allclose((affine @ (31.5, 31.5, 0, 1))[:2], 0, atol=1e-5)
