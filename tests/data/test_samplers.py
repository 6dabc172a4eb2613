"""Where windows are drawn: distributions by chi-square, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from sfgkeras.data.prepared import PreparedSubject
from sfgkeras.data.samplers import (
    SAMPLERS,
    BalancedSampler,
    ResizeSampler,
    UniformSampler,
    WeightedSampler,
    window_axes,
)
from sfgkeras.errors import ConfigError, DataError

DRAWS = 6000


def subject_of(shape=(7, 6, 5), weight=None, name="p01"):
    return PreparedSubject(name, np.zeros((*shape, 1), np.int16), {}, sampling_weight=weight)


def start_counts(sampler, subject, draws=DRAWS, seed=0):
    rng = np.random.default_rng(seed)
    counts = np.zeros(subject.image.shape[:3], int)
    for _ in range(draws):
        counts[tuple(sampler.start(subject, rng))] += 1
    return counts


def assert_follows(counts, probabilities):
    assert counts[probabilities == 0].sum() == 0
    expected = probabilities[probabilities > 0] / probabilities.sum() * counts.sum()
    assert chisquare(counts[probabilities > 0], expected).pvalue > 1e-3


def centre_probabilities_as_starts(weight, window):
    """The probability of every start when the centre follows `weight` among the windows that fit."""
    starts = np.zeros(weight.shape)
    for start in np.ndindex(*[n - w + 1 for n, w in zip(weight.shape, window, strict=True)]):
        starts[start] = weight[tuple(s + w // 2 for s, w in zip(start, window, strict=True))]
    return starts


@pytest.mark.parametrize("window", [(4, 5, 2), (4, 4, 1), (1, 5, 3), (7, 1, 5)])
def test_uniform_starts_are_equally_likely_and_inside(window):
    counts = start_counts(UniformSampler(window), subject_of())
    allowed = np.zeros(counts.shape)
    allowed[tuple(slice(0, n - w + 1) for n, w in zip(counts.shape, window, strict=True))] = 1
    assert_follows(counts, allowed)


@pytest.mark.parametrize("order", ["C", "F", "zxy"])
@pytest.mark.parametrize("window", [(4, 3, 2), (3, 4, 1), (1, 2, 3)])
def test_weighted_centres_follow_the_weight_whatever_the_memory_layout(order, window):
    rng = np.random.default_rng(1)
    weight = rng.random((7, 6, 5)).astype(np.float32) * (rng.random((7, 6, 5)) < 0.5)
    expected = centre_probabilities_as_starts(weight, window)
    weight = (
        np.ascontiguousarray(weight.transpose(2, 0, 1)).transpose(1, 2, 0)
        if order == "zxy"
        else np.array(weight, order=order)
    )
    assert_follows(start_counts(WeightedSampler(window), subject_of(weight=weight)), expected)


def test_weights_near_the_edge_move_the_window_inside_when_no_other_has_weight():
    weight = np.zeros((7, 6, 5))
    weight[0, 0, 0], weight[6, 3, 4] = 1, 3
    counts = start_counts(WeightedSampler((5, 3, 2)), subject_of(weight=weight))
    expected = np.zeros((7, 6, 5))
    expected[0, 0, 0], expected[2, 2, 3] = 1, 3
    assert_follows(counts, expected)


def test_every_label_is_equally_likely_and_then_every_voxel_of_it():
    labels = np.zeros((7, 6, 5), np.int16)
    labels[3:5, 2:4, 2] = 4
    labels[4, 4, 3] = -2
    window = (3, 3, 1)
    weight = sum((labels == value) / np.count_nonzero(labels[1:6, 1:5] == value) for value in (0, 4, -2))
    counts = start_counts(BalancedSampler(window), subject_of(weight=labels))
    assert_follows(counts, centre_probabilities_as_starts(weight, window))


@pytest.mark.parametrize("order", ["C", "F"])
def test_voxels_of_a_label_are_equally_likely_however_its_planes_are_filled(order):
    labels = np.zeros((7, 6, 5), np.uint8, order=order)
    labels[1, 1, 1] = labels[3, 2, 2] = 4
    labels[4, 1:5, :4] = 4
    window = (3, 3, 1)
    weight = sum((labels == value) / np.count_nonzero(labels[1:6, 1:5] == value) for value in (0, 4))
    counts = start_counts(BalancedSampler(window), subject_of(weight=labels))
    assert_follows(counts, centre_probabilities_as_starts(weight, window))


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_label_at_the_edge_of_the_volume_is_not_lost(order):
    labels = np.zeros((7, 6, 5), np.uint8, order=order)
    labels[0, 2, :3] = 9
    counts = start_counts(BalancedSampler((5, 3, 2)), subject_of(weight=labels))
    expected = np.zeros((7, 6, 5))
    expected[:3, :4, :4] = 1 / 48 / 2
    for z, share in ((0, 2 / 3), (1, 1 / 3)):  # centres z = 0 and 1 both start at 0
        expected[0, 1, z] += share / 2
    assert_follows(counts, expected)


@given(st.integers(0, 10**6), st.sampled_from(["uniform", "weighted", "balanced"]))
@settings(max_examples=60, deadline=None)
def test_windows_never_leave_the_volume_and_hold_a_voxel_that_was_drawn(seed, name):
    rng = np.random.default_rng(seed)
    shape = rng.integers(3, 9, 3)
    window = np.minimum(rng.integers(1, 8, 3), shape)
    if np.count_nonzero(window == 1) > 1:
        window = shape
    labels = (rng.random(shape) < 0.1).astype(np.int32)
    labels[tuple(rng.integers(0, shape))] = 1
    start = SAMPLERS[name](window.tolist()).start(subject_of(shape, labels), rng)
    assert np.all(start >= 0)
    assert np.all(start + window <= shape)
    if name == "weighted":
        assert labels[tuple(slice(s, s + w) for s, w in zip(start, window, strict=True))].any()


def test_resizing_takes_the_whole_volume_or_any_slice_of_it():
    assert start_counts(ResizeSampler((4, 4, 4)), subject_of(), 20)[0, 0, 0] == 20
    counts = start_counts(ResizeSampler((4, 1, 4)), subject_of(), 1200)
    slices = np.zeros((7, 6, 5))
    slices[0, :, 0] = 1
    assert_follows(counts, slices)


@pytest.mark.parametrize("name", ["weighted", "balanced"])
def test_draws_depend_only_on_the_generator(name):
    labels = np.random.default_rng(0).integers(0, 3, (7, 6, 5))
    subject, sampler = subject_of(weight=labels), SAMPLERS[name]((3, 3, 1))
    first = start_counts(sampler, subject, 50, seed=8)
    again = start_counts(SAMPLERS[name]((3, 3, 1)), subject_of(weight=labels), 50, seed=8)
    np.testing.assert_array_equal(first, again)


def test_a_volume_smaller_than_the_window_is_refused_by_name_and_equal_size_is_not():
    with pytest.raises(DataError, match=r"'p01': the volume of 7 x 6 x 5 .* window of 7 x 7 x 1"):
        UniformSampler((7, 7, 1)).check(subject_of())
    UniformSampler((7, 6, 5)).check(subject_of())
    ResizeSampler((70, 70, 1)).check(subject_of())


@pytest.mark.parametrize(
    ("name", "weight", "message"),
    [
        ("weighted", None, "'p01' has no sampling weight"),
        ("balanced", None, "'p01' has no sampling weight"),
        ("weighted", np.zeros((7, 6, 5)), "'p01': the sampling weight is 0 in every voxel"),
        ("weighted", np.full((7, 6, 5), -0.5), r"'p01': the sampling weight contains -0\.5"),
        (
            "weighted",
            np.full((7, 6, 5), np.nan),
            "'p01': the sampling weight contains a number that is not finite",
        ),
        ("balanced", np.zeros((7, 6, 5)), "'p01': balanced sampling needs a label map of integers.*float64"),
    ],
)
def test_sampling_volumes_that_cannot_be_used_are_refused_by_name(name, weight, message):
    with pytest.raises(DataError, match=message):
        SAMPLERS[name]((3, 3, 1)).check(subject_of(weight=weight))


@pytest.mark.parametrize("window", [(4, 4), (4, 0, 4), (4, 1, 1), (4.5, 4, 4)])
def test_window_sizes_that_make_no_window_are_refused(window):
    with pytest.raises(ConfigError, match="window size"):
        window_axes(window)


def test_the_axis_of_size_one_is_the_sliced_one():
    assert window_axes((8, 8, 1)) == (0, 1)
    assert window_axes((1, 8, 8)) == (1, 2)
    assert window_axes((8, 8, 8)) == (0, 1, 2)
