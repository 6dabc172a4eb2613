import keras
import numpy as np
import pytest
from keras import ops

from sfgkeras import losses
from sfgkeras.losses import regression

LOSSES = sorted(losses.REGRESSION_LOSSES)
OF_SURFACES = {"depth", "normals"}
"""Losses whose formulas are in test_surface_losses.py."""


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return rng.normal(size=(4, 6, 5, 2)).astype("float32"), rng.normal(size=(4, 6, 5, 2)).astype("float32")


def cosines(first, second):
    return np.sum(first * second, -1) / np.linalg.norm(first, axis=-1) / np.linalg.norm(second, axis=-1)


def reference(name, residual, truth=None):
    size = np.abs(residual)
    huber = np.where(size <= 1, 0.5 * size**2, size - 0.5)
    return {
        "rmse": lambda: np.sqrt(np.mean(residual**2)),
        "mae": lambda: np.mean(size),
        "l1loss": lambda: np.mean(size),
        "mse": lambda: np.mean(residual**2),
        "l2loss": lambda: np.sum(residual**2) / 2,
        "huber": lambda: np.mean(huber),
        "smoothl1": lambda: np.mean(huber),
        "cosine": lambda: np.mean(1 - cosines(truth, truth + residual)),
    }[name]()


@pytest.mark.parametrize("name", sorted(set(LOSSES) - OF_SURFACES))
def test_every_loss_is_the_mean_over_the_batch_of_its_formula_per_sample(name, batch):
    truth, prediction = batch
    expected = np.array(
        [reference(name, (p - t).astype("float64"), t.astype("float64")) for t, p in zip(*batch, strict=True)]
    )
    loss = losses.REGRESSION_LOSSES[name]()
    np.testing.assert_allclose(loss.per_sample(truth, prediction), expected, rtol=1e-5)
    np.testing.assert_allclose(loss(truth, prediction), expected.mean(), rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_masked_voxels_count_as_if_they_were_not_there(name, batch):
    truth, prediction = batch
    mask = np.zeros((4, 6, 5), "float32")
    mask[:, 1:4, 2:5] = 1
    loss = losses.REGRESSION_LOSSES[name]()
    expected = loss.per_sample(truth[:, 1:4, 2:5], prediction[:, 1:4, 2:5])
    spoilt = np.where(mask[..., None] > 0, prediction, 1e6)
    np.testing.assert_allclose(loss.per_sample(truth, spoilt, mask), expected, rtol=1e-5)
    np.testing.assert_allclose(loss.per_sample(truth, spoilt, mask[..., None]), expected, rtol=1e-5)
    np.testing.assert_allclose(loss(truth, spoilt, mask), np.mean(expected), rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_sample_that_is_masked_out_contributes_zero(name, batch):
    truth, prediction = batch
    mask = np.ones((4, 6, 5), "float32")
    mask[2] = 0
    loss = losses.REGRESSION_LOSSES[name]()
    values = ops.convert_to_numpy(loss.per_sample(truth, prediction, mask))
    assert values[2] == 0
    assert np.all(values[[0, 1, 3]] != 0)
    np.testing.assert_allclose(loss(truth, prediction, mask), values.sum() / 4, rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_one_weight_per_sample_scales_the_loss_of_that_sample(name, batch):
    loss = losses.REGRESSION_LOSSES[name]()
    weights = np.array([0.0, 1.0, 2.0, 0.5], "float32")
    plain = ops.convert_to_numpy(loss.per_sample(*batch))
    np.testing.assert_allclose(loss.per_sample(*batch, weights), plain * weights, rtol=1e-6)
    np.testing.assert_allclose(loss.per_sample(*batch, weights[:, None]), plain * weights, rtol=1e-6)


def test_weights_act_before_the_root():
    truth, prediction = np.zeros((1, 2, 1), "float32"), np.array([[[3.0], [4.0]]], "float32")
    weight = np.array([[3.0, 1.0]], "float32")
    value = regression.root_mean_squared_error(truth, prediction, weight)
    np.testing.assert_allclose(value, [np.sqrt((3 * 9 + 16) / 4)], rtol=1e-6)


def test_the_gradient_of_the_root_is_finite_for_a_perfect_prediction():
    import tensorflow as tf

    truth = np.ones((2, 3, 3, 1), "float32")
    mask = np.ones((2, 3, 3), "float32")
    mask[1] = 0
    prediction = tf.Variable(truth)
    with tf.GradientTape() as tape:
        value = losses.RootMeanSquaredError()(truth, prediction, mask)
    assert float(value) < 1e-6
    assert np.all(np.isfinite(tape.gradient(value, prediction)))


@pytest.mark.parametrize("size", [1e-4, 1e-2, 1.0, 3000.0])
def test_the_root_mean_squared_error_is_exact_to_a_millionth(size):
    value = losses.RootMeanSquaredError()(np.zeros((1, 4, 1)), np.full((1, 4, 1), size, "float32"))
    assert abs(float(value) - size) <= 1e-6 * max(size, 1)


def test_scalars_are_compared_per_sample_with_or_without_a_channel_axis():
    truth, prediction = np.array([1.0, 2.0], "float32"), np.array([[1.5], [4.0]], "float32")
    for target in (truth, truth[:, None]):
        np.testing.assert_allclose(losses.RootMeanSquaredError().per_sample(target, prediction), [0.5, 2.0], rtol=1e-6)
    np.testing.assert_allclose(losses.MeanAbsoluteError().per_sample(truth, prediction[:, 0]), [0.5, 2.0], rtol=1e-6)


def test_a_lacking_channel_axis_never_broadcasts():
    with pytest.raises(ValueError, match=r"\(4, 6\) do not fit predictions of shape \(4, 6, 2\)"):
        losses.MeanSquaredError()(np.zeros((4, 6)), np.zeros((4, 6, 2)))
    value = losses.MeanSquaredError()(np.ones((4, 6), "float32"), np.zeros((4, 6, 1), "float32"))
    assert float(value) == 1.0


@pytest.mark.parametrize("shape", [(3, 6, 5), (4, 1, 1), (4, 6), (4, 6, 5, 2)])
def test_a_weight_of_another_shape_is_refused(shape, batch):
    with pytest.raises(ValueError, match=r"sample_weight of shape .* nor a map of shape \(4, 6, 5\)"):
        losses.MeanAbsoluteError()(*batch, np.ones(shape, "float32"))


def test_huber_and_smooth_l1_bend_where_they_are_told():
    truth, prediction = np.zeros((3, 1), "float32"), np.array([[0.1], [0.5], [3.0]], "float32")
    np.testing.assert_allclose(
        losses.Huber(delta=0.5).per_sample(truth, prediction), [0.005, 0.125, 0.5 * (3 - 0.25)], rtol=1e-6
    )
    np.testing.assert_allclose(losses.SmoothL1(beta=0.5).per_sample(truth, prediction), [0.01, 0.25, 2.75], rtol=1e-6)
    with pytest.raises(ValueError, match="delta = 0 must be positive"):
        losses.Huber(delta=0)


def test_one_channel_is_completed_to_a_unit_vector_before_angles_are_compared():
    angles = np.array([[0.1, 0.4], [0.2, 1.2]])
    truth, prediction = np.sin(angles[:, :1]).astype("float32"), np.sin(angles[:, 1:]).astype("float32")
    expected = 1 - np.cos(angles[:, 1] - angles[:, 0])
    np.testing.assert_allclose(losses.CosineLoss().per_sample(truth, prediction), expected, rtol=1e-3)


def test_half_precision_predictions_are_summed_in_single_precision():
    prediction = np.full((1, 400, 400, 1), 300, "float16")
    value = losses.MeanSquaredError()(np.zeros((1, 400, 400, 1)), ops.convert_to_tensor(prediction))
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    np.testing.assert_allclose(value, 90000, rtol=1e-5)


def test_the_reduction_is_a_sum_a_mean_or_none_and_nothing_else(batch):
    values = ops.convert_to_numpy(losses.MeanAbsoluteError(reduction="none")(*batch))
    assert values.shape == (4,)
    np.testing.assert_allclose(losses.MeanAbsoluteError(reduction="sum")(*batch), values.sum(), rtol=1e-6)
    with pytest.raises(ValueError, match="reduction = 'mean_with_sample_weight' is not one of"):
        losses.MeanAbsoluteError(reduction="mean_with_sample_weight")
