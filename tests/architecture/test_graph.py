"""Stages that fit each other, and those that do not."""

import pytest

from sfgkeras.architecture.graph import build_architecture, stages_behind
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
