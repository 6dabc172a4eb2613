"""Images that are moved by displacements, for losses and metrics alike: pure functions on keras.ops."""

from typing import Any

from keras import ops


def warp(images: Any, flow: Any) -> Any:
    """Reads every image at x + u(x): linearly, and beyond its border the nearest voxel.

    Args:
        images: `(batch, *spatial)`.
        flow: Displacements u in voxels, `(batch, *spatial, rank)`.

    Returns:
        float32, `(batch, *spatial)`.

    Example:
        >>> print(ops.convert_to_numpy(warp(ops.array([[[1.0, 2.0, 4.0]]]), ops.full((1, 1, 3, 2), (0.0, 0.5)))))
        [[[1.5 3.  4. ]]]
    """
    images, flow = ops.cast(images, "float32"), ops.cast(flow, "float32")
    shape = ops.shape(images)
    # The batch is one more axis, on whose whole numbers nothing is interpolated.
    axes = [ops.cast(ops.arange(length), "float32") for length in shape]
    places = ops.meshgrid(*axes, indexing="ij")
    moved = [places[0], *(place + flow[..., axis] for axis, place in enumerate(places[1:]))]
    return ops.image.map_coordinates(images, ops.stack(moved), order=1, fill_mode="nearest")
