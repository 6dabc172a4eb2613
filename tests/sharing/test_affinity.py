"""Affinity of tasks and the branches that it makes, against numbers worked out on paper."""

import itertools

import numpy as np
import pytest

from sfgkeras.errors import ConfigError
from sfgkeras.sharing import FullyAdaptive
from sfgkeras.sharing.adaptive_trunk import joined_branches
from sfgkeras.sharing.affinity import best_grouping, branch_affinity, separation_loss, task_affinity

PAIRS = np.array([[1.0, 0.9, 0.5, 0.4], [0.9, 1.0, 0.6, 0.5], [0.5, 0.6, 1.0, 0.8], [0.4, 0.5, 0.8, 1.0]])
LEAVES = [(0,), (1,), (2,), (3,)]


def test_affinity_is_the_share_of_samples_that_are_easy_or_hard_for_both():
    """Of five samples tasks 1 and 2 agree on four: 1, 3, 4 (easy, easy, easy) and 5 (hard); task 3 is task 1 in mm."""
    errors = np.array([[0.1, 1.0], [0.5, 1.0], [0.2, 2.0], [0.3, 3.0], [0.9, 9.0]])
    errors = np.column_stack([errors, 1000 * errors[:, 0]])
    expected = np.array([[1.0, 0.6, 1.0], [0.6, 1.0, 0.6], [1.0, 0.6, 1.0]])
    # median: hard for 1 are samples 2, 5 (above 0.3), for 2 samples 4, 5 (above 2)
    np.testing.assert_allclose(task_affinity(errors), expected)
    # mean: hard for 1 are samples 2, 5 (above 0.4), for 2 sample 5 alone (above 3.2)
    expected[0, 1] = expected[1, 0] = expected[1, 2] = expected[2, 1] = 0.8
    np.testing.assert_allclose(task_affinity(errors, "mean"), expected)


def test_samples_without_a_label_of_both_tasks_do_not_count():
    errors = np.array([[1.0, 5.0, np.nan], [2.0, np.nan, np.nan], [3.0, 7.0, np.nan], [np.nan, 1.0, np.nan]])
    # hard for 1: sample 3; for 2: sample 3; both are known of samples 1 and 3
    np.testing.assert_allclose(task_affinity(errors), [[1, 1, 0.5], [1, 1, 0.5], [0.5, 0.5, 1]])
    # hard for 1: samples 3 and 4; for 2: sample 3; 4 is not known to be easy for 2
    errors = np.array([[1.0, 5.0], [2.0, 6.0], [3.0, 7.0], [4.0, np.nan]])
    np.testing.assert_allclose(task_affinity(errors), np.ones((2, 2)))


def test_independent_errors_of_any_shape_agree_on_half_of_the_samples():
    errors = np.random.default_rng(0).lognormal(sigma=2.0, size=(4000, 2))
    assert task_affinity(errors)[0, 1] == pytest.approx(0.5, abs=0.03)
    assert task_affinity(errors, "mean")[0, 1] > 0.7  # few samples are hard for either


def test_affinity_of_branches_is_the_mean_of_smallest_ones_both_ways():
    """(0.5, 0.4 -> 0.4; 0.6, 0.5 -> 0.5: mean 0.45); (0.5, 0.6 -> 0.5; 0.4, 0.5 -> 0.4: mean 0.45)."""
    np.testing.assert_allclose(branch_affinity(PAIRS, [(0, 1), (2, 3)]), [[1, 0.45], [0.45, 1]])
    np.testing.assert_allclose(branch_affinity(PAIRS, [(0,), (1, 2, 3)])[0, 1], (0.4 + (0.9 + 0.5 + 0.4) / 3) / 2)


def test_the_loss_of_a_grouping_is_by_hand():
    assert separation_loss(PAIRS, [(0, 1), (2, 3)]) == pytest.approx((0.1 + 0.2) / 2)
    assert separation_loss(PAIRS, [(0, 1, 2, 3)]) == pytest.approx(1 - (0.4 + 0.5 + 0.5 + 0.4) / 4)
    assert separation_loss(PAIRS, [(0,), (1,), (2,), (3,)]) == 0
    assert separation_loss(PAIRS, [(0, 1, 2), (3,)]) == pytest.approx((0.5 + 0.4 + 0.5 + 0) / 4)


@pytest.mark.parametrize(
    ("cost", "groups"),
    [
        (0.0, ((0,), (1,), (2,), (3,))),  # losses: 4 groups 0, (0,1)(2)(3) 0.05 + 2 c, pairs 0.15 + c, one 0.55
        (0.06, ((0, 1), (2,), (3,))),
        (0.2, ((0, 1), (2, 3))),
        (0.5, ((0, 1, 2, 3),)),
    ],
)
def test_branches_part_where_that_is_worth_their_cost(cost, groups):
    assert best_grouping(PAIRS, LEAVES, cost) == groups
    assert best_grouping(PAIRS, groups, 10.0) == ((0, 1, 2, 3),)


def test_many_branches_are_grouped_by_clustering():
    family = np.repeat(np.arange(5), 2)
    affinity = np.where(family[:, None] == family, 0.9, 0.5)
    np.fill_diagonal(affinity, 1.0)
    assert best_grouping(affinity, [(task,) for task in range(10)], 0.05) == tuple((2 * i, 2 * i + 1) for i in range(5))


