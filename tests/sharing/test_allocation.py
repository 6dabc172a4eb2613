"""Allocations that are fixed before training."""

from sfgkeras.architecture.graph import build_architecture
from sfgkeras.architecture.stage import Stage
from sfgkeras.sharing.allocation import allocate_tapered


def counts(allocation, num_groups):
    return [[stage.count(group) for group in range(num_groups)] for stage in allocation]


def test_a_tapered_allocation_shares_all_of_the_first_stage_and_nothing_of_the_last():
    architecture = build_architecture([Stage(8), Stage(8), Stage(8), Stage(8)], 1.0, [None, None])
    # Shares of the shared group: 1, 2/3, 1/3, 0.
    assert counts(allocate_tapered(architecture), 3) == [[0, 0, 8], [1, 1, 6], [3, 3, 2], [4, 4, 0]]


def test_a_tapered_allocation_gives_nothing_to_tasks_that_have_left_and_leaves_own_stages_alone():
    stages = [Stage(6), Stage(6, name="middle"), Stage(6), Stage(2, per_task=True)]
    architecture = build_architecture(stages, 1.0, ["middle", None])
    # Task 0 reads the middle stage; behind it the filters that are not shared are all task 1's.
    assert counts(allocate_tapered(architecture), 3) == [[0, 0, 6], [2, 2, 2], [0, 6, 0], [2, 2, 0]]


def test_one_stage_is_halved():
    architecture = build_architecture([Stage(8)], 1.0, [None, None])
    assert counts(allocate_tapered(architecture), 3) == [[2, 2, 4]]
