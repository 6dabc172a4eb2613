"""Rules of losses: averages, draws and sums, by hand."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from keras import ops

from sfgkeras.balancing import DynamicAverage, RandomWeights, SumOfGradients
from sfgkeras.balancing.gradients import Gradients
from sfgkeras.balancing.weighing_balancer import WeighingBalancer, stacked
from sfgkeras.errors import ConfigError

TASKS = ["a", "b"]


def number(tensor):
    return float(ops.convert_to_numpy(tensor))


def note(balancer, a, b, presence=None):
    balancer.take_note({"a": a, "b": b}, presence)


def test_the_slower_a_loss_falls_the_more_it_counts():
    """By hand: averages 2 and 4, then 1 and 4: ratios 1/2 and 1, at temperature 2."""
    balancer = DynamicAverage(interval=2).build(TASKS)
    for a, b in ((1.0, 3.0), (3.0, 5.0), (0.5, 4.5), (1.5, 3.5)):
        assert balancer.current_weights() == {"a": 1.0, "b": 1.0}
        note(balancer, a, b)
    weights = 2 * np.exp([0.25, 0.5]) / np.exp([0.25, 0.5]).sum()
    assert balancer.current_weights() == pytest.approx(dict(zip(TASKS, weights, strict=True)), rel=1e-6)
    total = number(balancer.total({"a": 10.0, "b": 20.0}, training=True))
    assert total == pytest.approx(weights @ [10.0, 20.0], rel=1e-6)
    assert number(balancer.total({"a": 10.0, "b": 20.0})) == 30.0  # in validation
    note(balancer, 7.0, 7.0)  # in the middle of an interval nothing changes
    assert balancer.current_weights() == pytest.approx(dict(zip(TASKS, weights, strict=True)), rel=1e-6)


def test_given_weights_are_factors_besides():
    balancer = DynamicAverage({"b": 3.0}, interval=1).build(TASKS)
    assert balancer.current_weights() == {"a": 1.0, "b": 3.0}
    assert number(balancer.total({"a": 1.0, "b": 2.0})) == 7.0


def test_averages_are_of_samples_with_labels_and_a_task_without_any_keeps_its_ratio():
    balancer = DynamicAverage(interval=2, temperature=1.0).build(TASKS)
    # Half of the batch has a label of b: a mean of 1 over the batch is one of 2 over these.
    for a, b, share in ((1.0, 1.0, 0.5), (1.0, 0.0, 0.0), (1.0, 0.5, 0.5), (1.0, 0.5, 0.5)):
        note(balancer, a, b, {"a": 1.0, "b": share})
    expected = 2 * np.exp([1.0, 0.5]) / np.exp([1.0, 0.5]).sum()
    assert list(balancer.current_weights().values()) == pytest.approx(expected, rel=1e-6)
    for _ in range(2):
        note(balancer, 1.0, 0.0, {"a": 1.0, "b": 0.0})
    assert list(balancer.current_weights().values()) == pytest.approx(expected, rel=1e-6)


def test_losses_of_0_and_losses_that_are_no_number_spoil_nothing():
    balancer = DynamicAverage(interval=1).build(TASKS)
    for a, b in ((0.0, 1.0), (0.0, np.nan), (1.0, np.inf), (1.0, 1.0)):
        note(balancer, a, b)
        assert all(np.isfinite(list(balancer.current_weights().values())))


@pytest.mark.parametrize("rule", [DynamicAverage(interval=2), RandomWeights()], ids=lambda rule: rule.name)
def test_weights_of_the_tasks_that_are_trained_add_up_to_their_number(rule):
    balancer = rule.build(["a", "b", "c"])
    balancer.set_seed(1)
    for step in range(5):
        balancer.take_note({"a": 1.0 + step, "b": 1.0, "c": 9.0})
    assert sum(balancer.current_weights().values()) == pytest.approx(3.0, rel=1e-6)
    balancer.stop(["c"])
    weights = balancer.current_weights()
    assert weights["c"] == 0.0
    assert weights["a"] + weights["b"] == pytest.approx(2.0, rel=1e-6)


@pytest.mark.parametrize("rule", [DynamicAverage(interval=3), RandomWeights()], ids=lambda rule: rule.name)
def test_a_resumed_training_goes_on_with_the_weights_that_it_would_have_had(rule):
    rng = np.random.default_rng(0)
    losses = rng.uniform(0.5, 2.0, size=(12, 2))

    def build(seed=5):
        balancer = rule.build(TASKS)
        balancer.set_seed(seed)
        return balancer

    def run(balancer, rows):
        seen = []
        for a, b in rows:
            seen.append(balancer.current_weights())
            note(balancer, a, b)
        return seen

    expected, first, store, other = run(build(), losses), build(), {}, build(seed=6)
    begun = run(first, losses[:7])
    first.save_own_variables(store)
    other.load_own_variables(store)
    assert begun + run(other, losses[7:]) == expected
    assert len({tuple(weights.values()) for weights in expected}) > 2


def test_random_weights_are_softmaxes_of_normal_numbers_drawn_at_every_step():
    balancer = RandomWeights().build(["a", "b", "c"])
    balancer.set_seed(2)
    drawn = []
    for _ in range(600):
        drawn.append(list(balancer.current_weights().values()))
        balancer.take_note({})
    drawn = np.array(drawn)
    assert len(np.unique(drawn[:, 0])) == 600
    np.testing.assert_allclose(drawn.sum(1), 3.0, rtol=1e-5)
    np.testing.assert_allclose(drawn.mean(0), 1.0, atol=0.1)
    # The logarithm of a ratio is a difference of two standard normal numbers.
    ratios = np.log(drawn[:, 0] / drawn[:, 1])
    assert ratios.std() == pytest.approx(np.sqrt(2), rel=0.1)
    assert abs(ratios.mean()) < 0.2
    assert number(balancer.total({"a": 1.0, "b": 2.0, "c": 3.0})) == 6.0  # in validation


def test_random_weights_repeat_with_their_seed_and_are_others_with_another_one_at_every_step():
    def drawn(seed):
        balancer = RandomWeights().build(["a", "b"])
        balancer.set_seed(seed)
        weights = []
        for _ in range(4):
            weights.append(balancer.current_weights()["a"])
            balancer.take_note({})
        return np.array(weights)

    np.testing.assert_array_equal(drawn(2), drawn(2))
    assert (drawn(2) != drawn(3)).all()


def test_every_task_has_a_batch_of_its_own():
    """A mean over the batch of 0.5 is one of 2 over the fourth of the samples that have a label."""
    balancer = SumOfGradients({"b": 3.0}).build(["a", "b", "c"])
    losses = {"a": 0.5, "b": 1.0, "c": 0.0}
    total = balancer.total(losses, {"a": 0.25, "b": 1.0, "c": 0.0}, training=True)
    assert number(total) == pytest.approx(2.0 + 3.0)
    assert number(balancer.total(losses, training=True)) == pytest.approx(0.5 + 3.0)


def test_the_share_of_labels_is_that_of_all_devices():
    """This device has a part of 0.1 of the loss and no label; the batch has labels in a half."""
    balancer = SumOfGradients().build(["a"])
    total = balancer.total({"a": 0.1}, {"a": 0.0}, True, lambda part: part + 0.5)
    assert number(total) == pytest.approx(0.2)


class Scored(WeighingBalancer):
    """Factors of scores that a test gives."""

    def __init__(self, scores):
        super().__init__(dict.fromkeys("abcd"[: len(scores)], 1.0), name="scored")
        self.scores = ops.convert_to_tensor(scores, "float32")

    def factors(self):
        return self.shared_out(self.scores)


@pytest.mark.parametrize("scores", [(0.0, 1.0, -2.0), (1000.0, 1001.0, 998.0), (-1e4, -1e4, -1e4)])
def test_factors_are_a_softmax_times_the_number_of_tasks_however_large_the_scores_are(scores):
    found = list(Scored(scores).current_weights().values())
    np.testing.assert_allclose(found, 3 * scipy.special.softmax(scores), rtol=1e-5)


def test_a_stopped_task_takes_nothing_of_the_others_part_however_high_its_score_is():
    """Its loss may have risen a hundredfold since it was stopped; the others go on as if it were not there."""
    balancer = Scored((1.0, 500.0, 0.0))
    balancer.stop(["b"])
    expected = 2 * scipy.special.softmax([1.0, 0.0])
    assert list(balancer.current_weights().values()) == pytest.approx([expected[0], 0.0, expected[1]], rel=1e-5)
    balancer.stop(["a", "c"])
    assert set(balancer.current_weights().values()) == {0.0}


def test_a_stopped_task_whose_loss_rises_leaves_dynamic_averages_of_the_others_as_they_are():
    """By hand: ratios of a and c are 1 and 1/2; b has been stopped, and is at 1000 times its loss."""
    balancer = DynamicAverage(interval=1, temperature=1.0).build(["a", "b", "c"])
    balancer.stop(["b"])
    for b, c in ((1.0, 1.0), (1000.0, 0.5)):
        balancer.take_note({"a": 1.0, "b": b, "c": c})
    expected = 2 * scipy.special.softmax([1.0, 0.5])
    assert list(balancer.current_weights().values()) == pytest.approx([expected[0], 0.0, expected[1]], rel=1e-5)


def test_the_temperature_makes_factors_alike():
    spread = []
    for temperature in (0.5, 2.0, 100.0):
        balancer = DynamicAverage(interval=1, temperature=temperature).build(TASKS)
        for a, b in ((1.0, 1.0), (1.0, 0.5)):
            note(balancer, a, b)
        weights = balancer.current_weights()
        spread.append(weights["a"] / weights["b"])
    np.testing.assert_allclose(spread, np.exp(0.5 / np.array([0.5, 2.0, 100.0])), rtol=1e-5)


def test_an_interval_is_of_as_many_steps_and_the_next_one_begins_anew():
    """With intervals of 3, the second ratio is of steps 4 to 6 and 7 to 9: those before do not count any more."""
    balancer = DynamicAverage(interval=3, temperature=1.0).build(["a"])
    seen = []
    for loss in (8.0, 8.0, 8.0, 1.0, 2.0, 3.0, 4.0, 4.0, 4.0):
        balancer.take_note({"a": loss})
        seen.append(float(ops.convert_to_numpy(balancer.ratios)[0]))
    assert seen == [1.0] * 5 + [0.25] * 3 + [2.0]


def test_averages_are_of_all_devices():
    """This one has a part of 1 of the loss of a, the other one 3: together 4, of all labels."""
    balancer = DynamicAverage(interval=1).build(["a"])
    for own, other in ((1.0, 3.0), (1.0, 1.0)):
        balancer.take_note({"a": own}, {"a": 0.5}, lambda part, other=other: part + np.float32([[other], [0.5]]))
    assert float(ops.convert_to_numpy(balancer.ratios)[0]) == pytest.approx(0.5)


def test_stacked_numbers_are_in_the_order_of_the_tasks_and_let_no_gradient_through():
    loss = tf.Variable(3.0)
    with tf.GradientTape() as tape:
        found = stacked({"c": 2, "a": loss * loss}, ("a", "b", "c"), -1.0)
        total = tf.reduce_sum(found)
    np.testing.assert_array_equal(found, [9.0, -1.0, 2.0])
    assert found.dtype == "float32"
    assert tape.gradient(total, loss) is None
    np.testing.assert_array_equal(stacked(None, ("a", "b"), 0.5), [0.5, 0.5])


@pytest.mark.parametrize("rule", [DynamicAverage({"a": 0.0}), RandomWeights({"a": 0.0})], ids=lambda rule: rule.name)
def test_a_weight_of_0_leaves_a_task_out_in_training_and_in_validation(rule):
    balancer = rule.build(TASKS)
    balancer.set_seed(1)
    factor = balancer.current_weights()["b"]
    assert number(balancer.total({"a": 10.0, "b": 2.0}, training=True)) == pytest.approx(2.0 * factor)
    assert number(balancer.total({"a": 10.0, "b": 2.0})) == 2.0


def test_random_weights_of_one_task_are_1():
    balancer = RandomWeights({"a": 3.0}).build(["a"])
    balancer.set_seed(5)
    assert balancer.current_weights() == {"a": 3.0}


def test_a_rule_without_factors_says_what_it_lacks():
    with pytest.raises(NotImplementedError, match="WeighingBalancer lacks factors"):
        WeighingBalancer({"a": 1.0}, name="unfinished").task_weights()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature = 0.0 must be above 0"),
        ({"interval": 0}, "interval = 0 must be at least 1"),
    ],
)
def test_a_temperature_or_an_interval_of_0_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        DynamicAverage(**settings)


def test_an_average_is_compared_with_the_last_one_that_there_was():
    """Averages 4, none, and 1: the interval without labels is passed over, and the ratio is a fourth."""
    balancer = DynamicAverage(interval=1).build(["a"])
    for loss, share in ((4.0, 1.0), (0.0, 0.0), (1.0, 1.0)):
        balancer.take_note({"a": loss}, {"a": share})
    assert float(ops.convert_to_numpy(balancer.ratios)[0]) == 0.25


def test_a_step_of_the_sum_of_gradients_knows_the_labels_of_all_devices():
    """A fourth of the batch is labelled, all of it here: a part of 1 is one of 4."""
    asked = []
    gradients = Gradients([], lambda scalar, variables: asked.append(number(scalar)) or [], lambda part: part + 0.05)
    total, _ = SumOfGradients().build(["a"]).backward({"a": 1.0}, {"a": 0.2}, 0.5, gradients)
    assert asked == [number(total)]
    assert number(total) == pytest.approx(4.5)
