"""Who reads whom in a network of fixed groups: by hand, and against a search of the graph of all filters."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfgkeras.architecture.graph import build_architecture
from sfgkeras.architecture.stage import Stage
from sfgkeras.sharing.allocation import (
    allocate_evenly,
    allocate_once,
    allocate_own,
    allocate_shared,
    connect,
    divide_evenly,
    filters_held,
    of_groups,
)
from sfgkeras.sharing.readers import group_of, reader_name, sources_of, task_reader

CHAIN = build_architecture([Stage(4), Stage(4), Stage(4)], 1.0, [None, None])
U = build_architecture(
    [
        Stage(4, name="down", pools=True),
        Stage(4, name="bottom"),
        Stage(4, name="up", upsamples=True, skip="down"),
        Stage(2, name="own", per_task=True),
    ],
    1.0,
    [None, None, "bottom"],
)


def read_by(connections):
    """Returns by a search of all groups with filters which of them wanted heads depend on, `(stage, group)`."""
    architecture, routing = connections.architecture, connections.routing
    num_tasks = len(architecture.taps)

    def groups_read(later, group):
        if architecture.stages[later].per_task:
            return {group, num_tasks}
        if routing == "dense":
            return set(range(num_tasks + 1))
        return {group} if routing == "separate" or group == num_tasks else {group, num_tasks}

    nodes = [
        (stage, group)
        for stage, groups in enumerate(connections.allocation)
        for group in range(num_tasks + 1)
        if group in groups
    ]
    found = {
        (stage, group)
        for stage, group in nodes
        for head in connections.heads
        if architecture.taps[head] == stage and group in (head, num_tasks)
    }
    while True:
        more = {
            (stage, group)
            for (stage, group), (later, reader) in itertools.product(nodes, found)
            if stage in architecture.sources(later) and group in groups_read(later, reader)
        }
        if more <= found:
            return found
        found |= more


@settings(max_examples=60, deadline=None)
@given(data=st.data(), routing=st.sampled_from(["mixed", "separate", "dense"]))
def test_what_is_computed_is_what_some_wanted_head_depends_on(data, routing):
    """Whatever the groups of the filters are, with a skip, stages per task, and a head that sits further down."""
    groups = [data.draw(st.lists(st.integers(0, 3), min_size=4, max_size=4)) for _ in range(3)]
    heads = data.draw(st.sets(st.integers(0, 2)))
    whole = connect(U, [*groups, [0, 0, 1, 1, 2, 2]], 3, routing)
    connections = dataclasses.replace(whole, heads=tuple(sorted(heads)))
    expected = read_by(connections)
    for stage in range(3):
        assert set(connections.stage_groups(stage)) == {group for at, group in expected if at == stage}
    own = {connections.group_of(reader) for reader in connections.stage_groups(3)}
    assert own == heads - {2} == {group for at, group in expected if at == 3}


@pytest.mark.parametrize(
    ("routing", "expected"),
    [
        # By reader: groups with filters that it reads. Group 1 has none in the middle stage.
        ("mixed", {0: (0, 2), 1: (2,), 2: (2,)}),
        ("separate", {0: (0,), 1: (), 2: (2,), 3: (0, 2), 4: (2,)}),
        ("dense", {0: (0, 2), 1: (0, 2), 2: (0, 2), 3: (0, 2), 4: (2,)}),
    ],
)
def test_a_stream_comes_from_the_groups_that_its_reader_reads_and_that_have_filters(routing, expected):
    connections = connect(CHAIN, [[0, 1, 2, 2], [2, 0, 0, 2], [0, 1, 2, 2]], 2, routing)
    assert {reader: connections.sources(1, reader) for reader in expected} == expected


def test_a_stream_holds_the_filters_of_its_groups_in_their_order_and_an_empty_one_a_channel_of_zeros():
    connections = connect(CHAIN, [[2, 1, 0, 1], [2, 0, 0, 0], [1, 1, 1, 1]], 2, "separate")
    assert connections.channels(0, 1).tolist() == [1, 3]
    assert connections.channels(0, 3).tolist() == [2, 0]  # what the head of task 0 would read: its own, then shared
    assert connections.channels(0, 4).tolist() == [1, 3, 0]
    assert connections.channels(1, 1).size == 0
    assert connections.num_channels(1, 1) == 1
    assert connections.num_channels(1, 0) == 3


def test_blocks_that_are_not_masked_write_everywhere():
    """Streams leave such a stage with all channels: their own first, then those of others."""
    blocks = build_architecture(
        [Stage(4, num_blocks=1), Stage(4), Stage(2, num_blocks=1, per_task=True)], 1.0, [None] * 2
    )
    groups = [[1, 0, 2, 1], [0, 1, 2, 2], [0, 0, 1, 1]]
    masked, free = (connect(blocks, groups, 2, "mixed", mask_residual=mask) for mask in (True, False))
    assert masked.full_width == (False, False, False)
    assert free.full_width == (True, False, False)  # no blocks; blocks of a task's own
    assert masked.channels(0, 0).tolist() == [1, 2]
    assert free.channels(0, 0).tolist() == [1, 2, 0, 3]
    assert free.channels(1, 0).tolist() == masked.channels(1, 0).tolist() == [0, 2, 3]


def test_a_mechanism_that_mixes_features_computes_those_of_all_tasks_behind_a_stage():
    """One head is wanted; what the others' filters leave reaches it through the mixtures, but where tasks are alone."""
    groups = [[0, 0, 1, 2], [0, 1, 2, 2], [0, 0, 1, 1], [0, 0, 1, 1, 2, 2]]
    for couples, expected in ((False, [[0], [0], [0]]), (True, [[0, 1, 2], [0, 1, 2], [0, 1]])):
        connections = dataclasses.replace(connect(U, groups, 3, couples=couples), heads=(0,))
        assert [connections.stage_groups(stage) for stage in range(3)] == expected
        assert connections.stage_groups(3) == [0]
    coupled = connect(U, groups, 3, couples=True)
    assert coupled.coupled == (True, True, True, False)
    lower = dataclasses.replace(coupled, heads=(2,))  # nothing behind the bottom is wanted
    assert [lower.stage_groups(stage) for stage in range(4)] == [[0, 1, 2], [0, 1, 2], [], []]


