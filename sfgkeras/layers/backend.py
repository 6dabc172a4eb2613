"""The few operations for which keras.ops is slow on TensorFlow, each beside its keras.ops form.

Every public function works on every Keras backend. On TensorFlow the fused forms are taken, unless
`fused_operations(False)` is active. Measured on two CPU cores, forward and gradient together: fused
normalisation 3.1 times faster than the unfused one, PReLU with its own gradient 1.6 times.
"""

import contextlib
import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
from keras import ops

from sfgkeras.layers import multiplies, synchronized
from sfgkeras.layers.own_gradient import own_gradient

_switch = {"fused": True}


@contextlib.contextmanager
def fused_operations(enabled: bool) -> Iterator[None]:
    """Takes the TensorFlow forms (or keras.ops alone, on any backend) for what is traced inside the block."""
    before = _switch["fused"]
    _switch["fused"] = enabled
    try:
        yield
    finally:
        _switch["fused"] = before


def uses_tensorflow(*tensors: Any) -> bool:
    """Returns whether the fused TensorFlow forms apply to these tensors (they do not to symbolic ones)."""
    if not _switch["fused"] or keras.config.backend() != "tensorflow":
        return False
    return not any(isinstance(tensor, keras.KerasTensor) for tensor in tensors)


def convolve(inputs: Any, kernel: Any, dilation: Any = 1, strides: Any = 1, padding: str = "same") -> Any:
    """Convolves, channels last.

    Args:
        inputs: `(batch, *spatial, channels)`.
        kernel: `(*kernel_size, channels, filters)`.
        dilation: Distance between the voxels that neighbouring kernel entries read; a number, or one per axis.
        strides: Distance between the voxels where the kernel is applied; a number, or one per axis.
        padding: `same` or `valid`.

    Returns:
        `(batch, *spatial, filters)`.
    """
    rank = len(inputs.shape) - 2
    is_plain = strides == 1 and padding == "same" and isinstance(dilation, int)
    dtype = str(keras.backend.standardize_dtype(inputs.dtype))
    if is_plain and dilation > 1 and uses_tensorflow(inputs, kernel) and _has_native_dilation(rank, dtype):
        multiplies.record_convolution(inputs.shape, kernel.shape)
        return _tensorflow_dilated_convolution(inputs, kernel, dilation)
    outputs = ops.conv(
        inputs, kernel, strides=strides, padding=padding, data_format="channels_last", dilation_rate=dilation
    )
    multiplies.record_convolution(outputs.shape, kernel.shape)
    return outputs


def _tensorflow_dilated_convolution(inputs: Any, kernel: Any, dilation: int) -> Any:
    import tensorflow as tf

    if len(inputs.shape) == 4:
        return tf.nn.conv2d(inputs, kernel, 1, "SAME", dilations=dilation)
    return tf.nn.conv3d(inputs, kernel, [1] * 5, "SAME", dilations=[1, dilation, dilation, dilation, 1])


@functools.cache
def _has_native_dilation(rank: int, dtype: str) -> bool:
    """Tries the gradients of a tiny dilated convolution: on a CPU they need oneDNN, and never take float16.

    keras.ops.conv always works, by moving the data into the batch axis and back around each convolution. The
    gradients are called by their names, because no tape records inside an `init_scope`.
    """
    import tensorflow as tf

    if rank not in (2, 3):
        return False
    images, kernels = [1, *[4] * rank, 1], [*[3] * rank, 1, 1]
    settings = {"strides": [1] * (rank + 2), "padding": "SAME", "dilations": [1, *[2] * rank, 1]}
    conv, to_input, to_kernel = (
        (tf.raw_ops.Conv2D, tf.raw_ops.Conv2DBackpropInput, tf.raw_ops.Conv2DBackpropFilter)
        if rank == 2
        else (tf.raw_ops.Conv3D, tf.raw_ops.Conv3DBackpropInputV2, tf.raw_ops.Conv3DBackpropFilterV2)
    )
    with tf.init_scope():
        image, kernel = tf.ones(images, dtype), tf.ones(kernels, dtype)
        try:
            conv(input=image, filter=kernel, **settings)
            to_input(input_sizes=images, filter=kernel, out_backprop=image, **settings)
            to_kernel(input=image, filter_sizes=kernels, out_backprop=image, **settings)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, tf.errors.NotFoundError):
            return False
    return True


