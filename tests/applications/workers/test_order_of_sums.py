"""Sums that do not depend on threads: which term is free when the sum begins is chosen here, in place of a race."""

import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.applications import run
from sfgkeras.applications.training.build import prepare_devices
from sfgkeras.applications.workers.order_of_sums import add_in_order, keep_order

TERMS = np.random.default_rng(0).normal(size=(3, 1000)).astype("float32")


@pytest.fixture(autouse=True)
def ordered():
    """Adds in order, and chains as TensorFlow likes afterwards: other tests use this process, too."""
    keep_order()
    yield
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})


def total(add, free):
    """Returns the sum of three terms of which only one is not needed any more when it is added."""

    @tf.function
    def added(*terms):
        values = [tf.sin(term) for term in terms]
        return add(values) * 2.0, [value for number, value in enumerate(values) if number != free]

    return added(*TERMS)[0].numpy() / 2.0


@pytest.mark.parametrize("free", range(3))
def test_a_chain_of_additions_has_one_sum_whatever_is_free(free):
    values = [tf.sin(term).numpy() for term in TERMS]
    expected = (values[0] + values[1]) + values[2]
    np.testing.assert_array_equal(total(add_in_order, free), expected)
    np.testing.assert_array_equal(total(lambda terms: terms[0] + terms[1] + terms[2], free), expected)


def test_without_it_the_sum_depends_on_what_is_free():
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})
    assert np.any(total(add_in_order, 2) != total(add_in_order, 0))


def test_gradients_that_reach_a_tensor_by_several_ways_are_added_two_at_a_time():
    @tf.function
    def gradient(value):
        with tf.GradientTape() as tape:
            tape.watch(value)
            loss = add_in_order([tf.reduce_sum(tf.sin(value * term)) for term in TERMS])
        return tape.gradient(loss, value)

    point = tf.constant(TERMS[0])
    graph = gradient.get_concrete_function(point).graph.as_graph_def()
    assert [len(node.input) for node in graph.node if node.op == "AddN"] == [2, 2]
    expected = sum(term * np.cos(TERMS[0] * term) for term in TERMS.astype("float64"))
    np.testing.assert_allclose(gradient(point), expected, atol=2e-6)


def test_sparse_gradients_are_added_as_well():
    table = tf.Variable(TERMS[:, :4])
    with tf.GradientTape() as tape:
        rows = [tf.gather(table, row) * factor for row, factor in ((0, 1.0), (2, 2.0), (0, 4.0))]
        loss = add_in_order([tf.reduce_sum(row) for row in rows])
    gradient = tf.convert_to_tensor(tape.gradient(loss, table))
    np.testing.assert_array_equal(gradient, np.outer([5.0, 0.0, 2.0], np.ones(4)))


def test_a_training_begins_with_it(make_config):
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})
    prepare_devices(make_config())
    assert tf.config.optimizer.get_experimental_options()["arithmetic_optimization"] is False


def test_inference_begins_with_it(make_started, reporter):
    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": True})
    run.infer(make_started({"NETWORK.normalisation": "no"}), reporter)
    assert tf.config.optimizer.get_experimental_options()["arithmetic_optimization"] is False


def test_nothing_to_add_is_refused():
    with pytest.raises(TypeError):
        add_in_order([])