def test_readers_of_the_same_groups_have_one_stream_where_streams_are_joined():
    """All filters are shared: three readers, one stream; where tasks have filters of their own, each has its own."""
    shared, own = connect(CHAIN, [[2] * 4] * 3, 2, joins=True), connect(CHAIN, [[0, 1, 2, 2]] * 3, 2, joins=True)
    assert shared.readers(2) == own.readers(2) == [0, 1]
    assert [shared.leader(2, reader) for reader in (0, 1)] == [0, 0]
    assert [own.leader(2, reader) for reader in (0, 1)] == [0, 1]
    apart = connect(CHAIN, [[2] * 4] * 3, 2)
    assert [apart.leader(2, reader) for reader in (0, 1)] == [0, 1]


def test_heads_in_training_and_heads_of_all_stages_keep_streams():
    deep = build_architecture(
        [Stage(4, name="down", pools=True), Stage(4, name="low", pools=True), Stage(4, name="bottom"),
         Stage(4, upsamples=True, skip="low"), Stage(4, upsamples=True, skip="down")],
        1.0, [None, None], supervised=(1, 0),
    )  # fmt: skip
    assert deep.supervised == ((0, 3),)
    connections = connect(deep, [[0, 1, 2, 2]] * 5, 2, "separate")
    assert [connections.kept_groups(stage) for stage in range(5)] == [[], [], [], [3], []]
    assert 3 in connections.readers(3)
    alone = dataclasses.replace(connections, heads=(1,))
    assert alone.kept_groups(3) == []
    every = dataclasses.replace(alone, keeps=True)
    assert [every.kept_groups(stage) for stage in range(5)] == [[4]] * 4 + [[]]
    assert alone.head_groups(0) == ()
    assert alone.head_groups(1) == (4,)
    forked = [Stage(4, name="stem"), Stage(4, name="side"), Stage(4, name="main", reads="stem")]
    fork = connect(build_architecture(forked, 1.0, ["side", None]), [[0, 1, 2, 2]] * 3, 2)
    fork = dataclasses.replace(fork, heads=(1,), keeps=True)
    assert [fork.kept_groups(stage) for stage in range(3)] == [[1], [], []]  # nothing of the other branch