def test_stages_are_split_from_the_last_one_down():
    assert FullyAdaptive().moments(5, 0, 100) == [(20, 4), (30, 3), (40, 2), (50, 1), (60, 0)]
    assert FullyAdaptive(split_at=(0.5,)).moments(3, 10, 20) == [(15, 2), (15, 1), (15, 0)]
    assert FullyAdaptive(split_at=(30, 70)).moments(3, 0, 100) == [(30, 2), (30, 1), (70, 0)]
    assert FullyAdaptive().moments(0, 0, 100) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split_at": (0.5, 0.2)}, "split_at = .* is no rising list"),
        ({"split_at": (0.5, 20)}, "is no rising list of fractions below 1, or of iterations"),
        ({"split_at": (1.5, 20)}, "is no rising list.*write e.g. 0.2, 0.5 or 200, 500"),
        ({"start_width": 0}, "start_width"),
        ({"threshold": "meen"}, "threshold = 'meen' is not known; .*'mean'|threshold.*did you mean 'mean'"),
        ({"samples": 1}, "samples = 1 must be at least 2"),
        ({"complexity_weight": -1}, "complexity_weight"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        FullyAdaptive(**settings)


def test_moments_behind_the_end_or_without_a_stage_are_refused():
    with pytest.raises(ConfigError, match="split_at = .*has a moment behind the last iteration, 100"):
        FullyAdaptive(split_at=(50, 200)).moments(3, 0, 100)
    with pytest.raises(ConfigError, match="has 3 moments for 2 stages that tasks share; leave some out"):
        FullyAdaptive(split_at=(0.1, 0.2, 0.3)).moments(2, 0, 100)


def cost_of(affinity, branches, groups, cost):
    """What a grouping costs, straight from its definition."""
    lost = []
    for group in groups:
        for one in group:
            likeness = [1.0]
            for other in group:
                if one != other:
                    block = affinity[np.ix_(branches[one], branches[other])]
                    likeness.append((block.min(axis=1).mean() + block.min(axis=0).mean()) / 2)
            lost.append(1.0 - min(likeness))
    return cost * (len(groups) - 1) + np.mean(lost)


@pytest.mark.parametrize("seed", range(6))
def test_the_best_grouping_costs_least_of_all_that_there_are(seed):
    """Every way to number four branches of one, two and three tasks is tried."""
    rng = np.random.default_rng(seed)
    affinity = rng.uniform(size=(7, 7))
    affinity = (affinity + affinity.T) / 2
    np.fill_diagonal(affinity, 1.0)
    branches, cost = [(0,), (1, 4), (2, 3, 6), (5,)], rng.uniform(0, 0.4)
    found = best_grouping(affinity, branches, cost)
    assert sorted(task for group in found for task in group) == list(range(7))
    place = {task: number for number, branch in enumerate(branches) for task in branch}
    groups = [sorted({place[task] for task in group}) for group in found]
    least = min(
        cost_of(affinity, branches, [np.flatnonzero(np.array(numbers) == each) for each in set(numbers)], cost)
        for numbers in itertools.product(range(4), repeat=4)
    )
    assert cost_of(affinity, branches, groups, cost) == pytest.approx(least)


def test_of_groupings_that_cost_the_same_the_one_of_fewest_groups_is_taken():
    assert best_grouping(np.ones((3, 3)), LEAVES[:3], 0.0) == ((0, 1, 2),)


def test_tasks_without_any_error_agree_by_half_and_one_task_is_its_own_branch():
    np.testing.assert_array_equal(task_affinity(np.full((4, 2), np.nan)), [[1.0, 0.5], [0.5, 1.0]])
    np.testing.assert_array_equal(task_affinity(np.ones((4, 1))), [[1.0]])
    assert best_grouping(np.ones((1, 1)), [(0,)], 0.2) == ((0,),)


def test_errors_may_have_any_unit_and_order():
    rng = np.random.default_rng(0)
    errors = rng.exponential(size=(40, 3))
    affinity = task_affinity(errors)
    np.testing.assert_array_equal(affinity, affinity.T)
    np.testing.assert_array_equal(task_affinity(errors * [1, 1000, 1e-3] + [0, -5, 7]), affinity)
    np.testing.assert_array_equal(task_affinity(errors[rng.permutation(40)]), affinity)
    np.testing.assert_array_equal(task_affinity(errors[:, [2, 0, 1]]), affinity[np.ix_([2, 0, 1], [2, 0, 1])])


@pytest.mark.parametrize("seed", range(4))
def test_branches_that_meet_are_joined_however_far_the_chain_goes(seed):
    """Against reachability: powers of the matrix of who stands with whom in a branch."""
    rng = np.random.default_rng(seed)
    branches = [tuple(rng.choice(9, size=rng.integers(1, 4), replace=False).tolist()) for _ in range(5)]
    tasks = sorted({task for branch in branches for task in branch})
    together = np.array([[any({a, b} <= set(branch) for branch in branches) for b in tasks] for a in tasks])
    reached = np.linalg.matrix_power(together.astype(int), len(tasks)) > 0
    expected = sorted({tuple(task for task, is_there in zip(tasks, row, strict=True) if is_there) for row in reached})
    assert joined_branches(branches) == expected
    assert joined_branches(branches[::-1]) == expected


def test_moments_are_whole_iterations_from_1_on_and_are_shared_out_from_the_last_stage():
    """A fraction counts from where the training begins; of a training of one step all moments are that step."""
    assert FullyAdaptive(split_at=(0.001,)).moments(1, 0, 100) == [(1, 0)]
    assert FullyAdaptive(split_at=(0.5, 0.75)).moments(5, 100, 300) == [
        (200, 4),
        (200, 3),
        (200, 2),
        (250, 1),
        (250, 0),
    ]
    assert FullyAdaptive(split_at=(100,)).moments(1, 0, 100) == [(100, 0)]  # the last iteration is not behind the end
