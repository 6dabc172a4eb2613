"""What holds of every loss: samples count one by one, gradients are those of finite differences, places do not matter.

A sample without a label costs nothing and gives its head no gradient, whatever the loss.
"""

import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.tables.losses import LOSSES

CASES = [(kind, name) for kind, entries in LOSSES.items() for name in entries]


def targets_and_outputs(kind, name, one_logit):
    rng = np.random.default_rng(0)
    if kind in ("segmentation", "classification"):
        channels, shape = (1, 2) if one_logit else (3, 3), (4, 5, 5) if kind == "segmentation" else (4,)
        targets = rng.integers(0, channels[1], shape).astype("int32")
        return targets, rng.normal(size=(*shape, channels[0])).astype("float32")
    if kind == "bounding_box":
        low = rng.uniform(0.1, 0.4, size=(4, 2))
        boxes = np.concatenate([low, low + rng.uniform(0.2, 0.5, size=(4, 2))], axis=1).astype("float32")
        return boxes, (boxes + 0.05 * rng.normal(size=boxes.shape)).astype("float32")
    if kind == "landmarks":
        shape = (4, 6, 6, 3) if LOSSES[kind][name].needs_map else (4, 6)
        return rng.uniform(size=(4, 3, 2)).astype("float32"), rng.normal(size=shape).astype("float32")
    return tuple(rng.normal(size=(4, 5, 5, 2)).astype("float32") for _ in range(2))


@pytest.mark.parametrize(("kind", "name"), CASES, ids=lambda given: given)
def test_samples_without_a_label_cost_nothing_and_give_no_gradient(kind, name):
    entry = LOSSES[kind][name]
    targets, outputs = targets_and_outputs(kind, name, entry.one_logit)
    # A missing label is filled with anything: with a number that is none, where it may be one.
    filled = np.array(targets)
    filled[2:] = 1e6 if targets.dtype.kind == "f" else 0
    loss = entry.load()()
    maps = targets.shape[:-1] if kind == "landmarks" else outputs.shape[:-1]
    for has_label in ([1, 1, 0, 0], [0, 0, 0, 0]):
        weights = np.ones(maps, "float32") * np.reshape(np.float32(has_label), (4, *(1,) * (len(maps) - 1)))
        variable = tf.Variable(outputs)
        with tf.GradientTape() as tape:
            values = loss.per_sample(filled, variable, weights)
            total = tf.reduce_sum(values)
        gradient = tape.gradient(total, variable).numpy()
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(gradient[np.array(has_label) == 0], 0.0)
        np.testing.assert_array_equal(np.array(values)[np.array(has_label) == 0], 0.0)
        assert (np.abs(gradient[np.array(has_label) == 1]).reshape(-1, 1) > 0).any() == any(has_label)


@pytest.mark.parametrize(("kind", "name"), CASES, ids=lambda given: given)
def test_every_sample_costs_what_it_costs_alone_times_its_weight(kind, name):
    """Batches may be cut anywhere: over devices, or at the end of an epoch."""
    entry = LOSSES[kind][name]
    targets, outputs = targets_and_outputs(kind, name, entry.one_logit)
    loss, weights = entry.load()(), np.float32([1.0, 0.5, 3.0, 0.0])
    together = np.asarray(loss.per_sample(targets, outputs))
    alone = [float(loss.per_sample(targets[i : i + 1], outputs[i : i + 1])[0]) for i in range(4)]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
    maps = targets.shape[:-1] if kind == "landmarks" else outputs.shape[:1]
    factors = np.repeat(weights[:, None], 3, axis=1) if kind == "landmarks" else weights
    assert factors.shape == maps
    weighed = np.asarray(loss.per_sample(targets, outputs, factors))
    np.testing.assert_allclose(weighed, weights * alone, rtol=1e-4, atol=1e-5)
    assert float(loss(targets, outputs, factors)) == pytest.approx(np.mean(weights * alone), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("kind", "name"), CASES, ids=lambda given: given)
def test_gradients_are_those_of_finite_differences(kind, name):
    """Along three random directions, of a sum in which samples have weights of their own."""
    entry = LOSSES[kind][name]
    targets, outputs = targets_and_outputs(kind, name, entry.one_logit)
    loss, variable, weights = entry.load()(), tf.Variable(outputs), np.float32([1.0, 2.0, 0.5, 1.5])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(loss.per_sample(targets, variable) * weights)
    gradient = tape.gradient(total, variable).numpy().astype("float64")
    rng, step = np.random.default_rng(1), 1e-3 if kind == "bounding_box" else 5e-3
    for _ in range(3):
        direction = rng.normal(size=outputs.shape).astype("float32")
        direction /= np.abs(direction).max()
        ends = [
            np.asarray(loss.per_sample(targets, outputs + side * step * direction), "float64") @ weights
            for side in (-1, 1)
        ]
        slope, size = (gradient * direction).sum(), np.abs(gradient * direction).sum()
        assert (ends[1] - ends[0]) / (2 * step) == pytest.approx(slope, rel=2e-2, abs=2e-2 * size + 1e-4)
    assert np.abs(gradient).max() > 0


OF_MAPS = [case for case in CASES if case[0] not in ("bounding_box", "landmarks", "motion", "classification")]


@pytest.mark.parametrize(("kind", "name"), OF_MAPS, ids=lambda given: given)
def test_a_mirrored_map_costs_the_same(kind, name):
    entry = LOSSES[kind][name]
    targets, outputs = targets_and_outputs(kind, name, entry.one_logit)
    loss, weights = entry.load()(), np.random.default_rng(2).uniform(size=(4, 5, 5)).astype("float32")
    expected = np.asarray(loss.per_sample(targets, outputs, weights))
    for axis in (1, 2):
        mirrored = loss.per_sample(*(np.flip(each, axis) for each in (targets, outputs, weights)))
        np.testing.assert_allclose(mirrored, expected, rtol=1e-4, atol=1e-5)
