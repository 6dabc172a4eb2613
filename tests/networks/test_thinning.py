"""Thin networks that start from trained wide ones: what they compute, and from where they may start."""

import keras
import numpy as np
import pytest

from sfgkeras.architecture.stage import Stage
from sfgkeras.errors import Problem
from sfgkeras.networks import Head, HighResNet, MultiTaskNetwork, UNet
from sfgkeras.networks.thinning import start_thin, wide_network

TASKS = {"a": 1, "b": 2}


@keras.saving.register_keras_serializable(package="tests_thinning")
class Linear(MultiTaskNetwork):
    """Two convolutions without normalisation: with a linear activation mixtures stay mixtures."""

    stages = (Stage(8, normalisation="none"), Stage(8, normalisation="none"))


def pair_of(kind, size=(6, 6, 2), wide_changes=None, **settings):
    thin = kind(TASKS, "fully_adaptive", seed=0, **settings)
    thin.build((None, *size))
    wide = wide_network(thin)
    rng = np.random.default_rng(0)
    for variable in wide.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    for variable in wide.non_trainable_variables:
        if "moving_variance" in variable.path:
            variable.assign(rng.uniform(0.5, 2.0, size=variable.shape))
        elif "moving_mean" in variable.path:
            variable.assign(rng.normal(size=variable.shape))
    return thin, wide


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (HighResNet, {"width": 0.25, "heads": {"b": "vector"}}),
        (UNet, {"width": 1 / 16, "levels": 1, "decoder_start": "decoder"}),
        (Linear, {"heads": {"b": Head("vector", pooling="flatten", layers=(3,))}}),
    ],
)
def test_a_network_that_is_not_thinner_computes_what_the_wide_one_does(kind, settings):
    thin, wide = pair_of(kind, start_width=1.0, batch_norm="population", **settings)
    x = np.random.default_rng(1).normal(size=(2, 6, 6, 2)).astype("float32")
    before = {name: np.asarray(value) for name, value in thin(x).items()}
    start_thin(thin, wide)
    for name, expected in wide(x).items():
        expected = np.asarray(expected)
        np.testing.assert_allclose(thin(x)[name], expected, atol=1e-4 * np.abs(expected).max())
        assert np.abs(before[name] - expected).max() > 0.1


def test_a_thin_network_computes_the_same_where_the_other_filters_are_mixtures_of_as_many():
    thin, wide = pair_of(Linear, activation="linear")
    rng = np.random.default_rng(2)
    biases = [wide.trunk.convolutions[f"{index}_2"].bias for index in (0, 1)]
    for index, bias in enumerate(biases):
        kernel = wide.trunk.convolutions[f"{index}_2"].kernel
        mixtures = rng.normal(size=(4, 8)) / 2
        kernel.assign(np.asarray(kernel)[..., :4] @ mixtures)
        bias.assign(np.zeros(8))
    start_thin(thin, wide)
    x = rng.normal(size=(2, 6, 6, 2)).astype("float32")
    assert thin.trunk.convolutions["0_0"].kernel.shape == (3, 3, 2, 4)
    for name, expected in wide(x).items():
        expected = np.asarray(expected)
        np.testing.assert_allclose(thin(x)[name], expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("kind", [HighResNet, UNet])
def test_a_network_of_half_the_filters_computes_the_same_where_every_filter_is_there_twice(kind):
    """Through normalisation, slopes, blocks and skips, which all are alike for both of them."""
    settings = {"width": 0.25} if kind is HighResNet else {"width": 1 / 16, "levels": 1}
    thin, wide = pair_of(kind, batch_norm="population", **settings)
    for variable in [v for v in wide.trunk.variables if v.shape]:
        values = np.asarray(variable)
        half = values.shape[-1] // 2
        variable.assign(np.concatenate([values[..., :half], values[..., :half]], axis=-1))
    start_thin(thin, wide)
    x = np.random.default_rng(3).normal(size=(2, 6, 6, 2)).astype("float32")
    for name, expected in wide(x).items():
        expected = np.asarray(expected)
        np.testing.assert_allclose(thin(x)[name], expected, atol=1e-4 * np.abs(expected).max())


def test_a_head_that_cannot_leave_a_range_keeps_the_range_that_was_set():
    thin, wide = pair_of(Linear, heads={"a": Head("map", activation="range")})
    wide.heads[0].set_bounds(-0.5, 2.0)
    start_thin(thin, wide)
    np.testing.assert_array_equal(thin.heads[0].limits, [-0.5, 2.0])
    assert thin.heads[1].limits is None


def test_what_cannot_start_so_is_refused():
    thin, wide = pair_of(Linear)
    with pytest.raises(Problem, match="is hard_sharing from hard_sharing; start fully_adaptive from hard_sharing"):
        start_thin(wide, wide)
    other = HighResNet(TASKS, "hard_sharing", width=0.25, seed=0)
    with pytest.raises(Problem, match="has other stages or tasks"):
        start_thin(thin, other)
    thin.trunk.decide(1)
    with pytest.raises(Problem, match="has been split already"):
        start_thin(thin, wide)
