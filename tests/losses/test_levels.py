"""Targets at the size of a coarser level, against NumPy, block by block."""

import numpy as np
import pytest

from sfgkeras.losses import CrossEntropy, MeanSquaredError
from sfgkeras.losses.levels import targets_at_level

SIZES = [((8, 4), 1), ((7, 5), 1), ((9, 6), 2), ((5, 3, 4), 2)]


def coarse(size, level):
    return tuple(-(-side // 2**level) for side in size)


def halved(values):
    """The mean of pairs along every axis but the first; what stands alone stays."""
    for axis in range(1, values.ndim):
        pairs = np.split(values, range(2, values.shape[axis], 2), axis=axis)
        values = np.concatenate([pair.mean(axis=axis, keepdims=True) for pair in pairs], axis=axis)
    return values


@pytest.mark.parametrize(("size", "level"), SIZES)
def test_a_class_is_that_of_a_voxel_nearest_to_the_middle_of_its_block(size, level):
    rng = np.random.default_rng(0)
    labels, weights = rng.integers(0, 9, (2, *size)), rng.integers(0, 2, (2, *size)).astype("float32")
    found, shares = targets_at_level(CrossEntropy(), labels, weights, level, coarse(size, level))
    side, found = 2**level, np.asarray(found)
    for place in np.ndindex(coarse(size, level)):
        middle = [corner * side + (side - 1) / 2 for corner in place]
        chosen = tuple(min(int(np.floor(each)), extent - 1) for each, extent in zip(middle, size, strict=True))
        np.testing.assert_array_equal(found[(slice(None), *place)], labels[(slice(None), *chosen)])
        np.testing.assert_array_equal(np.asarray(shares)[(slice(None), *place)], weights[(slice(None), *chosen)])


@pytest.mark.parametrize(("size", "level"), SIZES)
def test_a_quantity_is_the_mean_of_its_block_by_weight_and_what_is_not_known_has_no_say(size, level):
    rng = np.random.default_rng(1)
    image, weights = rng.normal(size=(2, *size)), rng.uniform(size=(2, *size)).astype("float32")
    weights[0, :4, :3] = 0.0
    total, shares = image * weights, weights.astype("float64")
    for _ in range(level):
        total, shares = halved(total), halved(shares)
    image[weights == 0] = np.nan
    found = targets_at_level(MeanSquaredError(), image[..., None], weights, level, coarse(size, level))
    wanted = np.divide(total, shares, out=np.zeros_like(total), where=shares > 0)
    np.testing.assert_allclose(np.asarray(found[0])[..., 0], wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.asarray(found[1]), shares, rtol=1e-5, atol=1e-7)


def test_forms_of_targets_and_weights_stay_and_weights_of_samples_are_left_alone():
    image, one_hot = np.ones((2, 4, 4)), np.eye(3)[np.zeros((2, 4, 4), int)]
    each = np.array([0.5, 2.0], "float32")
    plain, weights = targets_at_level(MeanSquaredError(), image, each, 1, (2, 2))
    assert plain.shape == (2, 2, 2)
    np.testing.assert_array_equal(weights, each)
    hot, shares = targets_at_level(CrossEntropy(), one_hot, np.ones((2, 4, 4, 1)), 1, (2, 2))
    assert (hot.shape, shares.shape) == ((2, 2, 2, 3), (2, 2, 2, 1))
    assert targets_at_level(MeanSquaredError(), image, np.ones((2, 4, 4, 1)), 1, (2, 2))[1].shape == (2, 2, 2, 1)


def test_targets_that_are_no_maps_are_refused_by_the_argument():
    with pytest.raises(ValueError, match=r"\(2, 3\) are no maps.*leave the task out of deep_supervision"):
        targets_at_level(MeanSquaredError(), np.ones((2, 3)), None, 1, (2, 2))
