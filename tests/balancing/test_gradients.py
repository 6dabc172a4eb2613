"""Rules of gradients: on vectors worked out by hand, and against SciPy."""

import itertools

import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf
from keras import ops

from sfgkeras.balancing import MGDA, CAGrad, GradNorm, PCGrad
from sfgkeras.balancing.gradient_balancer import mean_cosine
from sfgkeras.balancing.gradients import Gradients
from sfgkeras.balancing.gradnorm_balancer import last_shared, weight_gradient
from sfgkeras.balancing.hull import lowest_point
from sfgkeras.balancing.pcgrad_balancer import projected_sum

LOWEST = tf.function(lowest_point)
RULES = [PCGrad(), MGDA(), CAGrad()]
names = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


class Variable:
    def __init__(self, size, path="network/kernel"):
        self.shape, self.path, self.value = (size,), path, tf.Variable(tf.zeros(size))


class Toy:
    """Linear losses: of a shared variable one row for each task, of a head 1 for its task; at 0 they are `losses`."""

    def __init__(self, rows, losses=None, scale=1.0):
        self.rows = {task: np.asarray(row, "float32") for task, row in rows.items()}
        self.losses = dict.fromkeys(rows, 1.0) if losses is None else losses
        self.shared = Variable(len(next(iter(self.rows.values()))))
        self.heads = {task: Variable(1, f"network/head_{task}/kernel") for task in rows}
        self.scale = scale

    def step(self, balancer, presence=None):
        """Returns the gradient of the shared variable, and those of the heads."""
        with tf.GradientTape(persistent=True) as tape:
            losses = {
                task: self.losses[task] + tf.reduce_sum(row * self.shared.value) + tf.reduce_sum(self.heads[task].value)
                for task, row in self.rows.items()
            }

            def differentiate(scalar, variables):
                scaled = scalar * self.scale
                with tape.stop_recording():
                    return tape.gradient(scaled, [variable.value for variable in variables])

            gradients = Gradients([self.shared, *self.heads.values()], differentiate, scale=self.scale)
            _, (shared, *heads) = balancer.backward(losses, presence, 0.0, gradients)
        return shared.numpy() / self.scale, [None if head is None else head.numpy()[0] / self.scale for head in heads]


def projected(vectors, order):
    """PCGrad as its paper's algorithm 1 has it, with vectors."""
    total = np.zeros(len(vectors[0]))
    for number, vector in enumerate(vectors):
        left = np.array(vector, float)
        for other in order[number]:
            product = left @ vectors[other]
            if other != number and product < 0:
                left = left - product / (vectors[other] @ vectors[other]) * vectors[other]
        total += left
    return total


def cosine(balancer):
    return float(ops.convert_to_numpy(balancer.measures()["gradient_cosine"]))


def vectors_of(tasks, size=6, seed=0, conflict=1.0):
    rng = np.random.default_rng(seed)
    common = rng.normal(size=size)
    return rng.normal(size=(tasks, size)) + conflict * common * rng.choice([-1, 1], size=(tasks, 1))


def point(vectors, slopes=None, factor=1.0, present=None):
    vectors = np.asarray(vectors, "float32")
    slopes = np.zeros(len(vectors)) if slopes is None else slopes
    present = np.ones(len(vectors), bool) if present is None else np.asarray(present)
    found = LOWEST(
        ops.convert_to_tensor(vectors @ vectors.T),
        ops.convert_to_tensor(np.asarray(slopes, "float32")),
        ops.convert_to_tensor(factor, "float32"),
        ops.convert_to_tensor(present),
    )
    return ops.convert_to_numpy(found)


def by_scipy(function, count):
    """Returns the least value of a function of the weights, from several starts."""
    sums_to_one = {"type": "eq", "fun": lambda weights: weights.sum() - 1}
    starts = [np.full(count, 1 / count), *(0.9 * np.eye(count) + 0.1 / count)]
    found = [
        scipy.optimize.minimize(
            function, start, method="SLSQP", bounds=[(0, 1)] * count, constraints=[sums_to_one], tol=1e-12
        )
        for start in starts
    ]
    return min(each.fun for each in found)


