"""The curves of cost and the projection: what is planned, skipped, resumed and computed."""

import json

import pytest


@pytest.fixture
def cost(load_benchmark):
    return load_benchmark("cost_against_size")


@pytest.fixture
def projection(load_benchmark):
    return load_benchmark("projection")


def measured(cost, point, seconds=1.0, gib=2.0):
    return {**cost.asdict(point), "seconds": seconds, "gib": gib, "multiplies": 10**9, "parameters": 1000}


def test_one_thing_is_varied_at_a_time(cost):
    for panel in cost.plan(quick=False):
        for points in panel.curves.values():
            varied = {
                name
                for first in points
                for name in cost.asdict(first)
                if getattr(first, name) != getattr(points[0], name)
            }
            assert varied == {panel.variable}
    base = cost.Point()
    assert sum(base in points for panel in cost.plan(quick=False) for points in panel.curves.values()) == 3


def test_a_point_that_does_not_fit_is_skipped_with_the_reason(cost):
    found = {cost.Point().key: measured(cost, cost.Point())}
    larger = cost.replace(cost.Point(), window=256)
    assert cost.reason_to_skip(larger, found, 9.0) is None
    assert cost.reason_to_skip(larger, found, 7.0) == "needs about 8 GiB of 7"
    wider = cost.replace(cost.Point(), width=8.0)
    assert cost.reason_to_skip(wider, found, 99.0) == "a step takes about 64 s"
    assert cost.reason_to_skip(cost.replace(larger, sharing="single_task"), found, 0.1) is None


def test_what_the_file_holds_is_not_measured_again_and_failures_are(cost, tmp_path, monkeypatch):
    asked = []

    def fails_once(point, threads, seconds):
        asked.append(point.key)
        if len(asked) == 1:
            raise RuntimeError("ended with -9")
        return measured(cost, point)

    monkeypatch.setattr(cost, "_in_process", fails_once)
    panels = cost.plan(quick=True)
    found = cost.run(panels, tmp_path, 2, 0.1, 8.0)
    assert len(asked) == len(set(asked)) == len(found)
    assert found[asked[0]] == {"skipped": "failed: ended with -9"}
    assert "| failed: ended with -9 |" in (tmp_path / "cost.md").read_text()
    first = asked[0]
    again = cost.run(panels, tmp_path, 2, 0.1, 8.0)
    assert asked[len(found) :] == [first]
    assert json.loads((tmp_path / "cost.json").read_text())["points"] == again
    assert (tmp_path / "cost.png").stat().st_size > 10_000


def test_a_step_takes_the_longest_of_its_parts_and_then_the_exchange(projection):
    work = projection.Work(multiplies=1e9, bytes=4e9, operations=100, parameters=10**6, exchanges=9)
    assert projection.Rates(6e12, 1e12, 1e-5).parts(work) == pytest.approx((1e-3, 4e-3, 1e-3))
    half = work.of_batch(0.5)
    assert (half.multiplies, half.bytes, half.operations, half.parameters) == (5e8, 2e9, 100, 10**6)
    assert projection.exchange_seconds(work, 1e9, 1) == 0.0
    # A ring of four sends 2 x 3/4 of 4 MB, and ten small collectives.
    assert projection.exchange_seconds(work, 1e9, 4) == pytest.approx(6e-3 + 10 * projection.COLLECTIVE)


@pytest.mark.slow
def test_bytes_and_multiplies_grow_with_the_windows_and_operations_and_parameters_do_not(projection):
    small, large = (projection.count_work("hard_sharing", window, 2) for window in (64, 128))
    # What is left is the optimiser's, whose variables do not grow.
    assert 3.6 < large.bytes / small.bytes < 4
    assert large.multiplies == 4 * small.multiplies
    assert large.parameters == small.parameters
    assert abs(large.operations - small.operations) < 0.02 * small.operations