def pays_to_split(inputs: Any, dilation: int, training: bool) -> bool:
    """Returns whether a run of dilated convolutions is faster, and equal, on the phases of `split_phases`.

    On a CPU the gradient of a float32 kernel takes 1.9 times as long with a native dilation; forward, in bfloat16 and
    on a GPU the native one is as fast. Every axis must be a multiple of the dilation: only then does the border of
    every phase lie on the border of the image.
    """
    if dilation == 1 or not uses_tensorflow(inputs) or has_gpu():
        return False
    if any(size is None or size % dilation for size in inputs.shape[1:-1]):
        return False
    dtype = str(inputs.dtype.name)
    return (training and dtype == "float32") or not _has_native_dilation(len(inputs.shape) - 2, dtype)


@functools.cache
def has_gpu() -> bool:
    """Says whether TensorFlow sees a GPU."""
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))


def split_phases(inputs: Any, dilation: int) -> Any:
    """Moves every dilation-th voxel into an image of its own: dilated convolutions become ordinary ones.

    Args:
        inputs: `(batch, *spatial, channels)`, every axis a multiple of the dilation.
        dilation: The dilation d.

    Returns:
        `(d^rank * batch, *spatial / d, channels)`.
    """
    import tensorflow as tf

    rank = len(inputs.shape) - 2
    return tf.space_to_batch(inputs, [dilation] * rank, [[0, 0]] * rank)


def join_phases(inputs: Any, dilation: int) -> Any:
    """Undoes `split_phases`."""
    import tensorflow as tf

    rank = len(inputs.shape) - 2
    return tf.batch_to_space(inputs, [dilation] * rank, [[0, 0]] * rank)


def ordered_sum(tensors: Sequence[Any]) -> Any:
    """Adds tensors one after the other, always in the given order; see `fan_out`.

    TensorFlow's graph optimiser would fuse a chain of additions into one whose order depends on the moment.
    It leaves an addition alone that waits for something else, here for the tensor that is added next.
    """
    total = tensors[0]
    if len(tensors) < 3 or not uses_tensorflow(*tensors):
        return functools.reduce(operator.add, tensors[1:], total)
    import tensorflow as tf

    for tensor, following in itertools.zip_longest(tensors[1:], tensors[2:]):
        with tf.control_dependencies([] if following is None else [following]):
            total = tf.add(total, tensor)
    return total


def fan_out(tensor: Any, count: int) -> list[Any]:
    """Returns a tensor as often as it is used, so that its gradients are added in a fixed order.

    TensorFlow adds the gradients of three or more uses in the order in which their memory becomes free, which
    differs from run to run by rounding; a run would then not repeat bit for bit.

    Args:
        tensor: Any tensor.
        count: Number of uses.

    Returns:
        `count` tensors equal to the given one.
    """
    if count < 3 or not uses_tensorflow(tensor):
        return [tensor] * count
    import tensorflow as tf

    @own_gradient
    def copy(x: Any) -> Any:
        def gradient(*upstream: Any) -> Any:
            return ordered_sum(upstream)

        return [tf.identity(x) for _ in range(count)], gradient

    return list(copy(tf.convert_to_tensor(tensor)))


def prelu(inputs: Any, slope: Any) -> Any:
    """Returns `x` where x > 0 and `slope * x` elsewhere (He et al. 2015).

    Args:
        inputs: `(..., channels)`.
        slope: float32 slopes, `(channels,)`.

    Returns:
        Tensor of the shape and type of `inputs`.
    """
    if uses_tensorflow(inputs, slope):
        return _tensorflow_prelu(inputs, slope)
    return ops.where(inputs > 0, inputs, inputs * ops.cast(slope, inputs.dtype))


def _tensorflow_prelu(inputs: Any, slope: Any) -> Any:
    """PReLU that keeps only its input for the gradient and passes over memory as seldom as can be.

    Output and gradient are products with the same factor, 1 or the slope; making it again costs less than
    keeping it.
    """
    import tensorflow as tf

    @own_gradient
    def activate(x: Any, alpha: Any) -> Any:
        one, zero, cast_alpha = tf.ones((), x.dtype), tf.zeros((), x.dtype), tf.cast(alpha, x.dtype)

        def gradient(upstream: Any) -> tuple[Any, Any]:
            axes = list(range(len(x.shape) - 1))
            products = upstream * tf.minimum(x, zero)
            # TensorFlow sums bfloat16 in float32 by itself; float16 would overflow.
            products = products if x.dtype == tf.bfloat16 else tf.cast(products, alpha.dtype)
            alpha_gradient = tf.cast(tf.reduce_sum(products, axes), alpha.dtype)
            return upstream * tf.where(x > zero, one, cast_alpha), alpha_gradient

        return x * tf.where(x > zero, one, cast_alpha), gradient

    return activate(inputs, tf.convert_to_tensor(slope))


