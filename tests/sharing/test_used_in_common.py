"""Which tasks share what: by hand, for filters with probabilities, fixed groups and mixtures of features."""

import dataclasses

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sfgkeras.architecture.graph import Architecture, build_architecture
from sfgkeras.architecture.stage import Stage
from sfgkeras.networks import MultiTaskNetwork
from sfgkeras.sharing import SHARING
from sfgkeras.sharing.allocation import connect
from sfgkeras.sharing.used_in_common import (
    among_all,
    groups_in_common,
    learned_by_stage,
    mixed_in_common,
    tasks_served,
    used_in_common,
)

STAGES = (Stage(2), Stage(2), Stage(2))
CHAIN = Architecture(STAGES, (2, 2))


@keras.saving.register_keras_serializable(package="tests")
class Psi(MultiTaskNetwork):
    """Two shared stages, and one per task; a vector task has its head before the last one."""

    stages = (Stage(6, name="first"), Stage(6, name="second"), Stage(4, name="own", per_task=True))


def built(tasks, sharing="sfg", heads=None, **settings):
    network = Psi(tasks, sharing, heads=heads or {}, seed=0, **settings)
    network.build((None, 4, 4, 1))
    return network


def matrix_of(p, routing="mixed", stage=1):
    p = np.asarray(p, float)
    chain = Architecture(STAGES, (2,) * (p.shape[1] - 1))
    return groups_in_common(chain, [p] * 3, routing)[f"stage_{stage}"]


def test_nothing_in_common_is_0_and_everything_is_1():
    np.testing.assert_array_equal(used_in_common([[1, 0], [0, 3]]), np.eye(2))
    np.testing.assert_array_equal(used_in_common([[2, 1], [2, 1], [2, 1]]), np.ones((3, 3)))


def test_a_part_counts_by_what_the_first_task_uses():
    # 1 of 4 for the first task, 1 of 2 for the second.
    np.testing.assert_allclose(used_in_common([[3, 1, 0], [0, 1, 1]]), [[1, 1 / 4], [1 / 2, 1]])


def test_a_task_that_uses_nothing_shares_nothing():
    np.testing.assert_array_equal(used_in_common([[0, 0], [1, 1]]), np.eye(2))


def test_shared_filters_count_as_a_part_of_those_expected_to_serve_the_task():
    p = [[0.5, 0.1, 0.4], [0.2, 0.2, 0.6]]
    # Expected: 0.7 filters of task 1, 0.3 of task 2, 1.0 shared.
    np.testing.assert_allclose(matrix_of(p), [[1, 1 / 1.7], [1 / 1.3, 1]])
    np.testing.assert_allclose(matrix_of(p, "separate"), [[1, 1 / 1.7], [1 / 1.3, 1]])


def test_three_tasks_share_by_the_same_part_with_each_of_the_others():
    p = [[0.4, 0.2, 0.0, 0.4], [0.0, 0.0, 0.6, 0.4]]
    expected = [[1, 0.8 / 1.2, 0.8 / 1.2], [0.8, 1, 0.8], [0.8 / 1.4, 0.8 / 1.4, 1]]
    np.testing.assert_allclose(matrix_of(p), expected)


def test_with_dense_routing_all_filters_serve_all_tasks_but_those_that_only_heads_read():
    p = [[0.5, 0.5, 0.0], [0.5, 0.0, 0.5]]
    np.testing.assert_allclose(matrix_of(p, "dense", 1), np.ones((2, 2)))
    np.testing.assert_allclose(matrix_of(p, "dense", 3), [[1, 0.5 / 1.5], [0.5, 1]])


def test_shared_filters_that_nobody_reads_serve_no_task():
    shared, own = np.eye(3)[[2, 2]], np.eye(3)[[0, 1]]
    found = groups_in_common(CHAIN, [shared, own, own], "separate")
    np.testing.assert_array_equal(found["stage_1"], np.eye(2))
    found = groups_in_common(CHAIN, [shared, own, own], "mixed")
    np.testing.assert_array_equal(found["stage_1"], np.ones((2, 2)))


def test_mixtures_share_what_their_weights_have_in_common():
    np.testing.assert_allclose(mixed_in_common([[0.9, 0.1], [0.1, 0.9]]), [[1, 0.2], [0.2, 1]])
    # Of 2 + 2 the first uses halves, of 3 + 1 the second three quarters of the first feature.
    np.testing.assert_allclose(mixed_in_common([[2, -2], [3, 1]]), [[1, 0.75], [0.75, 1]])


def test_networks_that_exchange_all_features_are_independent():
    np.testing.assert_array_equal(mixed_in_common([[0, 1], [1, 0]]), np.eye(2))


def test_equal_mixtures_are_common_whatever_their_scale():
    np.testing.assert_allclose(mixed_in_common([[0.2, 0.2, 0.1], [4, 4, 2], [2, 2, 1]]), np.ones((3, 3)))


@pytest.mark.parametrize("num_tasks", [1, 3, 5])
@pytest.mark.parametrize("sharing", SHARING)
def test_every_mechanism_says_what_every_stage_shares(sharing, num_tasks):
    network = built({f"task_{number}": 1 for number in range(num_tasks)}, sharing, width=2.0)  # filters for subspaces
    found = network.sharing_matrix()
    assert list(found) == ["first", "second", "own"]
    for matrix in found.values():
        assert matrix.shape == (num_tasks, num_tasks)
        np.testing.assert_array_equal(np.diag(matrix), 1)
        assert matrix.min() >= 0
        assert matrix.max() <= 1
    np.testing.assert_array_equal(found["own"], np.eye(num_tasks))


