"""The tensor normal distribution of kernels that several tasks have in one place of a network.

A stack holds the kernels of T tasks, `(features, classes, tasks)`: what a kernel reads (its voxels and channels, in
this order), what it gives, and whose it is. Its vector is read row by row, tasks fastest. In that order the covariance
is the Kronecker product `S_features x S_classes x S_tasks`, of which only the Cholesky factors are ever held, one for
each axis.
"""

import math
from collections.abc import Collection, Sequence
from typing import Any

from keras import ops

AXES = ("features", "classes", "tasks")


def stack_kernels(kernels: Sequence[Any]) -> Any:
    """Stacks one kernel per task.

    Args:
        kernels: Kernels of one shape, `(*kernel_size, channels, filters)`; voxels are counted among the features.

    Returns:
        float32 `(features, classes, tasks)`.

    Examples:
        >>> import numpy as np
        >>> stack_kernels([np.zeros((3, 3, 4, 5))] * 2).shape == (36, 5, 2)
        True
    """
    return ops.stack([ops.reshape(ops.cast(kernel, "float32"), (-1, kernel.shape[-1])) for kernel in kernels], axis=-1)


def whiten(stack: Any, factors: Sequence[Any], without: Collection[int] = ()) -> Any:
    """Solves for each axis by the Cholesky factor of its covariance: what is normal by these becomes standard normal.

    Args:
        stack: `(features, classes, tasks)`.
        factors: For each axis a lower triangle `(size, size)`, or None for the identity.
        without: Axes that are left as they are.
    """
    for axis, factor in enumerate(factors):
        if factor is None or axis in without:
            continue
        moved = ops.moveaxis(stack, axis, 0)
        solved = ops.solve_triangular(factor, ops.reshape(moved, (moved.shape[0], -1)), lower=True)
        stack = ops.moveaxis(ops.reshape(solved, moved.shape), 0, axis)
    return stack


def quadratic_form(stack: Any, factors: Sequence[Any]) -> Any:
    """Returns `vec(W)^T (S_features x S_classes x S_tasks)^-1 vec(W)`, a float32 scalar.

    Args:
        stack: W, `(features, classes, tasks)`.
        factors: See `whiten`.
    """
    return ops.sum(ops.square(whiten(stack, factors)))


def log_density(stack: Any, factors: Sequence[Any]) -> Any:
    """Returns the logarithm of the density of the tensor normal distribution with mean 0, a float32 scalar.

    `-1/2 (vec(W)^T S^-1 vec(W) + log det S + D log 2 pi)` with `S` the Kronecker product of three covariances and
    `log det S = sum_k D / D_k log det S_k` (Long et al. 2017, equation 2).

    Args:
        stack: W, `(features, classes, tasks)`.
        factors: See `whiten`.

    Examples:
        >>> import numpy as np
        >>> round(float(log_density(np.zeros((1, 1, 2), "float32"), [None, None, 2 * np.eye(2, dtype="float32")])), 4)
        -3.2242
    """
    size = math.prod(stack.shape)
    log_determinant = ops.zeros((), "float32")
    for length, factor in zip(stack.shape, factors, strict=True):
        if factor is not None:
            log_determinant = log_determinant + 2 * size / length * ops.sum(ops.log(ops.diagonal(factor)))
    return -0.5 * (quadratic_form(stack, factors) + log_determinant + size * math.log(2 * math.pi))


def covariance_along(stack: Any, factors: Sequence[Any], axis: int, epsilon: float) -> Any:
    """Returns the most likely covariance along one axis, those along the others being given.

    `S_k = D_k / D W_(k) (x_{l != k} S_l)^-1 W_(k)^T`, with `W_(k)` the stack unfolded along the axis (Long et al. 2017,
    section 4.2), and `epsilon` times the mean of its diagonal added to the diagonal: a number that means the same for
    large kernels and small ones, and without which the covariance of more features than kernels has no inverse.

    Args:
        stack: W, `(features, classes, tasks)`.
        factors: See `whiten`; that of the axis itself is not looked at.
        axis: 0, 1 or 2.
        epsilon: Positive.

    Returns:
        float32 `(size, size)`.
    """
    length = stack.shape[axis]
    rows = ops.reshape(ops.moveaxis(whiten(stack, factors, without=(axis,)), axis, 0), (length, -1))
    covariance = ops.matmul(rows, ops.transpose(rows)) / rows.shape[1]
    # Kernels of zeros have a covariance, too.
    mean = ops.maximum(ops.mean(ops.diagonal(covariance)), 1e-12)
    return covariance + epsilon * mean * ops.eye(length, dtype="float32")


def next_factors(stack: Any, factors: Sequence[Any], epsilon: float) -> list[Any]:
    """Returns the factors after one round of most likely covariances: features, classes, then tasks.

    Each is found by the newest of the others (Ohlson et al. 2013, the flip-flop algorithm); what is None stays so.

    Args:
        stack: `(features, classes, tasks)`.
        factors: See `whiten`.
        epsilon: See `covariance_along`.
    """
    found = list(factors)
    for axis, factor in enumerate(factors):
        if factor is not None:
            found[axis] = ops.cholesky(covariance_along(stack, found, axis, epsilon))
    return found
