"""Own gradients on TensorFlow: equal to TensorFlow's, and gone with the graph that they are in."""

import gc
import weakref

import keras
import numpy as np
import pytest

from sfgkeras.layers.backend import fan_out, prelu
from sfgkeras.layers.own_gradient import gradients_with_graph, own_gradient

tf = pytest.importorskip("tensorflow")


def gradient_names():
    from tensorflow.python.framework import ops

    gc.collect()
    return {name for name in ops.gradient_registry.list() if name.startswith("CustomGradient")}


def traced(body, *arguments):
    """Traces a function; returns what it gives, and a weak reference to its graph."""
    function = tf.function(body, autograph=False)
    result = function(*arguments)
    return result, weakref.ref(function.get_concrete_function(*arguments).graph)


def differentiated(function):
    def step(x, slope):
        with tf.GradientTape() as tape:
            tape.watch([x, slope])
            y = tf.reduce_sum(function(x, slope) ** 2)
        return tape.gradient(y, [x, slope])

    return step


def in_three_parts(x, slope):
    return sum(part**power for power, part in enumerate(fan_out(prelu(x, slope), 3), start=1))


@pytest.mark.parametrize("function", [prelu, in_three_parts])
def test_a_graph_with_own_gradients_is_freed_with_its_function(function):
    before = gradient_names()
    x, slope = tf.constant([[-1.0, 2.0], [-3.0, 4.0]]), tf.constant([0.5, 0.25])
    found, graph = traced(differentiated(function), x, slope)
    expected = differentiated(function)(x, slope)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert gradient_names() == before
    assert graph() is None


def test_a_gradient_is_there_as_long_as_its_function():
    x, slope = tf.constant([[-1.0, 2.0]]), tf.constant([0.5, 0.25])
    function = tf.function(prelu, autograph=False)
    function(x, slope)
    gc.collect()
    # The tape is outside: TensorFlow looks the gradient up now, long after the function has been traced.
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x, slope)
    np.testing.assert_array_equal(tape.gradient(y, x), [[0.5, 1.0]])


def test_gradients_of_others_are_freed_with_the_graph_too():
    """Keras' optimisers have one: what sums the gradients of all devices."""
    optimizer, variable = keras.optimizers.SGD(1.0), keras.Variable([1.0, 2.0])
    optimizer.build([variable])
    step = gradients_with_graph()(lambda gradient: optimizer.apply([gradient], [variable]))
    before, gradients = gradient_names(), tf.constant([0.5, 0.5])
    function = tf.function(step, autograph=False)
    function(gradients)
    graph = weakref.ref(function.get_concrete_function(gradients).graph)
    assert gradient_names() - before
    del function
    assert gradient_names() == before
    assert graph() is None
    np.testing.assert_array_equal(variable.numpy(), [0.5, 1.5])


def test_gradients_that_were_there_before_are_left_alone():
    @tf.custom_gradient
    def double(x):
        return 2 * x, lambda upstream: 2 * upstream

    triple = own_gradient(lambda x: (3 * x, lambda upstream: 3 * upstream))
    graph = tf.Graph()
    with graph.as_default():
        doubled = double(tf.constant(1.0))
        known = gradient_names()
        triple(doubled)
        assert len(graph.own_gradients) == 1
        assert len(gradient_names() - known) == 1
