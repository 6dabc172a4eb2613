"""Mathematics of filter groups against NumPy, SciPy and the numbers of the paper."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

from sfgkeras import grouping


def numpy_probabilities(logits):
    weights = np.logaddexp(0.0, np.asarray(logits, "float64"))
    return weights / weights.sum(-1, keepdims=True)


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 5])
def test_probabilities_start_at_six_tenths_shared_and_the_rest_over_the_tasks(num_tasks):
    start = grouping.initial_probabilities(None, 7, num_tasks, np.random.default_rng(0))
    p = np.asarray(grouping.grouping_probabilities(grouping.initial_grouping_logits(start)))
    expected = [0.4 / num_tasks] * num_tasks + [0.6]
    np.testing.assert_allclose(p, np.tile(expected, (7, 1)), atol=1e-6)


def test_the_two_task_start_is_that_of_the_paper():
    start = grouping.initial_probabilities(None, 1, 2, np.random.default_rng(0))
    np.testing.assert_allclose(start, [[0.2, 0.2, 0.6]])


def test_probabilities_equal_normalised_softplus():
    logits = np.random.default_rng(3).normal(scale=4, size=(50, 4)).astype("float32")
    np.testing.assert_allclose(
        grouping.grouping_probabilities(logits), numpy_probabilities(logits), rtol=2e-5, atol=1e-7
    )


def test_log_probabilities_stay_finite_where_softplus_underflows():
    logits = np.array([[-200.0, -200.0, 5.0], [-300.0, -300.0, -300.0]], "float32")
    log_p = np.asarray(grouping.log_grouping_probabilities(logits))
    assert np.isfinite(log_p).all()
    np.testing.assert_allclose(log_p[1], np.log(1 / 3), rtol=1e-5)


def test_log_probabilities_have_finite_gradients_everywhere():
    logits = tf.constant(np.linspace(-90, 90, 60, dtype="float32").reshape(20, 3))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = tf.reduce_sum(grouping.log_grouping_probabilities(logits))
    assert np.isfinite(tape.gradient(total, logits)).all()


def test_dirichlet_start_is_one_draw_per_filter_with_uniform_mean():
    p = grouping.initial_probabilities("dirichlet", 4000, 2, np.random.default_rng(0))
    np.testing.assert_allclose(p.sum(-1), 1.0)
    np.testing.assert_allclose(p.mean(0), 1 / 3, atol=0.02)
    assert len(np.unique(p[:, 0])) == 4000


def test_vertices_start_puts_nine_tenths_on_one_group_of_every_filter():
    p = grouping.initial_probabilities("vertices", 300, 3, np.random.default_rng(0))
    np.testing.assert_allclose(p.sum(-1), 1.0)
    np.testing.assert_allclose(p.max(-1), 0.9)
    assert set(p.argmax(-1)) == {0, 1, 2, 3}


@pytest.mark.parametrize("choice", [[0.5, 0.5], [0.5, 0.6, -0.1], [0.2, 0.2, 0.2], "corners"])
def test_a_start_that_is_no_distribution_is_refused_with_its_value(choice):
    with pytest.raises(ValueError, match="initial_probabilities = ") as error:
        grouping.initial_probabilities(choice, 4, 2, np.random.default_rng(0))
    assert str(choice) in str(error.value)


def test_gumbel_noise_is_finite_for_every_uniform_sample_and_has_gumbel_distribution():
    edges = np.asarray(grouping.gumbel_noise(np.array([0.0, 1.0 - 2.0**-24, 1.0], "float32")))
    assert np.isfinite(edges).all()
    uniform = np.random.default_rng(1).random(20_000).astype("float32")
    noise = np.asarray(grouping.gumbel_noise(uniform))
    assert scipy.stats.kstest(noise, scipy.stats.gumbel_r.cdf).pvalue > 0.001


def draw(probabilities, count, seed=0):
    uniform = np.random.default_rng(seed).random((count, len(probabilities))).astype("float32")
    with np.errstate(divide="ignore"):
        log_p = np.log(np.tile(np.asarray(probabilities, "float32"), (count, 1)))
    return log_p, np.asarray(grouping.gumbel_noise(uniform))


@pytest.mark.parametrize("probabilities", [(0.2, 0.2, 0.6), (0.05, 0.15, 0.8), (0.1, 0.2, 0.3, 0.4)])
def test_groups_of_twenty_thousand_draws_follow_p(probabilities):
    log_p, noise = draw(probabilities, 20_000)
    groups = np.asarray(grouping.relaxed_assignment(log_p, noise, 0.7)).argmax(-1)
    counts = np.bincount(groups, minlength=len(probabilities))
    assert scipy.stats.chisquare(counts, 20_000 * np.asarray(probabilities)).pvalue > 0.001


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_a_certain_filter_lands_in_its_group_in_every_draw(temperature):
    log_p, noise = draw((0.0, 1.0, 0.0), 20_000)
    masks = np.asarray(grouping.relaxed_assignment(log_p, noise, temperature))
    np.testing.assert_array_equal(masks, np.tile([0.0, 1.0, 0.0], (20_000, 1)))


def test_relaxed_masks_are_the_softmax_of_log_p_and_noise_over_temperature():
    log_p, noise = draw((0.2, 0.3, 0.5), 100)
    expected = scipy.special.softmax((log_p.astype("float64") + noise) / 0.3, axis=-1)
    masks = grouping.relaxed_assignment(log_p, noise, 0.3)
    np.testing.assert_allclose(masks, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(np.sum(masks, -1), 1.0, rtol=1e-6)


def test_hard_masks_are_exactly_one_hot_at_the_largest_relaxed_entry():
    log_p, noise = draw((0.2, 0.3, 0.5), 500)
    hard = np.asarray(grouping.hard_assignment(log_p, noise, 0.5))
    relaxed = np.asarray(grouping.relaxed_assignment(log_p, noise, 0.5))
    assert set(np.unique(hard)) == {0.0, 1.0}
    np.testing.assert_array_equal(hard.argmax(-1), relaxed.argmax(-1))
    np.testing.assert_array_equal(hard.sum(-1), 1.0)


def test_mode_is_the_argmax_and_tied_groups_win_in_turn():
    p = np.random.default_rng(0).dirichlet(np.ones(4), size=200).astype("float32")
    np.testing.assert_array_equal(np.asarray(grouping.mode_assignment(p)).argmax(-1), p.argmax(-1))
    uniform = np.asarray(grouping.mode_assignment(np.full((7, 3), 1 / 3, "float32"))).argmax(-1)
    np.testing.assert_array_equal(uniform, [0, 1, 2, 0, 1, 2, 0])
    two_tied = np.tile([0.4, 0.4, 0.2], (4, 1)).astype("float32")
    np.testing.assert_array_equal(np.asarray(grouping.mode_assignment(two_tied)).argmax(-1), [0, 1, 0, 0])


def gradient_of(assign, logits, noise, weights, temperature):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        masks = assign(grouping.log_grouping_probabilities(logits), noise, temperature)
        total = tf.reduce_sum(masks * weights)
    return tape.gradient(total, logits).numpy()


def random_problem(seed=5):
    rng = np.random.default_rng(seed)
    logits, weights = rng.normal(size=(2, 6, 3)).astype("float32")
    return logits, np.asarray(grouping.gumbel_noise(rng.random((6, 3)).astype("float32"))), weights


def test_straight_through_gradient_equals_the_relaxed_one():
    logits, noise, weights = random_problem()
    hard = gradient_of(grouping.hard_assignment, logits, noise, weights, 0.4)
    relaxed = gradient_of(grouping.relaxed_assignment, logits, noise, weights, 0.4)
    np.testing.assert_allclose(hard, relaxed, rtol=1e-6)
    assert np.abs(relaxed).max() > 1e-3


def test_relaxed_gradient_equals_finite_differences():
    logits, noise, weights = random_problem()

    def value(flat):
        log_p = np.log(numpy_probabilities(flat.reshape(6, 3)))
        return (scipy.special.softmax((log_p + noise) / 0.4, axis=-1) * weights).sum()

    step = 1e-6
    flat = logits.astype("float64").ravel()
    expected = [(value(flat + step * unit) - value(flat - step * unit)) / (2 * step) for unit in np.eye(len(flat))]
    actual = gradient_of(grouping.relaxed_assignment, logits, noise, weights, 0.4)
    np.testing.assert_allclose(actual.ravel(), expected, rtol=2e-3, atol=2e-5)


def test_temperature_has_the_values_of_the_schedule():
    assert float(grouping.temperature_schedule(0)) == 1.0
    assert float(grouping.temperature_schedule(100_000)) == pytest.approx(0.367879, abs=1e-6)
    assert float(grouping.temperature_schedule(200_000)) == pytest.approx(0.135335, abs=1e-6)
    assert float(grouping.temperature_schedule(1000, initial=2.0, rate=0.0)) == 2.0


def test_temperature_meets_its_floor_first_at_step_230259():
    floor = np.float32(0.1)
    assert float(grouping.temperature_schedule(230_258)) > floor
    assert float(grouping.temperature_schedule(230_259)) == floor
    assert float(grouping.temperature_schedule(10**7)) == floor


def test_entropy_equals_scipy_and_is_zero_at_a_vertex():
    p = np.random.default_rng(0).dirichlet(np.ones(4), size=30).astype("float32")
    np.testing.assert_allclose(grouping.entropy(p), scipy.stats.entropy(p, axis=-1), rtol=1e-5)
    np.testing.assert_array_equal(grouping.entropy(np.eye(3, dtype="float32")), np.zeros(3))
    np.testing.assert_allclose(grouping.entropy(np.full((1, 3), 1 / 3, "float32")), np.log(3), rtol=1e-6)


@pytest.mark.parametrize(
    ("filters", "fractions", "expected"),
    [
        (16, (1 / 3, 1 / 3, 1 / 3), (5, 5, 6)),
        (32, (1 / 3, 1 / 3, 1 / 3), (11, 10, 11)),
        (64, (0.5, 0.5, 0.0), (32, 32, 0)),
        (5, (0.5, 0.5, 0.0), (3, 2, 0)),
        (7, (0.0, 0.0, 1.0), (0, 0, 7)),
        (1, (0.2, 0.2, 0.6), (0, 0, 1)),
    ],
)
def test_allocation_counts_follow_the_largest_remainder_with_shared_first(filters, fractions, expected):
    assert grouping.count_allocation(filters, fractions) == expected


@pytest.mark.parametrize(
    ("filters", "multiple_of", "expected"),
    [(64, 8, (16, 16, 32)), (72, 8, (16, 16, 40)), (20, 8, (8, 4, 8)), (6, 8, (0, 0, 6)), (20, 1, (5, 5, 10))],
)
def test_counts_are_multiples_and_what_is_left_over_goes_where_most_is_lacking(filters, multiple_of, expected):
    assert grouping.count_allocation(filters, (0.25, 0.25, 0.5), multiple_of) == expected


def test_a_drawn_allocation_keeps_the_counts_and_depends_on_the_seed():
    fractions = (0.25, 0.25, 0.5)
    first, again, other = (grouping.draw_allocation(40, fractions, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert tuple(np.bincount(first)) == (10, 10, 20)


def test_fractions_that_do_not_sum_to_one_are_refused():
    with pytest.raises(ValueError, match=r"fractions = \[0.5, 0.6\]"):
        grouping.count_allocation(8, (0.5, 0.6))


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_the_average_of_all_draws_is_that_of_many_random_ones(temperature):
    """To 0.04, as its documentation says: against 20 000 draws of twelve filters."""
    rng = np.random.default_rng(0)
    p = np.concatenate([[[0.2, 0.2, 0.6], [0.05, 0.9, 0.05], [1 / 3, 1 / 3, 1 / 3]], rng.dirichlet(np.ones(3), 9)])
    noise = rng.gumbel(size=(20_000, 12, 3))
    scores = (np.log(p) + noise) / temperature
    expected = scipy.special.softmax(scores, axis=-1).mean(axis=0)
    found = grouping.expected_assignment(ops.convert_to_tensor(np.log(p).astype("float32")), temperature)
    np.testing.assert_allclose(found, expected, atol=0.04)
    np.testing.assert_allclose(ops.sum(found, axis=-1), 1.0, rtol=1e-5)


def test_warmer_masks_are_nearer_to_equal_parts_and_cooler_ones_to_p():
    log_p = ops.convert_to_tensor(np.log(np.float32([[0.1, 0.2, 0.7]])))
    distances = [
        np.abs(np.asarray(grouping.expected_assignment(log_p, temperature)) - 1 / 3).max()
        for temperature in (0.01, 0.3, 1.0, 5.0, 100.0)
    ]
    assert distances == sorted(distances, reverse=True)
    np.testing.assert_allclose(grouping.expected_assignment(log_p, 0.01), [[0.1, 0.2, 0.7]], atol=0.04)


@settings(max_examples=40, deadline=None)
@given(logits=arrays("float32", (3, 4), elements=st.floats(-30, 30, width=32)), order=st.permutations(range(4)))
def test_probabilities_go_with_their_groups_and_are_what_makes_them_so(logits, order):
    """Groups in another order have their probabilities in that order; logits are found again from probabilities."""
    p = np.asarray(grouping.grouping_probabilities(ops.convert_to_tensor(logits)))
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-5)
    softplus = np.logaddexp(0, logits.astype("float64"))
    np.testing.assert_allclose(p, softplus / softplus.sum(axis=1, keepdims=True), rtol=1e-4)
    moved = grouping.grouping_probabilities(ops.convert_to_tensor(logits[:, list(order)]))
    np.testing.assert_allclose(moved, p[:, list(order)], rtol=1e-5)
    again = grouping.grouping_probabilities(ops.convert_to_tensor(grouping.initial_grouping_logits(p)))
    np.testing.assert_allclose(again, p, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), filters=st.integers(0, 70), multiple=st.sampled_from([1, 2, 8]))
def test_every_filter_has_a_group_and_no_group_is_a_unit_off_its_fraction(data, filters, multiple):
    shares = np.array(data.draw(st.lists(st.integers(0, 9), min_size=2, max_size=5).filter(any)), float)
    shares /= shares.sum()
    counts = np.array(grouping.count_allocation(filters, shares.tolist(), multiple))
    assert counts.sum() == filters
    assert (counts >= 0).all()
    assert (counts % multiple > 0).sum() <= 1  # one group alone may hold what is left over
    assert np.abs(counts - shares * filters).max() < 2 * multiple
    if multiple == 1:
        assert np.abs(counts - shares * filters).max() < 1
        assert (counts[shares == 0] == 0).all()


def test_filters_count_as_decided_from_nine_tenths_on_in_whatever_layer_they_are():
    layers = [np.float32([[0.9, 0.1], [0.89, 0.11]]), np.float32([[0.05, 0.95], [0.0, 1.0], [0.5, 0.5]])]
    assert float(grouping.undecided_share([ops.convert_to_tensor(layer) for layer in layers])) == pytest.approx(2 / 5)
    shares = [0.0, 0.05, 0.0501, 1.0]
    assert [bool(grouping.is_decided(share)) for share in shares] == [True, True, False, False]


def test_a_temperature_that_does_not_fall_stays_and_one_of_a_tensor_has_its_shape():
    steps = ops.convert_to_tensor(np.array([[0, 10], [20, 10**9]]))
    np.testing.assert_allclose(grouping.temperature_schedule(steps, 2.0, 0.0, 0.5), np.full((2, 2), 2.0))
    found = grouping.temperature_schedule(steps, 2.0, 0.1, 0.5)
    np.testing.assert_allclose(found, [[2.0, 2 * np.exp(-1)], [0.5, 0.5]], rtol=1e-5)
