"""Boxes: their overlap as a number, as a loss and as a metric."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from sfgkeras import boxes, losses, metrics

# Whole numbers, so that boxes can be filled with unit squares and counted.
CORNERS = st.lists(st.integers(0, 7), min_size=4, max_size=4)


def drawn(box, size=8):
    """The unit squares of a box of whole numbers, as a mask."""
    rank = len(box) // 2
    mask = np.zeros((size,) * rank, bool)
    low, high = np.minimum(box[:rank], box[rank:]), np.maximum(box[:rank], box[rank:])
    mask[tuple(slice(first, last) for first, last in zip(low, high, strict=True))] = True
    return mask


def counted(first, second):
    both, either = drawn(first) & drawn(second), drawn(first) | drawn(second)
    return both.sum(), either.sum()


@pytest.mark.parametrize(
    ("first", "second", "iou", "giou"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1, 1),
        ((0, 0, 2, 2), (1, 0, 3, 2), 2 / 6, 2 / 6),  # the hull is covered
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7, 1 / 7 - 2 / 9),
        ((0, 0, 1, 1), (3, 0, 4, 1), 0, -2 / 4),
        ((0, 0, 1, 1), (1, 1, 2, 2), 0, -2 / 4),  # they touch in a corner
        ((0, 0, 4, 4), (1, 1, 2, 2), 1 / 16, 1 / 16),
        ((2, 2, 0, 0), (0, 2, 2, 0), 1, 1),  # corners in any order
        ((1, 1, 1, 1), (1, 1, 1, 1), 1, 1),  # nothing, found
        ((1, 1, 1, 1), (2, 1, 2, 1), 0, 0),  # nothing, elsewhere
        ((1, 1, 1, 1), (0, 0, 2, 2), 0, 0),
        ((0, 0, 0, 1, 1, 1), (0, 0, 0, 1, 1, 2), 1 / 2, 1 / 2),
        ((0, 0, 0, 2, 2, 2), (1, 1, 1, 3, 3, 3), 1 / 15, 1 / 15 - 12 / 27),
    ],
)
def test_overlaps_worked_out_by_hand(first, second, iou, giou):
    for one, other in ((first, second), (second, first)):
        np.testing.assert_allclose(boxes.intersection_over_union([one], [other]), [iou], rtol=1e-6)
        np.testing.assert_allclose(boxes.generalised_intersection_over_union([one], [other]), [giou], rtol=1e-6)
        np.testing.assert_allclose(losses.GeneralisedOverlapLoss()([one], [other]), 1 - giou, rtol=1e-6)


@settings(deadline=None, max_examples=60)
@given(CORNERS, CORNERS)
def test_the_overlap_of_boxes_is_that_of_their_masks(first, second):
    both, either = counted(first, second)
    found = float(boxes.intersection_over_union([first], [second])[0])
    if either:
        assert found == pytest.approx(both / either, abs=1e-6)
    else:
        ordered = [np.sort(np.reshape(box, (2, 2)), axis=0).ravel().tolist() for box in (first, second)]
        assert found == float(ordered[0] == ordered[1])
    generalised = float(boxes.generalised_intersection_over_union([first], [second])[0])
    assert -1 <= generalised <= found


def test_boxes_that_do_not_meet_are_drawn_together():
    import tensorflow as tf

    truth, prediction = tf.constant([[0.0, 0.0, 1.0, 1.0]]), tf.constant([[3.0, 0.0, 4.0, 1.0]])
    with tf.GradientTape() as tape:
        tape.watch(prediction)
        loss = losses.GeneralisedOverlapLoss()(truth, prediction)
    gradient = tape.gradient(loss, prediction).numpy()[0]
    assert np.all(np.isfinite(gradient))
    # The loss is 1 + (x_min - 1) / x_max: down the gradient the near edge reaches for the other box.
    np.testing.assert_allclose(gradient[[0, 2]], [1 / 4, -2 / 16], rtol=1e-5)
    eps = 1e-3
    for place in range(4):
        moved = [prediction.numpy().astype("float64") + sign * eps * np.eye(4)[place] for sign in (1, -1)]
        slope = [float(losses.GeneralisedOverlapLoss()(truth, m.astype("float32"))) for m in moved]
        if place in (0, 2):  # at the other two the boxes' edges meet, where the hull has a corner
            assert (slope[0] - slope[1]) / (2 * eps) == pytest.approx(gradient[place], abs=2e-3)


def test_a_network_learns_a_box_by_its_overlap():
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(4, use_bias=False)])
    network.compile(keras.optimizers.Adam(0.05), losses.GeneralisedOverlapLoss(), metrics=[metrics.BoxOverlap()])
    x, y = np.ones((4, 1), "float32"), np.tile(np.array([[0.2, 0.3, 0.7, 0.9]], "float32"), (4, 1))
    before = network.evaluate(x, y, verbose=0, return_dict=True)["box_iou"]
    network.fit(x, y, epochs=80, verbose=0)
    assert network.evaluate(x, y, verbose=0, return_dict=True)["box_iou"] > max(0.8, before)


def test_samples_of_weight_zero_cost_and_measure_nothing():
    truth, prediction = [[0, 0, 2, 2]] * 3, [[0, 0, 2, 2], [5, 5, 6, 6], [1, 0, 3, 2]]
    per_sample = losses.GeneralisedOverlapLoss().per_sample(truth, prediction, [1.0, 0.0, 2.0])
    np.testing.assert_allclose(per_sample, [0, 0, 2 * (1 - 2 / 6)], atol=1e-6)
    metric = metrics.BoxOverlap()
    assert np.isnan(metric.result())
    metric.update_state(truth[:2], prediction[:2], [1.0, 0.0])
    np.testing.assert_allclose(metric.result(), 1)
    metric.update_state(truth[2:], prediction[2:], [3.0])
    np.testing.assert_allclose(metric.result(), (1 + 3 * 2 / 6) / 4, rtol=1e-6)
    metric.update_state(truth, prediction)
    np.testing.assert_allclose(metric.result(), (1 + 3 * 2 / 6 + 1 + 0 + 2 / 6) / 7, rtol=1e-6)
    metric.reset_state()
    assert np.isnan(metric.result())


def test_a_box_is_learned_by_the_mean_of_its_squared_errors_too():
    truth, prediction = np.array([[0.0, 0.0, 1.0, 1.0]]), np.array([[0.5, 0.0, 1.0, 0.0]])
    np.testing.assert_allclose(losses.MeanSquaredError()(truth, prediction), (0.25 + 1) / 4, rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3), (2, 0), (4,), (2, 2, 4)])
def test_what_is_no_box_is_refused(shape):
    with pytest.raises(ValueError, match="two opposite corners"):
        boxes.intersection_over_union(np.zeros(shape), np.zeros(shape))


def test_boxes_of_another_rank_are_refused():
    with pytest.raises(ValueError, match=r"true boxes of shape \(1, 6\) do not fit predictions of \(1, 4\)"):
        losses.GeneralisedOverlapLoss()(np.zeros((1, 6)), np.zeros((1, 4)))


def test_half_precision_boxes_are_compared_in_single_precision():
    value = boxes.intersection_over_union(np.array([[0, 0, 300, 300]], "float16"), [[0.0, 0.0, 300.0, 300.0]])
    assert ops.dtype(value) == "float32"
    assert float(value[0]) == 1


@pytest.mark.parametrize("made", [losses.GeneralisedOverlapLoss(reduction="sum", name="l"), metrics.BoxOverlap("m")])
def test_they_survive_serialisation(made):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert type(copy) is type(made)
    assert copy.get_config() == made.get_config()