def test_two_conflicting_gradients_lose_what_points_against_the_other():
    """By hand: (1, 0) and (-1, 1) become (1/2, 1/2) and (0, 1)."""
    toy = Toy({"a": (1.0, 0.0), "b": (-1.0, 1.0)})
    balancer = PCGrad().build(["a", "b"])
    shared, heads = toy.step(balancer)
    np.testing.assert_allclose(shared, [0.5, 1.5], rtol=1e-6)
    assert heads == [1.0, 1.0]
    assert balancer.current_weights() == pytest.approx({"a": 2.0, "b": 1.5})
    assert cosine(balancer) == pytest.approx(-1 / np.sqrt(2), rel=1e-6)


@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_projections_follow_the_order_as_in_the_algorithm_of_the_paper(tasks):
    rng, different = np.random.default_rng(1), 0
    for seed in range(10):
        vectors = vectors_of(tasks, seed=seed)
        sums = []
        for order in (np.array([rng.permutation(tasks) for _ in range(tasks)]) for _ in range(2)):
            products = ops.convert_to_tensor((vectors @ vectors.T).astype("float32"))
            factors = ops.convert_to_numpy(projected_sum(products, ops.convert_to_tensor(order)))
            np.testing.assert_allclose(factors @ vectors, projected(vectors, order), rtol=1e-4, atol=1e-4)
            sums.append(factors)
        different += not np.allclose(*sums)
    assert (different > 0) == (tasks > 2)  # for two tasks there is one order only


def test_a_gradient_that_two_others_have_turned_away_from_itself_is_not_projected_by_itself():
    """At 0, 170 and 250 degrees: the first one is turned to 80 degrees, then to 160, beyond a right angle."""
    angles = np.deg2rad([0.0, 170.0, 250.0])
    vectors, order = np.stack([np.cos(angles), np.sin(angles)], axis=1), np.array([[1, 2, 0], [0, 1, 2], [0, 1, 2]])
    products = ops.convert_to_tensor((vectors @ vectors.T).astype("float32"))
    factors = ops.convert_to_numpy(projected_sum(products, ops.convert_to_tensor(order)))
    np.testing.assert_allclose(factors @ vectors, projected(vectors, order), rtol=1e-4, atol=1e-5)


def test_pcgrad_draws_its_orders_from_the_seed_and_goes_on_where_its_state_was_saved():
    vectors = vectors_of(3, seed=1)
    rows = dict(zip("abc", vectors, strict=True))

    def steps(balancer, count):
        return [Toy(rows).step(balancer)[0].tolist() for _ in range(count)]

    def build(seed):
        balancer = PCGrad().build(["a", "b", "c"])
        balancer.set_seed(seed)
        return balancer

    whole, halves, store = build(3), build(3), {}
    expected = steps(whole, 8)
    first = steps(halves, 3)
    halves.save_own_variables(store)
    resumed = build(9)
    resumed.load_own_variables(store)
    assert first + steps(resumed, 5) == expected
    assert len({tuple(step) for step in expected}) > 1
    assert steps(build(4), 8) != expected
    orders = [np.array(order) for order in itertools.product(itertools.permutations(range(3)), repeat=3)]
    possible = np.array([projected(vectors, order) for order in orders])
    assert all(np.abs(possible - step).sum(1).min() < 1e-4 for step in expected)


@pytest.mark.parametrize(("vectors", "expected"), [
    ([(2.0, 0.0), (0.0, 1.0)], (0.2, 0.8)),  # perpendicular: weights as 1 / |g|^2
    ([(1.0, 0.0), (3.0, 1.0)], (1.0, 0.0)),  # the shorter one, behind which the hull lies
    ([(-1.0, 0.0), (3.0, 0.0)], (0.75, 0.25)),  # opposite: the hull holds 0
    ([(1.0, 1.0), (1.0, 1.0)], (0.5, 0.5)),
])  # fmt: skip
def test_the_shortest_vector_of_two_is_found_exactly(vectors, expected):
    np.testing.assert_allclose(point(vectors), expected, atol=1e-6)


