"""Matches of features: the highest where something came from, and none where there is nothing."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from sfgkeras.layers.matching import match


@pytest.mark.parametrize("rank", [2, 3])
def test_the_highest_match_is_where_it_came_from(rank):
    first = np.random.default_rng(0).standard_normal((1, *(7,) * rank, 6)).astype("float32")
    moved = (1, -2, 2)[:rank]
    other = np.roll(first, [-by for by in moved], axis=range(1, rank + 1))  # at x is what was at x + moved
    found = ops.convert_to_numpy(match(first, other, 2))
    assert found.shape == (1, *(7,) * rank, 5**rank)
    inner = found[(0, *(slice(2, -2),) * rank)].reshape(-1, 5**rank)
    wanted = list(itertools.product(range(-2, 3), repeat=rank)).index(moved)
    assert (inner.argmax(axis=-1) == wanted).all()
    np.testing.assert_allclose(inner[:, wanted], 1, atol=1e-2)


def test_an_empty_background_matches_nothing_and_has_a_gradient():
    tf = pytest.importorskip("tensorflow")
    features = keras.Variable(np.zeros((1, 4, 4, 3), "float32"))
    with tf.GradientTape() as tape:
        found = match(features + 0.0, features + 0.0, 1)
        loss = ops.sum(found)
    assert not ops.convert_to_numpy(found).any()
    assert np.isfinite(tape.gradient(loss, features.value)).all()
