"""NiftyNet's overlap losses against their published formulas, in float64 and by hand."""

import numpy as np
import pytest
import scipy.optimize

from sfgkeras import losses
from sfgkeras.losses import overlap

# Distances between five labels in the manner of Fidon et al. 2017: background, then parts of a tumour.
TUMOUR = [[0, 1, 1, 1, 1], [1, 0, 0.6, 0.2, 0.5], [1, 0.6, 0, 0.6, 0.7], [1, 0.2, 0.6, 0, 0.5], [1, 0.5, 0.7, 0.5, 0]]


@pytest.fixture
def batch():
    rng = np.random.default_rng(1)
    labels = np.stack([rng.permutation(np.repeat(np.arange(5), (6, 15, 9, 10, 2))) for _ in range(3)])
    return labels.reshape(3, 7, 6), rng.normal(size=(3, 7, 6, 5)).astype("float32")


def flat(labels, logits):
    """One sample as one-hot rows and rows of probabilities, float64."""
    rows = np.exp(logits.reshape(-1, logits.shape[-1]).astype("float64"))
    return np.eye(logits.shape[-1])[labels.ravel()], rows / rows.sum(-1, keepdims=True)


def assert_follows(loss, batch, formula, rtol=1e-4):
    expected = [formula(*flat(*sample)) for sample in zip(*batch, strict=True)]
    np.testing.assert_allclose(loss.per_sample(*batch), expected, rtol=rtol)


def test_the_squared_dice_loss_has_squares_below_and_the_plain_one_has_none(batch):
    def formula(g, p, power):
        return np.mean([1 - 2 * (a @ b) / ((b**power).sum() + a.sum()) for a, b in zip(g.T, p.T, strict=True)])

    assert_follows(losses.SEGMENTATION_LOSSES["dice"](), batch, lambda g, p: formula(g, p, 2))
    assert_follows(losses.SEGMENTATION_LOSSES["dice_ns"](), batch, lambda g, p: formula(g, p, 1))


def test_the_squared_dice_loss_of_two_voxels_by_hand():
    logits = np.log(np.array([[[0.75, 0.25], [0.5, 0.5]]], "float32"))
    # The first voxel is of class 0: 2 * 0.75 above, 0.75^2 + 0.5^2 + 1 below; the second of class 1.
    expected = ((1 - 1.5 / 1.8125) + (1 - 1.0 / 1.3125)) / 2
    np.testing.assert_allclose(losses.SquaredDiceLoss()(np.array([[0, 1]]), logits), expected, rtol=1e-4)


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.5), (0.3, 0.7), (1.0, 0.0)])
def test_the_tversky_loss_weighs_what_is_wrong_and_what_is_missed(alpha, beta, batch):
    def formula(g, p):
        return np.mean(
            [
                1 - (a @ b) / (a @ b + alpha * (b @ (1 - a)) + beta * ((1 - b) @ a))
                for a, b in zip(g.T, p.T, strict=True)
            ]
        )

    assert_follows(losses.TverskyLoss(alpha, beta), batch, formula)


def test_equal_weights_of_the_tversky_loss_make_the_dice_loss(batch):
    np.testing.assert_allclose(losses.TverskyLoss().per_sample(*batch), losses.DiceLoss().per_sample(*batch), rtol=1e-4)


def test_the_generalised_dice_loss_weighs_classes_by_their_squared_volume(batch):
    def formula(g, p):
        weights = 1 / g.sum(0) ** 2
        return 1 - 2 * (weights * (g * p).sum(0)).sum() / (weights * (g.sum(0) + p.sum(0))).sum()

    assert_follows(losses.GeneralisedDiceLoss(), batch, formula)


def test_a_class_that_is_absent_weighs_as_much_as_the_rarest_in_the_generalised_dice_loss():
    labels, logits = np.array([[0, 0, 1]]), np.zeros((1, 3, 3), "float32")
    # Every probability is 1/3: overlaps 2/3, 1/3 and 0; weights 1/4, 1 and, of the absent class, 1.
    expected = 1 - 2 * (0.25 * 2 / 3 + 1 / 3) / (0.25 * (2 + 1) + (1 + 1) + (0 + 1))
    np.testing.assert_allclose(losses.GeneralisedDiceLoss()(labels, logits), expected, rtol=1e-5)


