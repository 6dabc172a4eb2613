import pytest

from sfgkeras.applications.early_stopping import EARLY_STOPPING, should_stop
from sfgkeras.config import choices

FALLING = [1.0, 0.8, 0.6, 0.5, 0.4, 0.3]
RISING = [0.3, 0.31, 0.5, 0.8, 1.2, 1.9]


@pytest.mark.parametrize("name", sorted(EARLY_STOPPING))
def test_every_rule_goes_on_while_the_loss_falls_and_stops_when_it_climbs(name):
    assert not should_stop(FALLING, patience=5, rule=EARLY_STOPPING[name])
    assert should_stop(RISING, patience=5, rule=EARLY_STOPPING[name])


@pytest.mark.parametrize("name", sorted(EARLY_STOPPING))
def test_no_rule_stops_before_it_has_seen_enough(name):
    assert not should_stop(RISING, patience=6, rule=EARLY_STOPPING[name])
    assert not should_stop(RISING, patience=0, rule=EARLY_STOPPING[name])


def test_the_default_patience_counts_validations_since_the_best_one():
    losses = [0.5, 0.4, 0.41, 0.42, 0.43]
    assert not should_stop(losses, patience=4, rule=EARLY_STOPPING["best"])
    assert should_stop(losses, patience=3, rule=EARLY_STOPPING["best"])


def test_the_configuration_offers_exactly_the_rules_that_exist():
    assert set(choices.EARLY_STOPPING_MODES) == set(EARLY_STOPPING)
