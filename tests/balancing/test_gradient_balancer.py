"""What all rules of gradients have in common: what they are told, what their factors are applied to, on any device."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from sfgkeras.balancing import MGDA, CAGrad, GradNorm, PCGrad
from sfgkeras.balancing.gradient_balancer import GradientBalancer
from sfgkeras.balancing.gradients import Gradients, on_one_device

RULES = pytest.mark.parametrize("rule", [PCGrad(), MGDA(), CAGrad()], ids=lambda rule: rule.name)


class Variable:
    """A variable of a network: its name, and the tensor that losses depend on."""

    def __init__(self, size, path, dtype="float32"):
        self.shape, self.path, self.value = (size,), path, tf.Variable(tf.zeros(size, dtype))


class Linear:
    """Losses that are linear in variables: `rows[task][variable]` is the gradient; no row where it does not depend."""

    def __init__(self, rows, losses, sizes=None, extra=None, dtype="float32"):
        self.rows = {task: {name: np.asarray(row, dtype) for name, row in of.items()} for task, of in rows.items()}
        names = list(dict.fromkeys(name for of in [*self.rows.values(), extra or {}] for name in of))
        sizes = sizes or {name: len(of[name]) for of in [*self.rows.values(), extra or {}] for name in of}
        self.variables = {name: Variable(sizes[name], f"network/{name}/kernel", dtype) for name in names}
        self.losses, self.extra = losses, extra or {}

    def step(self, balancer, presence=None, scale=1.0, over_devices=on_one_device):
        """Returns the objective and the gradients by variable; None where nothing depends on it."""
        with tf.GradientTape(persistent=True) as tape:
            losses = {
                task: self.losses[task]
                + sum(tf.cast(tf.reduce_sum(row * self.variables[name].value), "float32") for name, row in of.items())
                for task, of in self.rows.items()
            }
            extra = tf.zeros(()) + sum(
                tf.reduce_sum(row * self.variables[name].value) for name, row in self.extra.items()
            )

            def differentiate(scalar, variables):
                scaled = scalar * scale
                with tape.stop_recording():
                    return tape.gradient(scaled, [variable.value for variable in variables])

            gradients = Gradients(list(self.variables.values()), differentiate, over_devices, scale)
            total, found = balancer.backward(losses, presence, extra, gradients)
        by_name = dict(zip(self.variables, found, strict=True))
        return float(total), {name: None if each is None else each.numpy() / scale for name, each in by_name.items()}


class Told(GradientBalancer):
    """Notes what it is told, and gives every gradient the factor 10, 100, ... by its place."""

    def __init__(self, weights):
        super().__init__(weights, name="told")
        self.seen = []

    def combine(self, products, losses, present):
        self.seen.append([ops.convert_to_numpy(each) for each in (products, losses, present)])
        return 10.0 ** ops.arange(1, len(self.tasks) + 1, dtype="float32")[: products.shape[0]]


ROWS = {"a": {"one": (1.0, 2.0), "two": (3.0,)}, "b": {"one": (4.0, -1.0), "two": (2.0,)}}


@pytest.mark.parametrize("scale", [1.0, 32768.0])
def test_a_rule_is_told_the_products_of_the_weighed_gradients_as_they_are_without_the_scale_of_the_loss(scale):
    """By hand: of a (1, 2, 3), of b (4, -1, 2) twice; the losses are 5 and 7."""
    balancer = Told({"a": 1.0, "b": 2.0})
    Linear(ROWS, {"a": 5.0, "b": 7.0}).step(balancer, {"a": 0.5, "b": 0.0}, scale)
    ((products, losses, present),) = balancer.seen
    np.testing.assert_allclose(products, [[14.0, 16.0], [16.0, 84.0]], rtol=1e-6)
    np.testing.assert_allclose(losses, [5.0, 14.0])
    assert present.tolist() == [True, False]


def test_without_word_of_labels_all_tasks_have_them():
    balancer = Told({"a": 1.0, "b": 1.0})
    Linear(ROWS, {"a": 1.0, "b": 1.0}).step(balancer)
    assert balancer.seen[0][2].tolist() == [True, True]


def test_factors_are_of_what_several_tasks_reach_and_a_task_that_does_not_reach_it_adds_nothing():
    """`one` is of a and b, `own` of c alone, and `unused` of nobody; what is added to the losses goes everywhere."""
    rows = {"a": {"one": (1.0, 2.0)}, "b": {"one": (4.0, -1.0)}, "c": {"own": (5.0,)}}
    toy = Linear(rows, dict.fromkeys("abc", 1.0), extra={"one": (0.5, 0.0), "unused": (0.25,), "own": (3.0,)})
    balancer = Told(dict.fromkeys("abc", 1.0))
    total, found = toy.step(balancer)
    np.testing.assert_allclose(found["one"], [10 * 1 + 100 * 4 + 0.5, 10 * 2 - 100])
    np.testing.assert_allclose(found["own"], [5.0 + 3.0])
    np.testing.assert_allclose(found["unused"], [0.25])
    np.testing.assert_allclose(balancer.seen[0][0], [[5.0, 2.0, 0.0], [2.0, 17.0, 0.0], [0.0, 0.0, 0.0]])
    assert total == 3.0
    assert balancer.current_weights() == {"a": 10.0, "b": 100.0, "c": 1000.0}


def test_a_variable_that_nothing_depends_on_has_no_gradient():
    toy = Linear(ROWS, {"a": 1.0, "b": 1.0})
    toy.variables["idle"] = Variable(2, "network/idle/kernel")
    _, found = toy.step(Told({"a": 1.0, "b": 1.0}))
    assert found["idle"] is None
    assert found["one"] is not None


def test_tasks_that_share_nothing_are_left_alone():
    """No rule is asked; what was found in the step before is forgotten."""
    balancer = Told({"a": 2.0, "b": 1.0})
    Linear(ROWS, {"a": 1.0, "b": 1.0}).step(balancer)
    _, found = Linear({"a": {"one": (1.0,)}, "b": {"two": (3.0,)}}, {"a": 1.0, "b": 1.0}).step(balancer)
    assert len(balancer.seen) == 1
    assert (found["one"].item(), found["two"].item()) == (2.0, 3.0)
    assert balancer.current_weights() == {"a": 2.0, "b": 1.0}  # the given weights; the factors are 1
    assert float(ops.convert_to_numpy(balancer.measures()["gradient_cosine"])) == 0.0


def test_the_cosine_is_that_of_the_gradients():
    balancer = Told({"a": 1.0, "b": 7.0})
    Linear(ROWS, {"a": 1.0, "b": 1.0}).step(balancer)
    cosine = float(ops.convert_to_numpy(balancer.measures()["gradient_cosine"]))
    assert cosine == pytest.approx(8 / np.sqrt(14 * 21), rel=1e-6)


@RULES
def test_two_devices_together_take_the_step_of_one_that_has_the_whole_batch(rule):
    """Each gives its part: products are of the sum, the same factors hold for both parts, and the parts sum up."""
    rng = np.random.default_rng(0)
    halves = [{task: {"one": rng.normal(size=4), "two": rng.normal(size=2)} for task in "abc"} for _ in range(2)]
    losses = [{"a": 1.0, "b": 2.0, "c": 0.5}, {"a": 3.0, "b": 1.0, "c": 0.25}]
    presence = [{"a": 0.5, "b": 0.25, "c": 0.5}, {"a": 0.5, "b": 0.0, "c": 0.5}]
    whole = Linear(
        {task: {name: halves[0][task][name] + halves[1][task][name] for name in ("one", "two")} for task in "abc"},
        {task: losses[0][task] + losses[1][task] for task in "abc"},
    )
    single = rule.build("abc")
    _, expected = whole.step(single, {"a": 1.0, "b": 0.25, "c": 1.0})

    asked: list[list] = [[], []]
    for device in range(2):  # what each of them hands over
        balancer = rule.build("abc")
        Linear(halves[device], losses[device]).step(
            balancer, presence[device], over_devices=lambda part, device=device: asked[device].append(part) or part
        )
    sums = [one + other for one, other in zip(*asked, strict=True)]
    assert len(sums) == 2  # gradients; losses and labels
    parts = []
    for device in range(2):
        balancer, answers = rule.build("abc"), iter(sums)
        _, part = Linear(halves[device], losses[device]).step(
            balancer, presence[device], over_devices=lambda part, answers=answers: next(answers)
        )
        parts.append(part)
        assert balancer.current_weights() == pytest.approx(single.current_weights(), rel=1e-5)
    for name in ("one", "two"):
        np.testing.assert_allclose(parts[0][name] + parts[1][name], expected[name], rtol=1e-4, atol=1e-5)


@RULES
def test_gradients_in_half_precision_are_multiplied_in_float32(rule):
    """300 squared is no number in float16; the step of two equal gradients is known."""
    rows = {task: {"one": (300.0, 300.0)} for task in "ab"}
    _, found = Linear(rows, {"a": 1.0, "b": 1.0}, dtype="float16").step(rule.build("ab"))
    longer = 1.5 if rule.name == "cagrad" else 1.0
    np.testing.assert_allclose(found["one"], [600.0 * longer] * 2, rtol=1e-3)


@pytest.mark.parametrize("rule", [PCGrad(), MGDA(), CAGrad(), GradNorm()], ids=lambda rule: rule.name)
def test_a_rule_that_compares_gradients_says_what_it_needs(rule):
    with pytest.raises(TypeError, match=f"balancing = {rule.name} needs the gradients of a training step, not"):
        rule.build(["a", "b"]).backward({"a": 1.0, "b": 1.0}, None, 0.0, lambda scalar: [])


def test_a_rule_without_a_combination_says_what_it_lacks():
    class Unfinished(GradientBalancer):
        pass

    balancer = Unfinished({"a": 1.0, "b": 1.0}, name="unfinished")
    with pytest.raises(NotImplementedError, match="Unfinished lacks combine"):
        Linear(ROWS, {"a": 1.0, "b": 1.0}).step(balancer)


def test_gradients_are_of_all_variables_unless_some_are_named_and_say_what_they_reach():
    first, second = Variable(2, "network/one/kernel"), Variable(1, "network/two/kernel")
    with tf.GradientTape(persistent=True) as tape:
        loss = tf.reduce_sum([3.0, 4.0] * first.value)

        def differentiate(scalar, variables):
            return tape.gradient(scalar, [variable.value for variable in variables])

        gradients = Gradients([first, second], differentiate)
        every, of_second, reached = gradients(loss), gradients(loss, [second]), gradients.reached(loss)
    np.testing.assert_array_equal(every[0], [3.0, 4.0])
    assert every[1] is None
    assert of_second == [None]
    assert reached == [True, False]
    assert gradients.scale == 1.0
    assert gradients.over_devices("as it is") == "as it is"
