"""Normalisations multiplied into the convolutions beside them, for networks that only infer.

A normalisation by population statistics is `a x + b` per channel. Behind a convolution it goes into kernel and bias.
Before an activation that lets positive factors through, and a convolution W,

    W * h(a x + b) = (W a) * h(x + b / a)        for a > 0 and h(c x) = c h(x) for every c > 0,

so that only a shift is left of it. (The bias before it could take the shift in, but TensorFlow then no longer fuses the
residual sum into the convolution, which costs what the shift does.) Zero padding stays exact in both cases: it
stands behind the shift, and a kernel may be scaled before it meets a zero as well as after.
"""

import numpy as np
from keras import ops

from sfgkeras.layers.activation import POSITIVELY_HOMOGENEOUS, MaskedActivation
from sfgkeras.layers.normalization import StreamNormalization

# In standard deviations of the channel. A larger shift would round more than 1e-5 of the channel away in float32.
LARGEST_SHIFT = 100.0


def affine(normalization: StreamNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Returns factor and shift, float32 `(channels,)`, of a normalisation by population statistics."""
    gamma, beta, mean, variance = (
        ops.convert_to_numpy(weight).astype("float64")
        for weight in (
            normalization.gamma,
            normalization.beta,
            normalization.moving_mean,
            normalization.moving_variance,
        )
    )
    factor = gamma / np.sqrt(variance + normalization.epsilon)
    return factor.astype("float32"), (beta - mean * factor).astype("float32")


def fold_behind(
    kernel: np.ndarray, bias: np.ndarray | None, normalization: StreamNormalization
) -> tuple[np.ndarray, np.ndarray]:
    """Returns kernel and bias of a convolution with the normalisation that follows it.

    Args:
        kernel: `(*kernel_size, channels, filters)`.
        bias: `(filters,)` or None.
        normalization: Normalises the filters' outputs.
    """
    factor, shift = affine(normalization)
    return kernel * factor, shift if bias is None else shift + bias * factor


def split_preactivation(activation: MaskedActivation) -> tuple[np.ndarray, np.ndarray] | None:
    """Splits the normalisation before an activation into a shift before and a factor behind it.

    Args:
        activation: Normalisation and activation.

    Returns:
        Factor and shift, float32 `(channels,)`; None where this is not the same, or not to float32 precision: no
        normalisation, another activation, a factor that is not positive, or a shift beside which the values would be
        rounded away.
    """
    normalization = activation.normalization
    if normalization is None:
        return None
    factor, shift = affine(normalization)
    if activation.activation_name not in POSITIVELY_HOMOGENEOUS or not (factor > 0).all():
        return None
    before = shift / factor
    deviation = np.sqrt(ops.convert_to_numpy(normalization.moving_variance) + normalization.epsilon)
    return (factor, before) if (np.abs(before) <= LARGEST_SHIFT * deviation).all() else None