def batch_normalize(inputs: Any, scale: Any, offset: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Normalises every channel by the statistics of the batch, over all replicas of a distribution strategy.

    Statistics are float32 whatever the type of the inputs. The variance is the mean squared distance from the
    mean, computed from distances (never from the difference of two large squares), so a constant channel has
    variance 0 and comes out as the offset.

    Args:
        inputs: `(batch, *spatial, channels)`.
        scale: float32, `(channels,)`.
        offset: float32, `(channels,)`.
        epsilon: Added to the variance.

    Returns:
        The normalised tensor in the type of `inputs`, the mean and the variance, float32 `(channels,)`.
    """
    if uses_tensorflow(inputs, scale, offset):
        context = synchronized.replica_context()
        if context is not None and len(inputs.shape) in (4, 5):
            return synchronized.batch_normalize(inputs, scale, offset, epsilon, _data_format(inputs))
        if context is not None:
            mean, variance, _ = synchronized.moments(inputs, context)
            return _apply_moments(inputs, mean, variance, scale, offset, epsilon), mean, variance
        if len(inputs.shape) in (4, 5):
            return _tensorflow_batch_normalize(inputs, scale, offset, epsilon)
    wide = ops.cast(inputs, "float32")
    mean, variance = ops.moments(wide, axes=list(range(len(inputs.shape) - 1)))
    return _apply_moments(inputs, mean, variance, scale, offset, epsilon), mean, variance


def normalize(inputs: Any, mean: Any, variance: Any, scale: Any, offset: Any, epsilon: float) -> Any:
    """Normalises every channel by given statistics, which are constants: no gradient flows into them.

    Args:
        inputs: `(batch, *spatial, channels)`.
        mean: float32, `(channels,)`, as are `variance`, `scale` and `offset`.
        variance: See `mean`.
        scale: See `mean`.
        offset: See `mean`.
        epsilon: Added to the variance.

    Returns:
        Tensor of the shape and type of `inputs`.
    """
    mean, variance = ops.stop_gradient(mean), ops.stop_gradient(variance)
    if len(inputs.shape) in (4, 5) and uses_tensorflow(inputs, scale, offset):
        return _tensorflow_normalize(inputs, mean, variance, scale, offset, epsilon)
    return _apply_moments(inputs, mean, variance, scale, offset, epsilon)


def _apply_moments(inputs: Any, mean: Any, variance: Any, scale: Any, offset: Any, epsilon: float) -> Any:
    """Normalises in float32 by moments that a gradient may flow into."""
    factor = ops.rsqrt(variance + epsilon) * scale
    normalized = (ops.cast(inputs, "float32") - mean) * factor + offset
    return ops.cast(normalized, inputs.dtype)


def _data_format(inputs: Any) -> str:
    return "NHWC" if len(inputs.shape) == 4 else "NDHWC"


def _tensorflow_batch_normalize(inputs: Any, scale: Any, offset: Any, epsilon: float) -> tuple[Any, Any, Any]:
    import tensorflow as tf

    empty = tf.zeros(0)
    fused = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=scale,
        offset=offset,
        mean=empty,
        variance=empty,
        epsilon=epsilon,
        data_format=_data_format(inputs),
        is_training=True,
    )
    # The fused operation reports the unbiased variance; ours is the plain mean of squares.
    static = inputs.shape[:-1].num_elements()
    if static is not None:
        bias = max(static - 1, 1) / max(static, 1)
    else:
        count = tf.cast(tf.size(inputs, tf.int64) // math.prod(inputs.shape[-1:]), "float32")
        bias = tf.maximum(count - 1.0, 1.0) / tf.maximum(count, 1.0)
    return fused.y, fused.batch_mean, fused.batch_variance * bias


def _tensorflow_normalize(inputs: Any, mean: Any, variance: Any, scale: Any, offset: Any, epsilon: float) -> Any:
    import tensorflow as tf

    return tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=scale,
        offset=offset,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        data_format=_data_format(inputs),
        is_training=False,
    ).y


def compiled(function: Callable[..., Any], model: keras.Model) -> Callable[..., Any]:
    """Returns an inference function that the backend runs in one piece, and never for gradients.

    Args:
        function: Maps tensors to tensors; what it does to the model's variables may be lost.
        model: The built model whose variables it reads.
    """
    if uses_tensorflow():
        import tensorflow as tf

        return tf.function(function, autograph=False, reduce_retracing=True)
    if keras.config.backend() == "jax":
        return _compiled_by_jax(function, model)
    if keras.config.backend() == "torch":
        import torch

        return torch.no_grad()(function)
    return function


def _compiled_by_jax(function: Callable[..., Any], model: keras.Model) -> Callable[..., Any]:
    import jax

    @jax.jit
    def run(values: list[Any], *inputs: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(model.variables, values, strict=True))):
            return function(*inputs)

    return lambda *inputs: run([variable.value for variable in model.variables], *inputs)
