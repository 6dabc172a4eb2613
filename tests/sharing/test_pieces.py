"""Small parts of mechanisms: plain settings, what is said of kernels and covariances, and what is fed to stages."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from sfgkeras.architecture.graph import build_architecture
from sfgkeras.architecture.stage import Stage
from sfgkeras.errors import ConfigError
from sfgkeras.grouping import temperature_schedule
from sfgkeras.sharing import SFG, SHARING, ConstantMask, ConstantP, SoftSharing, Tree
from sfgkeras.sharing.base import plain
from sfgkeras.sharing.fed_outputs import Feeding, FeedingTensors, LabelEmbedding, tasks_fed
from sfgkeras.sharing.sfg import LAST_TEMPERATURE, _parse_probabilities
from sfgkeras.sharing.soft_sharing_trunk import _meets, alike
from sfgkeras.sharing.tensor_normal_prior import correlation_of


def test_settings_are_plain_numbers_whatever_they_were_given_as():
    """So that they can be compared, hashed, and written into a saved network."""
    assert plain(np.array([[0, 1], [2, 2]])) == ((0, 1), (2, 2))
    assert plain([np.float32(0.5), 1]) == (0.5, 1)
    assert type(plain(np.array([1]))[0]) is int
    assert plain(None) is None
    assert plain("dirichlet") == "dirichlet"
    allocation = [np.array([0, 2]), np.array([1, 1])]
    assert ConstantMask(allocation=allocation) == ConstantMask(allocation=((0, 2), (1, 1)))
    assert hash(SFG(temperature=[1.0, 0.0, 0.1])) == hash(SFG(temperature=(1.0, 0.0, 0.1)))


@pytest.mark.parametrize("name", SHARING)
def test_a_setting_that_no_mechanism_has_is_refused_with_those_that_there_are(name):
    known = SHARING[name].setting_names()
    with pytest.raises(TypeError, match=f"sharing = {name} has no setting 'qqq'; it has {', '.join(known) or 'none'}"):
        SHARING[name].from_values({"qqq": 1})


def test_only_patterns_and_places_of_stages_need_a_network_to_be_checked():
    assert SoftSharing(layers=("conv_*",)).names_stages
    assert not SoftSharing().names_stages
    assert not SFG().names_stages


def test_heads_are_where_they_are_unless_a_mechanism_places_them():
    assert Tree().place_heads([], ["map", "map"], ["bottom", None], ["a", "b"]) == ["bottom", None]


def test_a_search_ends_at_the_lowest_temperature_without_noise():
    searched = SFG(assignment="hard", per_sample=True, entropy_decay=0.5).searching(160)
    assert (searched.assignment, searched.per_sample, searched.noise, searched.entropy_decay) == (
        "soft",
        False,
        False,
        0.5,
    )
    temperatures = ops.convert_to_numpy(temperature_schedule(np.array([0, 80, 160, 200]), *searched.temperature))
    np.testing.assert_allclose(temperatures, [1.0, math.sqrt(0.1), LAST_TEMPERATURE, LAST_TEMPERATURE], rtol=1e-5)


def test_initial_probabilities_are_those_of_the_groups_that_a_stage_can_serve():
    given = SFG(initial_probabilities=(0.1, 0.3, 0.6))
    assert given.probabilities_of([0, 1, 2]) == (0.1, 0.3, 0.6)
    assert given.probabilities_of([1, 2]) == pytest.approx((1 / 3, 2 / 3))
    assert SFG().probabilities_of([1, 2]) is None
    assert SFG(initial_probabilities="vertices").probabilities_of([1, 2]) == "vertices"
    assert ConstantP().probabilities_of([1, 2]) == (0.5, 0.5)
    assert ConstantP(initial_probabilities="dirichlet").probabilities_of([1, 2]) == "dirichlet"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("dirichlet", "dirichlet"), ("'Vertices'", "vertices"), ("0.2, 0.2, 0.6", (0.2, 0.2, 0.6)), ("1", (1.0,))],
)
def test_probabilities_are_numbers_or_a_way_to_draw_them(text, expected):
    assert _parse_probabilities(text) == expected


def test_probabilities_that_are_neither_are_refused_with_what_there_is():
    with pytest.raises(ConfigError, match="write one probability per group, or dirichlet or vertices"):
        _parse_probabilities("dirichlet, 0.5")


def test_kernels_are_alike_by_the_product_over_the_mean_of_their_squares():
    """By hand: equal ones 1, twice as long 4/5, at right angles and opposed ones 0, and none at all 0."""
    kernels = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 4.0], [-2.0, 1.0], [-1.0, -2.0], [0.0, 0.0]])
    expected = np.eye(6)
    expected[0, 1] = expected[1, 0] = 1.0
    expected[[0, 1], 2] = expected[2, [0, 1]] = 0.8
    np.testing.assert_allclose(alike(kernels), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("pattern", "met"),
    [
        ("conv_1", {"conv_1/convolution", "conv_1/block_1/convolution_2"}),
        ("conv_?", {"conv_1/convolution", "conv_1/block_1/convolution_2", "conv_2/convolution"}),
        ("conv_1/convolution", {"conv_1/convolution"}),
        ("*/block_*", {"conv_1/block_1/convolution_2"}),
        ("CONV_1", set()),
    ],
)
def test_patterns_meet_stages_with_their_blocks_or_single_kernels(pattern, met):
    names = {"conv_1/convolution", "conv_1/block_1/convolution_2", "conv_2/convolution"}
    assert {name for name in names if _meets(pattern, name)} == met


def test_correlations_are_those_of_numpy():
    samples = np.random.default_rng(0).normal(size=(50, 4)) @ np.random.default_rng(1).normal(size=(4, 4))
    found = correlation_of(np.cov(samples.T))
    np.testing.assert_allclose(found, np.corrcoef(samples.T), atol=1e-12)
    np.testing.assert_array_equal(np.diag(found), 1.0)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "linear"])
def test_outputs_are_embedded_as_the_mean_of_vectors_by_their_activation(activation):
    """`sum_j p_j e_j`, at every voxel."""
    layer = LabelEmbedding(2, activation, keras.initializers.RandomNormal(seed=0))
    layer.build((None, 3, 3))
    outputs = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    shifted = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
    p = {
        "softmax": shifted / shifted.sum(axis=-1, keepdims=True),
        "sigmoid": 1 / (1 + np.exp(-outputs)),
        "linear": outputs,
    }[activation]
    np.testing.assert_allclose(layer(outputs), p @ np.asarray(layer.vectors), rtol=1e-5, atol=1e-6)


def test_the_first_stage_behind_a_head_is_told_all_that_was_said_before():
    stages = [Stage(2, name=name) for name in ("one", "two", "three", "four")]
    architecture = build_architecture(stages, 1.0, ["one", "three", "one", None])
    assert [tasks_fed(architecture, [0, 1, 2], index) for index in range(4)] == [[], [0, 2], [], [0, 1, 2]]
    assert [tasks_fed(architecture, [1], index) for index in range(4)] == [[], [], [], [1]]


class Head:
    """Says the mean over the channels of what it reads; of a vector, the mean over all voxels, too."""

    def __init__(self, kind):
        self.kind = kind

    def __call__(self, features, training=None):
        assert training is False  # without dropout
        axes = (1, 2, 3) if self.kind == "vector" else 3
        mean = ops.mean(features, axis=axes, keepdims=True)
        return ops.reshape(mean, (-1, 1)) if self.kind == "vector" else mean


@pytest.mark.parametrize("kind", ["map", "vector"])
def test_maps_are_pooled_to_the_size_of_a_stage_and_vectors_stand_at_every_voxel(kind):
    """The head reads a stage of 4 x 4 voxels; what is fed two levels below has one voxel, the maximum of its maxima."""
    stages = [Stage(2, name="one"), Stage(2, pools=True), Stage(2, pools=True), Stage(2)]
    architecture = build_architecture(stages, 1.0, ["one", "stage_3", None])
    embedding = LabelEmbedding(1, "linear", keras.initializers.Constant(2.0))
    embedding.build((None, 1))
    feeding = Feeding(architecture, [0], [Head(kind)] * 3, {0: embedding}, FeedingTensors())
    left = np.random.default_rng(0).normal(size=(2, 4, 4, 2)).astype("float32")
    feeding.note(0, {2: ops.convert_to_tensor(left)})
    said = 2 * left.mean(axis=-1)
    for index, size in ((1, 4), (3, 1)):
        stream = ops.ones((2, size, size, 3))
        widened = np.asarray(feeding.widen(index, {0: stream, 1: stream})[0])
        assert widened.shape == (2, size, size, 4)
        np.testing.assert_array_equal(widened[..., :3], 1.0)
        fed = widened[..., 3]
        if kind == "vector":
            np.testing.assert_allclose(
                fed, np.broadcast_to(said.mean(axis=(1, 2))[:, None, None], fed.shape), rtol=1e-5
            )
        else:
            expected = said.reshape(2, size, 4 // size, size, 4 // size).max(axis=(2, 4))
            np.testing.assert_allclose(fed, expected, rtol=1e-5)


def test_streams_that_are_one_tensor_are_widened_once_and_a_stage_that_is_fed_nothing_keeps_its_own():
    stages = [Stage(2, name="one"), Stage(2), Stage(2)]
    architecture = build_architecture(stages, 1.0, ["one", None])
    embedding = LabelEmbedding(1, "linear", keras.initializers.Constant(1.0))
    embedding.build((None, 1))
    feeding = Feeding(architecture, [0], [Head("map")] * 2, {0: embedding}, FeedingTensors(), "float16")
    feeding.note(0, {0: ops.ones((1, 2, 2, 2))})
    stream = ops.ones((1, 2, 2, 3), "float16")
    found = feeding.widen(1, {0: stream, 2: stream})
    assert found[0] is found[2]
    assert found[0].dtype == "float16"
    assert feeding.widen(2, {0: stream})[0] is stream


def test_a_head_on_a_stage_that_pools_says_what_it_reads_behind_the_pooling():
    """The mean over the 2 x 2 maxima of 4 x 4 voxels, at every voxel of the next stage."""
    stages = [Stage(2, name="one", pools=True), Stage(2)]
    architecture = build_architecture(stages, 1.0, ["one", None])
    embedding = LabelEmbedding(1, "linear", keras.initializers.Constant(1.0))
    embedding.build((None, 1))
    feeding = Feeding(architecture, [0], [Head("vector")] * 2, {0: embedding}, FeedingTensors())
    left = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype("float32")
    feeding.note(0, {2: ops.convert_to_tensor(left)})
    fed = np.asarray(feeding.widen(1, {0: ops.ones((1, 2, 2, 3))})[0])[..., 3]
    np.testing.assert_allclose(
        fed, np.full((1, 2, 2), left.reshape(1, 2, 2, 2, 2, 2).max(axis=(2, 4)).mean()), rtol=1e-5
    )
