"""Depth and normals by hand: constants, planes, masks, gradients."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from sfgkeras.losses import NormalLoss, ScaleInvariantLoss
from sfgkeras.losses.surfaces import normal_error, scale_invariant_error

RNG = np.random.default_rng(0)


def depths(*shape):
    return RNG.normal(size=shape).astype("float32")


def by_loops(truth, prediction, valid, invariance=0.5):
    """The formula with loops over the pixels of one sample and channel, rows and columns."""
    residual, count = prediction - truth, valid.sum()
    rows, columns = residual.shape
    squares = total = gradients = 0.0
    for row in range(rows):
        for column in range(columns):
            if not valid[row, column]:
                continue
            squares += residual[row, column] ** 2
            total += residual[row, column]
            for other in ((row + 1, column), (row, column + 1)):
                if other[0] < rows and other[1] < columns and valid[other]:
                    gradients += (residual[other] - residual[row, column]) ** 2
    return squares / count - invariance * total**2 / count**2 + gradients / count


@pytest.mark.parametrize("shape", [(2, 5, 6, 1), (2, 3, 4, 5, 1), (1, 4, 4, 2)])
@pytest.mark.parametrize("c", [-2.0, 0.5])
def test_a_constant_error_c_costs_half_of_its_square(shape, c):
    truth = depths(*shape)
    np.testing.assert_allclose(scale_invariant_error(truth, truth + np.float32(c)), c**2 / 2, rtol=1e-4)
    np.testing.assert_allclose(scale_invariant_error(truth, truth + np.float32(c), invariance=1.0), 0.0, atol=1e-5)


def test_a_slope_costs_its_square_besides():
    """By hand: residuals 0, 1, 2 along a line: 5/3 - 1/2 * 1 + 2/3."""
    line = np.arange(3, dtype="float32").reshape(1, 1, 3, 1)
    assert float(scale_invariant_error(0 * line, ops.convert_to_tensor(line))[0]) == pytest.approx(5 / 3 - 0.5 + 2 / 3)
    without = scale_invariant_error(0 * line, ops.convert_to_tensor(line), gradients=False)
    assert float(without[0]) == pytest.approx(5 / 3 - 0.5)


def test_invalid_pixels_count_nowhere_neither_do_their_neighbours_differences():
    truth, prediction = depths(3, 5, 6, 1), depths(3, 5, 6, 1)
    valid = RNG.random((3, 5, 6)) < 0.6
    valid[2] = False
    dirty = np.where(valid[..., None], truth, np.nan)
    found = np.array(scale_invariant_error(dirty, prediction, valid.astype("float32")))
    expected = [by_loops(truth[i, ..., 0], prediction[i, ..., 0], valid[i]) for i in range(2)]
    np.testing.assert_allclose(found, [*expected, 0.0], rtol=1e-4)
    np.testing.assert_allclose(
        scale_invariant_error(truth, prediction, np.float32([1, 2, 0])),
        np.array(scale_invariant_error(truth, prediction)) * [1, 2, 0],
        rtol=1e-5,
    )


def test_perfect_normals_cost_minus_one_opposite_ones_one_and_lengths_nothing():
    normals = depths(2, 4, 5, 3)
    lengths = RNG.uniform(0.5, 3.0, size=(2, 4, 5, 1)).astype("float32")
    np.testing.assert_allclose(normal_error(normals, normals * lengths), -1.0, rtol=1e-4)
    np.testing.assert_allclose(normal_error(normals, -normals), 1.0, rtol=1e-4)
    unit = [each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (normals, depths(2, 4, 5, 3))]
    expected = -(unit[0] * unit[1]).sum(-1).mean(axis=(1, 2))
    np.testing.assert_allclose(normal_error(normals, unit[1]), expected, rtol=1e-3, atol=1e-5)


def test_invalid_normals_count_nowhere():
    truth, prediction = depths(2, 4, 5, 3), depths(2, 4, 5, 3)
    valid = (RNG.random((2, 4, 5)) < 0.5).astype("float32")
    valid[1] = 0.0
    dirty = np.where(valid[..., None] > 0, truth, np.nan).astype("float32")
    cosines = (truth * prediction).sum(-1) / np.linalg.norm(truth, axis=-1) / np.linalg.norm(prediction, axis=-1)
    expected = -(cosines[0] * valid[0]).sum() / valid[0].sum()
    np.testing.assert_allclose(normal_error(dirty, prediction, valid), [expected, 0.0], rtol=1e-4)


@pytest.mark.parametrize("loss", [ScaleInvariantLoss(), NormalLoss()], ids=lambda loss: type(loss).__name__)
def test_gradients_are_finite_differences_and_none_where_nothing_is_valid(loss):
    truth, start = depths(1, 3, 4, 3), depths(1, 3, 4, 3)
    valid = np.ones((1, 3, 4), "float32")
    valid[0, 1, 1:3] = 0.0
    truth[0, 1, 1] = np.nan
    variable = tf.Variable(start)
    with tf.GradientTape() as tape:
        value = loss(truth, variable, valid)
    gradient = tape.gradient(value, variable).numpy()
    assert (gradient[0, 1, 1:3] == 0).all()
    for place in [(0, 0, 0, 0), (0, 2, 3, 1), (0, 1, 0, 2), (0, 0, 1, 1)]:
        step = np.zeros_like(start)
        step[place] = 1e-2
        slope = (float(loss(truth, start + step, valid)) - float(loss(truth, start - step, valid))) / 2e-2
        assert gradient[place] == pytest.approx(slope, rel=0.02, abs=2e-4)


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match="invariance = 2.0 must lie between 0 and 1"):
        ScaleInvariantLoss(invariance=2.0)
    with pytest.raises(ValueError, match="normals of shape .2, 4, 5, 1. need two channels or more"):
        normal_error(depths(2, 4, 5, 1), depths(2, 4, 5, 1))
    with pytest.raises(ValueError, match="depths of shape .2, 1. are no maps"):
        scale_invariant_error(depths(2, 1), depths(2, 1))
