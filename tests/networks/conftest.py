"""A network small enough to try everything on, and weights that show every mistake."""

import keras
import numpy as np
import pytest

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks import MultiTaskNetwork


@keras.saving.register_keras_serializable(package="tests")
class SmallNetwork(MultiTaskNetwork):
    """Three layers of filter groups, residual blocks with dilation after the first."""

    stages = (Stage(6, num_blocks=1, dilation=2), Stage(9), Stage(8))


@pytest.fixture(scope="session")
def small_network():
    """The class of the small network."""
    return SmallNetwork


@pytest.fixture(scope="session")
def images():
    """Makes random images: `images(size, rank, batch, channels, seed)`."""

    def make(size=10, rank=2, batch=3, channels=1, seed=0):
        shape = (batch, *(size,) * rank, channels)
        return np.random.default_rng(seed).normal(size=shape).astype("float32")

    return make


@pytest.fixture(scope="session")
def scramble():
    """Gives every filter a group and every other variable a value that no rounding hides."""

    def change(network, seed=0, groups=None):
        rng = np.random.default_rng(seed)
        for layer, grouping in enumerate(network.groupings().values()):
            if groups is None:
                chosen = rng.integers(grouping.num_groups, size=grouping.filters)
            else:
                chosen = np.asarray(groups[layer])
            corners = np.eye(grouping.num_groups)[chosen] == 1
            grouping.grouping_logits.assign(np.where(corners, 5.0, -200.0))
        for variable in network.trainable_variables:
            if variable.path.endswith(("gamma", "alpha")):
                variable.assign(rng.uniform(0.3, 1.2, size=variable.shape))
            elif variable.path.endswith(("beta", "bias")):
                variable.assign(rng.normal(size=variable.shape))
        for layer in network.normalizations():
            layer.moving_mean.assign(rng.normal(size=layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2.0, size=layer.moving_mean.shape))

    return change