@pytest.mark.parametrize("tasks", [2, 3, 5])
@pytest.mark.parametrize("conflict", [0.3, 3.0])
def test_the_shortest_vector_is_as_short_as_that_of_scipy(tasks, conflict):
    for seed in range(4):
        vectors = vectors_of(tasks, seed=seed, conflict=conflict)
        weights = point(vectors)
        assert weights.min() >= 0
        assert weights.sum() == pytest.approx(1.0, abs=1e-5)
        least = by_scipy(lambda a, vectors=vectors: ((a @ vectors) ** 2).sum(), tasks)
        assert ((weights @ vectors) ** 2).sum() == pytest.approx(least, rel=1e-4, abs=1e-5)


def test_mgda_goes_down_the_shortest_vector_and_heads_down_their_own_gradient():
    toy = Toy({"a": (2.0, 0.0), "b": (0.0, 1.0)})
    balancer = MGDA().build(["a", "b"])
    shared, heads = toy.step(balancer)
    np.testing.assert_allclose(shared, 2 * np.array([0.4, 0.8]), rtol=1e-5)
    assert heads == [1.0, 1.0]
    # Along the shortest vector the losses of both fall alike.
    assert shared @ toy.rows["a"] == pytest.approx(shared @ toy.rows["b"], rel=1e-5)


@pytest.mark.parametrize(("normalisation", "weights"), [
    ("none", (1 / 4, 1 / 1)), ("l2", (1.0, 1.0)), ("loss", (16 / 4, 1 / 1)), ("loss+", (16.0, 1.0)),
])  # fmt: skip
def test_normalised_gradients_are_what_the_hull_is_made_of_and_the_step_is_of_the_gradients_themselves(
    normalisation, weights
):
    """Perpendicular gradients of norms 2 and 1 and losses 4 and 1: weights are as one over the normalised squares."""
    toy = Toy({"a": (2.0, 0.0), "b": (0.0, 1.0)}, {"a": 4.0, "b": 1.0})
    shared, _ = toy.step(MGDA(normalisation=normalisation).build(["a", "b"]))
    expected = 2 * np.array(weights) / sum(weights) * [2.0, 1.0]
    np.testing.assert_allclose(shared, expected, rtol=1e-5)


@pytest.mark.parametrize("tasks", [2, 3, 5])
@pytest.mark.parametrize("c", [0.1, 0.5, 0.9])
def test_cagrad_finds_the_best_step_for_the_worst_task_near_the_mean_gradient(tasks, c):
    """Against the primal problem: the largest smallest product with a task's gradient, within the ball."""
    for seed in range(2):
        vectors = vectors_of(tasks, seed=seed, conflict=2.0)
        mean = vectors.mean(0)
        toy = Toy(dict(zip("abcde", vectors, strict=False)))
        shared, heads = toy.step(CAGrad(c=c).build(list(toy.rows)))
        step = shared / tasks
        assert heads == [1.0] * tasks
        assert np.linalg.norm(step - mean) <= c * np.linalg.norm(mean) * (1 + 1e-4)
        radius = c * np.linalg.norm(mean)
        least = by_scipy(
            lambda a, v=vectors, m=mean, r=radius: (a @ v) @ m + r * np.linalg.norm(a @ v), tasks
        )  # fmt: skip
        assert (vectors @ step).min() == pytest.approx(least, rel=2e-3, abs=2e-3)


