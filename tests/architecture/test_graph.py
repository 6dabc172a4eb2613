"""Stages that fit each other, and those that do not."""

import dataclasses

import pytest

from sfgkeras.architecture.graph import UnknownStage, build_architecture, place_of, stage_levels, stages_behind
from sfgkeras.architecture.stage import Stage

U = (
    Stage(4, name="down_1"),
    Stage(4, name="down_2", pools=True),
    Stage(8, name="bottom"),
    Stage(4, name="up", upsamples=True, skip="down_2"),
)


def test_a_stage_reads_the_one_before_it_and_the_one_that_skips_to_it():
    architecture = build_architecture(U, 1.0, [None])
    assert [architecture.sources(index) for index in range(4)] == [(), (0,), (1,), (2, 1)]
    assert [architecture.readers(index) for index in range(4)] == [[1], [2, 3], [3], []]


def test_levels_count_halvings_and_skips_join_features_before_pooling():
    architecture = build_architecture(U, 1.0, [None])
    assert architecture.levels == (0, 0, 1, 0)
    assert [architecture.level_after(index) for index in range(4)] == [0, 1, 1, 0]
    assert architecture.spatial_shape(1, (7, None, 4)) == (4, None, 2)


def test_heads_sit_on_the_last_stage_or_on_the_one_that_is_named():
    assert build_architecture(U, 1.0, [None, "bottom"]).taps == (3, 2)


def test_filters_can_serve_the_tasks_whose_heads_are_still_to_come():
    architecture = build_architecture(U, 1.0, [None, "bottom"])
    assert [architecture.live_groups(index) for index in range(4)] == [[0, 1, 2]] * 3 + [[0, 2]]


def test_stages_without_a_name_are_named_by_their_place():
    assert build_architecture([Stage(2), Stage(2, name="second"), Stage(2)], 1.0, [None]).names == (
        "stage_1", "second", "stage_3",
    )  # fmt: skip


def test_the_width_multiplies_filters_and_leaves_at_least_one():
    stages = build_architecture([Stage(64, pools=True), Stage(4)], 0.1, [None]).stages
    assert [stage.filters for stage in stages] == [6, 1]
    assert stages[0].pools


Y = (
    Stage(4, name="down", pools=True),
    Stage(4, name="bottom", pools=True),
    Stage(4, name="branch"),
    Stage(4, name="up", reads="bottom", upsamples=True, skip="down"),
)


def test_a_branch_reads_an_earlier_stage_before_its_pooling():
    architecture = build_architecture(Y, 1.0, ["branch", None])
    assert [architecture.sources(index) for index in range(4)] == [(), (0,), (1,), (1, 0)]
    assert architecture.levels == (0, 1, 2, 0)
    assert [architecture.tasks_behind(index) for index in range(4)] == [[0, 1], [0, 1], [0], [1]]
    assert [architecture.stages_before(task) for task in (0, 1)] == [[0, 1], [0, 1]]
    assert architecture.stages_behind(0) == [1, 2, 3]


def test_stages_that_no_head_depends_on_are_left_out_and_the_others_keep_their_names():
    assert [stage.name for stage in stages_behind(Y, [None])] == ["down", "bottom", "up"]
    assert stages_behind(Y, ["branch"]) == Y[:3]
    unnamed = [Stage(4, name="first"), Stage(4), Stage(4, reads="first"), Stage(4)]
    assert [stage.name for stage in stages_behind(unnamed, [None])] == ["first", "stage_3", "stage_4"]


@pytest.mark.parametrize(
    ("stages", "taps", "message"),
    [
        ([], [None], "at least one stage"),
        ([Stage(4), Stage(4, upsamples=True)], [None], "'stage_2' is larger than the image"),
        ([Stage(4), Stage(4, skip="stage_9")], [None], "there is no stage 'stage_9', did you mean 'stage_"),
        ([Stage(4), Stage(4, skip="stage_2")], [None], "skip = 'stage_2', which does not come before it"),
        ([Stage(4), Stage(4), Stage(4, skip=("stage_1", "stage_1"))], [None], "skip = 'stage_1' twice; name it once"),
        ([Stage(4), Stage(4, reads="stage_2")], [None], "reads = 'stage_2', which does not come before it"),
        ([Stage(4, name="a"), Stage(4, name="a")], [None], "several stages are called 'a'"),
        ([Stage(4, per_task=True), Stage(4)], [None], "'stage_2' is shared, but the stage before it is one per task"),
        ([Stage(4), Stage(4)], ["stage_1"], "stage 'stage_2' is read by no stage and no head"),
        ([Stage(4), Stage(4)], ["bottom"], "there is no stage 'bottom'; the stages are stage_1, stage_2"),
    ],
)
def test_stages_that_do_not_fit_are_refused_by_name(stages, taps, message):
    with pytest.raises(ValueError, match=message):
        build_architecture(stages, 1.0, taps)


def test_the_share_of_the_maximum_is_a_part_of_one():
    with pytest.raises(ValueError, match="maximum_share = 1.5 of stage 'down' must lie between 0, the mean, and 1"):
        Stage(4, name="down", pools=True, maximum_share=1.5)


@pytest.mark.parametrize("width", [0, -1.0])
def test_a_width_that_is_not_positive_is_refused(width):
    with pytest.raises(ValueError, match=f"width = {width}"):
        build_architecture(U, width, [None])


