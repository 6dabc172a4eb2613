"""Trees of tasks as text: read, written, refused; shared out over stages and filters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfgkeras.architecture.graph import build_architecture
from sfgkeras.architecture.stage import Stage
from sfgkeras.errors import ConfigError
from sfgkeras.sharing import Tree
from sfgkeras.sharing.branch_connections import connect_branches
from sfgkeras.sharing.branches import (
    filters_of_branches,
    partitions_of,
    read_splits,
    split_in_half,
    write_splits,
)

TASKS = ("ct", "mr", "seg", "sex")
STAGES = [Stage(8, name=f"conv_{number}", per_task=number == 5) for number in range(1, 6)]


def architecture(taps=(None,) * 4):
    return build_architecture(STAGES, 1.0, taps)


def test_the_text_of_a_tree_says_stages_and_their_branches():
    text = 'conv_2: ct, mr | "T2 flair", sex > conv_4'
    assert read_splits(text) == (("conv_2", (("ct", "mr"), ("T2 flair", "sex"))), ("conv_4", ()))
    assert write_splits(read_splits(text)) == text
    assert read_splits("") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conv_2: ct mr | seg", "has 'ct mr' at stage 'conv_2' where the name of one task belongs"),
        ("conv_2: ct, | seg", "has nothing at stage 'conv_2'"),
        ("conv_2: ct || seg", "has nothing at stage 'conv_2'"),
        ("conv_2 ct", "has 'ct' behind stage 'conv_2', where ':' belongs"),
        ("conv_2: ct | mr >", "has no stage where one belongs"),
        ('conv_2: "ct', "quote that is not closed"),
    ],
)
def test_a_text_that_is_no_tree_is_refused(text, message):
    with pytest.raises(ConfigError, match=f"branches = .*{message}") as error:
        Tree(text)
    assert "write e.g. conv_3" in str(error.value) or "end it" in str(error.value)


def test_branches_may_be_given_as_lists_by_stage():
    assert (
        Tree({"conv_2": [["ct", "mr"], ["seg", "sex"]], "conv_4": []}).branches == "conv_2: ct, mr | seg, sex > conv_4"
    )
    assert Tree("conv_2 :ct,mr|seg,sex>conv_4") == Tree("conv_2: ct, mr | seg, sex > conv_4")


def test_branches_hold_from_their_stage_on_and_stages_per_task_part_all():
    found = partitions_of(read_splits("conv_4: MR | ct, seg | sex > conv_2: mr | sex, ct, seg"), architecture(), TASKS)
    everything, first, second = ((0, 1, 2, 3),), ((0, 2, 3), (1,)), ((0, 2), (1,), (3,))
    assert found == (everything, first, first, second, ((0,), (1,), (2,), (3,)))


def test_a_task_is_in_no_branch_behind_its_head():
    found = partitions_of(
        read_splits("conv_4: ct, seg | mr, sex"), architecture((None, "conv_1", "conv_4", None)), TASKS
    )
    assert found[:4] == (((0, 1, 2, 3),), ((0, 2, 3),), ((0, 2, 3),), ((0, 2), (3,)))
    assert found[4] == ((0,), (3,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conv_9", "names 'conv_9', which is no stage of the network, did you mean 'conv_5'"),
        ("conv_2: ct, mr | segg | sex", "names 'segg' at stage 'conv_2', which is no task, did you mean 'seg'"),
        ("conv_2: ct | mr | seg", "leaves out task 'sex' at stage 'conv_2'"),
        ("conv_2: ct | mr | seg, sex, ct", "has task 'ct' twice at stage 'conv_2'"),
        ("conv_2 > conv_2: ct, mr, seg, sex", "has stage 'conv_2' twice"),
        (
            "conv_2: ct, mr | seg, sex > conv_3: ct, seg | mr | sex",
            "joins tasks 'ct' and 'seg' at stage 'conv_3', which have parted at stage 'conv_2'",
        ),
        ("conv_5: ct, mr | seg | sex", "joins tasks at stage 'conv_5', of which every task has its own"),
    ],
)
def test_branches_that_do_not_fit_are_refused_by_stage_and_task(text, message):
    with pytest.raises(ConfigError, match=message):
        partitions_of(read_splits(text), architecture(), TASKS)


def test_without_branches_the_second_half_of_the_stages_is_parted():
    assert split_in_half(architecture()) == (("conv_4", ()),)
    assert split_in_half(build_architecture(STAGES[:1], 1.0, (None,))) == ()


@pytest.mark.parametrize(
    ("filters", "partition", "counts"),
    [
        (8, ((0, 1), (2,)), (5, 3)),
        (16, ((0,), (1,), (2,)), (6, 5, 5)),
        (7, ((0, 1, 2),), (7,)),
        (4, ((0, 1, 2, 3, 4, 5), (6,), (7,)), (2, 1, 1)),
        (4, ((0,), (1,), (2, 3, 4, 5, 6, 7)), (1, 1, 2)),
    ],
)
def test_filters_are_shared_out_by_the_number_of_tasks(filters, partition, counts):
    assert filters_of_branches(filters, partition, "conv") == counts
    assert sum(counts) == filters


def test_fewer_filters_than_branches_are_refused_by_stage():
    with pytest.raises(ValueError, match="stage 'conv_3' has 2 filters for 3 branches; raise the width"):
        filters_of_branches(2, ((0,), (1,), (2,)), "conv_3")


def test_every_branch_reads_the_one_that_it_has_grown_from():
    """By hand: 8 filters; branches of 3 and 1 tasks have 6 and 2, of 2, 1 and 1 tasks 4, 2 and 2."""
    partitions = partitions_of(
        read_splits("conv_2: ct, mr, sex | seg > conv_3: ct, mr | sex | seg"), architecture(), TASKS
    )
    connections = connect_branches(architecture(), partitions, 4)
    assert connections.stage_groups(1) == [0, 2]
    assert [connections.num_channels(1, group) for group in connections.stage_groups(2)] == [6, 2, 6]
    assert [connections.num_channels(2, task) for task in range(4)] == [4, 4, 2, 2]
    assert [connections.leader(1, reader) for reader in connections.readers(1)] == [0, 2, 0]


NAMES = st.text(st.characters(codec="utf-8", exclude_characters='"', exclude_categories=["Cc", "Cs", "Z"]), min_size=1)
SPLITS = st.lists(
    st.tuples(NAMES, st.lists(st.lists(NAMES, min_size=1, max_size=3).map(tuple), max_size=3).map(tuple)), max_size=3
).map(tuple)


@settings(max_examples=80, deadline=None)
@given(splits=SPLITS)
def test_what_is_written_is_read_back_whatever_names_there_are(splits):
    """Names with marks of the text in them are quoted."""
    assert read_splits(write_splits(splits)) == splits


@pytest.mark.parametrize("name", ["a b", "a:b", "a,b", "a|b", "a>b", "ct"])
def test_names_are_quoted_where_they_hold_a_mark_or_a_space(name):
    assert write_splits([(name, ())]) == (name if name == "ct" else f'"{name}"')


@settings(max_examples=80, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6), more=st.integers(0, 40))
def test_all_filters_are_shared_out_and_no_branch_goes_without(sizes, more):
    """None is further than one filter from its part, but where one was needed for a branch that had none."""
    ends = np.cumsum(sizes)
    partition = tuple(tuple(range(end - size, end)) for size, end in zip(sizes, ends, strict=True))
    filters = len(sizes) + more
    found = np.array(filters_of_branches(filters, partition, "conv"))
    parts = filters * np.array(sizes) / sum(sizes)
    assert found.sum() == filters
    assert found.min() >= 1
    if (np.floor(parts) >= 1).all():
        assert np.abs(found - parts).max() < 1


def test_branches_are_found_by_task_and_tasks_by_branch():
    partitions = partitions_of(
        read_splits("conv_2: ct, mr, sex | seg > conv_3: ct, mr | sex | seg"), architecture(), TASKS
    )
    connections = connect_branches(architecture(), partitions, 4)
    assert [connections.branch_of(2, task) for task in range(4)] == [0, 0, 2, 3]
    assert connections.tasks_of(1, 0) == (0, 1, 3)
    assert connections.tasks_of(1, 2) == (2,)
    assert [connections.sources(1, reader) for reader in range(4)] == [(0,), (0,), (2,), (0,)]
    assert [len(allocation) for allocation in connections.allocation] == [8, 8, 8, 8, 32]


def test_branches_may_bring_their_numbers_of_filters():
    partitions = partitions_of(read_splits("conv_3: ct, mr, sex | seg"), architecture(), TASKS)
    filters = [[8], [8], [7, 2], [1, 4], [8, 8, 8, 8]]
    connections = connect_branches(architecture(), partitions, 4, filters)
    found = [[connections.num_channels(stage, task) for task in (0, 2)] for stage in range(5)]
    assert found == [[8, 8], [8, 8], [7, 2], [1, 4], [8, 8]]  # the last stage is one per task


def test_names_of_tasks_may_be_written_in_any_case_unless_two_differ_in_nothing_else():
    found = partitions_of(read_splits("conv_2: Ct | SEX, seg"), architecture((None,) * 3), ("ct", "seg", "sex"))
    assert found[1] == ((0,), (1, 2))
    found = partitions_of(read_splits("conv_2: CT | ct"), architecture((None,) * 2), ("ct", "CT"))
    assert found[1] == ((0,), (1,))
