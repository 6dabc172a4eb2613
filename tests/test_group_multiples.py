"""Filters go to groups of suitable sizes at the least cost in probability."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfgkeras.group_multiples import assign_groups
from sfgkeras.grouping import mode_assignment


def logs(filters, groups, seed, concentration=0.5):
    p = np.random.default_rng(seed).dirichlet(np.full(groups, concentration), size=filters)
    return np.log(np.maximum(p, 1e-8)).astype("float32")


def is_allowed(groups, num_groups, multiple_of, likeliest):
    """At most one group is no multiple, and it holds the rest; no task loses all that it would read."""
    counts, before = (np.bincount(found, minlength=num_groups) for found in (groups, likeliest))
    rest = len(groups) % multiple_of
    remainders = sorted(counts % multiple_of)
    reads = [before[task] + before[-1] == 0 or counts[task] + counts[-1] > 0 for task in range(num_groups - 1)]
    return remainders == [0] * (num_groups - 1) + [rest] and all(reads)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(2, 3), st.integers(2, 4), st.integers(0, 999))
def test_no_allocation_of_suitable_sizes_is_more_probable(filters, num_groups, multiple_of, seed):
    log_p = logs(filters, num_groups, seed)
    likeliest = assign_groups(log_p)
    found = assign_groups(log_p, multiple_of)
    assert is_allowed(found, num_groups, multiple_of, likeliest)
    rows = np.arange(filters)
    best = max(
        log_p[rows, list(groups)].sum()
        for groups in itertools.product(range(num_groups), repeat=filters)
        if is_allowed(list(groups), num_groups, multiple_of, likeliest)
    )
    assert log_p[rows, found].sum() >= best - 1e-4


@pytest.mark.parametrize("groups", [2, 3, 6])
def test_multiples_of_one_are_the_most_probable_groups_ties_included(groups):
    log_p = np.concatenate([logs(40, groups, 0), np.full((9, groups), -np.log(groups), "float32")])
    np.testing.assert_array_equal(assign_groups(log_p, 1), np.asarray(mode_assignment(log_p)).argmax(-1))


def test_what_suits_already_stays():
    log_p = logs(48, 3, 1, 0.1)
    wanted = np.repeat([0, 1, 2], 16)
    log_p[np.arange(48), wanted] = 0.0
    np.testing.assert_array_equal(assign_groups(log_p, 8), wanted)


def test_undecided_filters_are_spread_over_all_groups():
    """Among equal probabilities the fewest filters leave the groups of `mode`, which takes ties in turn."""
    counts = np.bincount(assign_groups(np.full((64, 3), np.log(1 / 3), "float32"), 8))
    assert sorted(counts) == [16, 24, 24]


def test_a_layer_as_wide_as_that_of_vgg_takes_moments():
    counts = np.bincount(assign_groups(logs(512, 6, 0, 0.3), 8), minlength=6)
    assert counts.sum() == 512
    assert not (counts % 8).any()


def test_a_task_that_reads_something_keeps_something():
    """Five filters are one group; that of task 1 is the most probable one, but then task 2 would read nothing."""
    log_p = np.log([[0.98, 0.01, 0.01]] * 3 + [[0.01, 0.98, 0.01]] * 2)
    assert assign_groups(log_p, 8).tolist() == [2] * 5
    assert assign_groups(log_p[:3], 8).tolist() == [0] * 3  # it read nothing before


@pytest.mark.parametrize("wrong", [0, -8, 2.0, True, "8"])
def test_other_than_positive_whole_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match=r"multiple_of = .* must be a positive whole number, e\.g\. 8"):
        assign_groups(logs(4, 3, 0), wrong)