TWO_LEVELS = (
    Stage(4, name="down_1", pools=True),
    Stage(4, name="down_2", pools=True),
    Stage(4, name="bottom"),
    Stage(4, name="up_2a", upsamples=True, skip="down_2"),
    Stage(4, name="up_2b"),
    Stage(4, name="up_1", upsamples=True, skip="down_1"),
)


@pytest.mark.parametrize(
    ("tap", "count", "expected"),
    [
        (None, 1, ["up_2b"]),  # the last stage of the next coarser level; the bottom is not on the way up
        (None, 5, ["up_2b"]),
        (None, 0, []),
        ("up_2b", 1, []),
        ("bottom", 1, []),
    ],
)
def test_further_heads_sit_where_a_level_of_the_way_up_ends(tap, count, expected):
    architecture = build_architecture(TWO_LEVELS, 1.0, [tap, None], supervised=(count, 0))
    assert [architecture.names[stage] for task, stage in architecture.supervised] == expected
    assert all(task == 0 for task, _ in architecture.supervised)
    for index in range(6):
        assert architecture.supervised_tasks(index) == ([0] if architecture.names[index] in expected else [])


def test_of_three_levels_the_finest_comes_first():
    deeper = [Stage(4, name="top", pools=True), *TWO_LEVELS, Stage(4, name="up_0", upsamples=True, skip="top")]
    architecture = build_architecture(deeper, 1.0, [None])
    assert [architecture.names[stage] for stage in architecture.way_up(7)] == ["up_1", "up_2b"]
    assert architecture.way_up(0) == ()


def test_who_stands_behind_and_before_is_what_can_be_reached():
    architecture = build_architecture(TWO_LEVELS, 1.0, [None, "bottom"])
    assert architecture.stages_behind(1) == [2, 3, 4, 5]
    assert architecture.stages_behind(5) == []
    assert architecture.stages_before(0) == [0, 1, 2, 3, 4]
    assert architecture.stages_before(1) == [0, 1]
    assert [architecture.tasks_behind(index) for index in (0, 2, 3)] == [[0, 1], [0, 1], [0]]


def test_other_stages_have_the_same_connections_and_do_not_remember_the_old_ones():
    architecture = build_architecture(U, 1.0, [None, "bottom"])
    assert architecture.names[0] == "down_1"  # which is kept
    other = architecture.with_stages([Stage(7, name=name, pools=name == "b", upsamples=name == "d") for name in "abcd"])
    assert other.names == ("a", "b", "c", "d")
    assert other.taps == architecture.taps
    assert other.sources(3) == (2,)


def test_levels_follow_what_a_stage_reads():
    stages = [Stage(1, name="a", pools=True), Stage(1, pools=True), Stage(1, reads="a", pools=True), Stage(1)]
    assert stage_levels(stages) == (0, 1, 0, 1)


def test_an_unknown_stage_is_told_with_those_that_there_are():
    with pytest.raises(UnknownStage, match="there is no stage 'botom', did you mean 'bottom'") as error:
        place_of("botom", ("down", "bottom"))
    assert (error.value.stage, error.value.names) == ("botom", ("down", "bottom"))


@pytest.mark.parametrize(("skip", "expected"), [("", ()), ("a", ("a",)), (("a", "b"), ("a", "b")), (("", "b"), ("b",))])
def test_skips_are_none_one_or_several(skip, expected):
    assert Stage(4, skip=skip).skips == expected


def test_blocks_come_in_their_order_as_often_as_they_are_asked_for():
    stage = Stage(4, num_blocks=2, blocks=("residual", "boundary_refinement"))
    kinds = [len(plan.convolutions) == 2 and plan.convolutions[0].is_activated for plan in stage.block_plans(2)]
    assert kinds == [True, False, True, False]
    assert Stage(4).block_plans(3) == ()
    with pytest.raises(ValueError, match="unknown .* 'residul', did you mean 'residual'"):
        Stage(4, num_blocks=1, blocks=("residul",)).block_plans(2)


@pytest.mark.parametrize(
    ("filters", "width", "expected"), [(64, 0.5, 32), (3, 0.5, 2), (5, 0.5, 2), (4, 0.01, 1), (4, 3, 12)]
)
def test_a_scaled_stage_has_other_filters_and_nothing_else(filters, width, expected):
    stage = Stage(filters, 5, num_blocks=2, dilation=3, pools=True, name="x", maximum_share=0.5)
    scaled = stage.scaled(width)
    assert scaled.filters == expected
    assert scaled == dataclasses.replace(stage, filters=expected)


def test_a_way_up_goes_on_where_a_stage_reads_what_was_there_before_pooling():
    """The bottom of the way up is then that stage, although it pools for another branch."""
    stages = [
        Stage(4, name="down", pools=True),
        Stage(4, name="low", pools=True),
        Stage(4, name="bottom", pools=True),
        Stage(4, name="class"),
        Stage(4, name="up_2", reads="bottom", upsamples=True, skip="low"),
        Stage(4, name="up_1", upsamples=True, skip="down"),
    ]
    architecture = build_architecture(stages, 1.0, ["class", None], supervised=(0, 2))
    assert [architecture.names[stage] for _, stage in architecture.supervised] == ["up_2"]
