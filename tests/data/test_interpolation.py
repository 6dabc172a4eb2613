"""Reading windows through maps, against SciPy and Pillow."""

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sfgkeras.data.augmentation import sampling_matrix
from sfgkeras.data.interpolation import AffineMap, DenseMap, affine_positions, resize_linear, resize_nearest

SHAPES = {2: (37, 29), 3: (17, 14, 19)}
SIZES = {2: (16, 21), 3: (8, 9, 10)}


def random_map(seed, rank):
    """A rotated, scaled, sheared window around some voxel of the volume, often beyond its edge."""
    rng = np.random.default_rng(seed)
    size, shape = np.array(SIZES[rank]), np.array(SHAPES[rank])
    matrix = sampling_matrix(
        rng.uniform(-180, 180, 1 if rank == 2 else 3),
        rng.uniform(0.6, 1.5, rank),
        (False,) * rank,
        (1.0, 1.2, 2.0)[:rank],
    )
    offset = rng.uniform(0, shape - 1) - matrix @ ((size - 1) / 2)
    return matrix, offset


def outside(matrix, offset, rank):
    positions = affine_positions(matrix, offset, SIZES[rank])
    return np.any([(p < -0.5) | (p > n - 0.5) for p, n in zip(positions, SHAPES[rank], strict=True)], axis=0)


def scipy_sample(volume, matrix, offset, rank, order):
    sampled = scipy.ndimage.affine_transform(
        volume.astype(np.float64), matrix, offset, SIZES[rank], order=order, mode="nearest", prefilter=False
    )
    return np.where(outside(matrix, offset, rank), 0.0, sampled)