@pytest.mark.parametrize(
    ("allocation", "message"),
    [
        ([[0] * 4] * 2, r"allocation has \[4, 4\] filters; the layers have \[4, 4, 4\]"),
        ([[0] * 4, [0] * 3, [0] * 4], r"allocation has \[4, 3, 4\] filters; the layers have \[4, 4, 4\]"),
        ([[0] * 4, [0, 1, 2, 3], [0] * 4], "allocation has groups 0 to 3; with 2 tasks they are 0 to 2"),
        ([[0] * 4, [-1, 1, 2, 2], [0] * 4], "allocation has groups -1 to 2; with 2 tasks they are 0 to 2"),
    ],
)
def test_an_allocation_that_does_not_fit_is_refused(allocation, message):
    with pytest.raises(ValueError, match=message):
        connect(CHAIN, allocation, 2)


def test_filters_that_every_task_has_of_its_own_cannot_be_shared():
    with pytest.raises(ValueError, match="allocation shares filters of stage 'own', of which every task has its own"):
        connect(U, [[3] * 4] * 3 + [[0, 0, 1, 1, 3, 3]], 3)


def test_readers_have_numbers_and_names():
    """With `mixed` routing a task reads for its head what its group reads; otherwise it is a reader of its own."""
    assert [task_reader("mixed", 3, task) for task in (0, 1)] == [0, 1]
    assert [task_reader(routing, 3, 1) for routing in ("separate", "dense")] == [4, 4]
    assert [group_of(3, reader) for reader in range(5)] == [0, 1, 2, 0, 1]
    names = [reader_name(3, reader) for reader in range(5)]
    assert names == ["task_1", "task_2", "shared", "task_1_head", "task_2_head"]
    assert sources_of("separate", 3, 1) == (1,)
    assert sources_of("separate", 3, 4) == sources_of("dense", 3, 4) == sources_of("mixed", 3, 1) == (1, 2)
    assert sources_of("dense", 3, 1) == (0, 1, 2)


def counts(allocation, num_groups):
    return [[list(stage).count(group) for group in range(num_groups)] for stage in allocation]


def test_even_allocations_give_tasks_behind_a_stage_equal_parts_and_stages_per_task_to_each():
    """4 filters for three tasks are 2, 1 and 1; behind the head of the third one 2 and 2."""
    assert counts(allocate_evenly(U), 4) == [[2, 1, 1, 0], [2, 1, 1, 0], [2, 2, 0, 0], [2, 2, 2, 0]]
    with pytest.raises(ValueError, match="a layer has 2 filters for 3 tasks; raise the width of the network"):
        allocate_evenly(build_architecture([Stage(2)], 1.0, [None] * 3))


def test_shared_allocations_leave_tasks_the_stages_that_are_theirs():
    assert counts(allocate_shared(U), 4) == [[0, 0, 0, 4]] * 3 + [[2, 2, 2, 0]]


@pytest.mark.parametrize(("filters", "parts", "left"), [(12, 1, 12), (13, 1, 12), (13, 2, 12), (11, 2, 6), (9, 3, 9)])
def test_equal_parts_leave_out_what_is_left_over(filters, parts, left):
    stages = [Stage(filters), Stage(5, per_task=True)]
    found = divide_evenly(build_architecture(stages, 1.0, [None] * 3), parts).stages
    assert [stage.filters for stage in found] == [left, 5]


