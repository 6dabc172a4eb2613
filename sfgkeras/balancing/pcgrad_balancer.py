"""The sum of the tasks' gradients, each without what points against another one."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras.balancing.gradient_balancer import GradientBalancer


class PCGradBalancer(GradientBalancer):
    """Projects conflicting gradients, the others in an order drawn for each task at every step (Yu et al. 2020).

    Args:
        weights: `w_t` by task, in the order of the tasks.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__(weights, name="pcgrad")
        self.draws = keras.random.SeedGenerator(0)
        self.set_seed(0)

    def set_seed(self, seed: int) -> None:
        """Draws from this seed from now on."""
        word = np.random.SeedSequence([seed, len(self.tasks)]).generate_state(1)[0]
        self.draws.state.assign([int(word) >> 1, 0])

    def combine(self, products: Any, losses: Any, present: Any) -> Any:
        """Returns the sum of the projected gradients as factors of the gradients."""
        tasks = products.shape[0]
        order = ops.argsort(keras.random.uniform((tasks, tasks), seed=self.draws), axis=1)
        return projected_sum(products, order)


def projected_sum(products: Any, order: Any) -> Any:
    """Returns the factors of the gradients in the sum of the projected ones (Yu et al. 2020, algorithm 1).

    Args:
        products: `g_s . g_t`, float32 `(tasks, tasks)`.
        order: Row by row the order in which a task's gradient meets the others, int `(tasks, tasks)`; where it would
            meet itself, nothing happens.

    Examples:
        >>> products = ops.array([[1.0, -1.0], [-1.0, 2.0]])  # of (1, 0) and (-1, 1)
        >>> order = ops.array([[0, 1], [0, 1]])
        >>> [round(float(factor), 4) for factor in projected_sum(products, order)]
        [2.0, 1.5]
    """
    tasks = products.shape[0]
    squares = ops.diagonal(products)
    # Row i: the projected gradient of task i, in terms of the gradients as they were.
    mixtures = ops.eye(tasks, dtype="float32")
    others = 1.0 - mixtures
    for place in range(tasks):
        met = ops.one_hot(order[:, place], tasks, dtype="float32")
        along = ops.sum(mixtures * ops.sum(met[:, :, None] * products[None], axis=1), axis=1)
        conflicts = ops.minimum(along, 0.0) * ops.sum(met * others, axis=1)
        factor = ops.divide_no_nan(conflicts, ops.sum(met * squares, axis=1))
        mixtures = mixtures - factor[:, None] * met
    return ops.sum(mixtures, axis=0)
