import keras
import numpy as np
import pytest
from keras import ops

from sfgkeras import losses
from sfgkeras.tables.losses import takes_one_logit

# Those of one logit have tests of their own.
LOSSES = sorted(name for name in losses.SEGMENTATION_LOSSES if not takes_one_logit("segmentation", name))


@pytest.fixture
def batch():
    rng = np.random.default_rng(1)
    return rng.integers(0, 4, size=(3, 7, 6)), rng.normal(size=(3, 7, 6, 4)).astype("float32")


def softmax(logits):
    exponentials = np.exp(logits.astype("float64"))
    return exponentials / exponentials.sum(-1, keepdims=True)


def reference_cross_entropy(labels, logits):
    flat = softmax(logits).reshape(-1, logits.shape[-1])
    return -np.mean([np.log(row[label]) for row, label in zip(flat, labels.ravel(), strict=True)])


def reference_dice(labels, logits, first_class=0):
    values = []
    for index in range(first_class, logits.shape[-1]):
        predicted, truth = softmax(logits)[..., index], labels == index
        values.append(1 - 2 * predicted[truth].sum() / (predicted.sum() + truth.sum()))
    return np.mean(values)


def test_cross_entropy_and_dice_follow_their_formulas(batch):
    cross_entropy = [reference_cross_entropy(*sample) for sample in zip(*batch, strict=True)]
    dice = [reference_dice(*sample) for sample in zip(*batch, strict=True)]
    np.testing.assert_allclose(losses.CrossEntropy().per_sample(*batch), cross_entropy, rtol=1e-5)
    np.testing.assert_allclose(losses.DiceLoss().per_sample(*batch), dice, rtol=1e-5)
    np.testing.assert_allclose(losses.DiceCrossEntropy()(*batch), np.mean(dice) + np.mean(cross_entropy), rtol=1e-5)


def test_the_background_can_be_left_out_of_the_dice_loss(batch):
    expected = [reference_dice(*sample, first_class=1) for sample in zip(*batch, strict=True)]
    loss = losses.DiceLoss(include_background=False)
    np.testing.assert_allclose(loss.per_sample(*batch), expected, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_labels_may_have_a_last_axis_of_one_or_be_one_hot(name, batch):
    labels, logits = batch
    loss = losses.SEGMENTATION_LOSSES[name]()
    expected = loss.per_sample(labels, logits)
    for targets in (labels[..., None], np.eye(4)[labels], labels.astype("uint8"), labels.astype("float32")):
        np.testing.assert_allclose(loss.per_sample(targets, logits), expected, rtol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_masked_voxels_count_as_if_they_were_not_there(name, batch):
    labels, logits = batch
    mask = np.zeros((3, 7, 6), "float32")
    mask[:, 2:6, 1:5] = 1
    loss = losses.SEGMENTATION_LOSSES[name]()
    expected = loss.per_sample(labels[:, 2:6, 1:5], logits[:, 2:6, 1:5])
    spoilt = np.where(mask[..., None] > 0, logits, np.array([50, -50, 20, 0], "float32"))
    np.testing.assert_allclose(loss.per_sample(labels, spoilt, mask), expected, rtol=1e-5)
    np.testing.assert_allclose(loss(labels, spoilt, mask), np.mean(expected), rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_sample_that_is_masked_out_contributes_zero_and_no_gradient(name, batch):
    import tensorflow as tf

    labels, logits = batch
    mask = np.ones((3, 7, 6), "float32")
    mask[1] = 0
    logits = tf.Variable(logits)
    loss = losses.SEGMENTATION_LOSSES[name]()
    with tf.GradientTape() as tape:
        values = loss.per_sample(labels, logits, mask)
    gradient = tape.gradient(values, logits).numpy()
    assert values.numpy()[1] == 0
    assert np.all(gradient[1] == 0)
    assert np.all(np.isfinite(gradient))
    assert np.abs(gradient[0]).max() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_one_weight_per_sample_scales_the_loss_of_that_sample(name, batch):
    loss = losses.SEGMENTATION_LOSSES[name]()
    weights = np.array([0.0, 1.0, 2.5], "float32")
    plain = ops.convert_to_numpy(loss.per_sample(*batch))
    np.testing.assert_allclose(loss.per_sample(*batch, weights), plain * weights, rtol=1e-6)


def test_a_perfect_prediction_costs_nothing_even_where_classes_are_absent():
    labels = np.zeros((2, 40, 40), int)
    labels[0, 10:20, 10:20] = 2
    logits = 40.0 * np.eye(6, dtype="float32")[labels]
    np.testing.assert_allclose(losses.DiceLoss().per_sample(labels, logits), 0, atol=1e-5)
    np.testing.assert_allclose(losses.DiceCrossEntropy().per_sample(labels, logits), 0, atol=1e-5)


def test_a_class_predicted_where_it_is_absent_costs_almost_one_class():
    labels = np.zeros((1, 32, 32), int)
    logits = np.zeros((1, 32, 32, 2), "float32")
    logits[0, :16, :, 1] = 30
    logits[0, 16:, :, 0] = 30
    background = 1 - 2 * 512 / (512 + 1024)
    np.testing.assert_allclose(losses.DiceLoss()(labels, logits), (background + 512 / 513) / 2, rtol=1e-4)


def test_labels_of_three_spatial_axes_are_understood():
    rng = np.random.default_rng(2)
    labels, logits = rng.integers(0, 3, (2, 4, 5, 3)), rng.normal(size=(2, 4, 5, 3, 3)).astype("float32")
    expected = [reference_dice(*s) + reference_cross_entropy(*s) for s in zip(labels, logits, strict=True)]
    np.testing.assert_allclose(losses.DiceCrossEntropy().per_sample(labels, logits), expected, rtol=1e-5)


def test_huge_logits_in_half_precision_stay_finite():
    labels = np.ones((1, 8, 8), int)
    logits = ops.convert_to_tensor(np.stack([np.full((1, 8, 8), s * 6e4) for s in (1, -1)], -1), "float16")
    value = losses.DiceCrossEntropy()(labels, logits)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    assert np.isfinite(float(value))


def test_shapes_that_do_not_fit_are_refused_by_name():
    with pytest.raises(ValueError, match=r"labels of shape \(2, 5, 4\) do not fit logits of shape \(2, 4, 4, 3\)"):
        losses.DiceLoss()(np.zeros((2, 5, 4)), np.zeros((2, 4, 4, 3)))
    with pytest.raises(ValueError, match=r"logits of shape \(2, 4, 4, 1\) need a last axis of two classes"):
        losses.DiceLoss()(np.zeros((2, 4, 4)), np.zeros((2, 4, 4, 1)))


def test_classification_takes_one_integer_per_sample():
    labels, logits = np.array([0, 2]), np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 5.0]], "float32")
    expected = -np.log(softmax(logits)[[0, 1], labels])
    loss = losses.CLASSIFICATION_LOSSES["crossentropy"]()
    for targets in (labels, labels[:, None], np.eye(3)[labels]):
        np.testing.assert_allclose(loss.per_sample(targets, logits), expected, rtol=1e-6)
    np.testing.assert_allclose(loss(labels, logits, np.array([0.0, 2.0])), expected[1], rtol=1e-6)
    with pytest.raises(ValueError, match=r"need the shape \(batch, classes\)"):
        loss(np.zeros((2, 4)), np.zeros((2, 4, 3)))