@pytest.mark.parametrize(("sharing", "expected"), [("hard_sharing", 1.0), ("single_task", 0.0)])
def test_hard_sharing_shares_everything_and_independent_networks_nothing(sharing, expected):
    found = built({"a": 1, "b": 2, "c": 1}, sharing).sharing_matrix()
    others = ~np.eye(3, dtype=bool)
    np.testing.assert_array_equal(found["first"][others], expected)
    np.testing.assert_array_equal(found["second"][others], expected)


def test_sfg_starts_with_what_its_probabilities_say():
    found = built({"a": 1, "b": 1}).sharing_matrix()
    np.testing.assert_allclose(found["second"], [[1, 0.6 / 0.8], [0.6 / 0.8, 1]], atol=1e-6)


def test_stitched_networks_share_what_their_weights_say():
    network = built({"a": 1, "b": 1}, "cross_stitch", weight=0.7)
    np.testing.assert_allclose(network.sharing_matrix()["first"], [[1, 0.6], [0.6, 1]], atol=1e-6)
    network.trunk.units[1].alpha.assign([[1.0, 0.0], [0.5, -0.5]])
    np.testing.assert_allclose(network.sharing_matrix()["second"], [[1, 0.5], [0.5, 1]], atol=1e-6)
    np.testing.assert_array_equal(network.learned()["stitch_weights/second"], [[1.0, 0.0], [0.5, -0.5]])
    assert list(network.learned()) == ["stitch_weights/first", "stitch_weights/second"]


@pytest.mark.parametrize("sharing", SHARING)
def test_a_task_shares_nothing_behind_its_head(sharing):
    network = built({"a": 1, "b": 1, "c": 1}, sharing, heads={"b": "vector@first"})
    found = network.sharing_matrix()
    np.testing.assert_array_equal(found["second"][1], [0, 1, 0])
    np.testing.assert_array_equal(found["second"][:, 1], [0, 1, 0])
    if sharing not in ("single_task", "soft_sharing"):  # of which kernels have nothing in common at first
        assert found["first"][1, 0] > 0
        assert found["second"][0, 2] > 0


def test_weights_of_a_task_that_has_left_are_not_there():
    network = built({"a": 1, "b": 1, "c": 1}, "cross_stitch", heads={"b": "vector@first"}, per_channel=True)
    weights = network.learned()["stitch_weights/second"]
    assert weights.shape == (3, 3, 3)
    assert np.isnan(weights[1]).all()
    assert np.isnan(weights[:, 1]).all()
    np.testing.assert_allclose(weights[0, 2], 0.1, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(use=arrays(float, (3, 5), elements=st.floats(0, 10).map(lambda value: 0.0 if value < 1e-3 else value)))
def test_what_is_common_is_a_part_whatever_is_used(use):
    """The part times all that a task uses is the same seen from either task: what they have in common."""
    matrix = used_in_common(use)
    assert ((matrix >= 0) & (matrix <= 1 + 1e-12)).all()
    np.testing.assert_array_equal(np.diag(matrix), 1.0)
    common = matrix * use.sum(axis=1)[:, None]
    there = use.sum(axis=1) > 0
    np.testing.assert_allclose(common[np.ix_(there, there)], common[np.ix_(there, there)].T, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(used_in_common(7 * use), matrix)
    np.testing.assert_allclose(used_in_common(np.repeat(use, 2, axis=1)), matrix)


def test_things_may_have_any_number_of_axes():
    use = np.random.default_rng(0).uniform(size=(2, 3, 4))
    np.testing.assert_allclose(used_in_common(use), used_in_common(use.reshape(2, 12)))


def test_a_matrix_of_some_tasks_is_one_of_all_in_which_the_others_share_nothing():
    found = among_all(np.array([[1.0, 0.25], [0.5, 1.0]]), [2, 0], 4)
    expected = np.eye(4)
    expected[2, 0], expected[0, 2] = 0.25, 0.5
    np.testing.assert_array_equal(found, expected)


def test_a_mixture_of_nothing_shares_nothing():
    np.testing.assert_array_equal(mixed_in_common([[0.0, 0.0], [0.5, 0.5]]), np.eye(2))


def test_what_is_learned_is_named_by_quantity_and_stage():
    assert learned_by_stage("alpha", {"conv_1": [1, 2]}).keys() == {"alpha/conv_1"}


@pytest.mark.parametrize("routing", ["mixed", "separate", "dense"])
@pytest.mark.parametrize("seed", range(3))
def test_a_group_serves_the_tasks_whose_head_would_compute_it(routing, seed):
    """Against the connections of networks of which one head alone is wanted: with a skip, and a head further down."""
    stages = [Stage(4, name="down", pools=True), Stage(4, name="bottom"), Stage(4, upsamples=True, skip="down")]
    architecture = build_architecture(stages, 1.0, [None, None, "bottom"])
    rng = np.random.default_rng(seed)
    groups = [rng.integers(0, 4, size=4) for _ in stages]
    present = [np.isin(np.arange(4), each) for each in groups]
    served = tasks_served(architecture, present, routing)
    whole = connect(architecture, groups, 3, routing)
    for task in range(3):
        alone = dataclasses.replace(whole, heads=(task,))
        for stage in range(3):
            expected = [group in alone.stage_groups(stage) for group in range(4)]
            np.testing.assert_array_equal(served[stage][:, task] & present[stage], expected)