def test_every_shared_variable_gets_its_own_part_and_the_gradient_of_what_is_added():
    """Gradients that do not conflict are added up; what is added to the losses has 2 everywhere in the first one."""
    first, second = Variable(2, "network/one/kernel"), Variable(3, "network/two/kernel")
    with tf.GradientTape(persistent=True) as tape:
        a = tf.reduce_sum([1.0, 2.0] * first.value) + tf.reduce_sum([3.0, 4.0, 5.0] * second.value)
        b = tf.reduce_sum([6.0, 7.0] * first.value) + tf.reduce_sum([8.0, 9.0, 10.0] * second.value)
        extra = 2.0 * tf.reduce_sum(first.value)

        def differentiate(scalar, variables):
            return tape.gradient(scalar, [variable.value for variable in variables])

        gradients = Gradients([first, second], differentiate, scale=1.0)
        _, found = PCGrad().build(["a", "b"]).backward({"a": a, "b": b}, None, extra, gradients)
    np.testing.assert_allclose(found[0], [9.0, 11.0])
    np.testing.assert_allclose(found[1], [11.0, 13.0, 15.0])


def test_cagrad_without_room_is_the_sum():
    toy = Toy({"a": (2.0, 0.0), "b": (-3.0, 1.0)})
    np.testing.assert_allclose(toy.step(CAGrad(c=0.0).build(["a", "b"]))[0], [-1.0, 1.0], rtol=1e-6)


@names
def test_gradients_that_agree_are_added_up_where_tasks_share_and_the_step_is_linear_in_the_scale(rule):
    """Equal gradients leave every rule nothing to choose but how long the step is, CAGrad's is 1 + c times as long."""
    longer = 1.5 if rule.name == "cagrad" else 1.0
    for scale in (1.0, 32768.0):
        toy = Toy({"a": (3.0, 4.0), "b": (3.0, 4.0)}, scale=scale)
        shared, heads = toy.step(rule.build(["a", "b"]))
        np.testing.assert_allclose(shared, longer * np.array([6.0, 8.0]), rtol=1e-5)
        assert heads == [1.0, 1.0]


@names
def test_given_weights_are_factors_of_the_losses_before_a_rule_sees_them(rule):
    rows = {"a": (2.0, 0.5), "b": (-1.0, 1.0)}
    weighed = Toy({"a": (6.0, 1.5), "b": (-1.0, 1.0)}, {"a": 3.0, "b": 1.0})
    given = type(rule)(**{**rule.values(), "weights": {"a": 3.0}})
    balancer = given.build(["a", "b"])
    shared, heads = Toy(rows).step(balancer)
    np.testing.assert_allclose(shared, weighed.step(rule.build(["a", "b"]))[0], rtol=1e-5)
    assert heads == [3.0, 1.0]
    assert float(ops.convert_to_numpy(balancer.total({"a": 2.0, "b": 5.0}))) == 3 * 2 + 5  # in validation


@names
@pytest.mark.parametrize("why", ["stopped", "without labels"])
def test_a_task_that_does_not_count_changes_nothing_of_the_others_step(rule, why):
    rows = {"a": (2.0, 0.0, 1.0), "b": (-1.0, 1.0, 0.0)}
    alone, both = rule.build(["a", "b"]), rule.build(["a", "b", "c"])
    expected, _ = Toy(rows).step(alone)
    toy = Toy({**rows, "c": (0.0, 0.0, 0.0) if why == "without labels" else (1.0, -5.0, 2.0)})
    presence = None
    if why == "stopped":
        both.stop(["c"])
    else:
        presence = {"a": 1.0, "b": 0.5, "c": 0.0}
    shared, heads = toy.step(both, presence)
    np.testing.assert_allclose(shared, expected, rtol=1e-5)
    assert heads[:2] == [1.0, 1.0]
    assert heads[2] == (1.0 if why == "without labels" else None)
    for task in "ab":
        assert both.current_weights()[task] == pytest.approx(alone.current_weights()[task], rel=1e-5)
    assert cosine(both) == pytest.approx(cosine(alone), rel=1e-5)


@names
def test_one_task_trains_as_ever(rule):
    toy = Toy({"a": (2.0, -1.0)})
    balancer = rule.build(["a"])
    shared, heads = toy.step(balancer)
    np.testing.assert_array_equal(shared, [2.0, -1.0])
    assert heads == [1.0]
    assert balancer.measures() == {}
    assert balancer.current_weights() == {"a": 1.0}


