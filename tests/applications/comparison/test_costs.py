"""Costs of networks over the seeds of a comparison."""

from sfgkeras.applications.comparison.results import CANDIDATE, Result
from sfgkeras.applications.comparison.tables import mean_costs


def result(parameters, multiplies, seconds, candidate=None):
    costs = {
        "parameters": parameters, "multiplies in training": multiplies, "multiplies at inference": multiplies,
        "s / iteration": seconds,
    }  # fmt: skip
    return Result([], costs | ({} if candidate is None else {CANDIDATE: candidate}), {}, float("nan"))


def test_costs_are_medians_and_say_which_candidates_went_on():
    found = mean_costs(
        {
            ("sfg", 0): result(10, 100, 0.5, "shared"), ("sfg", 1): result(30, 300, 0.1, "separate"),
            ("sfg", 2): result(20, 200, 0.3, "separate"), ("hard_sharing", 0): result(5, 50, 0.2),
        }
    )  # fmt: skip
    assert found["sfg"] == {
        CANDIDATE: "separate 2, shared 1", "parameters": 20, "multiplies in training": 200,
        "multiplies at inference": 200, "s / iteration": 0.3,
    }  # fmt: skip
    assert found["hard_sharing"][CANDIDATE] == "-"
    assert CANDIDATE not in mean_costs({("hard_sharing", 0): result(5, 50, 0.2)})["hard_sharing"]