@pytest.mark.parametrize(
    ("filters", "parts", "message"),
    [(2, 1, "has 2 filters for 3 tasks; raise"), (5, 2, "has 5 filters for 3 tasks, each in 2 parts; raise")],
)
def test_fewer_filters_than_parts_are_refused(filters, parts, message):
    with pytest.raises(ValueError, match=message):
        divide_evenly(build_architecture([Stage(filters)], 1.0, [None] * 3), parts)


def test_fractions_are_those_of_the_groups_that_are_left_in_proportion():
    """Behind the head of task 0, 0.2 of the other task and 0.4 of the shared group are one and two thirds."""
    assert of_groups((0.4, 0.2, 0.4), [0, 1, 2]) == (0.4, 0.2, 0.4)
    assert of_groups((0.4, 0.2, 0.4), [1, 2]) == pytest.approx((1 / 3, 2 / 3))
    with pytest.raises(ValueError, match="give all filters to tasks whose heads sit before"):
        of_groups((1.0, 0.0, 0.0), [1, 2])


@pytest.mark.parametrize("seed", [0, 7])
def test_an_allocation_drawn_once_has_its_fractions_in_every_stage_whatever_the_seed(seed):
    stages = [Stage(20), Stage(20, name="middle"), Stage(20), Stage(2, per_task=True)]
    architecture = build_architecture(stages, 1.0, ["middle", None])
    found = allocate_once(architecture, [0.5, 0.2, 0.3], seed)
    assert counts(found, 3) == [[10, 4, 6], [10, 4, 6], [0, 8, 12], [2, 2, 0]]
    assert found[0] != sorted(found[0])  # drawn, not in order
    assert found == allocate_once(architecture, [0.5, 0.2, 0.3], seed)
    assert found != allocate_once(architecture, [0.5, 0.2, 0.3], seed + 1)


def test_without_fractions_all_groups_have_equal_parts():
    assert counts(allocate_once(CHAIN.with_stages([Stage(9)] * 3), None, 0), 3) == [[3, 3, 3]] * 3


def test_fractions_must_be_one_for_each_group():
    with pytest.raises(ValueError, match="must be 3 numbers: one for each of 2 tasks, then one for"):
        allocate_once(CHAIN, [0.5, 0.5], 0)


def test_groups_of_suitable_sizes_must_leave_every_task_something_to_read():
    """Of 8 filters in eights one group has all; a task without any and without shared ones would read nothing."""
    eights = CHAIN.with_stages([Stage(8)] * 3)
    assert counts(allocate_once(eights, [0.3, 0.3, 0.4], 0, 8), 3) == [[0, 0, 8]] * 3
    with pytest.raises(ValueError, match="group_multiple = 8 leaves a task without any of the 8 filters of a layer"):
        allocate_once(eights, [0.6, 0.4, 0.0], 0, 8)
    assert counts(allocate_once(eights, [1.0, 0.0, 0.0], 0, 8), 3) == [[8, 0, 0]] * 3  # which is to have none
    assert counts(allocate_once(CHAIN, [0.9, 0.1, 0.0], 0), 3) == [[4, 0, 0]] * 3  # too few filters


def test_filters_of_stages_per_task_count_for_every_task():
    assert filters_held(Stage(4), 3) == 4
    assert filters_held(Stage(4, per_task=True), 3) == 12
    assert allocate_own(Stage(2), 3) == [0, 0, 1, 1, 2, 2]


def test_a_reader_of_a_stage_per_task_is_the_task():
    connections = connect(U, [np.array([0, 1, 2, 3])] * 3 + [[0, 0, 1, 1, 2, 2]], 3, "separate")
    assert connections.stage_groups(3) == [4, 5]  # tasks 0 and 1 by the numbers by which they read for their heads
    assert connections.readers(3) == [4, 5]
    assert connections.channels(3, 4).tolist() == [0, 1]