@names
def test_a_step_that_overflows_gives_no_number_to_the_optimiser_and_leaves_nothing_behind(rule):
    balancer = rule.build(["a", "b"])
    Toy({"a": (2.0, 0.0), "b": (-1.0, 1.0)}).step(balancer)
    before = balancer.current_weights(), cosine(balancer)
    shared, _ = Toy({"a": (np.inf, 0.0), "b": (-1.0, 1.0)}).step(balancer)
    assert not np.isfinite(shared).all()
    assert (balancer.current_weights(), cosine(balancer)) == before


@names
def test_no_labels_at_all_move_nothing(rule):
    toy = Toy({"a": (0.0, 0.0), "b": (0.0, 0.0)}, {"a": 0.0, "b": 0.0})
    shared, _ = toy.step(rule.build(["a", "b"]), {"a": 0.0, "b": 0.0})
    np.testing.assert_array_equal(shared, 0.0)


def test_the_mean_cosine_is_that_of_all_pairs_with_labels():
    vectors = vectors_of(3).astype("float32")
    products = ops.convert_to_tensor(vectors @ vectors.T)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    every = ops.convert_to_tensor([True, True, True])
    two = ops.convert_to_tensor([True, False, True])
    assert float(mean_cosine(products, every)) == pytest.approx(cosines[np.triu_indices(3, 1)].mean(), rel=1e-5)
    assert float(mean_cosine(products, two)) == pytest.approx(cosines[0, 2], rel=1e-5)
    assert float(mean_cosine(products, ops.convert_to_tensor([True, False, False]))) == 0.0