@pytest.mark.parametrize("rank", [2, 3])
@given(seed=st.integers(0, 10**6), channels=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_affine_map_interpolates_linearly_as_scipy_does(rank, seed, channels):
    matrix, offset = random_map(seed, rank)
    volume = np.random.default_rng(seed).uniform(-1, 1, (*SHAPES[rank], channels)).astype(np.float32)
    out = np.full((*SIZES[rank], channels), np.nan, np.float32)
    window_map = AffineMap(matrix, offset, SIZES[rank], SHAPES[rank])
    window_map.linear(volume, out)
    expected = np.stack([scipy_sample(volume[..., c], matrix, offset, rank, order=1) for c in range(channels)], axis=-1)
    np.testing.assert_allclose(out, expected, atol=3e-5)
    inside = np.ones(SIZES[rank], bool) if window_map.inside is None else window_map.inside
    np.testing.assert_array_equal(inside, ~outside(matrix, offset, rank))


def far_from_ties(matrix, offset, rank):
    positions = np.array(affine_positions(matrix, offset, SIZES[rank]))
    return np.all(np.abs(positions - np.floor(positions) - 0.5) > 1e-3, axis=0)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("dtype", ["bool", "i1", "u1", "i2", ">i2", "u2", "i4", "u4", "i8"])
def test_affine_map_takes_the_nearest_label_of_every_integer_type(rank, dtype):
    for seed in range(8):
        matrix, offset = random_map(seed, rank)
        high = {"bool": 2, "i1": 100, "u1": 250}.get(dtype, 30000)
        labels = np.random.default_rng(seed).integers(0, high, SHAPES[rank])
        if dtype in ("i1", "i2", "i4"):
            labels = labels - high // 2
        if dtype in ("i4", "i8"):
            labels = labels * 70001  # beyond what float32 holds
        labels = labels.astype(dtype)
        out = np.full(SIZES[rank], -1, np.int32)
        AffineMap(matrix, offset, SIZES[rank], SHAPES[rank]).nearest(labels, out)
        expected = scipy_sample(labels, matrix, offset, rank, order=0)
        clear = far_from_ties(matrix, offset, rank)
        assert clear.mean() > 0.98
        np.testing.assert_array_equal(out[clear], expected[clear])


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("channels", [1, 2])
def test_dense_map_with_the_positions_of_an_affine_map_reads_the_same(rank, channels):
    for seed in range(5):
        matrix, offset = random_map(seed, rank)
        rng = np.random.default_rng(seed)
        volume = rng.uniform(-1, 1, (*SHAPES[rank], channels))
        labels = rng.integers(0, 9, SHAPES[rank])
        dense = DenseMap(np.stack(affine_positions(matrix, offset, SIZES[rank])), SHAPES[rank])
        affine = AffineMap(matrix, offset, SIZES[rank], SHAPES[rank])
        images = [np.empty((*SIZES[rank], channels), np.float32) for _ in range(2)]
        label_maps = [np.empty(SIZES[rank], np.int32) for _ in range(2)]
        for window_map, image, label_map in zip((dense, affine), images, label_maps, strict=True):
            window_map.linear(volume, image)
            window_map.nearest(labels, label_map)
        np.testing.assert_allclose(*images, atol=3e-5)
        clear = far_from_ties(matrix, offset, rank)
        np.testing.assert_array_equal(label_maps[0][clear], label_maps[1][clear])


@pytest.mark.parametrize("rank", [2, 3])
def test_voxels_exactly_at_the_faces_of_the_volume_are_inside(rank):
    shape, size = (5,) * rank, (11,) * rank
    window_map = AffineMap(0.5 * np.eye(rank), np.full(rank, -0.5), size, shape)  # from -0.5 to 4.5
    image, labels = np.zeros((*size, 1), np.float32), np.zeros(size, np.int32)
    window_map.linear(np.ones((*shape, 1)), image)
    window_map.nearest(np.full(shape, 7), labels)
    assert window_map.inside is None
    np.testing.assert_array_equal(image, 1.0)
    np.testing.assert_array_equal(labels, 7)


def test_dense_map_far_beyond_the_volume_is_zero():
    window_map = DenseMap(np.full((2, 4, 4), 1000.0), (10, 10))
    out = np.ones((4, 4, 1), np.float32)
    window_map.linear(np.ones((10, 10, 1)), out)
    assert not out.any()
    assert not window_map.inside.any()


@pytest.mark.parametrize("size", [(12, 9), (37, 29), (50, 64), (20, 64), (1, 1)])
def test_resizing_a_photograph_equals_pillow(size):
    photo = np.random.default_rng(0).uniform(0, 255, (37, 29, 3)).astype(np.float32)
    resized = resize_linear(photo, size)
    for channel in range(3):
        pillow = Image.fromarray(photo[..., channel]).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(resized[..., channel], np.asarray(pillow), atol=1e-3)


def test_resizing_a_volume_keeps_constants_and_linear_ramps():
    x, y, z = np.meshgrid(np.arange(12.0), np.arange(20.0), np.arange(9.0), indexing="ij")
    volume = np.stack([np.full(x.shape, 7.0), x, y, z], axis=-1)
    resized = resize_linear(volume, (6, 20, 27))
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized[..., 0], 7.0, rtol=1e-6)
    np.testing.assert_allclose(
        resized[1:-1, :, :, 1],
        (2 * np.arange(1, 5) + 0.5)[:, None, None] + 0 * resized[1:-1, :, :, 1],
        rtol=1e-5,
    )
    np.testing.assert_allclose(resized[..., 2], np.arange(20.0)[None, :, None] + 0 * resized[..., 2], rtol=1e-5)
    middle = (np.arange(2, 25) + 0.5) / 3 - 0.5
    np.testing.assert_allclose(resized[:, :, 2:25, 3], middle + 0 * resized[:, :, 2:25, 3], rtol=1e-5)


def test_resized_labels_are_those_at_the_centres_of_the_output_voxels():
    labels = np.arange(12).reshape(4, 3)
    np.testing.assert_array_equal(resize_nearest(labels, (2, 3)), labels[[1, 3]])
    np.testing.assert_array_equal(resize_nearest(labels, (8, 3)), np.repeat(labels, 2, axis=0))