def wasserstein_formula(distances):
    matrix = np.asarray(distances, float)

    def formula(g, p):
        away = np.einsum("vl,lm,vm->v", p, matrix, g)
        right = ((g @ matrix[0]) * (1 - away)).sum()
        return 1 - 2 * right / (2 * right + away.sum())

    return formula


def test_the_wasserstein_dice_loss_follows_its_formula_with_and_without_distances(batch):
    assert_follows(losses.WassersteinDiceLoss(), batch, wasserstein_formula(1 - np.eye(5)))
    assert_follows(losses.WassersteinDiceLoss(TUMOUR), batch, wasserstein_formula(TUMOUR))
    triangle = [TUMOUR[i][j] for i in range(5) for j in range(i + 1, 5)]
    np.testing.assert_array_equal(
        losses.WassersteinDiceLoss(triangle).per_sample(*batch), losses.WassersteinDiceLoss(TUMOUR).per_sample(*batch)
    )


def test_the_distance_of_a_voxel_is_the_wasserstein_distance_to_its_label():
    p, label, matrix = np.array([0.1, 0.2, 0.3, 0.25, 0.15]), 3, np.asarray(TUMOUR)
    truth = np.eye(5)[label]
    moved = scipy.optimize.linprog(
        matrix.ravel(),
        A_eq=np.vstack([np.kron(np.eye(5), np.ones(5)), np.kron(np.ones(5), np.eye(5))]),
        b_eq=np.concatenate([p, truth]),
    )
    value = losses.WassersteinDiceLoss(TUMOUR)(np.array([[label]]), np.log(p)[None, None].astype("float32"))
    right = matrix[0, label] * (1 - moved.fun)
    np.testing.assert_allclose(value, moved.fun / (2 * right + moved.fun), rtol=1e-5)


def test_mistaking_near_labels_costs_less_than_mistaking_far_ones():
    labels = np.full((1, 8), 1)
    near, far = (30 * np.eye(5, dtype="float32")[np.full((1, 8), other)] for other in (3, 2))
    loss = losses.WassersteinDiceLoss(TUMOUR)
    assert float(loss(labels, near)) < float(loss(labels, far)) < 1
    equal = losses.WassersteinDiceLoss()
    np.testing.assert_allclose(equal(labels, near), equal(labels, far))


@pytest.mark.parametrize(
    ("distances", "words"),
    [
        ([1, 2], "2 distances fit no number of classes"),
        ([[0, 1], [2, 0]], "no symmetric matrix"),
        ([[1, 1], [1, 0]], "0 from a label to itself"),
        ([1, 0, 1], "positive to every other"),
    ],
)
def test_distances_that_are_none_are_refused(distances, words):
    with pytest.raises(ValueError, match=words):
        losses.WassersteinDiceLoss(distances)


def test_distances_of_other_labels_are_refused():
    with pytest.raises(ValueError, match="between 3 labels do not fit logits of 2 classes"):
        losses.WassersteinDiceLoss([1, 1, 1])(np.zeros((1, 4)), np.zeros((1, 4, 2)))


@pytest.mark.parametrize("ratio", [0.05, 0.5])
def test_sensitivity_and_specificity_are_weighed_by_the_ratio(ratio, batch):
    def formula(g, p):
        squared = (g - p) ** 2
        on, off = (squared * g).sum(0) / g.sum(0), (squared * (1 - g)).sum(0) / (1 - g).sum(0)
        return (ratio * on + (1 - ratio) * off).sum()

    assert_follows(losses.SensitivitySpecificityLoss(ratio), batch, formula)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="sensitivity_ratio = 2 must be from 0 to 1"):
        losses.SensitivitySpecificityLoss(2)
    with pytest.raises(ValueError, match="must not be negative, and one"):
        losses.TverskyLoss(-1, 1)


@pytest.mark.parametrize("name", ["dice", "gdsc", "wgdl", "tversky"])
def test_a_perfect_prediction_costs_nothing_even_where_classes_are_absent(name):
    labels = np.zeros((2, 20, 20), int)
    labels[0, 5:10, 5:10] = 2
    logits = 40.0 * np.eye(4, dtype="float32")[labels]
    value = losses.SEGMENTATION_LOSSES[name]().per_sample(labels, logits)
    np.testing.assert_allclose(value, [0, 0], atol=1e-5)


def test_distances_are_read_from_the_numbers_above_the_diagonal():
    np.testing.assert_array_equal(overlap.check_distances([1, 2, 3]), [[0, 1, 2], [1, 0, 3], [2, 3, 0]])
