"""Vectors in an image: their components are along its axes, and turn with everything that turns these."""

from collections.abc import Sequence

import numpy as np

SHORTEST = 1e-6
"""Length up to which a vector has no direction."""


def frame_directions(affine: np.ndarray, axes: Sequence[int] = (0, 1, 2)) -> np.ndarray:
    """Returns the directions in space of the x, y and z that a file's vectors count by, as columns `(3, 3)`.

    Args:
        affine: Voxels of the array to mm, `(4, 4)`.
        axes: The array's axes of x, y and z; in a photo x runs along the columns, the second one.

    Examples:
        >>> frame_directions(np.diag([2.0, -3.0, 1.0, 1.0]), (1, 0, 2)).tolist()
        [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    columns = np.asarray(affine, np.float64)[:3, :3]
    return (columns / np.linalg.norm(columns, axis=0))[:, list(axes)]


def turned(vectors: np.ndarray, source: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Returns vectors `(..., 3)` by their components along other directions, float32.

    Args:
        vectors: By their components along `source`.
        source: See `frame_directions`.
        onto: The wanted ones.
    """
    between = np.linalg.solve(onto, source)
    if np.allclose(between, np.eye(3), atol=1e-9):
        return np.asarray(vectors, np.float32)
    return (np.asarray(vectors, np.float32) @ between.T.astype(np.float32)).astype(np.float32)


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Returns vectors `(..., channels)` of length 1, float32; those without a direction as zeros.

    Examples:
        >>> unit_vectors(np.array([[0.0, 3.0, 4.0], [0.0, 0.0, 0.0]])).round(1).tolist()
        [[0.0, 0.6000000238418579, 0.800000011920929], [0.0, 0.0, 0.0]]
    """
    vectors = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > SHORTEST)
