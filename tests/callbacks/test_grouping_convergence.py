"""When p no longer moves."""

import numpy as np
import pytest

from sfgkeras.callbacks import GroupingConvergence, largest_movement


def note(shift=0.0, filters=4):
    p = np.tile([0.2, 0.2, 0.6], (filters, 1))
    return {"sfg_1": p, "sfg_2": p + shift * np.array([1.0, 0.0, -1.0])}


def test_movement_is_the_mean_total_variation_of_the_layer_that_moved_most():
    assert largest_movement(note(), note(0.1)) == pytest.approx(0.1)
    one_filter = {"sfg_1": np.array([[1.0, 0.0], [0.5, 0.5]])}
    other = {"sfg_1": np.array([[0.0, 1.0], [0.5, 0.5]])}
    assert largest_movement(one_filter, other) == pytest.approx(0.5)


def test_p_that_stands_still_converges_after_exactly_one_window():
    rule = GroupingConvergence(window=1000, tolerance=0.01)
    answers = {iteration: rule.update(iteration, note()) for iteration in range(0, 2000, 100)}
    assert [iteration for iteration, answer in answers.items() if answer] == list(range(1000, 2000, 100))
    assert rule.converged_at == 1000


def test_p_that_drifts_slowly_does_not_converge_until_the_drift_over_a_window_is_small():
    rule = GroupingConvergence(window=1000, tolerance=0.05)
    drift = [min(iteration, 3000) * 1e-4 for iteration in range(0, 6000, 100)]
    answers = [rule.update(100 * index, note(shift)) for index, shift in enumerate(drift)]
    first = 100 * answers.index(True)
    # From 3500 back to 2500 p moved 0.05; a step earlier it moved more.
    assert first == rule.converged_at == 3500


def test_one_swing_inside_the_window_is_movement_though_the_ends_agree():
    rule = GroupingConvergence(window=300, tolerance=0.01)
    shifts = [0.0, 0.0, 0.2, 0.0, 0.0]
    assert not any(rule.update(100 * index, note(shift)) for index, shift in enumerate(shifts))


def test_the_first_convergence_is_kept_when_p_moves_on():
    rule = GroupingConvergence(window=100, tolerance=0.01)
    rule.update(0, note())
    assert rule.update(100, note())
    assert not rule.update(200, note(0.3))
    assert rule.converged_at == 100


def test_an_earlier_iteration_starts_anew():
    rule = GroupingConvergence(window=100)
    rule.update(500, note())
    assert not rule.update(0, note())
    assert rule.update(100, note())


def test_notes_are_copies_and_a_network_without_groups_never_converges():
    rule = GroupingConvergence(window=100)
    p = note()
    rule.update(0, p)
    p["sfg_1"] += 0.4
    assert not rule.update(100, p)
    empty = GroupingConvergence(window=1)
    assert not any(empty.update(iteration, {}) for iteration in range(5))


@pytest.mark.parametrize(("arguments", "message"), [({"window": 0}, "window = 0"), ({"tolerance": -1}, "= -1")])
def test_impossible_rules_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GroupingConvergence(**arguments)
