"""A sample without a label: whatever the loss, it costs nothing and gives its head no gradient."""

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
