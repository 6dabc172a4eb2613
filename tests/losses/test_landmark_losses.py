"""Losses of landmarks against numbers worked out by hand, SciPy and finite differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, softmax
from scipy.stats import norm

from sfgkeras.landmarks import expected_positions, gaussian_maps, peaks, predicted_positions
from sfgkeras.losses import ConstrainedHeatMapLoss, HeatMapCrossEntropy, HeatMapLoss, LandmarkLoss
from sfgkeras.losses.landmarks import (
    constrained_heat_map_loss,
    coordinate_constraint,
    heat_map_cross_entropy,
    heat_map_loss,
    landmark_loss,
)

TRUTH = np.array([[[0.25, 0.5], [0.75, 0.25], [0.5, 1.0]], [[0.0, 0.5], [0.1, 0.2], [0.3, 0.4]]], np.float32)


def test_coordinates_cost_half_the_squared_distance_of_visible_landmarks_over_all():
    offsets = np.array([[[3, 4], [0, 2], [1, 0]], [[1, 1], [0, 0], [2, 0]]], np.float32)
    visible = np.array([[1, 1, 0], [1, 1, 1]], np.float32)
    predicted = (TRUTH + offsets).reshape(2, 6)
    # (25 + 4) / (2 * 3), and (2 + 0 + 4) / (2 * 3)
    np.testing.assert_allclose(landmark_loss(TRUTH, predicted, visible), [29 / 6, 1.0], rtol=1e-5)
    np.testing.assert_allclose(landmark_loss(TRUTH, predicted), [30 / 6, 1.0], rtol=1e-5)
    np.testing.assert_allclose(landmark_loss(TRUTH, predicted, np.array([0.0, 2.0])), [0.0, 2.0], rtol=1e-5)


@pytest.mark.parametrize("unknown", [1e6, np.nan])
@pytest.mark.parametrize(
    "loss",
    [LandmarkLoss(), HeatMapLoss(), HeatMapCrossEntropy(), ConstrainedHeatMapLoss()],
    ids=lambda loss: loss.name,
)
def test_a_landmark_that_is_not_visible_has_no_gradient_and_may_hold_anything(loss, unknown):
    visible = np.array([[1, 0, 1], [0, 0, 0]], np.float32)
    truth = np.where(visible[..., None] > 0, TRUTH, unknown).astype(np.float32)
    shape = (2, 6) if isinstance(loss, LandmarkLoss) else (2, 8, 8, 3)
    outputs = tf.Variable(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    with tf.GradientTape() as tape:
        values = loss.per_sample(truth, outputs, visible)
        total = tf.reduce_sum(values)
    gradient = tape.gradient(total, outputs).numpy()
    by_landmark = gradient.reshape(2, 3, 2) if shape == (2, 6) else np.moveaxis(gradient, -1, 1)
    assert np.isfinite(gradient).all()
    assert (np.abs(by_landmark).reshape(2, 3, -1).max(axis=-1) > 0).tolist() == (visible > 0).tolist()
    assert values[1] == 0


def test_coordinates_that_a_map_expects_are_the_mean_of_its_softmax():
    maps = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32)
    flat = softmax(3.0 * maps.reshape(2, 35, 3).astype(float), axis=1).reshape(2, 5, 7, 3)
    expected = [np.einsum("bxyl,x->bl", flat, (np.arange(5) + 0.5) / 5)]
    expected.append(np.einsum("bxyl,y->bl", flat, (np.arange(7) + 0.5) / 7))
    np.testing.assert_allclose(expected_positions(maps, 3.0), np.stack(expected, axis=-1), rtol=1e-5)


def test_the_constraint_is_the_squared_distance_of_expected_coordinates():
    # A landmark in the middle of 4 x 4 pixels whose map is one peak, in the pixel centred at 7 / 8, 1 / 8.
    truth = np.full((1, 1, 2), 0.5, np.float32)
    maps = np.zeros((1, 4, 4, 1), np.float32)
    maps[0, 3, 0] = 1.0
    distance = 2 * (3 / 8) ** 2
    assert float(coordinate_constraint(truth, maps, sharpness=200.0)[0]) == pytest.approx(distance, rel=1e-5)
    total = constrained_heat_map_loss(truth, maps, sigma=1.0, weight=4.0, sharpness=200.0)
    np.testing.assert_allclose(total, heat_map_loss(truth, maps, sigma=1.0) + 4 * distance, rtol=1e-5)
    beyond = np.full((1, 1, 2), -1e3, np.float32)
    assert float(coordinate_constraint(beyond, maps)[0]) == 0.0


def test_heat_maps_are_products_of_gaussians_of_height_one():
    maps = np.asarray(gaussian_maps(TRUTH, (8, 4), 1.5))
    assert maps.shape == (2, 8, 4, 3)
    across = [norm.pdf(np.arange(n) + 0.5, TRUTH[0, 1, axis] * n, 1.5) for axis, n in enumerate((8, 4))]
    np.testing.assert_allclose(maps[0, :, :, 1], np.outer(*across) * (2 * np.pi * 1.5**2), rtol=1e-4)
    volume = np.asarray(gaussian_maps(np.full((1, 1, 3), 0.5, np.float32), (3, 5, 7), 1.0))
    assert volume.shape == (1, 3, 5, 7, 1)
    assert volume[0, 1, 2, 3, 0] == 1
    assert volume[0, 0, 2, 3, 0] == pytest.approx(np.exp(-0.5))


@pytest.mark.parametrize(("size", "sigma"), [((32, 32), 2.0), ((48, 40), 3.0), ((16, 16, 16), 1.5)])
def test_a_heat_map_of_zeros_costs_one_whatever_the_window_and_a_perfect_one_nothing(size, sigma):
    truth = np.full((1, 2, len(size)), 0.5, np.float32)
    assert float(heat_map_loss(truth, np.zeros((1, *size, 2), np.float32), sigma=sigma)[0]) == pytest.approx(
        1, abs=1e-3
    )
    perfect = gaussian_maps(truth, size, sigma)
    assert float(heat_map_loss(truth, perfect, sigma=sigma)[0]) == 0
    # Beyond the window there is nothing to find, and what is found costs its squares.
    away = np.full_like(truth, -1e3)
    assert float(heat_map_loss(away, perfect, sigma=sigma)[0]) == pytest.approx(1, abs=1e-3)


def test_the_cross_entropy_of_heat_maps_is_that_of_every_voxel_and_vanishes_without_visibility():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(2, 8, 4, 3)).astype(np.float32)
    wanted, found = np.asarray(gaussian_maps(TRUTH, (8, 4), 2.0), np.float64), expit(logits.astype(np.float64))
    by_hand = -(wanted * np.log(found) + (1 - wanted) * np.log(1 - found)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(heat_map_cross_entropy(TRUTH, logits), by_hand, rtol=1e-4)
    # The paper's v_n: an image without landmarks drops the term.
    np.testing.assert_allclose(heat_map_cross_entropy(TRUTH, logits, np.array([1.0, 0.0])), [by_hand[0], 0], rtol=1e-4)


def test_peaks_are_the_centres_of_the_largest_voxels():
    truth = np.array([[[2.5 / 8, 3.5 / 4], [0.5 / 8, 0.5 / 4]]], np.float32)
    maps = gaussian_maps(truth, (8, 4), 1.0)
    np.testing.assert_allclose(peaks(maps), truth, atol=1e-6)
    np.testing.assert_allclose(predicted_positions(maps, truth), truth, atol=1e-6)
    np.testing.assert_allclose(predicted_positions(truth.reshape(1, 4), truth), truth)


def test_losses_survive_serialisation_and_refuse_what_does_not_fit():
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(HeatMapLoss(sigma=3.0)))
    assert copy.sigma == 3.0
    with pytest.raises(ValueError, match="sigma = 0 of heat maps must be a positive number"):
        HeatMapLoss(sigma=0)
    with pytest.raises(ValueError, match=r"3 landmarks of 2 coordinates do not fit predictions of \(2, 5\)"):
        landmark_loss(TRUTH, np.zeros((2, 5), np.float32))
    with pytest.raises(ValueError, match=r"3 landmarks in 2-D do not fit heat maps of shape \(2, 8, 8, 2\)"):
        heat_map_loss(TRUTH, np.zeros((2, 8, 8, 2), np.float32))
    with pytest.raises(ValueError, match=r"need the shape \(batch, landmarks, rank\)"):
        landmark_loss(TRUTH[0], np.zeros((3, 2), np.float32))
