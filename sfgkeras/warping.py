"""Images that are moved by displacements, for losses and metrics alike: pure functions on keras.ops."""

import itertools
from typing import Any

from keras import ops


def warp(images: Any, flow: Any) -> Any:
    """Reads every image at x + u(x): linearly, and beyond its border the nearest voxel.

    Args:
        images: `(batch, *spatial)`.
        flow: Displacements u in voxels, `(batch, *spatial, rank)`.

    Returns:
        float32, `(batch, *spatial)`.

    Examples:
        >>> print(ops.convert_to_numpy(warp(ops.array([[[1.0, 2.0, 4.0]]]), ops.full((1, 1, 3, 2), (0.0, 0.5)))))
        [[[1.5 3.  4. ]]]
    """
    images, flow = ops.cast(images, "float32"), ops.cast(flow, "float32")
    # Sizes that are not known before the call are tensors.
    shape, rank = ops.shape(images), len(images.shape) - 1
    corners, step = [], 1
    for axis in reversed(range(rank)):
        size = shape[axis + 1]
        last = ops.cast(size, "float32") - 1.0
        along = ops.reshape(ops.arange(size, dtype="float32"), [-1 if other == axis else 1 for other in range(rank)])
        place = ops.clip(along + flow[..., axis], 0.0, last)
        low = ops.floor(place)
        high = ops.minimum(low + 1.0, last)
        share = place - low
        ends = ((low, 1.0 - share), (high, share))
        # Cut once more, for a displacement that is no number has no place.
        corners.append([(ops.clip(ops.cast(end, "int32"), 0, size - 1) * step, weight) for end, weight in ends])
        step = step * size
    flat = ops.reshape(images, (shape[0], -1))
    total: Any = 0.0
    for corner in itertools.product(*corners):
        index = sum(part for part, _ in corner)
        weight: Any = 1.0
        for _, factor in corner:
            weight = weight * factor
        found = ops.take_along_axis(flat, ops.reshape(index, (shape[0], -1)), axis=1)
        total = total + weight * ops.reshape(found, ops.shape(weight))
    return total
