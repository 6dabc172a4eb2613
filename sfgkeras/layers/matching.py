"""How alike places of two images are, by their features: what tells where something has moved."""

import itertools
from typing import Any

from keras import ops

FAINT = 1e-3
"""What is added to squared lengths: features near zero, as of an empty background, match nothing."""


def match(first: Any, other: Any, reach: int) -> Any:
    """Compares every voxel with those around the same place in another image (after Dosovitskiy et al. 2015, 3.1).

    A match is the cosine between the features of `other` at x and those of `first` at x + d, 0 beyond the border and
    where there are no features. Of something that was at x + u in the first image, that of d = u is the highest.

    Args:
        first: Features that are compared with, `(batch, *spatial, channels)`.
        other: Features of each voxel, of the same shape.
        reach: Voxels that d goes in both directions of every axis.

    Returns:
        Matches `(batch, *spatial, (2 * reach + 1) ** rank)`, d in the order of `itertools.product`.

    Examples:
        >>> first = ops.reshape(ops.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]), (1, 1, 3, 2))
        >>> found = match(first, first, 1)  # 9 displacements; those in the middle stay in the row
        >>> print(ops.convert_to_numpy(found)[0, 0, :, 3:6].round(2))
        [[0. 1. 0.]
         [0. 1. 0.]
         [0. 1. 0.]]
    """
    rank = len(first.shape) - 2
    first, other = _of_one_length(first), _of_one_length(other)
    around = ops.pad(first, [(0, 0), *[(reach, reach)] * rank, (0, 0)])
    cuts = [slice(start, start - 2 * reach or None) for start in range(2 * reach + 1)]
    shifted = (around[(slice(None), *places, slice(None))] for places in itertools.product(cuts, repeat=rank))
    return ops.concatenate([ops.sum(each * other, axis=-1, keepdims=True) for each in shifted], axis=-1)


def _of_one_length(features: Any) -> Any:
    # By hand: the gradient of `ops.normalize` is no number where all features are 0.
    return features / ops.sqrt(ops.sum(features * features, axis=-1, keepdims=True) + FAINT)
