import numpy as np
import pytest
import scipy.ndimage

from sfgkeras.applications.training.stopping import EarlyStopping, Record
from sfgkeras.tables.stopping import STOPPING

# The rules that stop a whole run.
RULES = sorted(name for name, entry in STOPPING.items() if issubclass(entry.load(), EarlyStopping))


def should_stop(losses, patience, name):
    """Whether a rule of the table stops a run with these validation losses."""
    record = Record(len(losses), ("a",), validation={"loss": losses}, is_validation=True)
    decision = STOPPING[name].load()(patience=patience).observe(record)
    assert not decision.stop_tasks
    assert not decision.is_failure
    return bool(decision.stop_run)


FALLING = [1.0, 0.8, 0.6, 0.5, 0.4, 0.3]
RISING = [0.3, 0.31, 0.5, 0.8, 1.2, 1.9]


@pytest.mark.parametrize("name", RULES)
def test_every_rule_goes_on_while_the_loss_falls_and_stops_when_it_climbs(name):
    assert not should_stop(FALLING, patience=5, name=name)
    assert should_stop(RISING, patience=5, name=name)


@pytest.mark.parametrize("name", RULES)
def test_no_rule_stops_before_it_has_seen_enough(name):
    assert not should_stop(RISING, patience=6, name=name)
    assert not should_stop(RISING, patience=0, name=name)


def test_the_default_patience_counts_validations_since_the_best_one():
    losses = [0.5, 0.4, 0.41, 0.42, 0.43]
    assert not should_stop(losses, patience=4, name="best")
    assert should_stop(losses, patience=3, name="best")


GOES_ON, STOPS = False, True
# Sequences, worked out by hand, on which a rule differs from the others or from itself with another number.
SEQUENCES = [
    ("best", [0.5, 0.51, 0.5, 0.6], STOPS),
    ("best", [0.5, 0.6, 0.49, 0.7], GOES_ON),
    ("mean", [1.0, 2.0, 3.0, 2.02], GOES_ON),
    ("mean", [1.0, 2.0, 3.0, 2.035], STOPS),  # of all four the mean is 2.009
    ("mean", [1.0, 1.0, 4.0, 1.5], GOES_ON),  # the median is 1
    ("median", [1.0, 1.0, 4.0, 1.5], STOPS),
    ("median", [1.0, 1.0, 4.0, 1.02], GOES_ON),
    ("median", [1.0, 1.0, 4.0, 1.04], STOPS),
    ("median", [9.0, 9.0, 1.0, 5.0], GOES_ON),
    # One outlier among eleven lies beyond the 5th or the 95th percentile and is left out.
    ("robust_mean", [1.0] * 10 + [100.0, 1.04], STOPS),
    ("robust_mean", [1.0] * 10 + [100.0, 1.02], GOES_ON),
    ("robust_mean", [-100.0] + [1.0] * 10 + [1.02], GOES_ON),
    ("robust_mean", [-100.0] + [1.0] * 10 + [1.04], STOPS),
    ("mean", [-100.0] + [1.0] * 10 + [1.02], STOPS),
    ("mean", [1.0] * 10 + [100.0, 1.04], GOES_ON),
    ("generalisation_loss", [3.0, 1.0, 2.0, 1.19], GOES_ON),
    ("generalisation_loss", [3.0, 1.0, 2.0, 1.21], STOPS),
    ("generalisation_loss", [0.0, -1.0, -0.81], GOES_ON),
    ("generalisation_loss", [0.0, -1.0, -0.79], STOPS),
    ("validation_up", [1.0, 2.0, 2.0, 1.5], STOPS),
    ("validation_up", [2.0, 2.0, 1.0, 2.9], GOES_ON),
    ("validation_up", [1.0, 3.0, 0.0, 0.0, 9.0], STOPS),  # of five the last three: 3 against 2
    ("validation_up", [1.0, 3.0, 0.0, 0.0, 5.9], GOES_ON),
    # One peak is nothing to a median of five; what the other rules see of it is an end above the rest.
    ("median_smoothing", [1.0, 1.0, 1.0, 1.0, 1.0, 9.0, 1.0], GOES_ON),
    ("median_smoothing", [1.0, 9.0, 1.0, 9.0, 1.0, 1.5, 1.5], STOPS),
    ("median_smoothing", [1.0, 1.0, 1.0, 1.0, 1.0, 1.02, 1.02], GOES_ON),
    ("median_smoothing", [1.0, 1.0, 1.0, 1.0, 1.0, 1.04, 1.04], STOPS),
]


@pytest.mark.parametrize(("name", "losses", "expected"), SEQUENCES)
def test_every_rule_decides_as_its_formula_does(name, losses, expected):
    assert should_stop(losses, patience=len(losses) - 1, name=name) is expected
    # What came before the last `patience + 1` losses does not count.
    assert should_stop([-50.0, 70.0, *losses], patience=len(losses) - 1, name=name) is expected


def test_every_rule_has_sequences_that_stop_it_and_that_do_not():
    assert {(name, expected) for name, _, expected in SEQUENCES} == {
        (name, expected) for name in RULES for expected in (STOPS, GOES_ON)
    }


def test_median_smoothing_is_the_median_filter_of_scipy():
    rng = np.random.default_rng(0)
    decisions = []
    for _ in range(200):
        losses = rng.normal(size=9).round(2).tolist()
        smooth = scipy.ndimage.median_filter(losses, 5, mode="nearest")
        decisions.append(smooth[-1] > np.median(smooth[:-1]) + 0.03)
        assert should_stop(losses, patience=8, name="median_smoothing") == decisions[-1]
    assert 50 < sum(decisions) < 150


def test_no_rule_decides_between_two_validations():
    for name in RULES:
        record = Record(9, ("a",), validation={"loss": RISING}, is_validation=False)
        assert not STOPPING[name].load()(patience=5).observe(record).stop_run


def test_a_stopped_run_names_the_rule():
    record = Record(9, ("a",), validation={"loss": RISING}, is_validation=True)
    for name in RULES:
        assert STOPPING[name].load()(patience=5).observe(record).stop_run.endswith(f"({name})")
