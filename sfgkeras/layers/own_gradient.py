"""Gradients of one's own on TensorFlow, of which nothing stays in memory beyond the graph that they are in."""

import contextlib
import weakref
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import keras


def own_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function with the gradient that it gives besides its result, as `tf.custom_gradient` does.

    Args:
        function: Takes tensors, to which variables are turned before; returns its result, and a function from the
            gradients of the result to those of the tensors.
    """
    import tensorflow as tf

    run = tf.custom_gradient(function)

    def call(*tensors: Any) -> Any:
        with gradients_with_graph():
            return run(*tensors)

    return call


@contextlib.contextmanager
def gradients_with_graph() -> Iterator[None]:
    """Lets the graph that is traced keep the gradients that `tf.custom_gradient` notes inside the block.

    TensorFlow notes them by name in a table of the process, and takes none out again. Each holds tensors, these hold
    their graph, and so every step that a process ever traced stays in memory (TensorFlow's issues 27492 and 97697;
    Keras' optimisers have such a gradient as well). Where they belong to the graph, they go with it.

    Other backends have no such table.
    """
    table = _table()
    known = set(table)
    yield
    for name in set(table) - known:
        _hand_over(table, name)


class _Lent:
    """A gradient that is there as long as its graph."""

    def __init__(self, gradient: Callable[..., Any], forget: Callable[[], Any]) -> None:
        self._gradient = weakref.ref(gradient, lambda _: forget())

    def __call__(self, operation: Any, *upstream: Any) -> Any:
        gradient = self._gradient()
        if gradient is None:
            raise LookupError("the graph that this gradient belongs to is gone")
        return gradient(operation, *upstream)


def _table() -> MutableMapping[str, Any]:
    """Returns TensorFlow's table of gradients by name; an empty one where there is none, or a version hides it."""
    if keras.config.backend() != "tensorflow":
        return {}
    from tensorflow.python.framework import ops

    found: MutableMapping[str, Any] = getattr(getattr(ops, "gradient_registry", None), "_registry", {})
    return found


def _hand_over(table: MutableMapping[str, Any], name: str) -> None:
    """Replaces an entry by one that the graph keeps alive which is traced at present."""
    import tensorflow as tf

    entry = table.get(name)
    if not name.startswith("CustomGradient") or not isinstance(entry, dict):
        return
    gradient = entry.get("type")
    if gradient is None or isinstance(gradient, _Lent):
        return
    graph = tf.compat.v1.get_default_graph()
    graph.own_gradients = [*getattr(graph, "own_gradients", ()), gradient]
    table[name] = {**entry, "type": _Lent(gradient, lambda: table.pop(name, None))}
