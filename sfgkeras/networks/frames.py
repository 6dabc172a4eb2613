"""Frames of a sequence through one network: side by side in the batch, one after the other."""

from typing import Any

from keras import ops


def frames_in_batch(images: Any, num_frames: int) -> Any:
    """Returns every channel as an image of its own, `(num_frames * batch, *spatial, 1)`: all first frames come first.

    Args:
        images: `(batch, *spatial, num_frames)`; a tensor, or one of a functional graph.
        num_frames: Channels of the images.

    Examples:
        >>> frames_in_batch(ops.reshape(ops.arange(4), (1, 1, 2, 2)), 2)[:, 0, :, 0].numpy().tolist()
        [[0, 2], [1, 3]]
    """
    return ops.concatenate([images[..., frame : frame + 1] for frame in range(num_frames)], axis=0)


def frames_apart(features: Any, num_frames: int) -> list[Any]:
    """Returns the features of every frame, `(batch, *spatial, channels)`, of those of all frames in one batch."""
    return list(ops.split(features, num_frames, axis=0))
