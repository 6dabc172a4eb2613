"""The prior of deep relationship networks: covariances of kernels that tasks have of their own (Long et al. 2017)."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras.layers.tensor_normal import AXES, next_factors, quadratic_form, stack_kernels

Kernels = Mapping[str, Sequence[Any]]


class TensorNormalPrior(keras.layers.Layer):
    """Says how unlikely kernels are under a tensor normal prior for each place, whose covariances it learns.

    Covariances are the identity until they are learned for the first time. They are no weights that an optimiser moves:
    `learn` puts the most likely ones in their place.

    Args:
        strength: Weight of the negative logarithm of the prior in the objective.
        epsilon: See `tensor_normal.covariance_along`.
        learns: Names of the axes whose covariances are learned; along others it stays the identity.
    """

    def __init__(self, strength: float, epsilon: float, learns: Sequence[str], **kwargs: Any) -> None:
        super().__init__(autocast=False, dtype="float32", **kwargs)
        self.strength = strength
        self.epsilon = epsilon
        self.learns = tuple(learns)
        self._factors: dict[str, list[Any]] = {}

    def build(self, shapes: Mapping[str, tuple[int, int, int]]) -> None:
        """Makes the Cholesky factors of each place, for stacks of these shapes by its name."""
        for place, shape in shapes.items():
            self._factors[place] = [
                self.add_weight(
                    shape=(size, size),
                    initializer="identity",
                    trainable=False,
                    autocast=False,
                    aggregation="only_first_replica",
                    name=f"{place}_{axis}",
                )
                if axis in self.learns
                else None
                for axis, size in zip(AXES, shape, strict=True)
            ]
        self.built = True

    def penalties(self, kernels: Kernels) -> list[Any]:
        """Returns `strength / 2 vec(W)^T S^-1 vec(W)` of each place.

        That is the negative logarithm of the density but for what does not depend on the kernels, and so moves none.
        """
        return [
            0.5 * self.strength * quadratic_form(stack_kernels(own), self._values(place))
            for place, own in kernels.items()
        ]

    def learn(self, kernels: Kernels, due: Any) -> None:
        """Takes over the most likely covariances of the kernels.

        Args:
            kernels: Those of all places.
            due: Whether it is time; otherwise nothing changes. A tensor: the choice is part of a compiled step.
        """
        for place, own in kernels.items():
            known = self._values(place)
            places = [axis for axis, factor in enumerate(known) if factor is not None]

            def learned(own: Any = own, known: Any = known, places: Any = places) -> tuple[Any, ...]:
                found = next_factors(ops.stop_gradient(stack_kernels(own)), known, self.epsilon)
                return tuple(found[axis] for axis in places)

            def kept(known: Any = known, places: Any = places) -> tuple[Any, ...]:
                return tuple(ops.copy(known[axis]) for axis in places)

            # Only values within the condition: a variable of several devices is assigned outside.
            for axis, value in zip(places, ops.cond(due, learned, kept), strict=True):
                self._factors[place][axis].assign(value)

    def covariances(self, place: str) -> dict[str, np.ndarray]:
        """Returns the learned covariances of a place, by the name of the axis."""
        factors = {
            axis: ops.convert_to_numpy(factor)
            for axis, factor in zip(AXES, self._factors[place], strict=True)
            if factor is not None
        }
        return {axis: factor @ factor.T for axis, factor in factors.items()}

    def _values(self, place: str) -> list[Any]:
        return [None if factor is None else ops.convert_to_tensor(factor) for factor in self._factors[place]]


def correlation_of(covariance: np.ndarray) -> np.ndarray:
    """Returns the correlations of a covariance, `(size, size)`; 1 on the diagonal."""
    deviation = np.sqrt(np.diag(covariance))
    correlation = np.clip(covariance / np.outer(deviation, deviation), -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    return correlation
