"""Accuracy, Dice and intersection over union, of classes and of one logit, against counting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfgkeras import metrics

NAMED = {"accuracy": metrics.Accuracy, "dice": lambda: metrics.Dice(2), "jaccard": lambda: metrics.Jaccard(2)}


def one_logit(mask):
    return np.where(np.asarray(mask)[..., None], 3.0, -3.0).astype("float32")


def measured(truth, predicted, weight=None, logits=one_logit):
    found = {}
    for name, build in NAMED.items():
        metric = build()
        metric.update_state(np.asarray(truth), logits(predicted), weight)
        found[name] = float(metric.result())
    return found


@pytest.mark.parametrize(
    ("truth", "predicted", "accuracy", "jaccard", "dice"),
    [
        ([1, 1, 0, 0], [1, 0, 1, 0], 2 / 4, 1 / 3, 2 / 4),
        ([1, 1, 1, 0], [1, 1, 0, 0], 3 / 4, 2 / 3, 4 / 5),
        ([0, 0, 0, 0], [0, 0, 0, 0], 1, 1, 1),  # nothing there, nothing found
        ([0, 0, 0, 0], [1, 0, 0, 0], 3 / 4, 0, 0),  # nothing there, something found
        ([1, 1, 0, 0], [0, 0, 0, 0], 2 / 4, 0, 0),  # something there, nothing found
        ([1, 1, 1, 1], [1, 1, 1, 1], 1, 1, 1),
    ],
)
def test_by_hand_also_on_empty_masks(truth, predicted, accuracy, jaccard, dice):
    found = measured([truth], [predicted])
    assert found == pytest.approx({"accuracy": accuracy, "jaccard": jaccard, "dice": dice}, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.data(), st.integers(1, 12))
def test_one_logit_is_measured_as_two_classes_and_both_as_sets_of_voxels(data, count):
    masks = st.lists(st.booleans(), min_size=count, max_size=count)
    truth, predicted, inside = (np.array([data.draw(masks)]) for _ in range(3))
    found = measured(truth.astype(int), predicted, inside.astype("float32"))

    def two_logits(mask):
        logit = one_logit(mask)
        return np.concatenate([np.zeros_like(logit), logit], axis=-1)

    assert measured(truth.astype(int), predicted, inside.astype("float32"), two_logits) == pytest.approx(
        found, abs=1e-6, nan_ok=True
    )
    a, b = ({i for i in range(count) if mask[0, i] and inside[0, i]} for mask in (truth, predicted))
    if not inside.any():
        assert all(np.isnan(value) for value in found.values())
        return
    assert found["accuracy"] == pytest.approx((truth == predicted)[inside].mean(), abs=1e-6)
    assert found["jaccard"] == pytest.approx(len(a & b) / len(a | b) if a | b else 1, abs=1e-6)
    assert found["dice"] == pytest.approx(2 * len(a & b) / (len(a) + len(b)) if a | b else 1, abs=1e-6)
    # J = D / (2 - D)
    assert found["jaccard"] == pytest.approx(found["dice"] / (2 - found["dice"]), abs=1e-6)


def test_a_logit_of_zero_is_the_first_class_as_the_first_of_two_equal_logits():
    for logits in (np.zeros((1, 3, 1)), np.zeros((1, 3, 2))):
        metric = metrics.Accuracy()
        metric.update_state(np.array([[0, 0, 1]]), logits)
        assert float(metric.result()) == pytest.approx(2 / 3)


def test_the_intersection_over_union_of_classes_is_averaged_over_those_that_are_there():
    truth, predicted = np.array([[0, 1, 1, 2]]), np.array([[0, 1, 0, 3]])
    metric = metrics.Jaccard(num_classes=5)
    metric.update_state(truth, 5 * np.eye(5)[predicted])
    np.testing.assert_allclose(metric.per_class(), [1 / 2, 1 / 2, 0, 0, np.nan], rtol=1e-6)
    np.testing.assert_allclose(metric.result(), (1 / 2 + 0 + 0) / 3, rtol=1e-6)


def test_counts_add_up_over_batches():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 2, (2, 6, 5, 4))
    whole, parts = metrics.Jaccard(2), metrics.Jaccard(2)
    whole.update_state(truth, one_logit(predicted))
    for part in (slice(0, 1), slice(1, 6)):
        parts.update_state(truth[part], one_logit(predicted[part]))
    expected = ((truth & predicted) == 1).sum() / ((truth | predicted) == 1).sum()
    np.testing.assert_allclose([whole.result(), parts.result()], expected, rtol=1e-6)


def test_classes_of_samples_are_counted_with_one_logit():
    metric = metrics.Accuracy()
    metric.update_state(np.array([1, 0, 1]), np.array([[2.0], [1.0], [-1.0]]), np.array([1.0, 1.0, 2.0]))
    assert float(metric.result()) == pytest.approx(1 / 4)


def test_jaccard_survives_serialisation_and_needs_two_classes():
    import keras

    metric = metrics.Jaccard(3, "mine")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert (type(copy), copy.get_config()) == (metrics.Jaccard, metric.get_config())
    with pytest.raises(ValueError, match="num_classes = 1 must be 2 or more"):
        metrics.Jaccard(num_classes=1)
