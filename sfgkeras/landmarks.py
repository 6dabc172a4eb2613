"""Landmarks as losses and metrics both read them: pure functions on keras.ops.

Positions are fractions of the window along its axes: 0 at its first edge, 1 at its last one, `(batch, landmarks,
rank)`. A network says where landmarks are by coordinates, `(batch, landmarks * rank)`, or by a heat map for each,
`(batch, *spatial, landmarks)`.
"""

import math
from typing import Any

from keras import ops


def true_positions(y_true: Any) -> Any:
    """Returns positions `(batch, landmarks, rank)` in float32, or refuses what has another shape.

    Raises:
        ValueError: If there are no three axes.
    """
    positions = ops.cast(ops.convert_to_tensor(y_true), "float32")
    if len(positions.shape) != 3:
        raise ValueError(f"landmarks of shape {tuple(positions.shape)} need the shape (batch, landmarks, rank)")
    return positions


def coordinates(y_pred: Any, like: Any) -> Any:
    """Returns predicted coordinates as positions, `(batch, landmarks, rank)` in float32.

    Args:
        y_pred: `(batch, landmarks * rank)`, all numbers of the first landmark first.
        like: True positions.

    Raises:
        ValueError: If the numbers are not those of the landmarks.
    """
    predicted, (count, rank) = ops.cast(ops.convert_to_tensor(y_pred), "float32"), like.shape[1:]
    if len(predicted.shape) != 2 or predicted.shape[1] != count * rank:
        raise ValueError(f"{count} landmarks of {rank} coordinates do not fit predictions of {tuple(predicted.shape)}")
    return ops.reshape(predicted, (-1, count, rank))


def heat_maps(y_pred: Any, like: Any) -> Any:
    """Returns predicted heat maps in float32, or refuses what has another shape.

    Args:
        y_pred: `(batch, *spatial, landmarks)`.
        like: True positions.

    Raises:
        ValueError: If the shapes do not fit.
    """
    maps, (count, rank) = ops.cast(ops.convert_to_tensor(y_pred), "float32"), like.shape[1:]
    if len(maps.shape) != rank + 2 or maps.shape[-1] != count:
        raise ValueError(f"{count} landmarks in {rank}-D do not fit heat maps of shape {tuple(maps.shape)}")
    return maps


def gaussian_maps(positions: Any, size: Any, sigma: float) -> Any:
    """Draws the heat map of every landmark: a Gaussian of height 1 around it, cut off at the window's edges.

    Args:
        positions: `(batch, landmarks, rank)`; those outside of the window have the tail that reaches into it.
        size: Voxels of the window along its axes.
        sigma: Standard deviation in voxels.

    Returns:
        `(batch, *size, landmarks)` float32.

    Examples:
        >>> gaussian_maps(ops.array([[[0.5]]]), (3,), 1.0)[0, :, 0].numpy().round(3).tolist()
        [0.607, 1.0, 0.607]
    """
    rank, maps = positions.shape[-1], None
    for axis in range(rank):
        centres = ops.cast(ops.arange(size[axis]), "float32") + 0.5
        middle = positions[:, None, :, axis] * ops.cast(size[axis], "float32")
        along = ops.exp(-0.5 * ops.square((centres[None, :, None] - middle) / sigma))
        shape = ops.shape(along)
        along = ops.reshape(along, (shape[0], *(shape[1] if each == axis else 1 for each in range(rank)), shape[2]))
        maps = along if maps is None else maps * along
    return maps


def energy(sigma: float, rank: int) -> float:
    """Returns the sum of squares of a Gaussian of height 1 that lies inside of the window, in voxels.

    Examples:
        >>> round(energy(1.0, 2), 4)  # pi sigma^2
        3.1416
    """
    return (math.sqrt(math.pi) * sigma) ** rank


def peaks(maps: Any) -> Any:
    """Returns where heat maps `(batch, *spatial, landmarks)` are largest, `(batch, landmarks, rank)`.

    Examples:
        >>> peaks(ops.array([[[0.0], [2.0], [1.0], [0.0]]])).numpy().tolist()
        [[[0.375]]]
    """
    shape, rank = ops.shape(maps), len(maps.shape) - 2
    place = ops.argmax(ops.reshape(maps, (shape[0], -1, shape[-1])), axis=1)
    found = []
    for axis in reversed(range(rank)):
        size = ops.cast(shape[axis + 1], place.dtype)
        found.append((ops.cast(place % size, "float32") + 0.5) / ops.cast(size, "float32"))
        place = place // size
    return ops.stack(found[::-1], axis=-1)


def expected_positions(maps: Any, sharpness: float) -> Any:
    """Returns the means of the distributions that heat maps are, `(batch, landmarks, rank)`; they have a gradient.

    The probability of a voxel is the softmax of `sharpness` times the map: where one voxel stands out this is the peak.

    Args:
        maps: `(batch, *spatial, landmarks)`.
        sharpness: What heights are multiplied by.

    Examples:
        >>> expected_positions(ops.array([[[0.0], [1.0], [1.0], [0.0]]]), 40.0).numpy().round(4).tolist()
        [[[0.5]]]
    """
    shape, rank = ops.shape(maps), len(maps.shape) - 2
    flat = ops.softmax(sharpness * ops.reshape(maps, (shape[0], -1, shape[-1])), axis=1)
    weights, found = ops.reshape(flat, shape), []
    for axis in range(rank):
        size = shape[axis + 1]
        centres = (ops.cast(ops.arange(size), "float32") + 0.5) / ops.cast(size, "float32")
        along = ops.sum(weights, axis=tuple(each + 1 for each in range(rank) if each != axis))
        found.append(ops.sum(along * centres[None, :, None], axis=1))
    return ops.stack(found, axis=-1)


def predicted_positions(y_pred: Any, like: Any) -> Any:
    """Returns where a network says that landmarks are, by coordinates or heat maps, `(batch, landmarks, rank)`.

    Args:
        y_pred: `(batch, landmarks * rank)`, or `(batch, *spatial, landmarks)`.
        like: True positions.
    """
    return coordinates(y_pred, like) if len(y_pred.shape) == 2 else peaks(heat_maps(y_pred, like))
