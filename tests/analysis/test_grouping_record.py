"""Numbers of the grouping figures."""

import numpy as np
import pytest

from sfgkeras import grouping
from sfgkeras.analysis.grouping_record import (
    GroupingRecord,
    assigned_groups,
    entropies,
    first_passage,
    group_shares,
)


def history(values, iterations=None):
    values = np.asarray(values, float)
    return {"iterations": np.arange(len(values)) if iterations is None else iterations, "sfg_1": values}


def test_most_probable_groups_are_those_of_the_networks_mode_masks_also_where_they_tie():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1.0] * 4, size=50)
    p = np.concatenate([p, np.full((9, 4), 0.25), np.tile([0.4, 0.4, 0.1, 0.1], (7, 1))])
    expected = np.asarray(grouping.mode_assignment(p.astype("float32"))).argmax(axis=1)
    np.testing.assert_array_equal(assigned_groups(p.astype("float32")), expected)


def test_entropies_are_those_of_the_grouping_module():
    p = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(entropies(p), np.asarray(grouping.entropy(p.astype("float32"))), atol=1e-6)


def test_shares_count_filters_and_average_probabilities():
    first = np.array([[0.9, 0.1, 0.0], [0.6, 0.2, 0.2], [0.1, 0.2, 0.7], [0.4, 0.0, 0.6]])
    counted, mean = group_shares({"sfg_1": first, "sfg_2": np.eye(3)})
    np.testing.assert_allclose(counted, [[0.5, 0, 0.5], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_allclose(mean, [[0.5, 0.125, 0.375], [1 / 3, 1 / 3, 1 / 3]])


def test_a_filter_has_settled_when_it_stays_in_the_group_that_it_ends_in():
    sure, other, unsure = [0.95, 0.02, 0.03], [0.02, 0.95, 0.03], [0.5, 0.2, 0.3]
    filters = [
        [sure, sure, sure, sure, sure],  # from the first note on
        [unsure, unsure, sure, sure, sure],
        [sure, sure, unsure, sure, sure],  # left once: counts from its return
        [other, other, other, sure, sure],  # sure all the time, but of another group before
        [sure, sure, sure, sure, unsure],  # not at the end
    ]
    p = np.moveaxis(np.array(filters), 0, 1)
    settled = first_passage(np.array([0, 10, 20, 30, 40]), p, threshold=0.9)
    np.testing.assert_array_equal(settled, [0, 20, 30, 30, np.nan])
    assert np.isnan(first_passage(np.array([0, 10, 20, 30, 40]), p, threshold=0.96)).all()


def test_thinning_keeps_both_ends():
    record = GroupingRecord.from_history(history(np.full((100, 2, 3), 1 / 3), np.arange(100) * 10), ["a", "b"])
    thinned = record.thinned(7)
    assert len(thinned.iterations) == 7
    assert (thinned.iterations[0], thinned.iterations[-1]) == (0, 990)
    assert thinned.layers["sfg_1"].shape == (7, 2, 3)
    assert record.thinned(100) is record


def test_a_history_of_another_number_of_tasks_is_refused():
    with pytest.raises(ValueError, match=r"\[3\] groups, 4 are expected: a, b, c, shared"):
        GroupingRecord.from_history(history(np.full((2, 2, 3), 1 / 3)), ["a", "b", "c"])
    with pytest.raises(ValueError, match="no groups"):
        GroupingRecord.from_history({"iterations": np.arange(3)}, ["a"])
