"""Warping and its penalty: against SciPy, by hand, and by descent on a disc that moves."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy.ndimage import map_coordinates

from sfgkeras.losses import WarpingLoss
from sfgkeras.losses.motion import roughness, warping_loss
from sfgkeras.metrics import METRICS
from sfgkeras.warping import warp


@pytest.mark.parametrize("shape", [(6, 7), (4, 5, 6)])
def test_warping_reads_as_scipy_does(shape):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, *shape)).astype("float32")
    flow = rng.normal(scale=1.5, size=(2, *shape, len(shape))).astype("float32")
    for image, moved, found in zip(images, flow, np.asarray(warp(images, flow)), strict=True):
        places = np.indices(shape) + np.moveaxis(moved, -1, 0)
        np.testing.assert_allclose(found, map_coordinates(image, places, order=1, mode="nearest"), atol=1e-5)


def test_displacements_that_are_no_numbers_make_no_numbers_and_nothing_worse():
    flow = np.zeros((1, 3, 3, 2), "float32")
    flow[0, 1, 1] = np.nan, np.inf
    assert np.isnan(np.asarray(warp(np.ones((1, 3, 3)), flow))).sum() == 1


def test_roughness_by_hand():
    flow = np.zeros((1, 2, 2, 2), "float32")
    flow[0, 1, 0] = 0.3, 0.4
    # Differences at (0, 0) along x: (0.3, 0.4), along y: none; at (1, 0) along y: the same; elsewhere none.
    root = np.sqrt(0.01 + 0.25) - 0.1
    np.testing.assert_allclose(roughness(ops.convert_to_tensor(flow))[0], [[root, 0], [root, 0]], atol=1e-6)


def test_a_motion_is_charged_for_what_it_does_not_explain_and_for_being_rough():
    first, second = np.zeros((2, 1, 4, 1), "float32")
    first[0, 1:, 0] = 1, 4, 9
    second[0, :, 0] = 1, 4, 9, 9
    frames = np.stack([first, second, first], axis=-1)
    flow = np.zeros((1, 4, 1, 4), "float32")
    flow[..., 0] = 1  # the second frame is the first, one voxel back; the third one does not move
    assert float(warping_loss(frames, flow, smoothness=1.0)[0]) == 0
    still = np.zeros_like(flow)
    expected = np.mean((first - second) ** 2) / 2
    np.testing.assert_allclose(warping_loss(frames, still, smoothness=1.0), [expected], rtol=1e-6)
    rough = flow.copy()
    rough[0, 3, 0, 0] = 3
    by_hand = (np.sqrt(0.01 + 4) - 0.1) / 4 / 2
    np.testing.assert_allclose(warping_loss(frames, rough, smoothness=1.0), [by_hand], rtol=1e-5)
    np.testing.assert_allclose(warping_loss(frames, rough, smoothness=0.5), [by_hand / 2], rtol=1e-5)
    metric = METRICS["motion"]["warped_mae"]("error")
    metric.update_state(frames, still)
    np.testing.assert_allclose(metric.result(), np.abs(first - second).mean() / 2, rtol=1e-6)


def test_voxels_of_weight_zero_count_nowhere():
    rng = np.random.default_rng(1)
    frames, flow = rng.normal(size=(2, 5, 5, 2)), rng.normal(size=(2, 5, 5, 2)).astype("float32")
    weights = np.ones((2, 5, 5), "float32")
    weights[0, 0] = 0
    spoiled = frames.copy()
    spoiled[0, 0, :, 1] = 100
    np.testing.assert_allclose(
        warping_loss(spoiled, flow, weights), warping_loss(frames, flow, weights), rtol=1e-5
    )  # fmt: skip
    assert not np.allclose(warping_loss(spoiled, flow), warping_loss(frames, flow))


def test_its_gradient_is_that_of_finite_differences():
    import tensorflow as tf

    rng = np.random.default_rng(2)
    frames = rng.normal(size=(1, 4, 4, 2)).astype("float32")
    flow = rng.uniform(0.2, 0.4, size=(1, 4, 4, 2)).astype("float32")
    variable = tf.Variable(flow)
    with tf.GradientTape() as tape:
        value = warping_loss(frames, variable)[0]
    gradient = tape.gradient(value, variable)
    for place in ((0, 1, 1, 0), (0, 2, 0, 1)):
        step = np.zeros_like(flow)
        step[place] = 2e-3
        sides = [float(warping_loss(frames, flow + sign * step)[0]) for sign in (1, -1)]
        np.testing.assert_allclose(gradient[place], (sides[0] - sides[1]) / 4e-3, atol=2e-3)


def test_it_is_saved_by_name():
    loss = keras.losses.deserialize(keras.losses.serialize(WarpingLoss(smoothness=0.3)))
    assert (type(loss), loss.smoothness) == (WarpingLoss, 0.3)
