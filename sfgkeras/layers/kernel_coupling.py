"""Distances between the kernels of several tasks, and a penalty that pulls them together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras import ops

from sfgkeras.layers.backend import fan_out, ordered_sum

NEGLIGIBLE = 1e-6
"""Singular values below this part of the largest one are rounding: they count as 0 and have no gradient."""


def squared_distance(kernels: Any) -> Any:
    """Returns the sum of squared differences over all pairs of rows.

    It is `T` times the sum of squared distances from the mean of the rows, which needs no pairs.

    Args:
        kernels: The flattened kernel of each task, float32 `(tasks, entries)`.

    Examples:
        >>> float(squared_distance([[1.0, 0.0], [0.0, 2.0], [1.0, 2.0]]))  # 5 + 4 + 1
        10.0
    """
    kernels = ops.convert_to_tensor(kernels)
    distance = kernels - ops.mean(kernels, axis=0, keepdims=True)
    return kernels.shape[0] * ops.sum(ops.square(distance))


def absolute_distance(kernels: Any) -> Any:
    """Returns the sum of absolute differences over all pairs of rows; the gradient where two agree is 0.

    Args:
        kernels: The flattened kernel of each task, float32 `(tasks, entries)`.

    Examples:
        >>> float(absolute_distance([[1.0, 0.0], [0.0, 2.0], [1.0, 2.0]]))  # 3 + 2 + 1
        6.0
    """
    kernels = ops.convert_to_tensor(kernels)
    num_tasks = kernels.shape[0]
    # Row i beside row i + s, around the end: the shifts up to T / 2 meet every pair, the last one of an even T twice.
    shifts = range(1, num_tasks // 2 + 1)
    terms = []
    copies = iter(fan_out(kernels, 2 * len(shifts)))
    for shift in shifts:
        total = ops.sum(ops.abs(next(copies) - ops.roll(next(copies), shift, axis=0)))
        terms.append(total / 2 if 2 * shift == num_tasks else total)
    return ordered_sum(terms)


def trace_norm(kernels: Any) -> Any:
    """Returns the sum of the singular values of the matrix of all rows (Yang & Hospedales 2017, last axis flattening).

    It is small where the rows are combinations of few, and so are the rows themselves. The gradient of M = U S V^T is
    U V^T. No decomposition is differentiated for it, because theirs is not finite where singular values are equal
    or 0: with the eigenvectors of M M^T held fixed, the singular values are the norms of the rows of U^T M. Where one
    is 0 its part of the gradient is 0, a subgradient.

    Args:
        kernels: The flattened kernel of each task, float32 `(tasks, entries)`.

    Examples:
        >>> round(float(trace_norm([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]])), 5)
        7.0
    """
    kernels = ops.convert_to_tensor(kernels)
    fixed = ops.stop_gradient(kernels)
    # By the largest entry, lest squares of tiny kernels vanish.
    scale = ops.max(ops.abs(fixed))
    fixed = fixed / ops.where(scale > 0, scale, ops.ones_like(scale))
    _, vectors = ops.eigh(ops.matmul(fixed, ops.transpose(fixed)))
    squares = ops.sum(ops.square(ops.matmul(ops.transpose(ops.stop_gradient(vectors)), kernels)), axis=1)
    counts = squares > NEGLIGIBLE**2 * ops.max(ops.stop_gradient(squares))
    return ops.sum(ops.where(counts, ops.sqrt(ops.where(counts, squares, ops.ones_like(squares))), 0.0))


DISTANCES: Mapping[str, Callable[[Any], Any]] = {
    "squared": squared_distance,
    "absolute": absolute_distance,
    "trace_norm": trace_norm,
}
"""What a distance is called in INI files."""


class KernelCoupling:
    """Penalty of one kernel that several tasks have each a copy of: `strength * distance`, and what else is penalised.

    It takes the place of the regularisers of all copies: the first copy that is trained gives the whole term, the
    others 0. So every kernel is read once for all its penalties, and its gradients are added in a fixed order; see
    `backend.fan_out`. A copy that is kept fixed pulls the others and does not move.

    Args:
        kernels: The copies, Keras variables of one shape; at least two.
        strength: Factor of the distance.
        distance: See `DISTANCES`.
    """

    def __init__(self, kernels: Sequence[Any], strength: float, distance: str) -> None:
        self.kernels = list(kernels)
        self.strength = strength
        self.distance = distance
        self.regularizers = [kernel.regularizer for kernel in kernels]
        for kernel in self.kernels:
            kernel.regularizer = _Share(self, kernel)

    def penalty(self) -> Any:
        """Returns the distance between the copies times the strength, and the regularisers of trained ones."""
        terms, rows = [], []
        for kernel, regularizer in zip(self.kernels, self.regularizers, strict=True):
            values = ops.cast(ops.convert_to_tensor(kernel), "float32")
            if regularizer is not None and kernel.trainable:
                terms.append(ops.cast(regularizer(values), "float32"))
            rows.append(ops.reshape(values, (-1,)))
        return ordered_sum([self.strength * DISTANCES[self.distance](ops.stack(rows)), *terms])


class _Share:
    """The part of a coupling that the regulariser of one copy gives."""

    def __init__(self, coupling: KernelCoupling, kernel: Any) -> None:
        self._coupling = coupling
        self._kernel = kernel

    def __call__(self, values: Any) -> Any:
        speaker = next((kernel for kernel in self._coupling.kernels if kernel.trainable), None)
        return self._coupling.penalty() if speaker is self._kernel else ops.zeros((), "float32")
