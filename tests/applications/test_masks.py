"""`[INFERENCE] masks = auto`: the groups decide, the log says which masks it took, and nothing is computed in vain."""

import numpy as np
import pytest

from sfgkeras.applications.inference import restored_network as recalibration
from sfgkeras.applications.subjects.session import open_session
from sfgkeras.applications.training import network as building
from sfgkeras.grouping import initial_grouping_logits
from sfgkeras.sharing.grouped_trunk import GroupedTrunk


@pytest.fixture
def network_of(make_config, reporter):
    """Returns a function: masks, largest probability of every filter -> configuration and network."""

    def build(masks, largest):
        settings = {"NETWORK.sharing": "sfg", "NETWORK.width": 0.2, "INFERENCE.masks": masks}
        config = make_config(settings | {"NETWORK.batch_norm": "recalibrated"})
        session = open_session(config, reporter, training=True)
        network = building.build_network(config, session.tasks, 1)
        for layer in network.groupings().values():
            p = np.full((layer.filters, 3), (1 - largest) / 2)
            p[:, 2] = largest
            layer.grouping_logits.assign(initial_grouping_logits(p))
        return config, network

    return build


@pytest.mark.parametrize(
    ("masks", "largest", "is_grouped"),
    [("auto", 0.95, True), ("auto", 0.6, False), ("mode", 0.6, True), ("mean", 0.95, False)],
)
def test_fixed_groups_are_taken_where_the_masks_settle_on_them(masks, largest, is_grouped, network_of):
    config, network = network_of(masks, largest)
    taken = recalibration._without_waste(config, network)
    assert isinstance(taken.trunk, GroupedTrunk) == is_grouped


def test_the_log_says_which_masks_auto_took_and_why(network_of):
    _, decided = network_of("auto", 0.95)
    assert recalibration.describe_masks(decided) == (
        "masks = auto: every filter's most probable group (0.0% of the filters are undecided)"
    )
    _, undecided = network_of("auto", 0.6)
    undecided.iteration.assign(100_000)
    assert recalibration.describe_masks(undecided) == (
        "masks = auto: the mean of all draws at temperature 0.37 (100.0% of the filters are undecided; more than 5 %)"
    )
