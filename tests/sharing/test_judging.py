"""Scores of candidates by hand, and what they must not depend on."""

import math

import pytest

from sfgkeras.sharing.judging import choose, missed_shares, select, survivors

UNTRAINED = {"ct": 2.0, "organs": 3.0}
LOSSES = {
    "learned": {"ct": 1.0, "organs": 1.5},
    "shared": {"ct": 1.5, "organs": 1.0},
    "separate": {"ct": 1.1, "organs": 1.1},
}


def test_scores_are_the_shares_of_the_improvement_that_are_missed():
    # ct: 0 / 1, 0.5 / 1, 0.1 / 1; organs: 0.5 / 2, 0 / 2, 0.1 / 2
    wanted = {"learned": 0.125, "shared": 0.25, "separate": 0.075}
    assert missed_shares(UNTRAINED, LOSSES) == pytest.approx(wanted)


def test_scores_do_not_depend_on_the_unit_of_a_loss_nor_on_its_zero():
    def changed(losses):
        return {"ct": 10 * losses["ct"] - 7, "organs": losses["organs"]}

    scores = missed_shares(changed(UNTRAINED), {name: changed(losses) for name, losses in LOSSES.items()})
    assert scores == pytest.approx(missed_shares(UNTRAINED, LOSSES))


def test_a_task_that_nobody_has_improved_says_nothing():
    worse = {name: {**losses, "organs": 3.0 + index} for index, (name, losses) in enumerate(LOSSES.items())}
    scores = missed_shares(UNTRAINED, worse)
    assert scores == pytest.approx({"learned": 0.0, "shared": 0.5, "separate": 0.1})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_candidate_that_has_diverged_loses_and_spoils_no_other_score(value):
    scores = missed_shares(UNTRAINED, {**LOSSES, "tapered": {"ct": value, "organs": 0.0}})
    assert scores.pop("tapered") == math.inf
    assert scores == pytest.approx(missed_shares(UNTRAINED, LOSSES))


def test_equal_ones_go_to_the_cheapest_and_then_to_the_first():
    multiplies = {"learned": 30, "shared": 20, "separate": 20}
    scores = {"learned": 0.100, "shared": 0.109, "separate": 0.105}
    assert choose(scores, multiplies, 0.01) == "shared"
    assert choose(scores, multiplies, 0.001) == "learned"
    assert choose({**scores, "separate": 0.2}, {**multiplies, "separate": 1}, 0.01) == "shared"


def test_of_several_that_go_on_those_of_the_lowest_scores_are_kept_however_dear_they_are():
    scores = {"learned": 0.1, "shared": 0.3, "separate": 0.2, "tapered": math.inf}
    multiplies = {"learned": 30, "shared": 1, "separate": 20, "tapered": 2}
    assert select(scores, multiplies, 2, 0.01) == ["learned", "separate"]
    assert select({**scores, "shared": 0.2}, multiplies, 2, 0.01) == ["learned", "shared"]  # equal: the cheaper one
    assert select(scores, multiplies, 4, 0.01) == ["learned", "shared", "separate"]


@pytest.mark.parametrize("standing", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("rungs", [1, 2, 3, 4])
def test_from_the_last_rung_one_goes_on_and_no_rung_is_much_harder_than_another(standing, rungs):
    left, leaving = standing, []
    for rung in range(rungs):
        leaving.append(left - survivors(left, rungs - rung))
        left -= leaving[-1]
    assert left == 1
    assert leaving == sorted(leaving)
    assert leaving[-1] - leaving[0] <= 1


def test_no_finite_score_is_refused():
    with pytest.raises(ValueError, match="training has diverged"):
        choose({"shared": math.inf}, {"shared": 1}, 0.01)
