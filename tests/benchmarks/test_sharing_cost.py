"""The table of what mechanisms cost: times are ratios to hard sharing, medians of calls in turn."""

import pytest


@pytest.fixture
def cost(load_benchmark):
    return load_benchmark("sharing_cost")


def test_times_are_ratios_to_hard_sharing(cost):
    lines = {"hard_sharing": {"parameters": 8}, "sfg": {"parameters": 20}}
    table = cost.cost_table(lines, {"hard_sharing": 0.2, "sfg": 0.5}, {"hard_sharing": 0.1, "sfg": 0.05})
    assert [line["mechanism"] for line in table] == ["hard_sharing", "sfg"]
    assert table[1] == {
        "mechanism": "sfg",
        "parameters": 20,
        "training step": "500 ms",
        "ratio": "2.50",
        "hardened ratio": "0.50",
    }


def test_functions_are_called_in_turn_after_one_call_that_does_not_count(cost, monkeypatch):
    called, clock = [], iter([0, 1, 10, 13, 20, 22, 30, 37, 40, 43, 50, 51])
    monkeypatch.setattr(cost.time, "process_time", lambda: next(clock))
    functions = {name: lambda name=name: called.append(name) for name in ("a", "b")}
    assert cost.processor_seconds(functions, 3) == {"a": 2, "b": 3}
    assert called == ["a", "b"] * 4
