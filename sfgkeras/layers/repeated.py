"""Convolutions of features whose voxels are repeated over 2 per axis, from the features before they are repeated.

Of the 3 taps that such a convolution has on an axis two read the same voxel. The same numbers, to rounding, come from a
transposed convolution of stride 2 with 4 taps, whose kernel holds the sums of those that meet: 4/9 of the multiplies in
two dimensions, 8/27 in three, and no repeated features in memory. On the way up of a U-Net that is two thirds of what
the first convolution of a level does.

The walk says of a tensor what it was joined of (`note_joined`); what nobody reads of it then, TensorFlow leaves out of
the graph. A tensor that has been copied on the way has no note, and is convolved as it is.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from sfgkeras.layers import multiplies
from sfgkeras.layers.backend import convolve, has_gpu, uses_tensorflow

VOXELS_PER_CHANNEL = 4
"""Least voxels of a window for each repeated channel: below, making the kernel costs more than it saves."""

_NOTE = "_sfgkeras_joined"

_MEETING = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)
"""Which of 3 taps meet in each of 4, in the order in which a transposed convolution has them."""


@dataclass(frozen=True)
class Joined:
    """What a tensor was joined of.

    Attributes:
        coarse: The features whose voxels are repeated; its first channels.
        rest: All other channels, as large as the tensor.
    """

    coarse: Any
    rest: tuple[Any, ...] = ()


def note_joined(tensor: Any, coarse: Any, rest: Sequence[Any] = ()) -> None:
    """Says that a tensor of a TensorFlow graph is `coarse`, every voxel over 2 per axis, and `rest` behind it.

    Nothing is noted where the tensor has been computed already, or where it was cut to an odd size.
    """
    if not uses_tensorflow(tensor, coarse, *rest):
        return
    import tensorflow as tf

    doubled = [None if size is None else 2 * size for size in coarse.shape[1:-1]]
    if tf.executing_eagerly() or None in doubled or doubled != list(tensor.shape[1:-1]):
        return
    setattr(tensor, _NOTE, Joined(coarse, tuple(rest)))


def joined(tensor: Any) -> Joined | None:
    """Returns what was noted of a tensor."""
    found = getattr(tensor, _NOTE, None)
    return found if isinstance(found, Joined) else None


def pays_to_fold(found: Joined | None, kernel: Any) -> bool:
    """Says whether a plain convolution (stride 1, no dilation, padding `same`) is faster by `convolve_joined`.

    That holds on a CPU for kernels of 3 voxels per axis in float32, of two or three axes; with smaller types sums of
    taps would be rounded.
    """
    if found is None or has_gpu() or str(kernel.dtype.name) != "float32" or str(found.coarse.dtype.name) != "float32":
        return False
    *size, channels = found.coarse.shape[1:]
    sides = tuple(kernel.shape[:-2])
    voxels = math.prod(2 * side for side in size)
    return len(sides) in (2, 3) and set(sides) == {3} and voxels >= VOXELS_PER_CHANNEL * channels


def convolve_joined(found: Joined, kernel: Any) -> Any:
    """Convolves what was joined, channels last, stride 1, padding `same`.

    Args:
        found: What was joined: `(batch, *spatial, channels)`, and what lies behind it, `(batch, *(2 spatial), ...)`.
        kernel: 3 voxels per axis, `(*sides, all channels, filters)`.

    Returns:
        `(batch, *(2 spatial), filters)`.
    """
    import tensorflow as tf

    rank, channels = len(kernel.shape) - 2, found.coarse.shape[-1]
    summed = _summed_taps(kernel[..., :channels, :])
    size = [2 * side for side in found.coarse.shape[1:-1]]
    shape = tf.stack([tf.shape(found.coarse)[0], *size, kernel.shape[-1]])
    transposed = tf.nn.conv2d_transpose if rank == 2 else tf.nn.conv3d_transpose
    outputs = transposed(found.coarse, summed, shape, 2, "SAME")
    # As many multiplies as the network has: what it is, not how it is computed.
    multiplies.record_convolution(outputs.shape, (*kernel.shape[:-2], channels, kernel.shape[-1]))
    if not found.rest:
        return outputs
    rest = found.rest[0] if len(found.rest) == 1 else ops.concatenate(found.rest, axis=-1)
    return outputs + convolve(rest, kernel[..., channels:, :])


def _summed_taps(kernel: Any) -> Any:
    """Returns the kernel `(4, .., filters, channels)` of the transposed convolution."""
    import tensorflow as tf

    rank = len(kernel.shape) - 2
    *_, channels, filters = kernel.shape
    matrix = functools.reduce(np.kron, [_MEETING] * rank)
    summed = tf.matmul(tf.constant(matrix), tf.reshape(kernel, (3**rank, channels * filters)))
    summed = tf.reshape(summed, (4**rank, channels, filters))
    return tf.reshape(tf.transpose(summed, (0, 2, 1)), (*[4] * rank, filters, channels))