def test_gradnorms_weights_go_down_the_gradient_of_the_distances_from_their_goals():
    """By central differences of sum |f n - G r^alpha| / G, with goals and G as they are before the step."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        weights, norms, rates = rng.uniform(0.3, 2.0, size=(3, 4))
        mean = (weights * norms).mean()
        goals = mean * (rates / rates.mean()) ** 1.5

        def distance(weights, norms=norms, goals=goals, mean=mean):
            return np.abs(weights * norms - goals).sum() / mean

        slopes = [(distance(weights + 1e-5 * e) - distance(weights - 1e-5 * e)) / 2e-5 for e in np.eye(4)]
        tensors = [ops.convert_to_tensor(each.astype("float32")) for each in (weights, norms, rates)]
        found = weight_gradient(*tensors, ops.convert_to_tensor([True] * 4), 1.5)
        np.testing.assert_allclose(found, slopes, rtol=1e-4)


@pytest.mark.parametrize(("alpha", "expected"), [(0.05, [-0.9, 1.1]), (1.5, [0.9, -1.1])])
def test_a_large_alpha_lets_the_rates_decide_and_a_small_one_the_norms(alpha, expected):
    """Goals are 0.97 and 1.02 with the small one, 0.35 and 1.84 with the large one; G is 1."""
    weights, norms, rates = (ops.convert_to_tensor(each) for each in ([1.0, 1.0], [0.9, 1.1], [0.5, 1.5]))
    found = weight_gradient(weights, norms, rates, ops.convert_to_tensor([True] * 2), alpha)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_gradnorm_raises_the_weight_of_the_task_that_trains_slowly_and_keeps_their_sum():
    balancer = GradNorm(alpha=1.0, lr=0.1).build(["a", "b"])
    toy = Toy({"a": (3.0, 4.0), "b": (3.0, 4.0)}, {"a": 2.0, "b": 10.0})
    toy.step(balancer)
    assert balancer.current_weights() == {"a": 1.0, "b": 1.0}  # the first losses are the measure
    # b fell to a half, a to a tenth: b is the slow one. By hand: 1 + 0.1 and 1 - 0.1.
    toy.losses = {"a": 0.2, "b": 5.0}
    toy.step(balancer)
    assert balancer.current_weights() == pytest.approx({"a": 0.9, "b": 1.1}, rel=1e-5)
    # Equal rates: now the norms are what counts; b's gradient is the longer one.
    balancer = GradNorm(alpha=1.0, lr=0.1).build(["a", "b"])
    toy = Toy({"a": (3.0, 4.0), "b": (6.0, 8.0)})
    shared, heads = toy.step(balancer)
    np.testing.assert_allclose(shared, [9.0, 12.0])  # with the weights before
    by_hand = np.array([1 + 0.1 * 5 / 7.5, 1 - 0.1 * 10 / 7.5])
    weights = balancer.current_weights()
    assert [weights["a"], weights["b"]] == pytest.approx(by_hand * 2 / by_hand.sum(), rel=1e-5)
    shared, heads = toy.step(balancer)
    np.testing.assert_allclose(heads, [weights["a"], weights["b"]], rtol=1e-6)


def test_no_weight_of_gradnorm_falls_to_0_from_which_it_would_not_rise_again():
    balancer = GradNorm(lr=100.0).build(["a", "b"])
    toy = Toy({"a": (3.0, 4.0), "b": (6.0, 8.0)})
    toy.step(balancer)
    low = balancer.current_weights()["b"]
    assert 0 < low < 1e-3
    toy.step(balancer)
    assert balancer.current_weights()["b"] > 0.1


def test_gradnorm_begins_with_the_given_weights_and_passes_over_what_does_not_count():
    balancer = GradNorm({"a": 2.0}).build(["a", "b", "c"])
    assert balancer.current_weights() == pytest.approx({"a": 1.5, "b": 0.75, "c": 0.75})
    rows = {"a": (1.0, 0.0), "b": (0.0, 2.0), "c": (0.0, 0.0)}
    toy = Toy(rows)
    toy.step(balancer, {"a": 1.0, "b": 1.0, "c": 0.0})
    assert ops.convert_to_numpy(balancer.first).tolist() == [1.0, 1.0, 0.0]
    before = balancer.current_weights()
    toy.losses = dict.fromkeys(rows, np.float32(np.inf))
    toy.step(balancer)
    assert balancer.current_weights() == before
    toy.losses = dict.fromkeys(rows, 1.0)
    balancer.stop(["c"])
    toy.step(balancer)
    after = balancer.current_weights()
    assert after["c"] == before["c"]
    assert after["a"] + after["b"] == pytest.approx(2.0, rel=1e-5)


def test_norms_are_compared_at_the_kernel_of_the_last_stage_that_most_tasks_share():
    paths = ["sfg_2/kernel", "sfg_10/kernel", "sfg_10/bias", "blocks_1/kernel", "head/kernel"]
    variables = [Variable(3, f"network_30/{path}") for path in paths]
    assert last_shared(variables, [2, 2, 2, 2, 1]) is variables[1]
    assert last_shared(variables, [3, 2, 3, 3, 1]) is variables[0]
    assert last_shared(variables, [2, 2, 2, 2, 1], "blocks") is variables[3]
    assert last_shared(variables, [1] * 5) is None
    with pytest.raises(ValueError, match="no kernel whose name matches layer = 'conv' that two losses depend on"):
        Toy({"a": (1.0, 0.0), "b": (0.0, 2.0)}).step(GradNorm(layer="conv").build(["a", "b"]))


@pytest.mark.parametrize(("settings", "message"), [
    (lambda: CAGrad(c=1.0), "must be below 1"),
    (lambda: MGDA(normalisation="l3"), "is not known"),
    (lambda: GradNorm(layer="("), "is no regular expression"),
    (lambda: GradNorm({"a": 0.0}).build(["a"]), "weights: 0.0 of task 'a' must be above 0"),
    (lambda: PCGrad({"a": -1.0}).build(["a"]), "weights: -1.0 of task 'a' must be a number from 0 up"),
    (lambda: MGDA({"c": 1.0}).build(["a"]), "weights: there is no task 'c'"),
])  # fmt: skip
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        settings()
