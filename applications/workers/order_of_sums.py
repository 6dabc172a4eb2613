"""Sums whose order is fixed: their last digit does not depend on which of TensorFlow's threads was the first to end.

TensorFlow's AddN writes into the memory of whichever term nobody else needs any more, and begins with that one. From
three terms on the sum is then rounded another way; which term it is depends on the threads, also where TensorFlow has
been asked for operations that repeat. `GradientTape` adds by it what reaches a tensor by several ways, and the
optimiser of graphs turns every chain of additions into it.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any


def add_in_order(terms: Sequence[Any]) -> Any:
    """Returns the sum of tensors, added from the first to the last.

    Raises:
        TypeError: If there are none.
    """
    return functools.reduce(operator.add, terms)


def keep_order() -> None:
    """Lets this process add two terms at a time in all that it traces from now on: gradients, and chains of additions.

    TensorFlow has no public name for the first of them; a version that hides it adds gradients as it likes.
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})
    try:
        from tensorflow.python import pywrap_tfe
        from tensorflow.python.eager import backprop

        register, usual = pywrap_tfe.TFE_Py_RegisterVSpace, backprop._default_vspace
    except (ImportError, AttributeError):
        return
    register(usual._replace(aggregate_fn=functools.partial(_two_at_a_time, usual.aggregate_fn)))


def _two_at_a_time(add: Callable[[list[Any]], Any], gradients: Sequence[Any]) -> Any:
    """Adds gradients, dense or sparse, from the first to the last; two of them have one sum, whichever comes first."""
    return functools.reduce(lambda total, gradient: add([total, gradient]), gradients)
